// What follows from the config.json of a deepseek_v2 or deepseek_v3 model, before anything is computed: its checked settings, and the table of
// its weights. In: the parsed JSON. Out: DeepseekConfig, WeightEntry rows. deepseek.ts holds the model itself.

import { boolean, checkCommon, integer, limits, number, only, parseRope, type RawConfig, type RopeConfig, refuse, show } from "./config.ts";
import { linearEntries, mlpEntries } from "./layers.ts";
import { type MixtureConfig, mixtureEntries } from "./mixture.ts";
import { copyOf, halved, matrix, norm, skip, type WeightEntry } from "./weights.ts";

// ---- config -----------------------------------------------------------------------------------------------------

export type DeepseekConfig = {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly initializer_range: number;
  readonly tie_word_embeddings: boolean;
  readonly attention_bias: boolean;
  /** 0: queries are projected at once (q_proj). */
  readonly q_lora_rank: number;
  readonly kv_lora_rank: number;
  readonly qk_nope_head_dim: number;
  readonly qk_rope_head_dim: number;
  readonly v_head_dim: number;
  readonly rope_interleave: boolean;
  readonly rope: RopeConfig;
  readonly first_k_dense_replace: number;
  readonly num_nextn_predict_layers: number;
  /** undefined when every layer is dense. */
  readonly moe: MixtureConfig | undefined;
};

/** Throws ConfigError naming the key. Structure has no defaults; q_lora_rank must be there, if only as null. */
export function parseDeepseek(raw: RawConfig): DeepseekConfig {
  checkCommon(raw);
  const isV2 = raw.model_type === "deepseek_v2";
  only(raw, "scoring_func", isV2 ? "softmax" : "sigmoid");
  only(raw, "topk_method", ...(isV2 ? ["greedy", "group_limited_greedy"] : ["noaux_tc"]));
  only(raw, "moe_layer_freq", 1);
  only(raw, "mlp_bias", false);
  if (isV2) {
    only(raw, "rope_interleave", true);
    only(raw, "num_nextn_predict_layers", 0);
  }
  const num_attention_heads = integer(raw, "num_attention_heads", 1, limits.heads);
  only(raw, "num_key_value_heads", num_attention_heads);
  if (raw.q_lora_rank === undefined) refuse("q_lora_rank", "nothing", "an integer, or null for queries without a latent");
  const qk_rope_head_dim = integer(raw, "qk_rope_head_dim", 2, limits.headSize);
  if (qk_rope_head_dim % 2 !== 0) refuse("qk_rope_head_dim", String(qk_rope_head_dim), "an even number: rotary embedding turns pairs");
  const num_hidden_layers = integer(raw, "num_hidden_layers", 1, limits.layers);
  const first_k_dense_replace = integer(raw, "first_k_dense_replace", 0, limits.layers);
  const num_nextn_predict_layers = integer(raw, "num_nextn_predict_layers", 0, 1, 0);
  const mixed = first_k_dense_replace < num_hidden_layers || num_nextn_predict_layers > 0;
  return {
    vocab_size: integer(raw, "vocab_size", 1, limits.vocab),
    hidden_size: integer(raw, "hidden_size", 1, limits.width),
    intermediate_size: integer(raw, "intermediate_size", 1, limits.width),
    num_hidden_layers,
    num_attention_heads,
    max_position_embeddings: integer(raw, "max_position_embeddings", 1, limits.positions),
    rms_norm_eps: number(raw, "rms_norm_eps", 1e-12, 1),
    initializer_range: number(raw, "initializer_range", 0, 10, 0.02),
    tie_word_embeddings: boolean(raw, "tie_word_embeddings", false),
    attention_bias: boolean(raw, "attention_bias", false),
    q_lora_rank: raw.q_lora_rank === null ? 0 : integer(raw, "q_lora_rank", 1, limits.width),
    kv_lora_rank: integer(raw, "kv_lora_rank", 1, limits.width),
    qk_nope_head_dim: integer(raw, "qk_nope_head_dim", 1, limits.headSize),
    qk_rope_head_dim,
    v_head_dim: integer(raw, "v_head_dim", 1, limits.headSize),
    rope_interleave: boolean(raw, "rope_interleave", true),
    rope: parseRope(raw),
    first_k_dense_replace,
    num_nextn_predict_layers,
    moe: mixed ? parseMixture(raw, isV2) : undefined,
  };
}

function parseMixture(raw: RawConfig, isV2: boolean): MixtureConfig {
  const topk_method = !isV2 ? "noaux_tc" : raw.topk_method === "group_limited_greedy" ? "group_limited_greedy" : "greedy";
  const n_routed_experts = integer(raw, "n_routed_experts", 1, limits.experts);
  // Greedy takes the best of all experts, whatever n_group says.
  const n_group = topk_method === "greedy" ? 1 : integer(raw, "n_group", 1, n_routed_experts, 1);
  const groupSize = n_routed_experts / n_group;
  if (!Number.isInteger(groupSize)) refuse("n_group", show(n_group), `a divisor of n_routed_experts, ${n_routed_experts}`);
  if (!isV2 && n_group > 1 && groupSize < 2)
    refuse("n_group", show(n_group), "groups of 2 experts or more: a group's score is the sum of its two best");
  const topk_group = topk_method === "greedy" ? 1 : integer(raw, "topk_group", 1, n_group, n_group);
  const norm_topk_prob = boolean(raw, "norm_topk_prob");
  const routed_scaling_factor = number(raw, "routed_scaling_factor", 1e-6, 1e6);
  if (isV2 && norm_topk_prob && routed_scaling_factor !== 1) {
    // DeepSeek's own code scales or normalises V2's weights, llama.cpp does both, transformers only scales. No published model asks for it.
    refuse("norm_topk_prob", "true with a routed_scaling_factor", "false, or a factor of 1: its meaning for deepseek_v2 is not settled");
  }
  return {
    n_routed_experts,
    n_group,
    topk_group,
    scoring_func: isV2 ? "softmax" : "sigmoid",
    topk_method,
    n_shared_experts: integer(raw, "n_shared_experts", 0, limits.experts, 0),
    num_experts_per_tok: integer(raw, "num_experts_per_tok", 1, topk_group * groupSize),
    moe_intermediate_size: integer(raw, "moe_intermediate_size", 1, limits.width),
    norm_topk_prob,
    routed_scaling_factor,
  };
}

/** The first layers are dense; the multi-token prediction layer, id num_hidden_layers, never is. */
export function mixtureOf(config: DeepseekConfig, layer: number): MixtureConfig | undefined {
  return layer >= config.first_k_dense_replace || layer === config.num_hidden_layers ? config.moe : undefined;
}

// ---- weight names -----------------------------------------------------------------------------------------------

function blockEntries(config: DeepseekConfig, layer: number): WeightEntry[] {
  const {
    hidden_size: C,
    num_attention_heads: H,
    kv_lora_rank: rank,
    qk_nope_head_dim: nope,
    qk_rope_head_dim: turned,
    v_head_dim: Dv,
  } = config;
  const at = `model.layers.${layer}`;
  const attn = `${at}.self_attn`;
  const moe = mixtureOf(config, layer);
  const queries = config.q_lora_rank
    ? [
        ...linearEntries(`${attn}.q_a_proj`, config.q_lora_rank, C, config.attention_bias),
        norm(`${attn}.q_a_layernorm.weight`, config.q_lora_rank),
        matrix(`${attn}.q_b_proj.weight`, H * (nope + turned), config.q_lora_rank),
      ]
    : [matrix(`${attn}.q_proj.weight`, H * (nope + turned), C)];
  return [
    norm(`${at}.input_layernorm.weight`, C),
    ...queries,
    ...linearEntries(`${attn}.kv_a_proj_with_mqa`, rank + turned, C, config.attention_bias),
    norm(`${attn}.kv_a_layernorm.weight`, rank),
    halved(`${attn}.kv_b_proj.weight`, { heads: H, keyRows: nope, valueRows: Dv, rank }),
    ...linearEntries(`${attn}.o_proj`, C, H * Dv, config.attention_bias),
    skip(`${attn}.rotary_emb.inv_freq`, "older files store the rotary frequencies; they follow from the config"),
    norm(`${at}.post_attention_layernorm.weight`, C),
    ...(moe ? mixtureEntries(`${at}.mlp`, moe, C) : mlpEntries(`${at}.mlp`, config.intermediate_size, C, false)),
  ];
}

export function weightEntries(config: DeepseekConfig): WeightEntry[] {
  const { vocab_size: V, hidden_size: C, num_hidden_layers: L } = config;
  const at = `model.layers.${L}`;
  const headName = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return [
    matrix("model.embed_tokens.weight", V, C),
    ...Array.from({ length: L }, (_, layer) => blockEntries(config, layer)).flat(),
    norm("model.norm.weight", C),
    config.tie_word_embeddings ? skip("lm_head.weight", "the head is tied to the embedding") : matrix("lm_head.weight", V, C),
    ...(config.num_nextn_predict_layers
      ? [
          copyOf(`${at}.embed_tokens.weight`, "model.embed_tokens.weight", [V, C]),
          norm(`${at}.enorm.weight`, C),
          norm(`${at}.hnorm.weight`, C),
          matrix(`${at}.eh_proj.weight`, C, 2 * C),
          ...blockEntries(config, L),
          norm(`${at}.shared_head.norm.weight`, C),
          copyOf(`${at}.shared_head.head.weight`, headName, [V, C]),
        ]
      : []),
  ];
}
