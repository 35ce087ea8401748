// Laws that hold for any shape of any family, over random ones (seeded): cached = uncached bit for bit however the sequence is cut, absorbed = plain,
// and a damaged config.json ends in a ConfigError, never in another error and never in a long computation.

import fc from "fast-check";
import { expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { ConfigError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { describeConfig } from "../../src/models/describe.ts";
import { createModel } from "../../src/models/load.ts";
import type { ForwardInput, Model } from "../../src/models/model.ts";
import { dispose, read, scope } from "../../src/tensor/tensor.ts";
import { appended, packed, readJson } from "./fixtures.ts";
import { fixtures } from "./model-suite.ts";

const seed = 20250120;
const device = openReference({ precision: "f32" });

const int = (min: number, max: number) => fc.integer({ min, max });
const sizes = { vocab_size: int(5, 40), hidden_size: int(3, 19), intermediate_size: int(1, 21), num_hidden_layers: int(1, 3) };
const fixed = { rms_norm_eps: 1e-6, initializer_range: 0.5, max_position_embeddings: 64 };
const scaling = fc.constantFrom(
  undefined,
  { rope_type: "linear", factor: 3 },
  { rope_type: "llama3", factor: 4, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8 },
  { rope_type: "yarn", factor: 4, original_max_position_embeddings: 8 },
);
const experts = { n: int(2, 7), k: int(1, 2), width: int(1, 9) };

const decoders = fc
  .record({
    ...sizes,
    model_type: fc.constantFrom("llama", "qwen2", "qwen3", "qwen3_moe"),
    G: int(1, 3),
    perGroup: int(1, 3),
    half: int(1, 5),
    tie_word_embeddings: fc.boolean(),
    attention_bias: fc.boolean(),
    norm_topk_prob: fc.boolean(),
    step: int(1, 2),
    rope_scaling: scaling,
    ...experts,
  })
  .map(({ G, perGroup, half, n, k, width, step, ...rest }) => ({
    ...fixed,
    ...rest,
    num_key_value_heads: G,
    num_attention_heads: G * perGroup,
    head_dim: 2 * half,
    num_experts: n,
    num_experts_per_tok: k,
    moe_intermediate_size: width,
    decoder_sparse_step: step,
  }));

const latents = fc
  .record({
    ...sizes,
    isV2: fc.boolean(),
    H: int(1, 3),
    q: fc.option(int(1, 7)),
    rank: int(1, 9),
    nope: int(1, 5),
    half: int(1, 3),
    v_head_dim: int(1, 7),
    first_k_dense_replace: int(0, 3),
    n_shared_experts: int(0, 2),
    groups: int(1, 3),
    perGroup: int(2, 3),
    k: experts.k,
    width: experts.width,
    routed_scaling_factor: fc.constantFrom(1, 2.5, 16),
    rope_scaling: fc.constantFrom(undefined, {
      type: "yarn",
      factor: 4,
      original_max_position_embeddings: 8,
      mscale: 1,
      mscale_all_dim: 0.7,
    }),
  })
  .map(({ isV2, H, q, rank, nope, half, groups, perGroup, k, width, ...rest }) => ({
    ...fixed,
    ...rest,
    model_type: isV2 ? "deepseek_v2" : "deepseek_v3",
    ...(isV2 && { topk_method: "group_limited_greedy" }),
    norm_topk_prob: !isV2,
    num_attention_heads: H,
    q_lora_rank: q,
    kv_lora_rank: rank,
    qk_nope_head_dim: nope,
    qk_rope_head_dim: 2 * half,
    n_group: groups,
    topk_group: 1,
    n_routed_experts: groups * perGroup,
    num_experts_per_tok: k,
    moe_intermediate_size: width,
  }));

async function logitsOf(model: Model, make: () => ForwardInput): Promise<number[]> {
  const logits = scope(() => model.forward(make()).logits);
  const values = [...(await read(logits))];
  dispose(logits);
  return values;
}

async function inPieces(model: Model, ids: readonly number[], cuts: readonly number[], absorbed: boolean): Promise<number[]> {
  const cache = model.makeCache(2, ids.length);
  const found: number[] = [];
  const borders = [0, ...[...new Set(cuts.map((cut) => cut % ids.length))].filter((cut) => cut > 0).sort((a, b) => a - b), ids.length];
  for (let i = 0; i + 1 < borders.length; i++) {
    const past = borders[i] as number;
    const piece = ids.slice(past, borders[i + 1]);
    const logits = await logitsOf(model, () => {
      const { rows, ...input } = appended(device, cache.length, [{ slot: 1, past, ids: piece }]);
      return { ...input, cache: { cache, rows }, absorbed };
    });
    found.push(...logits);
  }
  cache.dispose();
  return found;
}

for (const [label, configs, isLatent] of [
  ["Llama and Qwen", decoders, false],
  ["DeepSeek", latents, true],
] as const) {
  test(`${label}: any shape, cut anywhere, gives the whole pass bit for bit`, async () => {
    await fc.assert(
      fc.asyncProperty(
        configs,
        fc.array(fc.nat(), { minLength: 2, maxLength: 14 }),
        fc.array(fc.nat(), { maxLength: 5 }),
        async (config, raw, cuts) => {
          const ids = raw.map((id) => id % config.vocab_size);
          const model = createModel(device, config, new Random(7));
          try {
            const whole = await logitsOf(model, () => packed(device, [ids]));
            expect(whole.every(Number.isFinite)).toBe(true);
            expect(await inPieces(model, ids, cuts, false)).toEqual(whole);
            if (!isLatent) return;
            const size = Math.max(1, ...whole.map(Math.abs));
            const absorbed = await inPieces(model, ids, cuts, true);
            expect(Math.max(...absorbed.map((x, i) => Math.abs(x - (whole[i] as number))))).toBeLessThanOrEqual(1e-4 * size);
          } finally {
            model.dispose();
          }
        },
      ),
      { seed, numRuns: 100 },
    );
  });
}

test("a damaged config.json is a ConfigError, at once", () => {
  const names = Object.values(fixtures).flat();
  const configs = names.map((name) => readJson<Record<string, unknown>>(`${name}/config.json`));
  const value = fc.oneof(
    fc.constantFrom(
      null,
      undefined,
      true,
      false,
      "",
      "yarn",
      -1,
      0,
      0.5,
      1,
      2,
      3,
      2 ** 14,
      2 ** 24,
      2 ** 31,
      2 ** 53,
      Number.NaN,
      Infinity,
      [],
      {},
    ),
    fc.jsonValue({ maxDepth: 2 }),
  );
  let refused = 0;
  let accepted = 0;
  fc.assert(
    fc.property(fc.nat(), fc.array(fc.tuple(fc.nat(), value), { minLength: 1, maxLength: 3 }), (which, changes) => {
      const config = { ...(configs[which % configs.length] as Record<string, unknown>) };
      const keys = Object.keys(config);
      for (const [key, changed] of changes) config[keys[key % keys.length] as string] = changed;
      const started = performance.now();
      try {
        const { parameters, cacheBytesPerToken } = describeConfig(config);
        expect(Number.isFinite(parameters.total) && parameters.total > 0 && cacheBytesPerToken > 0).toBe(true);
        accepted++;
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError);
        refused++;
      }
      expect(performance.now() - started).toBeLessThan(2000);
    }),
    { seed, numRuns: 4000 },
  );
  expect(refused).toBeGreaterThan(500);
  expect(accepted).toBeGreaterThan(500);
});
