// What a GGUF file says about a model, as a config.json. In: the metadata under llama.cpp's keys, and the names of the tensors. Out: an object in
// the spelling of Hugging Face that the families of this folder parse. Unusual: numbers that were stored as f32 come back as
// the shortest decimals that are the same f32, so that 1e-6 is 1e-6 again. Every complaint names the key of the file. Hazards G51 to G59.

import { ConfigError, quote } from "../core/errors.ts";
import type { JsonObject, JsonValue } from "../core/json.ts";
import { limits } from "./config.ts";
import { type Llama3, recoverLlama3 } from "./gguf-rope.ts";

/** `general.architecture` of the files that we read, and what config.json calls them. */
export const architectures = ["llama", "qwen2", "qwen3", "qwen3moe", "deepseek2"] as const;
export type Architecture = (typeof architectures)[number];

/** Any value of GGUF's metadata. */
export type Metadata = ReadonlyMap<string, unknown>;

/** Checked access to metadata: missing keys give `fallback`, and are refused without one. */
export type MetadataReader = {
  readonly architecture: Architecture;
  has(key: string): boolean;
  /** The key below the architecture, e.g. "block_count". A list is accepted when all its values are equal. */
  integer(key: string, low: number, high: number, fallback?: number): number;
  number(key: string, low: number, high: number, fallback?: number): number;
  text(key: string, fallback?: string): string;
  boolean(key: string, fallback: boolean): boolean;
  refuse(key: string, got: string, expected: string, cure?: string): never;
};

export function readMetadata(path: string, metadata: Metadata): MetadataReader {
  const refuseKey = (
    key: string,
    got: string,
    expected: string,
    cure = "fetch the file again, or use a model of a supported family",
  ): never => {
    throw new ConfigError({ operation: `load ${quote(path, 300)}: ${key}`, got, expected, cure });
  };
  const architecture = architectures.find((name) => name === metadata.get("general.architecture"));
  if (!architecture) return refuseKey("general.architecture", show(metadata.get("general.architecture")), architectures.join(" or "));
  const full = (key: string) => `${architecture}.${key}`;
  const value = (key: string): unknown => {
    const found = metadata.get(full(key));
    if (!Array.isArray(found) && !ArrayBuffer.isView(found)) return typeof found === "bigint" ? Number(found) : found;
    const list = found as ArrayLike<unknown>;
    const same = Array.from(list).every((item) => item === list[0]);
    if (list.length === 0 || !same)
      refuseKey(full(key), `a list of ${list.length} values that differ`, "one value for all layers", "use a model whose layers are alike");
    return typeof list[0] === "bigint" ? Number(list[0]) : list[0];
  };
  const refuse = (key: string, got: string, expected: string, cure?: string): never => refuseKey(full(key), got, expected, cure);
  return {
    architecture,
    refuse,
    has: (key) => metadata.has(full(key)),
    integer(key, low, high, fallback) {
      const found = value(key) ?? fallback;
      if (typeof found !== "number" || !Number.isSafeInteger(found) || found < low || found > high)
        return refuse(key, show(value(key)), `an integer from ${low} to ${high}`);
      return found;
    },
    number(key, low, high, fallback) {
      const found = value(key) ?? fallback;
      if (typeof found !== "number" || !(found >= low && found <= high))
        return refuse(key, show(value(key)), `a number from ${low} to ${high}`);
      return shortest(found);
    },
    text(key, fallback) {
      const found = value(key) ?? fallback;
      return typeof found === "string" ? found : refuse(key, show(found), "a text");
    },
    boolean(key, fallback) {
      const found = value(key) ?? fallback;
      return typeof found === "boolean" ? found : refuse(key, show(found), "true or false");
    },
  };
}

/** The decimal of fewest digits that is the same f32. */
export function shortest(value: number): number {
  const single = Math.fround(value);
  for (let digits = 1; digits <= 9; digits++) {
    const candidate = Number(single.toPrecision(digits));
    if (Math.fround(candidate) === single) return candidate;
  }
  return value;
}

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value);
  if (typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") return String(value);
  return Array.isArray(value) || ArrayBuffer.isView(value) ? "a list" : typeof value;
}

/**
 * config.json for the file. `names` are its tensors, which tell what metadata does not (biases, a tied head); `ropeFactors` are the
 * numbers of rope_freqs.weight, where there is one. Throws ConfigError.
 */
export function configOf(
  path: string,
  metadata: Metadata,
  names: ReadonlySet<string>,
  ropeFactors: Float32Array | undefined,
  vocabSize: number,
): JsonObject {
  const read = readMetadata(path, metadata);
  const { architecture } = read;
  const isDeepseek = architecture === "deepseek2";
  const blocks = read.integer("block_count", 1, limits.layers);
  // Layers that predict the token after the next are counted among the blocks.
  const nextLayers = read.integer("nextn_predict_layers", 0, Math.min(1, blocks - 1), 0);
  const heads = read.integer("attention.head_count", 1, limits.heads);
  const common: JsonObject = {
    vocab_size: vocabSize,
    hidden_size: read.integer("embedding_length", 1, limits.width),
    num_hidden_layers: blocks - nextLayers,
    num_attention_heads: heads,
    max_position_embeddings: read.integer("context_length", 1, limits.positions),
    rms_norm_eps: read.number("attention.layer_norm_rms_epsilon", 1e-12, 1),
    hidden_act: "silu",
    tie_word_embeddings: !names.has("output.weight"),
    ...specialIds(metadata),
  };
  if (isDeepseek) return { ...deepseek(read, heads, nextLayers, names), ...common };
  if (nextLayers > 0) read.refuse("nextn_predict_layers", String(nextLayers), "0 for this architecture");
  return { ...decoder(read, common, names, ropeFactors), ...common };
}

function specialIds(metadata: Metadata): JsonObject {
  const ids: JsonObject = {};
  for (const name of ["bos", "eos"]) {
    const id = metadata.get(`tokenizer.ggml.${name}_token_id`);
    if (typeof id === "number") ids[`${name}_token_id`] = id;
  }
  return ids;
}

// ---- llama and qwen ---------------------------------------------------------------------------------------------

const decoders = {
  llama: ["llama", "LlamaForCausalLM"],
  qwen2: ["qwen2", "Qwen2ForCausalLM"],
  qwen3: ["qwen3", "Qwen3ForCausalLM"],
  qwen3moe: ["qwen3_moe", "Qwen3MoeForCausalLM"],
} as const;

function decoder(read: MetadataReader, common: JsonObject, names: ReadonlySet<string>, factors: Float32Array | undefined): JsonObject {
  const architecture = read.architecture as keyof typeof decoders;
  const [model_type, className] = decoders[architecture];
  const heads = common.num_attention_heads as number;
  const width = common.hidden_size as number;
  const groups = read.integer("attention.head_count_kv", 1, heads, heads);
  if (heads % groups !== 0) read.refuse("attention.head_count_kv", String(groups), `a divisor of attention.head_count, ${heads}`);
  if (!read.has("attention.key_length") && width % heads !== 0)
    read.refuse("embedding_length", String(width), `a multiple of attention.head_count, ${heads}`);
  const head_dim = read.integer("attention.key_length", 2, limits.headSize, width / heads);
  if (head_dim % 2 !== 0) read.refuse("attention.key_length", String(head_dim), "an even number: rotary embedding turns pairs");
  read.integer("attention.value_length", head_dim, head_dim, head_dim);
  read.integer("rope.dimension_count", head_dim, head_dim, head_dim);
  const isMixture = architecture === "qwen3moe";
  if (!isMixture && read.integer("expert_count", 0, limits.experts, 0) > 0)
    read.refuse("expert_count", "a mixture of experts", `none: ${architecture} files with experts (Mixtral) are not supported`);
  const has = (name: string) => names.has(`blk.0.${name}`);
  const biased = has("attn_q.bias");
  return {
    architectures: [className],
    model_type,
    intermediate_size: read.integer(
      "feed_forward_length",
      1,
      limits.width,
      isMixture ? read.integer("expert_feed_forward_length", 1, limits.width) : undefined,
    ),
    num_key_value_heads: groups,
    head_dim,
    ...rope(read, head_dim, factors),
    ...(architecture !== "qwen2" && { attention_bias: biased }),
    ...(architecture === "llama" && { mlp_bias: has("ffn_up.bias") }),
    ...(architecture !== "llama" && { use_sliding_window: false }),
    ...(isMixture && mixture(read)),
  };
}

function mixture(read: MetadataReader): JsonObject {
  const experts = read.integer("expert_count", 1, limits.experts);
  return {
    num_experts: experts,
    num_experts_per_tok: read.integer("expert_used_count", 1, experts),
    moe_intermediate_size: read.integer("expert_feed_forward_length", 1, limits.width),
    // llama.cpp always normalises for this architecture.
    norm_topk_prob: true,
    decoder_sparse_step: 1,
    mlp_only_layers: [],
  };
}

// ---- rotary embedding -------------------------------------------------------------------------------------------

function rope(read: MetadataReader, dims: number, factors: Float32Array | undefined): JsonObject {
  const rope_theta = read.number("rope.freq_base", 1.0001, 1e15, 10000);
  const scaling = ropeScaling(read, rope_theta, dims, factors);
  return { rope_theta, ...(scaling && { rope_scaling: scaling }) };
}

function ropeScaling(read: MetadataReader, theta: number, dims: number, factors: Float32Array | undefined): JsonObject | undefined {
  // Files without a type that have a factor mean linear.
  const factorKey = read.has("rope.scaling.factor") ? "rope.scaling.factor" : "rope.scale_linear";
  const factor = read.number(factorKey, 0, 2 ** 20, 1) || 1;
  const type = read.text("rope.scaling.type", "linear");
  if (factors) {
    const isScaled = factor !== 1 && type !== "none";
    const found: Llama3 | undefined = isScaled ? undefined : recoverLlama3(factors, theta, dims);
    if (found === undefined)
      read.refuse(
        "rope.scaling.type",
        `rope_freqs.weight of other factors${isScaled ? ` beside ${type} scaling` : ""}`,
        "the factors of Llama 3",
      );
    return found === "none" ? undefined : { rope_type: "llama3", ...found };
  }
  if (type === "none") return undefined;
  if (type === "linear") return factor === 1 ? undefined : { rope_type: "linear", factor };
  if (type !== "yarn") read.refuse("rope.scaling.type", quote(type), "none, linear or yarn");
  const attention = read.has("rope.scaling.attn_factor") ? "rope.scaling.attn_factor" : "rope.scaling.yarn_attn_factor";
  const attn = read.number(attention, 0, 1000, 1);
  return {
    rope_type: "yarn",
    factor,
    original_max_position_embeddings: read.integer("rope.scaling.original_context_length", 1, limits.positions),
    beta_fast: read.number("rope.scaling.yarn_beta_fast", 1e-6, 1e6, 32),
    beta_slow: read.number("rope.scaling.yarn_beta_slow", 1e-6, 1e6, 1),
    // llama.cpp multiplies by this beside YaRN's own factor; config.json has the whole.
    ...(attn !== 1 && attn !== 0 && { attention_factor: attn * (1 + 0.1 * Math.log(factor)) }),
  };
}

// ---- deepseek ---------------------------------------------------------------------------------------------------

/** `expert_gating_func`. */
const gates = { softmax: 1, sigmoid: 2 } as const;

function deepseek(read: MetadataReader, heads: number, nextLayers: number, names: ReadonlySet<string>): JsonObject {
  const turned = read.integer("rope.dimension_count", 2, limits.headSize);
  const rank = read.integer("attention.kv_lora_rank", 1, limits.width);
  // Files whose kv_b is split describe the absorbed form in key_length and value_length, and the heads themselves in the keys with _mla.
  const isSplit = read.has("attention.key_length_mla");
  const keyLength = read.integer(isSplit ? "attention.key_length_mla" : "attention.key_length", turned + 1, limits.headSize);
  const v_head_dim = read.integer(isSplit ? "attention.value_length_mla" : "attention.value_length", 1, limits.headSize);
  read.integer("attention.head_count_kv", 1, heads, heads);
  const experts = read.integer("expert_count", 0, limits.experts, 0);
  const used = read.integer("expert_used_count", experts > 0 ? 1 : 0, experts, 0);
  const gate = read.integer("expert_gating_func", 1, 2, gates.softmax);
  const isV3 = gate === gates.sigmoid;
  const groups = read.integer("expert_group_count", 0, Math.max(experts, 1), 1) || 1;
  const usedGroups = read.integer("expert_group_used_count", 0, groups, groups) || groups;
  const queryRank = names.has("blk.0.attn_q_a.weight") ? read.integer("attention.q_lora_rank", 1, limits.width) : null;
  const blocks = read.integer("block_count", 1, limits.layers);
  const topk_method = isV3 ? "noaux_tc" : groups > 1 ? "group_limited_greedy" : "greedy";
  const expertWidth = read.integer("expert_feed_forward_length", 1, limits.width, experts > 0 ? undefined : 1);
  return {
    architectures: [isV3 ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"],
    model_type: isV3 ? "deepseek_v3" : "deepseek_v2",
    intermediate_size: read.integer("feed_forward_length", 1, limits.width, expertWidth),
    num_key_value_heads: heads,
    attention_bias: false,
    q_lora_rank: queryRank,
    kv_lora_rank: rank,
    qk_nope_head_dim: keyLength - turned,
    qk_rope_head_dim: turned,
    v_head_dim,
    ...deepseekRope(read),
    // Without experts every layer is dense; the keys of the mixture are then only there to be complete.
    first_k_dense_replace: experts > 0 ? read.integer("leading_dense_block_count", 0, blocks, 0) : blocks,
    n_routed_experts: Math.max(experts, 1),
    num_experts_per_tok: Math.max(used, 1),
    n_shared_experts: read.integer("expert_shared_count", 0, limits.experts, 0),
    moe_intermediate_size: expertWidth,
    scoring_func: isV3 ? "sigmoid" : "softmax",
    topk_method,
    n_group: groups,
    topk_group: usedGroups,
    norm_topk_prob: read.boolean("expert_weights_norm", false),
    routed_scaling_factor: read.number("expert_weights_scale", 0, 1e6, 1) || 1,
    moe_layer_freq: 1,
    ...(isV3 && { num_nextn_predict_layers: nextLayers }),
  };
}

/** DeepSeek's YaRN: the file holds 0.1 · mscale_all_dim, and llama.cpp takes mscale to be the same. */
function deepseekRope(read: MetadataReader): JsonObject {
  const rope_theta = read.number("rope.freq_base", 1.0001, 1e15, 10000);
  const factor = read.number("rope.scaling.factor", 0, 2 ** 20, 1) || 1;
  const type = read.text("rope.scaling.type", "linear");
  if (type === "none" || factor === 1) return { rope_theta };
  if (type !== "yarn") read.refuse("rope.scaling.type", quote(type), "none or yarn");
  const multiplier = read.number("rope.scaling.yarn_log_multiplier", 1e-6, 100);
  const mscale: JsonValue = shortest(multiplier * 10);
  return {
    rope_theta,
    rope_scaling: {
      rope_type: "yarn",
      factor,
      original_max_position_embeddings: read.integer("rope.scaling.original_context_length", 1, limits.positions),
      beta_fast: read.number("rope.scaling.yarn_beta_fast", 1e-6, 1e6, 32),
      beta_slow: read.number("rope.scaling.yarn_beta_slow", 1e-6, 1e6, 1),
      mscale,
      mscale_all_dim: mscale,
    },
  };
}
