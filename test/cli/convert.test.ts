// quantize, convert, inspect, perplexity and run on GGUF files, as a user calls them.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openGguf } from "../../src/formats/gguf.ts";
import { writeGguf } from "../../src/formats/gguf-writer.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { makePlace } from "../models/gguf-places.ts";
import { sharedData } from "../shared-data.ts";
import { cli, expectFailure, expectUsage, fixtures, json, root } from "./cli.ts";

const place = makePlace();
afterAll(() => place.remove());
const llama = path.join(fixtures, "llama-gqa");
const reasoner = path.join(root, "models/countdown-reasoner");

describe("convert", () => {
  test("a folder to a file and back: the same logits, and the next command is told", async () => {
    const file = place.path("llama.gguf");
    const ran = await cli(["convert", llama, file]);
    expect(ran).toMatchObject({ code: 0 });
    expect(ran.out).toContain("21 tensors");
    expect(ran.err).toContain(`next: gradually run ${file}`);
    const folder = place.path("llama-back");
    expect((await json(["convert", file, folder])).type).toBe("f32");
    const logits = async (model: string) => (await json(["logits", model, "--ids", "1,7,23", "--all"])).logits;
    const [first, second, third] = await Promise.all([logits(llama), logits(file), logits(folder)]);
    expect(second).toEqual(first);
    expect(third).toEqual(first);
  });

  test("refused: what is there without --force, the same place, types that a folder has not, models that GGUF has not", async () => {
    const file = place.path("there.gguf");
    writeFileSync(file, "not a model");
    await expectFailure(["convert", llama, file], "which is there", "--force");
    expect(readFileSync(file, "utf8")).toBe("not a model");
    expect(await cli(["convert", llama, file, "--force"])).toMatchObject({ code: 0 });
    await expectFailure(["convert", file, file, "--force"], "for input and output");
    await expectFailure(["convert", file, place.path("quantised"), "--type", "q4_0"], "f32, bf16, f16 for a folder");
    await expectFailure(["convert", path.join(fixtures, "qwen3-moe-sparse"), place.path("sparse.gguf")], "mlp_only_layers");
    expect(existsSync(place.path("sparse.gguf"))).toBe(false);
    await expectUsage(["convert", llama, "x.gguf", "--type", "q9"], "q9");
  });
});

describe("quantize", () => {
  test("the bundled model in 8 bits solves what it solves, and says what it costs", async () => {
    const file = place.path("reasoner-q8_0.gguf");
    const report = await json(["quantize", reasoner, file, "--type", "q8_0"]);
    expect(report).toMatchObject({ path: file, type: "q8_0" });
    expect(report.bits_per_weight).toBeLessThan(9);
    const [before, after] = await Promise.all([reasoner, file].map((model) => json(["run", model, "3 5 7=22"])));
    expect(after?.text).toBe(before?.text);
    const { ids } = await json(["tokenize", file, "3,5,7=22<think>"]);
    expect(ids).toEqual((await json(["tokenize", reasoner, "3,5,7=22<think>"])).ids);
    const text = place.path("problems.txt");
    writeFileSync(text, "3,5,7=22<think>3*5+7=22!</think>3*5+7\n1,2,3=9<think>(1+2)*3=9!</think>(1+2)*3\n");
    const { perplexity, kl } = await json(["perplexity", file, text, "--lines", "--kl", reasoner]);
    expect(perplexity).toBeGreaterThan(1);
    expect((kl as { mean: number }).mean).toBeLessThan(0.01);
  });

  test("refused: an output that is no .gguf file", () =>
    expectFailure(["quantize", llama, place.path("x")], "ends in .gguf", "gradually convert"));
});

describe("inspect of a GGUF file", () => {
  test("metadata, tensors, needs", async () => {
    const file = place.path("inspected.gguf");
    await json(["quantize", path.join(fixtures, "qwen3-moe"), file, "--type", "f16"]);
    const report = await json(["inspect", file]);
    expect(report).toMatchObject({
      kind: "gguf",
      model_type: "qwen3_moe",
      runs: true,
      metadata: { "general.architecture": "qwen3moe", "qwen3moe.expert_count": 5 },
    });
    const { total, active } = report.parameters as { total: number; active: number };
    expect(active).toBeLessThan(total);
    const folder = await json(["inspect", path.join(fixtures, "qwen3-moe")]);
    expect(folder.parameters).toEqual(report.parameters);
    expect((report.tensors as { name: string }[]).some(({ name }) => name === "blk.0.ffn_gate_exps.weight")).toBe(true);
  });

  test("an architecture that we do not run is shown all the same", async () => {
    const file = place.path("other.gguf");
    await nodeFiles.writeAtomic(
      file,
      writeGguf(new Map([["general.architecture", { type: "string", value: "gemma3" }]]), [
        { name: "a.weight", type: "f32", shape: [2], data: new Uint8Array(8) },
      ]),
    );
    expect(await json(["inspect", file])).toMatchObject({
      kind: "gguf",
      runs: false,
      tensor_count: 1,
      why_not: expect.stringContaining("gemma3"),
    });
    await expectFailure(["run", file, "x", "--raw"], "gemma3");
  });

  // The scale of a q8_0 block is its first two bytes. Values of a block with an infinite scale are infinite where q is not 0, else NaN.
  test.each([
    ["Q01 NaN", 0x7e00, { nan: 32, infinite: 0 }],
    ["Q02 infinity", 0x7c00, { nan: 0, infinite: 32 }],
    ["Q03 -0", 0x8000, undefined],
    ["Q04 denormal", 0x0001, undefined],
    ["Q05 65,504", 0x7bff, undefined],
  ] as const)("--check counts a q8_0 scale of %s", async (name, code, expected) => {
    const base = place.path(`${name.slice(0, 3)}-base.gguf`);
    await json(["quantize", path.join(fixtures, "llama-tied-llama3"), base, "--type", "q8_0"]);
    const gguf = await openGguf(nodeFiles, base);
    const entries = [...gguf.tensors.values()].map((tensor) => ({
      ...tensor,
      data: async () => {
        const bytes = Uint8Array.from(await gguf.readBytes(tensor));
        if (tensor.name === "blk.0.attn_q.weight") {
          bytes.set([code & 255, code >> 8], 34);
          bytes.fill(7, 36, 68); // no zeros in the block
        }
        return bytes;
      },
    }));
    const file = place.path(`${name.slice(0, 3)}.gguf`);
    await nodeFiles.writeAtomic(file, writeGguf(gguf.metadata, entries));
    await gguf.close();
    const { not_finite } = await json(["inspect", file, "--check"]);
    expect(not_finite).toEqual(expected ? [{ name: "blk.0.attn_q.weight", ...expected }] : []);
    const ran = await cli(["logits", file, "--ids", "1,2,3", "--json"]);
    if (expected) expect(ran).toMatchObject({ code: 1, out: "", err: expect.stringContaining("NaN or infinity") });
    else expect(ran.code).toBe(0);
  });
});

describe("perplexity", () => {
  test("refused: texts that are too short", async () => {
    const text = place.path("short.txt");
    writeFileSync(text, "1,2");
    await expectFailure(["perplexity", reasoner, text], "at least one chunk of 512", "--chunk");
    writeFileSync(text, "\n\n");
    await expectFailure(["perplexity", reasoner, text, "--lines"], "lines of text");
  });
});

test("a context longer than the model's is refused, a shorter one kept", async () => {
  await expectFailure(["logits", llama, "--ids", "1", "--ctx-size", "65"], "at most 64");
  await expectFailure(["logits", llama, "--ids", "1,2,3", "-c", "2"], "3 ids", "at most 2");
});

describe.skipIf(!sharedData)("the GGUF file of stories260K", () => {
  const stories = path.join(sharedData ?? "", "models/stories260K");
  const file = path.join(stories, "stories260K-f32.gguf");

  test("runs: llama2.c's greedy text, id for id", async () => {
    const { expected_ids, expected_text } = JSON.parse(readFileSync(path.join(stories, "expected-greedy.json"), "utf8")) as {
      expected_ids: number[];
      expected_text: string;
    };
    const report = await json(["run", file, "", "--raw", "--temperature", "0", "--max-tokens", "200"]);
    expect(report.ids).toEqual(expected_ids.slice(1));
    expect(report.text).toBe(expected_text);
  });

  test("becomes the folder that it came from, number for number", async () => {
    const out = place.path("stories");
    mkdirSync(path.dirname(out), { recursive: true });
    await json(["convert", file, out]);
    expect(readFileSync(path.join(out, "model.safetensors")).length).toBeGreaterThan(1_000_000);
    const [made, published] = await Promise.all([
      json(["logits", out, "--ids", "1,403,407"]),
      json(["logits", path.join(stories, "hf"), "--ids", "1,403,407"]),
    ]);
    expect(made.logits).toEqual(published.logits);
    for (const name of ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
      expect(existsSync(path.join(out, name))).toBe(true);
    expect((await json(["tokenize", out, "Once upon a time"])).ids).toEqual((await json(["tokenize", file, "Once upon a time"])).ids);
  });
});
