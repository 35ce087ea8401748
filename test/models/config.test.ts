import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { parseJson } from "../../src/core/json.ts";
import { parseRope, type RawConfig } from "../../src/models/config.ts";
import { parseDeepseek } from "../../src/models/deepseek-config.ts";
import { parseLlama } from "../../src/models/llama.ts";
import { readJson } from "./fixtures.ts";

const llama = readJson<RawConfig>("llama-gqa/config.json");
const deepseek = readJson<RawConfig>("deepseek-groups/config.json");

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

describe("settings that would change the computation are refused by name", () => {
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
  test("of DeepSeek alone", () => {
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
  const llama3 = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };
  const bad: readonly (readonly [string, RawConfig])[] = [
    ["rope_type", { rope_scaling: { type: "dynamic", factor: 2 } }],
    ["rope_type", { rope_scaling: { type: "longrope" } }],
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
