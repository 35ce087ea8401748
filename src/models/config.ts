// Reads config.json strictly. In: the parsed JSON of a stranger. Out: checked numbers under their checkpoint spelling. Every key that the
// models use is checked for type and range, sizes have caps far above any published model, and values that would change the
// computation in a way that is not implemented are refused by name: a wrong answer is worse than none.

import { ConfigError, quote } from "../core/errors.ts";

export type RawConfig = Readonly<Record<string, unknown>>;

/** Caps on sizes: above every published model, below what overflows. */
export const limits = {
  vocab: 2 ** 21,
  width: 2 ** 18,
  layers: 4096,
  heads: 4096,
  headSize: 2 ** 14,
  experts: 2 ** 14,
  positions: 2 ** 24,
} as const;

export type RopeConfig =
  | { readonly rope_type: "default"; readonly rope_theta: number }
  | { readonly rope_type: "linear"; readonly rope_theta: number; readonly factor: number }
  | {
      readonly rope_type: "llama3";
      readonly rope_theta: number;
      readonly factor: number;
      readonly low_freq_factor: number;
      readonly high_freq_factor: number;
      readonly original_max_position_embeddings: number;
    }
  | {
      readonly rope_type: "yarn";
      readonly rope_theta: number;
      readonly factor: number;
      readonly original_max_position_embeddings: number;
      readonly beta_fast: number;
      readonly beta_slow: number;
      /** 0 when absent. */
      readonly mscale: number;
      /** 0 when absent. */
      readonly mscale_all_dim: number;
      /** 0 when absent: then it follows from the others (rope-tables.ts). */
      readonly attention_factor: number;
      readonly truncate: boolean;
    };

export function refuse(
  key: string,
  got: string,
  expected: string,
  cure = "correct config.json, or use a model of a supported family",
): never {
  throw new ConfigError({ operation: `config.json: ${key}`, got, expected, cure });
}

/** A value in a message: never long, never a control character. */
export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value);
  if (typeof value === "number" || typeof value === "boolean" || value === null) return String(value);
  return Array.isArray(value) ? `a list of ${value.length}` : `a value of type ${typeof value}`;
}

export function asObject(value: unknown, key = "the document"): RawConfig {
  if (typeof value !== "object" || value === null || Array.isArray(value)) refuse(key, show(value), "a JSON object");
  return value as RawConfig;
}

/** An integer in low..high. A missing or null key gives `fallback`, and is refused without one. */
export function integer(config: RawConfig, key: string, low: number, high: number, fallback?: number): number {
  const value = config[key] ?? fallback;
  if (!Number.isSafeInteger(value) || (value as number) < low || (value as number) > high) {
    refuse(key, show(config[key]), `an integer from ${low} to ${high}`);
  }
  return value as number;
}

/** A finite number in low..high; missing and null as `integer`. */
export function number(config: RawConfig, key: string, low: number, high: number, fallback?: number): number {
  const value = config[key] ?? fallback;
  if (typeof value !== "number" || !(value >= low && value <= high)) refuse(key, show(config[key]), `a number from ${low} to ${high}`);
  return value;
}

export function boolean(config: RawConfig, key: string, fallback?: boolean): boolean {
  const value = config[key] ?? fallback;
  if (typeof value !== "boolean") refuse(key, show(config[key]), "true or false");
  return value;
}

/** Refuses a present value that is none of `allowed`; a missing or null key passes. */
export function only(config: RawConfig, key: string, ...allowed: readonly (string | number | boolean)[]): void {
  const value = config[key] ?? allowed[0];
  if (!allowed.includes(value as string)) refuse(key, show(value), allowed.map(show).join(" or "));
}

/** Keys that change the computation in other models, with the values under which they change nothing. null always passes. */
const neutral: Readonly<Record<string, readonly (string | number | boolean)[]>> = {
  hidden_act: ["silu"],
  attention_dropout: [0],
  sliding_window: [],
  attention_chunk_size: [],
  partial_rotary_factor: [1],
  clip_qkv: [],
  use_qk_norm: [false],
  qk_norm: [false],
  no_rope_layers: [],
  use_mrope: [false],
  attn_logit_softcapping: [],
  final_logit_softcapping: [],
  logit_scale: [1],
  logits_scaling: [1],
  embedding_multiplier: [1],
  residual_multiplier: [1],
  attention_multiplier: [],
  mtp_hidden_states_first: [false],
  index_topk: [],
};

const dtypes = ["float32", "bfloat16", "float16", "float64", "float8_e4m3fn", "float8_e5m2", "auto"] as const;

/** What every family checks: nothing in the file asks for something that is not implemented. */
export function checkCommon(config: RawConfig): void {
  for (const [key, values] of Object.entries(neutral)) {
    const value = config[key];
    if (value === undefined || value === null || values.includes(value as string)) continue;
    refuse(
      key,
      show(value),
      values.length ? `${values.map(show).join(" or ")} or null` : "null",
      "this feature is not supported; use a model without it",
    );
  }
  checkQuantization(config.quantization_config);
  only(config, "dtype", ...dtypes);
  only(config, "torch_dtype", ...dtypes);
  if (config.layer_types !== undefined && config.layer_types !== null) {
    const types = config.layer_types;
    if (!Array.isArray(types) || types.some((type) => type !== "full_attention"))
      refuse("layer_types", show(types), 'only "full_attention"');
  }
}

/** DeepSeek's FP8 blocks are read (formats/ scales them); other quantised layouts are not. */
function checkQuantization(value: unknown): void {
  if (value === undefined || value === null) return;
  const quantization = asObject(value, "quantization_config");
  const { quant_method, weight_block_size: block } = quantization;
  if (quant_method !== "fp8")
    refuse(
      "quantization_config.quant_method",
      show(quant_method),
      '"fp8" with block scales',
      "use the unquantised weights, or DeepSeek's FP8",
    );
  if (!Array.isArray(block) || block.length !== 2 || !block.every((size) => Number.isSafeInteger(size) && size > 0)) {
    refuse("quantization_config.weight_block_size", show(block), "two sizes above 0, as [128, 128]");
  }
  only(quantization, "fmt", "e4m3");
  // ue8m0: the scales are powers of two (DeepSeek-V3.1), whatever type stores them. It changes nothing for a reader.
  only(quantization, "scale_fmt", "ue8m0", "float");
}

/**
 * Rotary settings in all published shapes: `rope_theta` beside `rope_scaling` (with `type` or `rope_type`), or all of it in
 * `rope_parameters` (transformers 5). A config that holds both must mean the same by them.
 */
export function parseRope(config: RawConfig): RopeConfig {
  const readings: RopeConfig[] = [];
  for (const key of ["rope_parameters", "rope_scaling"] as const) {
    if (config[key] !== undefined && config[key] !== null) readings.push(parseRopeObject(key, asObject(config[key], key), config));
  }
  const [first, second] = readings;
  if (first && second && JSON.stringify(first) !== JSON.stringify(second)) {
    refuse("rope_scaling", "other settings than in rope_parameters", "one meaning", "remove one of the two keys");
  }
  return first ?? parseRopeObject("rope_theta", {}, config);
}

const commonRopeKeys = ["type", "rope_type", "rope_theta", "partial_rotary_factor"];
const ropeKeys: Readonly<Record<RopeConfig["rope_type"], readonly string[]>> = {
  default: [],
  linear: ["factor"],
  llama3: ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
  yarn: [
    "factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "attention_factor",
    "truncate",
  ],
};

function isRopeType(value: unknown): value is RopeConfig["rope_type"] {
  return typeof value === "string" && Object.hasOwn(ropeKeys, value);
}

function parseRopeObject(key: string, rope: RawConfig, config: RawConfig): RopeConfig {
  const rope_type = rope.rope_type ?? rope.type ?? "default";
  if (rope.type !== undefined && rope.rope_type !== undefined && rope.type !== rope.rope_type) {
    refuse(`${key}.type`, show(rope.type), `the same as rope_type, ${show(rope.rope_type)}`);
  }
  if (!isRopeType(rope_type)) refuse(`${key}.rope_type`, show(rope_type), Object.keys(ropeKeys).map(show).join(" or "));
  for (const name of Object.keys(rope)) {
    if (!commonRopeKeys.includes(name) && !ropeKeys[rope_type].includes(name)) {
      refuse(`${key}.${quote(name)}`, show(rope[name]), `for ${rope_type} only ${[...commonRopeKeys, ...ropeKeys[rope_type]].join(", ")}`);
    }
  }
  only(rope, "partial_rotary_factor", 1);
  if (rope.rope_theta != null && config.rope_theta != null && rope.rope_theta !== config.rope_theta) {
    refuse("rope_theta", show(config.rope_theta), `the same as ${key}.rope_theta, ${show(rope.rope_theta)}`);
  }
  const rope_theta = number(rope.rope_theta == null ? config : rope, "rope_theta", 1.0001, 1e15, 10000);
  if (rope_type === "default") return { rope_type, rope_theta };

  const factor = number(rope, "factor", 1, 2 ** 20);
  if (rope_type === "linear") return { rope_type, rope_theta, factor };
  const outer = config.original_max_position_embeddings;
  if (outer != null && rope.original_max_position_embeddings != null && outer !== rope.original_max_position_embeddings) {
    refuse("original_max_position_embeddings", show(outer), `the same as in ${key}, ${show(rope.original_max_position_embeddings)}`);
  }
  const original_max_position_embeddings = integer(
    rope.original_max_position_embeddings == null ? config : rope,
    "original_max_position_embeddings",
    1,
    limits.positions,
  );
  if (rope_type === "llama3") {
    const low_freq_factor = number(rope, "low_freq_factor", 1e-6, 1e6);
    const high_freq_factor = number(rope, "high_freq_factor", 1e-6, 1e6);
    if (high_freq_factor <= low_freq_factor)
      refuse(`${key}.high_freq_factor`, show(high_freq_factor), `more than low_freq_factor, ${low_freq_factor}`);
    return { rope_type, rope_theta, factor, low_freq_factor, high_freq_factor, original_max_position_embeddings };
  }
  const beta_fast = number(rope, "beta_fast", 1e-6, 1e6, 32);
  const beta_slow = number(rope, "beta_slow", 1e-6, 1e6, 1);
  if (beta_fast < beta_slow) refuse(`${key}.beta_fast`, show(beta_fast), `at least beta_slow, ${beta_slow}`);
  return {
    rope_type,
    rope_theta,
    factor,
    original_max_position_embeddings,
    beta_fast,
    beta_slow,
    mscale: number(rope, "mscale", 0, 1000, 0),
    mscale_all_dim: number(rope, "mscale_all_dim", 0, 1000, 0),
    attention_factor: number(rope, "attention_factor", 0, 1000, 0),
    truncate: boolean(rope, "truncate", true),
  };
}

/** The positions that a model is built for: all of its own, or fewer when the caller says so (rotary tables and caches shrink). */
export function chooseContextLength(max_position_embeddings: number, wanted: number | undefined): number {
  if (wanted === undefined) return max_position_embeddings;
  if (!Number.isSafeInteger(wanted) || wanted < 1 || wanted > max_position_embeddings) {
    refuse(
      "max_position_embeddings",
      `contextLength ${show(wanted)}`,
      `an integer from 1 to ${max_position_embeddings}`,
      "ask for a context that the model has",
    );
  }
  return wanted;
}
