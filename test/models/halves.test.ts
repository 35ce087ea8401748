// kv_b of latent attention in packed halves: 16-bit checkpoints give the bits of decoded weights in the absorbed form as well, quantised halves stay
// packed, obey the law of rows, come near the plain form, and are saved as the kv_b that they are.

import { describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import { Random } from "../../src/core/random.ts";
import { decodeBlocks, encodeBlocks } from "../../src/formats/blocks/index.ts";
import { openHfFolder } from "../../src/formats/hf-folder.ts";
import { createModel, loadModel, saveModel } from "../../src/models/load.ts";
import type { Model } from "../../src/models/model.ts";
import type { CheckpointTensor } from "../../src/models/weights.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { dispose, read, scope } from "../../src/tensor/tensor.ts";
import { appended, fixturePath, readJson } from "./fixtures.ts";

const devices: Readonly<Record<string, () => Device | Promise<Device>>> = {
  reference: () => openReference({ precision: "f64" }),
  wasm: () => openWasm(nodeHost(), { build: "relaxed", threads: 1 }),
};
const ids = [3, 1, 4, 1, 5, 9, 2];

/** Logits of all rows of a sequence whose rows are given `step` at a time. */
async function logitsOf(model: Model, step: number, absorbed: boolean): Promise<number[]> {
  const cache = model.makeCache(1, ids.length);
  const all: number[] = [];
  for (let past = 0; past < ids.length; past += step) {
    const { rows, ...input } = appended(model.device, ids.length, [{ slot: 0, past, ids: ids.slice(past, past + step) }]);
    const logits = scope(() => model.forward({ ...input, cache: { cache, rows }, absorbed }).logits);
    all.push(...(await read(logits)));
    dispose(logits);
  }
  cache.dispose();
  return all;
}

describe.each(Object.keys(devices))("on %s", (name) => {
  test("bf16: the absorbed form has the bits of decoded weights", async () => {
    const device = await (devices[name] as () => Device)();
    const folder = await openHfFolder(nodeFiles, fixturePath("deepseek-v2-bf16"));
    const decoded = await loadModel(device, folder);
    const stored = await loadModel(device, folder, { weights: "stored" });
    const at = "model.layers.1.self_attn";
    expect(stored.parameters.get(`${at}.kv_b_proj.weight`)).toBeUndefined();
    expect(stored.parameters.get(`${at}.k_b_proj.weight`)).toMatchObject({ dtype: "bf16", shape: [3, 8, 4] });
    expect(stored.parameters.get(`${at}.v_b_proj.weight`)).toMatchObject({ dtype: "bf16", shape: [3, 7, 8] });
    const expected = await logitsOf(decoded, 3, true);
    expect(await logitsOf(stored, 3, true)).toEqual(expected);
    expect(await logitsOf(stored, 1, true)).toEqual(expected);
    await folder.close();
    await device.close();
  });

  test("q8_0: packed, one row or many, near the plain form, saved as kv_b", async () => {
    const device = await (devices[name] as () => Device)();
    const config = { ...readJson<object>("deepseek-v2-bf16/config.json"), kv_lora_rank: 64, qk_nope_head_dim: 32, v_head_dim: 32 };
    const random = createModel(device, config, new Random(3));
    const tensors = await Promise.all(saveModel(random).tensors.map(inHalves));
    const stored = await loadModel(device, { config, tensors }, { weights: "stored" });
    random.dispose();
    expect(stored.parameters.get("model.layers.0.self_attn.k_b_proj.weight")).toMatchObject({ dtype: "q8_0", shape: [3, 64, 32] });
    expect(stored.parameters.get("model.layers.0.self_attn.v_b_proj.weight")).toMatchObject({ dtype: "q8_0", shape: [3, 32, 64] });

    const whole = await logitsOf(stored, ids.length, true);
    for (const step of [1, 2, 3]) expect(await logitsOf(stored, step, true)).toEqual(whole);
    const plain = await logitsOf(stored, ids.length, false);
    const size = Math.max(...plain.map(Math.abs));
    const difference = Math.max(...plain.map((x, i) => Math.abs(x - (whole[i] as number))));
    expect(difference).toBeGreaterThan(0);
    expect(difference).toBeLessThan(0.02 * size); // the absorbed form rounds queries and latents to 8 bits

    for (const tensor of saveModel(stored).tensors.filter((saved) => saved.name.includes("kv_b_proj"))) {
      const given = tensors.find((other) => other.name === tensor.name) as CheckpointTensor;
      expect(tensor.shape).toEqual(given.shape);
      expect(await tensor.readF32()).toEqual(await given.readF32());
    }
    stored.dispose();
    await device.close();
  });
});

/** kv_b as a GGUF file has it: in q8_0 halves, keys transposed in each head. */
async function inHalves(tensor: CheckpointTensor): Promise<CheckpointTensor> {
  if (!tensor.name.includes("kv_b_proj")) return tensor;
  const [heads, nope, value, rank] = [3, 32, 32, 64];
  const given = await tensor.readF32();
  const numbers = (h: number, row: number, r: number) => given[(h * (nope + value) + row) * rank + r] as number;
  const half = (name: string, shape: readonly [number, number, number], at: (h: number, i: number, j: number) => number) => {
    const [, rows, width] = shape;
    const values = Float32Array.from({ length: heads * rows * width }, (_, i) =>
      at(Math.floor(i / (rows * width)), Math.floor(i / width) % rows, i % width),
    );
    const bytes = encodeBlocks("q8_0", values);
    const rowBytes = bytes.length / (heads * rows);
    const decoded = new Float32Array(values.length);
    decodeBlocks("q8_0", bytes, decoded);
    const readRows = async (first: number, count: number) => bytes.slice(first * rowBytes, (first + count) * rowBytes);
    return { name, shape, readF32: async () => decoded, packed: { type: "q8_0" as const, readRows } };
  };
  const keys = half("k_b", [heads, rank, nope], (h, r, n) => numbers(h, n, r));
  const values = half("v_b", [heads, value, rank], (h, v, r) => numbers(h, nope + v, r));
  const [k, v] = [await keys.readF32(), await values.readF32()];
  const joined = given.map((_, i) => {
    const [h, row, r] = [Math.floor(i / ((nope + value) * rank)), Math.floor(i / rank) % (nope + value), i % rank];
    return (row < nope ? k[(h * rank + r) * nope + row] : v[(h * value + row - nope) * rank + r]) as number;
  });
  return { name: tensor.name, shape: tensor.shape, readF32: async () => joined, halves: { keys, values } };
}
