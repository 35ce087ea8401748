// Writing Hugging Face folders: what comes back is what was written, to the precision of the dtype; all files or none.

import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError, DeviceError, FormatError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { openHfFolder } from "../../src/formats/hf-folder.ts";
import { type HfContent, writeHfFolder } from "../../src/formats/hf-folder-writer.ts";
import { nodeHost } from "../../src/platform/node.ts";

const { files } = nodeHost();
let base = "";
let folder = "";

beforeEach(async () => {
  base = await fs.mkdtemp(path.join(tmpdir(), "gradually-hf-write-"));
  folder = path.join(base, "model");
});
afterEach(async () => {
  await fs.rm(base, { recursive: true, force: true });
});

function normal(seed: number, length: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length }, () => random.normal());
}

const matrix = normal(1, 200 * 150);
const vector = normal(2, 150);
const content: HfContent = {
  config: { model_type: "deepseek_v3", rope_theta: 1e4 },
  tensors: [
    { name: "layer.weight", shape: [200, 150], data: async () => matrix },
    { name: "norm.weight", shape: [150], data: vector },
  ],
};

async function readBack(name: string): Promise<Float32Array> {
  const model = await openHfFolder(files, folder);
  const values = (await model.tensors.get(name)?.readF32()) as Float32Array;
  await model.close();
  return values;
}

test("F32 is exact; all files are there; a second write replaces the folder", async () => {
  await writeHfFolder(files, folder, {
    ...content,
    generationConfig: { eos_token_id: 1 },
    tokenizerJson: "{}",
    tokenizerConfig: { eos_token: "</s>" },
  });
  expect(await files.list(folder)).toEqual([
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
  ]);
  const model = await openHfFolder(files, folder);
  expect(model.config).toEqual({ model_type: "deepseek_v3", rope_theta: 10000, torch_dtype: "float32" });
  expect(model.generationConfig).toEqual({ eos_token_id: 1 });
  expect(await model.readText("tokenizer.json")).toBe("{}");
  await model.close();
  expect(await readBack("layer.weight")).toEqual(matrix);
  expect(await readBack("norm.weight")).toEqual(vector);
  await writeHfFolder(files, folder, content);
  expect(await files.list(folder)).toEqual(["config.json", "model.safetensors"]);
  expect(await files.list(base)).toEqual(["model"]);
});

test.each([
  ["BF16", 2 ** -8],
  ["F16", 2 ** -11],
] as const)("%s: relative error at most half a step", async (dtype, bound) => {
  await writeHfFolder(files, folder, { ...content, dtype });
  const values = await readBack("layer.weight");
  for (const [i, x] of matrix.entries())
    if (Math.abs((values[i] as number) - x) > bound * Math.abs(x) + 2 ** -24) expect([i, x]).toEqual([i, values[i]]);
});

test("FP8: the accepted matrix only, within half a step of each value, zero and tiny blocks included", async () => {
  const data = new Float32Array(matrix);
  data.fill(0, 0, 128 * 150);
  data.fill(1e-44, 199 * 150, 200 * 150);
  const tensors = [
    { name: "layer.weight", shape: [200, 150], data },
    { name: "head.weight", shape: [200, 150], data: matrix },
    { name: "norm.weight", shape: [150], data: vector },
  ];
  await writeHfFolder(files, folder, { config: {}, tensors, fp8: (name, shape) => shape.length === 2 && name !== "head.weight" });
  const model = await openHfFolder(files, folder);
  expect(model.config.quantization_config).toEqual({
    quant_method: "fp8",
    fmt: "e4m3",
    weight_block_size: [128, 128],
    activation_scheme: "dynamic",
  });
  expect([...model.tensors.values()].map(({ name, dtype }) => [name, dtype]).sort()).toEqual([
    ["head.weight", "F32"],
    ["layer.weight", "F8_E4M3"],
    ["norm.weight", "F32"],
  ]);
  const values = (await model.tensors.get("layer.weight")?.readF32()) as Float32Array;
  const step = Math.max(...data.map(Math.abs)) / 448;
  for (const [i, x] of data.entries()) {
    const bound = Math.max(2 ** -4 * Math.abs(x), step * 2 ** -10);
    if (Math.abs((values[i] as number) - x) > bound) expect([i, x]).toEqual([i, values[i]]);
  }
  await model.close();
});

test("FP8 keeps a folder stable: reading and writing again changes nothing", async () => {
  const fp8 = (_: string, shape: readonly number[]) => shape.length === 2;
  await writeHfFolder(files, folder, { ...content, fp8 });
  const once = await fs.readFile(path.join(folder, "model.safetensors"));
  const model = await openHfFolder(files, folder);
  const tensors = [...model.tensors.values()].map(({ name, shape, readF32 }) => ({ name, shape, data: readF32 }));
  await writeHfFolder(files, `${folder}-2`, { ...content, tensors, fp8 });
  expect((await fs.readFile(`${folder}-2/model.safetensors`)).equals(once)).toBe(true);
  await model.close();
});

test("nothing is written, and an earlier folder stays, when the content is bad or runs out half-way", async () => {
  await writeHfFolder(files, folder, content);
  const bad: [HfContent, new (...parts: never[]) => Error][] = [
    [{ ...content, config: { rope_theta: Number.NaN } }, ConfigError],
    [{ ...content, generationConfig: { temperature: Number.POSITIVE_INFINITY } }, ConfigError],
    [{ ...content, tensors: [{ name: "a", shape: [3], data: vector }] }, FormatError],
    [{ ...content, tensors: [{ name: "a", shape: [3], data: vector }], fp8: () => true }, FormatError],
    [{ ...content, tensors: [{ name: "a", shape: [3, 3], data: vector }], fp8: () => true }, FormatError],
    [{ ...content, tensors: [{ name: "a", shape: [1, 1], data: Float32Array.of(Number.NaN) }], fp8: () => true }, DeviceError],
  ];
  for (const [wrong, kind] of bad) {
    await expect(writeHfFolder(files, folder, wrong)).rejects.toThrow(kind);
    expect(await files.list(base)).toEqual(["model"]);
    expect(await readBack("norm.weight")).toEqual(vector);
  }
});

test("whole numbers that transformers reads as floats keep their point, counts do not", async () => {
  await writeHfFolder(files, folder, {
    ...content,
    config: { ...content.config, routed_scaling_factor: 1, hidden_size: 16, nested: { factor: 40 } },
  });
  const text = await fs.readFile(path.join(folder, "config.json"), "utf8");
  expect(text).toContain('"rope_theta": 10000.0,');
  expect(text).toContain('"routed_scaling_factor": 1.0,');
  expect(text).toContain('"factor": 40.0\n');
  expect(text).toContain('"hidden_size": 16,');
});
