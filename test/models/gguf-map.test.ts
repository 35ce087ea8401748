// Models through GGUF and back: every tensor bit for bit, the same config to the families, the same logits; and files that contradict themselves
// (hazards G51 to G59, G69, G74 to G77). That llama.cpp computes the same from these files: bench/check-gguf.ts.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { ConfigError, FormatError } from "../../src/core/errors.ts";
import { openModelFiles } from "../../src/models/files.ts";
import { shortest } from "../../src/models/gguf-config.ts";
import { halvedRow, interleavedRow } from "../../src/models/gguf-names.ts";
import { llama3Factors, recoverLlama3 } from "../../src/models/gguf-rope.ts";
import { familyOf, loadModel } from "../../src/models/load.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { dispose, read } from "../../src/tensor/tensor.ts";
import { fixturePath, packed } from "./fixtures.ts";
import { type Change, f32, makePlace, mapChanged, u32, writeFixture } from "./gguf-places.ts";

const place = makePlace();
let device: Device;
beforeAll(async () => {
  device = await openReference();
});
afterAll(async () => {
  await device.close();
  place.remove();
});

const ids = [3, 14, 7, 22, 9, 1, 30];

async function logitsOf(
  path: string,
): Promise<{ logits: number[]; config: Readonly<Record<string, unknown>>; tensors: Map<string, number[]> }> {
  const opened = await openModelFiles(nodeFiles, path);
  const model = await loadModel(device, opened);
  const { logits } = model.forward(packed(device, [ids]));
  const values = Array.from(await read(logits));
  dispose(logits);
  model.dispose();
  const tensors = new Map<string, number[]>();
  for (const [name, tensor] of opened.tensors) tensors.set(name, Array.from(await tensor.readF32()));
  await opened.close();
  return { logits: values, config: opened.config, tensors };
}

describe("to GGUF and back", () => {
  test.each([
    "llama-gqa",
    "llama-tied-llama3",
    "llama-long-llama3",
    "llama-biases-head-dim",
    "llama-yarn",
    "llama-linear",
    "qwen2-biases",
    "qwen2-tied-yarn",
    "qwen3-tied",
    "qwen3-moe",
    "deepseek-groups",
    "deepseek-long-yarn",
    "deepseek-v2-lite",
  ])("%s: logits and tensors bit for bit", async (name) => {
    const { path } = await writeFixture(place, name, "f32");
    const [before, after] = [await logitsOf(fixturePath(name)), await logitsOf(path)];
    expect(after.logits).toEqual(before.logits);
    for (const [tensor, numbers] of after.tensors) expect(before.tensors.get(tensor), tensor).toEqual(numbers);
    const parsed = (config: Readonly<Record<string, unknown>>) => familyOf(config.model_type).plan(config, {}).parameterCount;
    expect(parsed(after.config)).toEqual(parsed(before.config));
    expect(after.config.model_type).toBe(before.config.model_type);
  });

  test("the layer of multi-token prediction is left out, and said so", async () => {
    const { path, report } = await writeFixture(place, "deepseek-mtp", "f32");
    expect(report.notes.join()).toContain("left out");
    const { config, tensors } = await logitsOf(path);
    expect(config.num_nextn_predict_layers).toBe(0);
    expect([...tensors.keys()].some((name) => name.startsWith(`model.layers.${config.num_hidden_layers}.`))).toBe(false);
  });

  test("16-bit weights stay what they were, and rows come in pieces as they come whole", async () => {
    for (const [name, mix] of [
      ["llama-f16", "f16"],
      ["qwen3-moe-bf16", "bf16"],
    ] as const) {
      const { path } = await writeFixture(place, name, mix);
      const opened = await openModelFiles(nodeFiles, path);
      const folder = await openModelFiles(nodeFiles, fixturePath(name));
      for (const [key, tensor] of opened.tensors) {
        const whole = await tensor.readF32();
        expect(whole, key).toEqual(await folder.tensors.get(key)?.readF32());
        const width = tensor.shape.at(-1) as number;
        const rows = whole.length / width;
        if (tensor.shape.length < 2) continue;
        for (const [first, count] of [
          [0, 1],
          [1, rows - 1],
          [rows - 2, 2],
          [Math.floor(rows / 3), Math.ceil(rows / 3)],
        ] as const)
          expect(await tensor.readF32(first, count), `${key} ${first}`).toEqual(whole.slice(first * width, (first + count) * width));
        if (tensor.packed) expect((await tensor.packed.readRows(1, rows - 1)).length).toBe((rows - 1) * width * 2);
      }
      await opened.close();
      await folder.close();
    }
  });

  test.each([
    ["qwen3-moe-sparse", "mlp_only_layers"],
    ["qwen3-biases-yarn", "attention_bias"],
    ["deepseek-whole-query", "attention_bias"],
    ["deepseek-yarn", "mscale"],
  ])("%s is refused: GGUF has no words for %s", async (name, key) => {
    const thrown = await writeFixture(place, name, "f32").catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(ConfigError);
    expect((thrown as Error).message).toContain(key);
  });
});

describe("kv_b in one piece, as older files have it", () => {
  test("reads as the two halves do", async () => {
    const { path } = await writeFixture(place, "deepseek-groups", "f32");
    const split = await openModelFiles(nodeFiles, path);
    const { config } = split;
    const [heads, rank, nope, value, turned] = [
      "num_attention_heads",
      "kv_lora_rank",
      "qk_nope_head_dim",
      "v_head_dim",
      "qk_rope_head_dim",
    ].map((key) => Number(config[key])) as [number, number, number, number, number];
    const layers = Array.from({ length: Number(config.num_hidden_layers) }, (_, layer) => layer);
    const bytes = await Promise.all(
      layers.map(
        async (layer) =>
          new Uint8Array(
            (await split.tensors.get(`model.layers.${layer}.self_attn.kv_b_proj.weight`)?.readF32())?.slice().buffer ?? new ArrayBuffer(0),
          ),
      ),
    );
    const mapped = await mapChanged(place, path, {
      metadata: {
        "deepseek2.attention.key_length_mla": undefined,
        "deepseek2.attention.value_length_mla": undefined,
        "deepseek2.attention.key_length": u32(nope + turned),
        "deepseek2.attention.value_length": u32(value),
        "deepseek2.attention.head_count_kv": u32(heads),
      },
      tensors: Object.fromEntries(
        layers.flatMap((layer) => [
          [`blk.${layer}.attn_k_b.weight`, undefined],
          [`blk.${layer}.attn_v_b.weight`, undefined],
        ]),
      ),
      extra: layers.map((layer) => ({
        name: `blk.${layer}.attn_kv_b.weight`,
        type: "f32" as const,
        shape: [heads * (nope + value), rank],
        data: bytes[layer] as Uint8Array,
      })),
    });
    expect(mapped.config).toEqual(config);
    await split.close();
  });
});

describe("files that contradict themselves", () => {
  const refused = async (name: string, change: Change, kind: typeof ConfigError | typeof FormatError, ...words: string[]) => {
    const { path } = await writeFixture(place, name, "f32");
    const thrown = await mapChanged(place, path, change).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(kind);
    for (const word of words) expect((thrown as Error).message).toContain(word);
  };
  const metadata = (key: string, value: Parameters<typeof u32>[0] | undefined, type = u32): Change => ({
    metadata: { [key]: value === undefined ? undefined : type(value) },
  });

  test.each([
    ["G51 block_count 100,000", metadata("llama.block_count", 100_000), "block_count"],
    ["G52 block_count 0", metadata("llama.block_count", 0), "block_count"],
    ["G53 head_count 0", metadata("llama.attention.head_count", 0), "head_count"],
    ["G54 more key heads than heads", metadata("llama.attention.head_count_kv", 8), "head_count_kv"],
    ["G54 key heads that do not divide", metadata("llama.attention.head_count_kv", 3), "head_count_kv"],
    [
      "G55 embedding_length not divisible",
      { metadata: { "llama.embedding_length": u32(23), "llama.attention.key_length": undefined } },
      "embedding_length",
    ],
    ["G55 embedding_length of another table", metadata("llama.embedding_length", 28), "embedding_length"],
    ["G57 context_length 2^40", { metadata: { "llama.context_length": { type: "u64", value: 2n ** 40n } } }, "context_length"],
    ["G58 freq_base 0", metadata("llama.rope.freq_base", 0, f32), "freq_base"],
    ["G58 freq_base negative", metadata("llama.rope.freq_base", -1, f32), "freq_base"],
    ["G58 freq_base NaN", metadata("llama.rope.freq_base", Number.NaN, f32), "freq_base"],
    ["G59 epsilon NaN", metadata("llama.attention.layer_norm_rms_epsilon", Number.NaN, f32), "layer_norm_rms_epsilon"],
    ["a text for a number", { metadata: { "llama.block_count": { type: "string", value: "2" } } }, "block_count"],
    ["no block_count", metadata("llama.block_count", undefined), "block_count"],
    ["experts in llama (Mixtral)", metadata("llama.expert_count", 8), "expert_count"],
    ["an architecture that we do not have", { metadata: { "general.architecture": { type: "string", value: "gemma3" } } }, "gemma3"],
    ["another rope scaling", { metadata: { "llama.rope.scaling.type": { type: "string", value: "longrope" } } }, "rope.scaling.type"],
  ] as [string, Change, string][])("%s", (_, change, word) => refused("llama-gqa", change, ConfigError, word));

  test("G56 more experts used than there are", () =>
    refused("qwen3-moe", metadata("qwen3moe.expert_used_count", 6), ConfigError, "expert_used_count"));
  test("G69 fewer tokens than rows of the table", () =>
    refused(
      "llama-gqa",
      { metadata: { "tokenizer.ggml.tokens": { type: "array", of: "i32", value: new Int32Array(10) } } },
      FormatError,
      "10 tokenizer.ggml.tokens",
      "53",
    ));
  test("G74 tensors of another architecture", () =>
    refused("qwen3-tied", { metadata: { "general.architecture": { type: "string", value: "llama" } } }, ConfigError, "block_count"));
  test("G75 a missing tensor", () =>
    refused("llama-gqa", { tensors: { "blk.1.ffn_up.weight": undefined } }, FormatError, '"blk.1.ffn_up.weight"', "nearest"));
  test("G75 a misspelt tensor names the nearest", () =>
    refused(
      "llama-gqa",
      { tensors: { "blk.1.ffn_up.weight": { name: "blk.1.ffn_upp.weight" } } },
      FormatError,
      '"blk.1.ffn_up.weight" (nearest: "blk.1.ffn_upp.weight")',
    ));
  test("G76 an extra tensor", () =>
    refused(
      "llama-gqa",
      { extra: [{ name: "blk.7.attn_q.weight", type: "f32", shape: [2], data: new Uint8Array(8) }] },
      FormatError,
      '"blk.7.attn_q.weight"',
    ));
  test("G77 a right name with a wrong shape", () =>
    refused(
      "llama-gqa",
      { tensors: { "blk.0.ffn_down.weight": { shape: [24, 36] } } },
      FormatError,
      '"blk.0.ffn_down.weight"',
      "[24, 36]",
      "[24, 37]",
    ));
  test("rope factors that no Llama 3 has", () =>
    refused(
      "llama-gqa",
      { extra: [{ name: "rope_freqs.weight", type: "f32", shape: [3], data: new Uint8Array(Float32Array.of(1, 3, 2).buffer) }] },
      ConfigError,
      "rope_freqs",
    ));
});

test("rows of a head go from halves to pairs and back", () => {
  for (const head of [2, 6, 64]) {
    const rows = Array.from({ length: 3 * head }, (_, row) => row);
    expect(new Set(rows.map((row) => interleavedRow(row, head))).size).toBe(3 * head);
    expect(rows.map((row) => halvedRow(interleavedRow(row, head), head))).toEqual(rows);
  }
  // Head size 4: (half 0: 0, 1; half 1: 2, 3) -> pairs (0, 2), (1, 3).
  expect([0, 1, 2, 3, 4].map((row) => interleavedRow(row, 4))).toEqual([0, 2, 1, 3, 4]);
});

test("Llama 3's settings come back from their divisors", () => {
  const published = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
  for (const [scaling, theta, dims] of [
    [published, 500_000, 128],
    [{ ...published, factor: 32 }, 500_000, 64],
    [{ ...published, original_max_position_embeddings: 16 }, 5000, 8],
  ] as const)
    expect(recoverLlama3(llama3Factors(scaling, theta, dims), theta, dims)).toEqual(scaling);
  expect(recoverLlama3(Float32Array.of(1, 1, 1), 10_000, 6)).toBe("none");
  expect(recoverLlama3(Float32Array.of(1, 3, 2), 10_000, 6)).toBeUndefined();
});

test("f32 numbers come back as the decimals that they were", () => {
  for (const value of [1e-6, 1e-5, 10_000, 500_000, 0.7, 2.5, 1.3689]) expect(shortest(Math.fround(value))).toBe(value);
});
