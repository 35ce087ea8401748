// Qwen2 and 2.5, Qwen3, Qwen3-MoE (and R1's Qwen distils, which are qwen2). In: config.json. Out: the settings of decoder.ts. Qwen2 has biases
// on q, k and v but not on o; Qwen3 norms every head of q and k and has none. Unusual: these files carry `sliding_window` with a number
// in it even where `use_sliding_window` is false, so the number alone says nothing.

import { boolean, checkCommon, integer, limits, type RawConfig, refuse, show } from "./config.ts";
import { type DecoderConfig, decoderFamily, parseSizes, sharedWidth } from "./decoder.ts";
import type { MixtureConfig } from "./mixture.ts";

/** Qwen3's head size where the file does not give one (transformers, Qwen3Config; the file of Qwen3-8B). */
const qwen3HeadSize = 128;

/** Throws ConfigError naming the key. */
export function parseQwen2(raw: RawConfig): DecoderConfig {
  checkQwen(raw);
  return { ...parseSizes(raw, sharedWidth), qkv_bias: true, o_bias: false, mlp_bias: false, qk_norm: false };
}

/** Throws ConfigError naming the key. */
export function parseQwen3(raw: RawConfig): DecoderConfig {
  return { ...parseSizes(raw, () => qwen3HeadSize), ...qwen3Switches(raw) };
}

/** Throws ConfigError naming the key. */
export function parseQwen3Moe(raw: RawConfig): DecoderConfig {
  const sizes = parseSizes(raw, sharedWidth);
  const { num_hidden_layers } = sizes;
  const step = integer(raw, "decoder_sparse_step", 1, limits.layers, 1);
  const dense = layerList(raw, "mlp_only_layers", num_hidden_layers);
  const all = Array.from({ length: num_hidden_layers }, (_, layer) => layer);
  const layers = new Set(all.filter((layer) => !dense.has(layer) && (layer + 1) % step === 0));
  return { ...sizes, ...qwen3Switches(raw), ...(layers.size > 0 && { mixture: { moe: parseMixture(raw), layers } }) };
}

function qwen3Switches(raw: RawConfig): Pick<DecoderConfig, "qkv_bias" | "o_bias" | "mlp_bias" | "qk_norm"> {
  checkQwen(raw);
  const attention_bias = boolean(raw, "attention_bias", false);
  return { qkv_bias: attention_bias, o_bias: attention_bias, mlp_bias: false, qk_norm: true };
}

/** Full attention everywhere: windows are off, or begin after the last layer. */
function checkQwen(raw: RawConfig): void {
  const isWindowed = boolean(raw, "use_sliding_window", false);
  const layers = integer(raw, "num_hidden_layers", 1, limits.layers);
  const firstWindow = isWindowed ? integer(raw, "max_window_layers", 0, limits.layers, 0) : layers;
  checkCommon(firstWindow >= layers ? { ...raw, sliding_window: null } : raw);
}

function parseMixture(raw: RawConfig): MixtureConfig {
  // transformers 5 writes num_local_experts.
  const { num_experts, num_local_experts } = raw;
  if (num_experts != null && num_local_experts != null && num_experts !== num_local_experts)
    refuse("num_local_experts", show(num_local_experts), `the same as num_experts, ${show(num_experts)}`);
  const n_routed_experts = integer(
    raw,
    num_experts == null && num_local_experts != null ? "num_local_experts" : "num_experts",
    1,
    limits.experts,
  );
  return {
    n_routed_experts,
    n_shared_experts: 0,
    num_experts_per_tok: integer(raw, "num_experts_per_tok", 1, n_routed_experts),
    moe_intermediate_size: integer(raw, "moe_intermediate_size", 1, limits.width),
    scoring_func: "softmax",
    topk_method: "greedy",
    n_group: 1,
    topk_group: 1,
    norm_topk_prob: boolean(raw, "norm_topk_prob"),
    routed_scaling_factor: 1,
  };
}

/** A list of layer numbers; none when missing or null. */
function layerList(raw: RawConfig, key: string, layers: number): Set<number> {
  const list = raw[key] ?? [];
  const isLayer = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < layers;
  if (!Array.isArray(list) || !list.every(isLayer)) refuse(key, show(list), `a list of layers from 0 to ${layers - 1}`);
  return new Set(list as number[]);
}

export const qwen2 = decoderFamily("qwen2", "Qwen2ForCausalLM", parseQwen2);
export const qwen3 = decoderFamily("qwen3", "Qwen3ForCausalLM", parseQwen3);
export const qwen3Moe = decoderFamily("qwen3_moe", "Qwen3MoeForCausalLM", parseQwen3Moe);
