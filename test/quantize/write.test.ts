// Models that are written in other types and formats: what is read back is what the codec makes of each tensor, whole or piece by piece.

import { existsSync, readFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { decodeBlocks, encodeBlocks } from "../../src/formats/blocks/index.ts";
import { openGguf } from "../../src/formats/gguf.ts";
import { openModelFiles } from "../../src/models/files.ts";
import { exportModel } from "../../src/models/gguf-export.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { writeFolderModel } from "../../src/quantize/write-folder-model.ts";
import { checkOutput, writeGgufModel } from "../../src/quantize/write-gguf-model.ts";
import { fixturePath } from "../models/fixtures.ts";
import { makePlace, writeFixture } from "../models/gguf-places.ts";

const place = makePlace();
afterAll(() => place.remove());

describe("a GGUF file", () => {
  test("holds what the codecs make of each tensor", async () => {
    for (const mix of ["q8_0", "q4_0", "q5_1", "bf16"] as const) {
      const { path, report } = await writeFixture(place, "llama-tied-llama3", mix);
      const gguf = await openGguf(nodeFiles, path);
      const folder = await openModelFiles(nodeFiles, fixturePath("llama-tied-llama3"));
      const exported = exportModel(folder.config, folder.tensors).tensors;
      expect([...gguf.tensors.keys()].sort()).toEqual(exported.map(({ name }) => name).sort());
      for (const { name, shape, readRows } of exported) {
        const tensor = gguf.tensors.get(name);
        const width = shape.at(-1) as number;
        const rows = shape.reduce((product, size) => product * size, 1) / width;
        if (!tensor) throw new Error(name);
        const expected = new Float32Array(rows * width);
        decodeBlocks(tensor.type, encodeBlocks(tensor.type, await readRows(0, rows)), expected);
        expect(await gguf.readF32(tensor), `${mix} ${name}`).toEqual(expected);
      }
      expect(Object.values(report.types).reduce((sum, count) => sum + count, 0)).toBe(report.tensors);
      expect(readFileSync(path).length).toBe(report.bytes);
      await gguf.close();
      await folder.close();
    }
  });

  test("rows of what is exported come in pieces as they come whole", async () => {
    for (const name of ["llama-gqa", "qwen3-moe", "deepseek-groups"]) {
      const folder = await openModelFiles(nodeFiles, fixturePath(name));
      for (const { name: tensor, shape, readRows } of exportModel(folder.config, folder.tensors).tensors) {
        if (shape.length < 2) continue;
        const width = shape.at(-1) as number;
        const rows = shape.reduce((product, size) => product * size, 1) / width;
        const whole = await readRows(0, rows);
        for (const [first, count] of [
          [0, 1],
          [1, rows - 1],
          [Math.floor(rows / 2), 1],
          [Math.floor(rows / 3), Math.floor(rows / 2)],
        ] as const)
          expect(await readRows(first, count), `${tensor} ${first} ${count}`).toEqual(whole.slice(first * width, (first + count) * width));
      }
      await folder.close();
    }
  });

  test("of a file, written again in the same type, is the same", async () => {
    const { path } = await writeFixture(place, "qwen3-moe", "f32");
    const opened = await openModelFiles(nodeFiles, path);
    const again = place.path("again.gguf");
    await writeGgufModel(nodeFiles, again, opened, { mix: "f32", name: "qwen3-moe" });
    await opened.close();
    expect(readFileSync(again).equals(readFileSync(path))).toBe(true);
  });

  test("is not there when the model cannot be written", async () => {
    const out = place.path("not-there.gguf");
    const opened = await openModelFiles(nodeFiles, fixturePath("qwen3-moe-sparse"));
    await expect(writeGgufModel(nodeFiles, out, opened, { mix: "f32", name: "x" })).rejects.toBeInstanceOf(ConfigError);
    await opened.close();
    expect(existsSync(out)).toBe(false);
  });
});

describe("a folder", () => {
  test.each(["llama-biases-head-dim", "qwen3-moe", "deepseek-v2-lite"])(
    "%s: through GGUF to a folder gives the same weights",
    async (name) => {
      const { path } = await writeFixture(place, name, "f32");
      const opened = await openModelFiles(nodeFiles, path);
      const out = place.path(`${name}-folder`);
      await writeFolderModel(nodeFiles, out, opened, { type: "f32" });
      await opened.close();
      const [before, after] = [await openModelFiles(nodeFiles, fixturePath(name)), await openModelFiles(nodeFiles, out)];
      for (const [key, tensor] of after.tensors) expect(await tensor.readF32(), key).toEqual(await before.tensors.get(key)?.readF32());
      expect(after.config.torch_dtype).toBe("float32");
      await before.close();
      await after.close();
    },
  );

  test("in 16 bits from packed weights, with progress to the end", async () => {
    const { path } = await writeFixture(place, "llama-tied-llama3", "q8_0");
    const opened = await openModelFiles(nodeFiles, path);
    const out = place.path("half");
    const seen: number[] = [];
    const report = await writeFolderModel(nodeFiles, out, opened, { type: "bf16", onProgress: (done, total) => seen.push(done / total) });
    await opened.close();
    expect(seen.at(-1)).toBe(1);
    const after = await openModelFiles(nodeFiles, out);
    expect([...after.tensors.values()].every(({ dtype }) => dtype === "BF16")).toBe(true);
    expect(report.bytes).toBe(2 * report.parameters);
    await after.close();
  });
});

test("IN and OUT may not be the same place", async () => {
  await expect(
    checkOutput(nodeFiles, "convert", fixturePath("llama-gqa"), `${fixturePath("llama-gqa")}/../llama-gqa`),
  ).rejects.toBeInstanceOf(ConfigError);
});
