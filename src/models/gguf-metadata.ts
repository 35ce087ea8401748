// A config.json as the metadata of a GGUF file: gguf-config.ts the other way round. In: the parsed JSON of a supported family. Out: keys and typed
// values as llama.cpp reads them. A setting that would be lost, or that llama.cpp computes otherwise, is refused: a file
// that answers differently is worse than none.

import { ConfigError } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import type { GgufValue } from "../formats/gguf-values.ts";
import { type RopeConfig, show } from "./config.ts";
import type { DecoderConfig } from "./decoder.ts";
import { type DeepseekConfig, parseDeepseek } from "./deepseek-config.ts";
import type { Architecture } from "./gguf-config.ts";
import { parseLlama } from "./llama.ts";
import { parseQwen2, parseQwen3, parseQwen3Moe } from "./qwen.ts";

export type MetadataToWrite = Map<string, GgufValue>;

const architectureNames: Readonly<Record<string, Architecture>> = {
  llama: "llama",
  qwen2: "qwen2",
  qwen3: "qwen3",
  qwen3_moe: "qwen3moe",
  deepseek_v2: "deepseek2",
  deepseek_v3: "deepseek2",
};

/** Throws ConfigError for a family that GGUF has no architecture for. */
export function architectureOf(config: JsonObject): Architecture {
  const type = config.model_type;
  const found = typeof type === "string" && Object.hasOwn(architectureNames, type) ? architectureNames[type] : undefined;
  return found ?? refuse("model_type", show(type), Object.keys(architectureNames).join(", "));
}

function refuse(key: string, got: string, expected: string): never {
  throw new ConfigError({ operation: `convert to GGUF: ${key}`, got, expected, cure: "keep this model as a Hugging Face folder" });
}

const u32 = (value: number): GgufValue => ({ type: "u32", value });
const f32 = (value: number): GgufValue => ({ type: "f32", value });
const text = (value: string): GgufValue => ({ type: "string", value });

/** Everything but tokenizer and file type. `notes` collects what llama.cpp will not do as we do. Throws ConfigError. */
export function metadataOf(config: JsonObject, name: string, notes: string[] = []): MetadataToWrite {
  const architecture = architectureOf(config);
  const entries: [string, GgufValue][] = architecture === "deepseek2" ? deepseek(config, notes) : decoder(config, architecture, notes);
  return new Map<string, GgufValue>([
    ["general.architecture", text(architecture)],
    ["general.type", text("model")],
    ["general.name", text(name)],
    ...entries.map(([key, value]) => [`${architecture}.${key}`, value] as const),
  ]);
}

// ---- llama and qwen ---------------------------------------------------------------------------------------------

const parsers = { llama: parseLlama, qwen2: parseQwen2, qwen3: parseQwen3, qwen3moe: parseQwen3Moe };

function decoder(raw: JsonObject, architecture: Exclude<Architecture, "deepseek2">, notes: string[]): [string, GgufValue][] {
  const config: DecoderConfig = parsers[architecture](raw);
  if (architecture === "qwen3" && config.qkv_bias) refuse("attention_bias", "true", "false: llama.cpp's qwen3 has no biases");
  if (architecture === "qwen3moe" && config.qkv_bias) refuse("attention_bias", "true", "false: llama.cpp's qwen3moe has no biases");
  const { mixture } = config;
  if (architecture === "qwen3moe") {
    if (mixture?.layers.size !== config.num_hidden_layers)
      refuse("mlp_only_layers", "dense layers", "a mixture in every layer, as llama.cpp's qwen3moe has it");
    if (!mixture.moe.norm_topk_prob) refuse("norm_topk_prob", "false", "true, as llama.cpp's qwen3moe computes");
  }
  return [
    ...shapeEntries(config),
    ["attention.head_count_kv", u32(config.num_key_value_heads)],
    ["attention.key_length", u32(config.head_dim)],
    ["attention.value_length", u32(config.head_dim)],
    ["rope.dimension_count", u32(config.head_dim)],
    ...ropeEntries(config.rope, notes),
    ...(mixture
      ? [
          ["expert_count", u32(mixture.moe.n_routed_experts)] as [string, GgufValue],
          ["expert_used_count", u32(mixture.moe.num_experts_per_tok)] as [string, GgufValue],
          ["expert_feed_forward_length", u32(mixture.moe.moe_intermediate_size)] as [string, GgufValue],
        ]
      : []),
  ];
}

/** What every architecture has. */
function shapeEntries(config: DecoderConfig | DeepseekConfig): [string, GgufValue][] {
  return [
    ["vocab_size", u32(config.vocab_size)],
    ["context_length", u32(config.max_position_embeddings)],
    ["embedding_length", u32(config.hidden_size)],
    ["block_count", u32(config.num_hidden_layers)],
    ["feed_forward_length", u32(config.intermediate_size)],
    ["attention.head_count", u32(config.num_attention_heads)],
    ["attention.layer_norm_rms_epsilon", f32(config.rms_norm_eps)],
  ];
}

const betasNote = "llama.cpp takes beta_fast 32 and beta_slow 1 for this architecture, whatever the file says: its answers differ";

function ropeEntries(rope: RopeConfig, notes: string[]): [string, GgufValue][] {
  const base: [string, GgufValue][] = [["rope.freq_base", f32(rope.rope_theta)]];
  // Llama 3's scaling is a tensor of divisors (gguf-rope.ts).
  if (rope.rope_type === "default" || rope.rope_type === "llama3") return base;
  base.push(["rope.scaling.type", text(rope.rope_type)], ["rope.scaling.factor", f32(rope.factor)]);
  if (rope.rope_type === "linear") return base;
  base.push(["rope.scaling.original_context_length", u32(rope.original_max_position_embeddings)]);
  base.push(["rope.scaling.yarn_beta_fast", f32(rope.beta_fast)], ["rope.scaling.yarn_beta_slow", f32(rope.beta_slow)]);
  if (!rope.truncate) refuse("rope_scaling.truncate", "false", "true, as llama.cpp computes YaRN");
  if (rope.mscale || rope.mscale_all_dim) refuse("rope_scaling.mscale", String(rope.mscale), "none for this family");
  if (rope.beta_fast !== 32 || rope.beta_slow !== 1) notes.push(betasNote);
  const own = 1 + 0.1 * Math.log(rope.factor);
  if (rope.attention_factor) base.push(["rope.scaling.attn_factor", f32(rope.attention_factor / own)]);
  return base;
}

// ---- deepseek ---------------------------------------------------------------------------------------------------

/** llama.cpp expects queries without a latent only in models of so many layers. */
const wholeQueryLayers = [26, 27];

function deepseek(raw: JsonObject, notes: string[]): [string, GgufValue][] {
  const config = parseDeepseek(raw);
  const { moe, rope } = config;
  if (!moe) refuse("first_k_dense_replace", "a model without experts", "a mixture, as llama.cpp's deepseek2 has it");
  if (config.attention_bias) refuse("attention_bias", "true", "false");
  if (!config.rope_interleave) refuse("rope_interleave", "false", "true, as llama.cpp turns pairs");
  if (!config.q_lora_rank && !wholeQueryLayers.includes(config.num_hidden_layers))
    notes.push(
      `llama.cpp expects q_lora_rank unless a model has ${wholeQueryLayers.join(" or ")} layers: gradually runs this file, llama.cpp does not`,
    );
  if (moe.topk_method === "group_limited_greedy" && moe.n_group > 1)
    notes.push("llama.cpp ranks groups of experts by their two best, this model by the best one: its answers may differ there");
  const isV3 = moe.scoring_func === "sigmoid";
  const { kv_lora_rank: rank, qk_rope_head_dim: turned, qk_nope_head_dim: nope, v_head_dim } = config;
  return [
    ...shapeEntries(config),
    // The absorbed form is attention with one shared key of width rank + turned.
    ["attention.head_count_kv", u32(1)],
    ["attention.key_length", u32(rank + turned)],
    ["attention.value_length", u32(rank)],
    ["attention.key_length_mla", u32(nope + turned)],
    ["attention.value_length_mla", u32(v_head_dim)],
    ["attention.kv_lora_rank", u32(rank)],
    ...(config.q_lora_rank ? [["attention.q_lora_rank", u32(config.q_lora_rank)] as [string, GgufValue]] : []),
    ["rope.dimension_count", u32(turned)],
    ...deepseekRope(rope, notes),
    ["leading_dense_block_count", u32(config.first_k_dense_replace)],
    ["expert_count", u32(moe.n_routed_experts)],
    ["expert_used_count", u32(moe.num_experts_per_tok)],
    ["expert_shared_count", u32(moe.n_shared_experts)],
    ["expert_feed_forward_length", u32(moe.moe_intermediate_size)],
    ["expert_weights_scale", f32(moe.routed_scaling_factor)],
    ["expert_weights_norm", { type: "bool", value: moe.norm_topk_prob }],
    ["expert_gating_func", u32(isV3 ? 2 : 1)],
    ...(moe.n_group > 1
      ? ([
          ["expert_group_count", u32(moe.n_group)],
          ["expert_group_used_count", u32(moe.topk_group)],
        ] as [string, GgufValue][])
      : []),
  ];
}

function deepseekRope(rope: RopeConfig, notes: string[]): [string, GgufValue][] {
  const base: [string, GgufValue][] = [["rope.freq_base", f32(rope.rope_theta)]];
  if (rope.rope_type === "default") return base;
  if (rope.rope_type !== "yarn") refuse("rope_scaling.rope_type", rope.rope_type, "none or yarn for this family");
  const { mscale, mscale_all_dim } = rope;
  if (!mscale_all_dim || (mscale || 1) !== mscale_all_dim)
    refuse("rope_scaling.mscale", `${mscale}, and mscale_all_dim ${mscale_all_dim}`, "the same number for both: GGUF holds one");
  if (rope.attention_factor) refuse("rope_scaling.attention_factor", String(rope.attention_factor), "none for this family");
  if (!rope.truncate) refuse("rope_scaling.truncate", "false", "true, as llama.cpp computes YaRN");
  if (rope.beta_fast !== 32 || rope.beta_slow !== 1) notes.push(betasNote);
  return [
    ...base,
    ["rope.scaling.type", text("yarn")],
    ["rope.scaling.factor", f32(rope.factor)],
    ["rope.scaling.original_context_length", u32(rope.original_max_position_embeddings)],
    ["rope.scaling.yarn_beta_fast", f32(rope.beta_fast)],
    ["rope.scaling.yarn_beta_slow", f32(rope.beta_slow)],
    ["rope.scaling.yarn_log_multiplier", f32(0.1 * mscale_all_dim)],
  ];
}
