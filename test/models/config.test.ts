import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { parseJson } from "../../src/core/json.ts";
import { parseRope, type RawConfig } from "../../src/models/config.ts";
import { parseDeepseek } from "../../src/models/deepseek-config.ts";
import { parseLlama } from "../../src/models/llama.ts";
import { parseQwen2, parseQwen3, parseQwen3Moe } from "../../src/models/qwen.ts";
import { readJson } from "./fixtures.ts";

const llama = readJson<RawConfig>("llama-gqa/config.json");
const deepseek = readJson<RawConfig>("deepseek-groups/config.json");
const deepseekV2 = readJson<RawConfig>("deepseek-v2-groups/config.json");
const qwen2 = readJson<RawConfig>("qwen2-biases/config.json");
const qwen3 = readJson<RawConfig>("qwen3-tied/config.json");
const qwen3Moe = readJson<RawConfig>("qwen3-moe/config.json");

/** The message of the ConfigError that `body` throws. */
function complaint(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error("nothing was thrown");
}

const without = (config: RawConfig, key: string): RawConfig => Object.fromEntries(Object.entries(config).filter(([name]) => name !== key));

describe("sizes (hazard T30)", () => {
  const bad = {
    "2^31": 2 ** 31,
    negative: -1,
    zero: 0,
    fraction: 1.5,
    string: "768",
    null: null,
    infinite: Number.POSITIVE_INFINITY,
    NaN: Number.NaN,
    list: [768],
    object: {},
  };
  const structural = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
  ];
  for (const key of structural) {
    test(`${key}: every bad value and its absence name the key`, () => {
      for (const value of Object.values(bad)) {
        expect(complaint(() => parseLlama({ ...llama, [key]: value }))).toContain(key);
        expect(complaint(() => parseDeepseek({ ...deepseek, [key]: value }))).toContain(key);
        expect(complaint(() => parseQwen2({ ...qwen2, [key]: value }))).toContain(key);
        expect(complaint(() => parseQwen3Moe({ ...qwen3Moe, [key]: value }))).toContain(key);
      }
      expect(complaint(() => parseLlama(without(llama, key)))).toContain(`config.json: ${key}: got nothing`);
      expect(complaint(() => parseDeepseek(without(deepseek, key)))).toContain(`config.json: ${key}: got nothing`);
    });
  }
  for (const key of [
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "n_routed_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
  ]) {
    test(`${key}: every bad value and its absence name the key`, () => {
      for (const value of Object.values(bad)) expect(complaint(() => parseDeepseek({ ...deepseek, [key]: value }))).toContain(key);
      expect(complaint(() => parseDeepseek(without(deepseek, key)))).toContain(key);
    });
  }
  test("numbers and switches have types and ranges", () => {
    for (const value of [0, -1e-6, "1e-6", Number.NaN, null])
      expect(complaint(() => parseLlama({ ...llama, rms_norm_eps: value }))).toContain("rms_norm_eps");
    for (const value of [1, "false", []])
      expect(complaint(() => parseLlama({ ...llama, attention_bias: value }))).toContain("attention_bias");
    expect(complaint(() => parseDeepseek(without(deepseek, "norm_topk_prob")))).toContain("norm_topk_prob");
    expect(complaint(() => parseDeepseek(without(deepseek, "routed_scaling_factor")))).toContain("routed_scaling_factor");
    expect(complaint(() => parseDeepseek(without(deepseek, "q_lora_rank")))).toContain("q_lora_rank");
    expect(complaint(() => parseDeepseek({ ...deepseek, q_lora_rank: 0 }))).toContain("q_lora_rank");
  });
});

describe("values that do not fit one another", () => {
  test("more chosen experts than there are, or than the kept groups hold (T31)", () => {
    expect(complaint(() => parseDeepseek({ ...deepseek, num_experts_per_tok: 9 }))).toContain("num_experts_per_tok");
    expect(complaint(() => parseDeepseek({ ...deepseek, num_experts_per_tok: 5 }))).toContain("an integer from 1 to 4");
  });
  test("groups that do not divide the experts, or hold one (T33)", () => {
    expect(complaint(() => parseDeepseek({ ...deepseek, n_group: 3, topk_group: 1 }))).toContain("n_group");
    expect(complaint(() => parseDeepseek({ ...deepseek, n_group: 8, topk_group: 4 }))).toContain("n_group");
    expect(complaint(() => parseDeepseek({ ...deepseek, topk_group: 5 }))).toContain("topk_group");
  });
  test("heads", () => {
    expect(complaint(() => parseLlama({ ...llama, num_key_value_heads: 3 }))).toContain("num_key_value_heads");
    expect(complaint(() => parseLlama({ ...llama, num_key_value_heads: 8 }))).toContain("num_key_value_heads");
    expect(complaint(() => parseLlama({ ...llama, head_dim: 7 }))).toContain("head_dim");
    expect(complaint(() => parseLlama({ ...without(llama, "head_dim"), hidden_size: 26 }))).toContain("head_dim");
    expect(complaint(() => parseDeepseek({ ...deepseek, num_key_value_heads: 1 }))).toContain("num_key_value_heads");
    expect(complaint(() => parseDeepseek({ ...deepseek, qk_rope_head_dim: 5 }))).toContain("qk_rope_head_dim");
  });
});

describe("settings that would change the computation are refused by name (T35, T36)", () => {
  const cases: readonly (readonly [string, unknown])[] = [
    ["hidden_act", "gelu"],
    ["sliding_window", 4096],
    ["attention_dropout", 0.1],
    ["quantization_config", { quant_method: "gptq", bits: 4 }],
    ["quantization_config", { quant_method: "fp8", weight_block_size: [0, 128] }],
    ["quantization_config", 8],
    ["torch_dtype", "float128"],
    ["dtype", 32],
    ["layer_types", ["sliding_attention", "full_attention"]],
    ["final_logit_softcapping", 30],
    ["partial_rotary_factor", 0.5],
  ];
  for (const [key, value] of cases) {
    test(`${key} = ${JSON.stringify(value)}`, () => {
      expect(complaint(() => parseLlama({ ...llama, [key]: value }))).toContain(key);
      expect(complaint(() => parseDeepseek({ ...deepseek, [key]: value }))).toContain(key);
    });
  }
  test("inside of quantization_config: another format of codes or scales", () => {
    const fp8 = { quant_method: "fp8", weight_block_size: [128, 128], fmt: "e4m3", scale_fmt: "ue8m0" };
    expect(parseDeepseek({ ...deepseek, quantization_config: fp8 })).toEqual(parseDeepseek(deepseek));
    expect(complaint(() => parseDeepseek({ ...deepseek, quantization_config: { ...fp8, fmt: "e5m2" } }))).toContain("fmt");
    expect(complaint(() => parseDeepseek({ ...deepseek, quantization_config: { ...fp8, scale_fmt: "log" } }))).toContain("scale_fmt");
  });
  test("of DeepSeek-V2 alone", () => {
    for (const [key, value] of [
      ["scoring_func", "sigmoid"],
      ["topk_method", "noaux_tc"],
      ["topk_method", "gready"],
      ["moe_layer_freq", 2],
      ["num_nextn_predict_layers", 1],
      ["rope_interleave", false],
      ["mlp_bias", true],
      ["norm_topk_prob", true], // beside a routed_scaling_factor of 16
    ] as const) {
      expect(complaint(() => parseDeepseek({ ...deepseekV2, [key]: value }))).toContain(key);
    }
    expect(parseDeepseek({ ...deepseekV2, norm_topk_prob: true, routed_scaling_factor: 1 }).moe).toMatchObject({ norm_topk_prob: true });
  });
  test("of Qwen alone: windows that are on, layers that are none", () => {
    for (const parse of [parseQwen2, parseQwen3, parseQwen3Moe]) {
      const base = { [parseQwen2.name]: qwen2, [parseQwen3.name]: qwen3, [parseQwen3Moe.name]: qwen3Moe }[parse.name] as RawConfig;
      const windowed = { ...base, sliding_window: 4, use_sliding_window: true };
      expect(complaint(() => parse({ ...windowed, max_window_layers: 1 }))).toContain("sliding_window");
      expect(complaint(() => parse({ ...windowed, max_window_layers: undefined }))).toContain("sliding_window");
      expect(parse({ ...windowed, max_window_layers: 2 })).toEqual(parse(base)); // both layers come before the first window
      expect(parse({ ...windowed, use_sliding_window: false, max_window_layers: 1 })).toEqual(parse(base));
      expect(complaint(() => parse({ ...base, use_sliding_window: "no" }))).toContain("use_sliding_window");
      expect(complaint(() => parse({ ...base, use_mrope: true }))).toContain("use_mrope");
    }
    for (const value of [3, [2], [-1], ["0"], [0.5], {}])
      expect(complaint(() => parseQwen3Moe({ ...qwen3Moe, mlp_only_layers: value }))).toContain("mlp_only_layers");
    for (const value of [0, -1, 1.5, "1"])
      expect(complaint(() => parseQwen3Moe({ ...qwen3Moe, decoder_sparse_step: value }))).toContain("decoder_sparse_step");
    for (const value of [6, 0, null, "2"]) // of 5 experts
      expect(complaint(() => parseQwen3Moe({ ...qwen3Moe, num_experts_per_tok: value }))).toContain("num_experts_per_tok");
    expect(complaint(() => parseQwen3Moe(without(qwen3Moe, "num_experts")))).toContain("num_experts");
    expect(complaint(() => parseQwen3Moe(without(qwen3Moe, "norm_topk_prob")))).toContain("norm_topk_prob");
    expect(complaint(() => parseQwen3Moe({ ...qwen3Moe, num_local_experts: 4 }))).toContain("num_local_experts");
  });
  test("of DeepSeek-V3 alone", () => {
    for (const [key, value] of [
      ["scoring_func", "softmax"],
      ["topk_method", "greedy"],
      ["moe_layer_freq", 2],
      ["num_nextn_predict_layers", 2],
    ] as const) {
      expect(complaint(() => parseDeepseek({ ...deepseek, [key]: value }))).toContain(key);
    }
  });
  test("but not when they are neutral", () => {
    const neutral = {
      sliding_window: null,
      attention_dropout: 0,
      quantization_config: null,
      torch_dtype: "bfloat16",
      layer_types: ["full_attention"],
      partial_rotary_factor: 1,
      pretraining_tp: 1,
    };
    expect(parseLlama({ ...llama, ...neutral })).toEqual(parseLlama(llama));
    const published = {
      scoring_func: "sigmoid",
      topk_method: "noaux_tc",
      moe_layer_freq: 1,
      ep_size: 1,
      seq_aux: true,
      quantization_config: { quant_method: "fp8", fmt: "e4m3", weight_block_size: [128, 128] },
    };
    expect(parseDeepseek({ ...deepseek, ...neutral, ...published })).toEqual(parseDeepseek(deepseek));
  });
});

test("keys that the first Llama configs left out have the family's defaults", () => {
  const old = [
    "num_key_value_heads",
    "head_dim",
    "attention_bias",
    "mlp_bias",
    "tie_word_embeddings",
    "hidden_act",
    "rope_parameters",
    "initializer_range",
  ].reduce(without, llama);
  expect(parseLlama(old)).toMatchObject({
    num_key_value_heads: 4,
    head_dim: 6,
    qkv_bias: false,
    o_bias: false,
    mlp_bias: false,
    tie_word_embeddings: false,
    rope: { rope_type: "default", rope_theta: 10000 },
  });
});

test("objects as the strict JSON reader gives them, without a prototype, are read alike", () => {
  const text = JSON.stringify(readJson("deepseek-yarn/config.json"));
  expect(parseDeepseek(parseJson(text, { source: "config.json" }) as RawConfig)).toEqual(
    parseDeepseek(readJson("deepseek-yarn/config.json")),
  );
});

describe("Qwen's switches", () => {
  test("biases on q, k and v alone in Qwen2; none, and norms, in Qwen3", () => {
    expect(parseQwen2(qwen2)).toMatchObject({ qkv_bias: true, o_bias: false, mlp_bias: false, qk_norm: false });
    expect(parseQwen3(qwen3)).toMatchObject({ qkv_bias: false, o_bias: false, mlp_bias: false, qk_norm: true });
    expect(parseQwen3({ ...qwen3, attention_bias: true })).toMatchObject({ qkv_bias: true, o_bias: true });
  });
  test("a missing head_dim is the shared width, in Qwen3 128", () => {
    expect(parseQwen2(qwen2).head_dim).toBe(6);
    expect(parseQwen3(without(qwen3, "head_dim")).head_dim).toBe(128);
  });
  test("which layers are mixtures", () => {
    const layers = (settings: RawConfig) => [...(parseQwen3Moe({ ...qwen3Moe, num_hidden_layers: 6, ...settings }).mixture?.layers ?? [])];
    expect(layers({})).toEqual([0, 1, 2, 3, 4, 5]);
    expect(layers({ decoder_sparse_step: 2 })).toEqual([1, 3, 5]);
    expect(layers({ decoder_sparse_step: 2, mlp_only_layers: [3] })).toEqual([1, 5]);
    expect(layers({ mlp_only_layers: null })).toHaveLength(6);
    expect(layers({ decoder_sparse_step: 7 })).toEqual([]);
  });
  test("both spellings of the number of experts", () => {
    const renamed = { ...without(qwen3Moe, "num_experts"), num_local_experts: qwen3Moe.num_experts };
    expect(parseQwen3Moe(renamed)).toEqual(parseQwen3Moe(qwen3Moe));
  });
});

describe("rope settings", () => {
  const yarn = { factor: 40, beta_fast: 32, beta_slow: 1, mscale: 1, mscale_all_dim: 1, original_max_position_embeddings: 4096 };
  test("all published spellings mean the same", () => {
    const readings = [
      { rope_theta: 10000, rope_scaling: { type: "yarn", ...yarn } },
      { rope_theta: 10000, rope_scaling: { rope_type: "yarn", ...yarn } },
      { rope_parameters: { rope_type: "yarn", rope_theta: 10000, ...yarn } },
      { rope_theta: 10000, rope_parameters: { type: "yarn", rope_type: "yarn", ...yarn }, rope_scaling: null },
      { rope_scaling: { type: "yarn", ...yarn }, rope_parameters: { rope_type: "yarn", rope_theta: 10000, ...yarn } },
      { original_max_position_embeddings: 4096, rope_scaling: { type: "yarn", ...yarn, original_max_position_embeddings: undefined } },
    ].map(parseRope);
    for (const reading of readings) expect(reading).toEqual(readings[0]);
    expect(readings[0]).toMatchObject({ rope_type: "yarn", rope_theta: 10000, factor: 40, truncate: true, attention_factor: 0 });
  });
  test("linear scaling, in both spellings; default by name", () => {
    const linear = { rope_type: "linear", rope_theta: 10000, factor: 4 };
    expect(parseRope({ rope_theta: 10000, rope_scaling: { type: "linear", factor: 4 } })).toEqual(linear);
    expect(parseRope({ rope_parameters: linear })).toEqual(linear);
    expect(parseRope({ rope_theta: 5, rope_scaling: { type: "default" } })).toEqual({ rope_type: "default", rope_theta: 5 });
  });
  const llama3 = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
  const bad: readonly (readonly [string, RawConfig])[] = [
    ["rope_type", { rope_scaling: { type: "dynamic", factor: 2 } }],
    ["rope_type", { rope_scaling: { type: "longrope" } }],
    ["rope_type", { rope_scaling: { type: "mrope" } }],
    ["rope_type", { rope_scaling: { type: "toString" } }],
    ["rope_type", { rope_scaling: { type: ["yarn"] } }],
    ["factor", { rope_scaling: { type: "linear" } }],
    ["beta_fast", { rope_scaling: { type: "linear", factor: 2, beta_fast: 32 } }],
    ["type", { rope_scaling: { ...llama3, type: "yarn" } }],
    ["full_attention", { rope_parameters: { full_attention: { rope_type: "default" } } }],
    ["rope_theta", { rope_theta: 0 }],
    ["rope_theta", { rope_theta: -1 }],
    ["rope_theta", { rope_theta: Number.NaN }],
    ["rope_theta", { rope_theta: "10000" }],
    ["rope_theta", { rope_theta: 10000, rope_parameters: { rope_type: "default", rope_theta: 500000 } }],
    ["rope_scaling", { rope_scaling: llama3, rope_parameters: { rope_type: "default" } }],
    ["rope_scaling", { rope_scaling: "yarn" }],
    ["factor", { rope_scaling: { ...llama3, factor: 0 } }],
    ["factor", { rope_scaling: { ...llama3, factor: undefined } }],
    ["high_freq_factor", { rope_scaling: { ...llama3, high_freq_factor: 1 } }],
    ["original_max_position_embeddings", { rope_scaling: { ...llama3, original_max_position_embeddings: undefined } }],
    ["original_max_position_embeddings", { rope_scaling: llama3, original_max_position_embeddings: 4096 }],
    ["beta_fast", { rope_scaling: { type: "yarn", ...yarn, beta_fast: 0.5 } }],
    ["mscale", { rope_scaling: { ...llama3, mscale: 1 } }],
    ["truncate", { rope_scaling: { type: "yarn", ...yarn, truncate: 1 } }],
    ["partial_rotary_factor", { rope_parameters: { rope_type: "default", partial_rotary_factor: 0.25 } }],
  ];
  for (const [key, config] of bad)
    test(`refused: ${JSON.stringify(config)} (T32)`, () => expect(complaint(() => parseRope(config))).toContain(key));
});
