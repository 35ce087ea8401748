// The table of bench/rivals.ts, and which ONNX model stands for which GGUF file.

import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { onnxOf } from "../../bench/onnx-model.ts";
import { median, table } from "../../bench/report.ts";

describe("median", () => {
  it("is the middle number, the mean of two, and NaN of none", () => {
    expect(median([30, 1, 2])).toBe(2);
    expect(median([4, 1, 3, 100])).toBe(3.5);
    expect(median([])).toBeNaN();
  });
});

describe("table", () => {
  const numbers: Record<string, number> = { "pp512 gradually": 120, "pp512 wllama": 20, "tg128@128 gradually": 24, "tg64x8 gradually": 60 };
  const lines = table(
    ["pp512", "tg128@128", "tg64x8"],
    ["wllama", "gradually"],
    (test, engine) => numbers[`${test} ${engine}`] ?? Number.NaN,
  )
    .trimEnd()
    .split("\n")
    .map((line) => line.trim().split(/\s{2,}/));

  it("divides our numbers by the rival's", () => {
    expect(lines[0]).toEqual(["wllama", "gradually", "to wllama"]);
    expect(lines[1]).toEqual(["pp512", "20.0", "120.0", "6.00x"]);
  });
  it("shows a dash where an engine was left out", () => {
    expect(lines[2]).toEqual(["tg128@128", "-", "24.0", "-"]);
  });
  it("says what eight sequences give, and nothing of tests that did not run", () => {
    expect(lines.slice(4)).toEqual([["x8/x1", "-", "2.50x"]]);
  });
});

describe("the ONNX counterpart", () => {
  it("lies beside the GGUF file, by type", () => {
    const folder = join("models", "llama-1.1b-onnx");
    expect(onnxOf("models/llama-1.1b-q4_0.gguf")).toEqual({ folder, file: join(folder, "onnx/model_q4.onnx"), dtype: "q4" });
    expect(onnxOf("models/llama-1.1b-q8_0.gguf")?.dtype).toBe("q8");
  });
  it("is none for other types and names", () => {
    for (const name of ["llama-1.1b-q4_k_m.gguf", "model.gguf", "q4_0.gguf"]) expect(onnxOf(name)).toBeUndefined();
  });
});
