// Counts from config.json alone, against the published ones: of the configurations in ../shared/data, and of two whose settings are restated here.
// Publishers of mixtures leave the embedding table, of which a token reads one row, out of what they call active.

import { readFileSync } from "node:fs";
import * as path from "node:path";
import { describe, expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { ConfigError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { describeConfig } from "../../src/models/describe.ts";
import { createModel } from "../../src/models/load.ts";
import { sharedData } from "../shared-data.ts";
import { readJson } from "./fixtures.ts";

type Published = {
  /** Exact, as the Hub counts them, or billions rounded as the publisher did. */
  readonly total: number;
  readonly active?: number;
  /** Numbers that a token leaves in the cache of each layer, and layers. */
  readonly cache: readonly [number, number];
  readonly context: number;
};

const published: Readonly<Record<string, Published>> = {
  "DeepSeek-V2-Lite": { total: 15.7e9, active: 2.4e9, cache: [576, 27], context: 163840 },
  "DeepSeek-V2.5": { total: 236e9, active: 21e9, cache: [576, 60], context: 163840 },
  "DeepSeek-V3": { total: 671e9, active: 36.6e9, cache: [576, 61], context: 163840 },
  "DeepSeek-R1-Distill-Qwen-1.5B": { total: 1_777_088_000, cache: [2 * 2 * 128, 28], context: 131072 },
  "Llama-3.2-1B-Instruct": { total: 1_235_814_400, cache: [2 * 8 * 64, 16], context: 131072 },
  "Qwen2.5-0.5B-Instruct": { total: 494_032_768, cache: [2 * 2 * 64, 24], context: 32768 },
  "Qwen2.5-1.5B-Instruct": { total: 1_543_714_304, cache: [2 * 2 * 128, 28], context: 32768 },
  "Qwen2.5-7B-Instruct": { total: 7_615_616_512, cache: [2 * 4 * 128, 28], context: 32768 },
  "Qwen2.5-32B-Instruct": { total: 32_763_876_352, cache: [2 * 8 * 128, 64], context: 131072 },
  "Qwen3-8B": { total: 8_190_735_360, cache: [2 * 8 * 128, 36], context: 40960 },
  "qwen3-0.6b-base-think-sft": { total: 0.6e9, cache: [2 * 8 * 128, 28], context: 40960 },
};

function check(config: unknown, { total, active, cache: [numbers, layers], context }: Published): void {
  const { parameters, embeddingParameters, ...description } = describeConfig(config);
  const close = (found: number, wanted: number, share: number) => expect(Math.abs(found / wanted - 1)).toBeLessThan(share);
  const main = parameters.total - parameters.nextHead;
  if (total % 1e6 === 0) close(main, total, 0.01);
  else expect(main).toBe(total);
  if (active === undefined) expect(parameters.active).toBe(main);
  else close(parameters.active - embeddingParameters, active, 0.025); // 2.4 is 2.45 rounded down
  expect(description).toMatchObject({
    layers,
    contextLength: context,
    cachedNumbersPerToken: numbers * layers,
    cacheBytesPerToken: 4 * numbers * layers,
  });
}

for (const [name, expected] of Object.entries(published)) {
  test.skipIf(!sharedData)(`${name}: parameters, active parameters, cache and context as published`, () => {
    check(JSON.parse(readFileSync(path.join(sharedData as string, "configs", name, "config.json"), "utf8")), expected);
  });
}

test.skipIf(!sharedData)("DeepSeek-V3's prediction layer: 11.5 billion of its own; without it in the file it is not counted", () => {
  const config = JSON.parse(readFileSync(path.join(sharedData as string, "configs/DeepSeek-V3/config.json"), "utf8"));
  const { parameters } = describeConfig(config);
  expect(Math.abs(parameters.nextHead / 11.5e9 - 1)).toBeLessThan(0.01);
  const without = describeConfig(config, {}, new Set(["model.embed_tokens.weight"]));
  expect(without.parameters).toEqual({ total: parameters.total - parameters.nextHead, active: parameters.active, nextHead: 0 });
});

const qwen3Moe = {
  model_type: "qwen3_moe",
  vocab_size: 151936,
  head_dim: 128,
  num_key_value_heads: 4,
  decoder_sparse_step: 1,
  mlp_only_layers: [],
  norm_topk_prob: true,
  num_experts: 128,
  num_experts_per_tok: 8,
  max_position_embeddings: 40960,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  tie_word_embeddings: false,
};

test("Qwen3-30B-A3B and 235B-A22B: parameters as published", () => {
  const small = { hidden_size: 2048, intermediate_size: 6144, moe_intermediate_size: 768, num_attention_heads: 32, num_hidden_layers: 48 };
  const large = {
    hidden_size: 4096,
    intermediate_size: 12288,
    moe_intermediate_size: 1536,
    num_attention_heads: 64,
    num_hidden_layers: 94,
  };
  const counts = [small, large].map((sizes) => describeConfig({ ...qwen3Moe, ...sizes }).parameters);
  expect(counts.map(({ total, active }) => [total / 1e9, active / 1e9].map((x) => Number(x.toPrecision(3))))).toEqual([
    [30.5, 3.35],
    [235, 22.2],
  ]);
});

test("R1's distil into Llama-3.1-8B: the parameters of the Hub, to the last", () => {
  const config = {
    model_type: "llama",
    vocab_size: 128256,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    max_position_embeddings: 131072,
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 },
    tie_word_embeddings: false,
  };
  expect(describeConfig(config).parameters.total).toBe(8_030_261_248);
});

describe("a description is the model's", () => {
  for (const name of ["llama-gqa", "qwen3-moe-sparse", "deepseek-mtp", "deepseek-v2-lite"]) {
    test(name, () => {
      const config = readJson(`${name}/config.json`);
      const description = describeConfig(config);
      const device = openReference();
      const model = createModel(device, config, new Random(1));
      const cache = model.makeCache(1, 3);
      expect(description).toMatchObject({
        modelType: model.modelType,
        vocabSize: model.vocabSize,
        contextLength: model.contextLength,
        parameters: model.parameterCount,
        layers: cache.layers.length,
        cacheBytesPerToken: cache.bytesPerToken,
      });
      cache.dispose();
      model.dispose();
    });
  }
});

test("what is no supported configuration is refused by name, and the largest allowed takes no time", () => {
  for (const config of [null, [], "llama", { model_type: "gpt2" }, { model_type: "qwen2" }])
    expect(() => describeConfig(config)).toThrow(ConfigError);
  const started = performance.now();
  const huge = {
    hidden_size: 2 ** 18,
    intermediate_size: 2 ** 18,
    moe_intermediate_size: 2 ** 10,
    num_attention_heads: 4096,
    num_hidden_layers: 4096,
  };
  const { parameters } = describeConfig({ ...qwen3Moe, ...huge, num_experts: 2 ** 14 });
  expect(parameters.total).toBeGreaterThan(1e15);
  expect(performance.now() - started).toBeLessThan(5000);
});
