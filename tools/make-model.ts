// Writes a GGUF model of random weights, for measuring speed and memory. In: a preset's shape and a type (or a mix, as `gradually quantize` takes it).
// Out: a file that gradually and llama.cpp run, with logits of a sensible size.
//
// Run: node tools/make-model.ts PRESET OUT.gguf [--type q4_0] [--seed 1] [--layers N]
//
// A gigabyte in seconds: one piece of each type is encoded from normal numbers, and every tensor is that piece over and over from another
// start, so rows recur after some thousands but the file is cheap. Scales are 1/sqrt(width), as trained models have them.

import { parseArgs } from "node:util";
import { formatBytes } from "../src/cli/output.ts";
import { formatCount } from "../src/core/human.ts";
import type { JsonObject } from "../src/core/json.ts";
import { Random } from "../src/core/random.ts";
import { elementCount } from "../src/core/shape.ts";
import { type BlockType, blockBytes, blockLayout, encodeBlocks } from "../src/formats/blocks/index.ts";
import { type GgufEntry, writeGguf } from "../src/formats/gguf-writer.ts";
import { exportModel } from "../src/models/gguf-export.ts";
import { metadataOf } from "../src/models/gguf-metadata.ts";
import { familyOf } from "../src/models/load.ts";
import { namesOf } from "../src/models/weight-names.ts";
import type { CheckpointTensor } from "../src/models/weights.ts";
import { nodeFiles } from "../src/platform/node-files.ts";
import { fileTypeOf, isMix, mixes, typeFor } from "../src/quantize/mix.ts";
import { contextOf } from "../src/quantize/write-gguf-model.ts";
import { plainTokenizer } from "./plain-tokenizer.ts";

const common = { rms_norm_eps: 1e-6, hidden_act: "silu" };

const presets: Record<string, JsonObject> = {
  // TinyLlama's shape.
  "llama-1.1b": {
    ...common,
    model_type: "llama",
    vocab_size: 32000,
    hidden_size: 2048,
    intermediate_size: 5632,
    num_hidden_layers: 22,
    num_attention_heads: 32,
    num_key_value_heads: 4,
    max_position_embeddings: 16384,
    rope_theta: 10000,
    tie_word_embeddings: false,
  },
  "llama-8b": {
    ...common,
    model_type: "llama",
    vocab_size: 128256,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    max_position_embeddings: 16384,
    rope_theta: 500000,
    tie_word_embeddings: false,
  },
  "qwen3-0.6b": {
    ...common,
    model_type: "qwen3",
    vocab_size: 151936,
    hidden_size: 1024,
    intermediate_size: 3072,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    head_dim: 128,
    max_position_embeddings: 16384,
    rope_theta: 1000000,
    tie_word_embeddings: true,
  },
  // Qwen3-30B-A3B with a quarter of its layers.
  "qwen3-moe-7b": {
    ...common,
    model_type: "qwen3_moe",
    vocab_size: 151936,
    hidden_size: 2048,
    intermediate_size: 6144,
    moe_intermediate_size: 768,
    num_experts: 128,
    num_experts_per_tok: 8,
    norm_topk_prob: true,
    num_hidden_layers: 12,
    num_attention_heads: 32,
    num_key_value_heads: 4,
    head_dim: 128,
    max_position_embeddings: 16384,
    rope_theta: 1000000,
    tie_word_embeddings: false,
  },
  // DeepSeek-V2-Lite: 16 billion parameters, 9 GB in q4_0. llama.cpp takes this form of queries only with 26 or 27 layers.
  "deepseek-v2-lite": {
    ...common,
    model_type: "deepseek_v2",
    vocab_size: 102400,
    hidden_size: 2048,
    intermediate_size: 10944,
    moe_intermediate_size: 1408,
    n_routed_experts: 64,
    n_shared_experts: 2,
    num_experts_per_tok: 6,
    first_k_dense_replace: 1,
    num_hidden_layers: 27,
    num_attention_heads: 16,
    num_key_value_heads: 16,
    q_lora_rank: null,
    kv_lora_rank: 512,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
    topk_method: "greedy",
    scoring_func: "softmax",
    norm_topk_prob: false,
    routed_scaling_factor: 1,
    max_position_embeddings: 16384,
    rope_theta: 10000,
    tie_word_embeddings: false,
  },
};
/** The same with half the experts' width: 8 billion parameters. */
presets["deepseek-v2-lite-8b"] = { ...(presets["deepseek-v2-lite"] as JsonObject), moe_intermediate_size: 704 };

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { type: { type: "string", default: "q4_0" }, seed: { type: "string", default: "1" }, layers: { type: "string" } },
});
const [preset = "", out] = positionals;
const { type: mix } = values;
const shape = Object.hasOwn(presets, preset) ? presets[preset] : undefined;
if (!shape || out === undefined || !isMix(mix)) {
  console.error(
    `usage: node tools/make-model.ts ${Object.keys(presets).join("|")} OUT.gguf [--type ${mixes.join("|")}] [--seed N] [--layers N]`,
  );
  process.exit(2);
}

const config: JsonObject = { ...shape, ...(values.layers !== undefined && { num_hidden_layers: Number(values.layers) }) };
const pieces = new Map<string, Uint8Array>();
const random = new Random(Number(values.seed));
const notes: string[] = [];
const metadata = metadataOf(config, preset, notes);
metadata.set("general.file_type", { type: "u32", value: fileTypeOf(mix) });
metadata.set("general.quantization_version", { type: "u32", value: 2 });
for (const [key, value] of plainTokenizer(Number(config.vocab_size))) metadata.set(key, value);

const context = contextOf(config);
const entries = exportModel(config, shapesOnly()).tensors.map(({ name, shape: sizes }): GgufEntry => {
  const type = typeFor(mix, name, sizes, context);
  return { name, type, shape: sizes, data: () => fill(name, type, sizes) };
});
const start = performance.now();
await nodeFiles.writeAtomic(out, writeGguf(metadata, entries));
const [weights, bytes] = entries.reduce(
  ([n, b], { type, shape: sizes }) => [n + elementCount(sizes), b + (blockBytes(type, sizes) ?? 0)],
  [0, 0],
);
for (const line of notes) console.error(`note: ${line}`);
console.log(`${out}: ${formatCount(weights)} weights, ${formatBytes(bytes)}, in ${((performance.now() - start) / 1000).toFixed(1)} s`);

/** Tensors that have names and shapes and are never read. */
function shapesOnly(): Map<string, CheckpointTensor> {
  const tensors = new Map<string, CheckpointTensor>();
  for (const { row, shape: sizes } of familyOf(config.model_type).plan(config, {}).entries) {
    if (row.action === "skip" || row.action === "copy") continue;
    for (const name of namesOf(row))
      tensors.set(name, {
        name,
        shape: row.action === "stack" ? sizes.slice(1) : sizes,
        readF32: () => Promise.reject(new Error(`${name} has no numbers`)),
      });
  }
  return tensors;
}

async function* fill(name: string, type: BlockType, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  const total = blockBytes(type, sizes) ?? 0;
  if (sizes.length < 2) {
    // Norms are 1, biases 0.
    yield encodeBlocks(type, new Float32Array(elementCount(sizes)).fill(name.endsWith("weight") ? 1 : 0));
    return;
  }
  const piece = pieceOf(type, 1 / Math.sqrt(sizes.at(-1) as number));
  const step = blockLayout(type).bytes;
  let at = random.integer(piece.length / step) * step;
  for (let left = total; left > 0; ) {
    const count = Math.min(left, piece.length - at);
    yield piece.subarray(at, at + count);
    left -= count;
    at = 0;
  }
}

/** About 2^20 encoded normal numbers; the prime count of blocks keeps rows apart. */
function pieceOf(type: BlockType, deviation: number): Uint8Array {
  const key = `${type} ${deviation}`;
  let piece = pieces.get(key);
  if (!piece) {
    const draws = random.fork(key);
    const count = 4093 * 256;
    piece = encodeBlocks(
      type,
      Float32Array.from({ length: count }, () => deviation * draws.normal()),
    );
    pieces.set(key, piece);
  }
  return piece;
}
