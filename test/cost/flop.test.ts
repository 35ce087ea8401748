import { expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { Random } from "../../src/core/random.ts";
import { attendedKeys, causalKeys, flopShape, forwardFlop, trainingFlop } from "../../src/cost/flop.ts";
import { packBatch } from "../../src/data/pack.ts";
import { createModel } from "../../src/models/load.ts";
import { readJson } from "../models/fixtures.ts";

const llama = { hidden_size: 8, num_attention_heads: 2, num_hidden_layers: 3, tie_word_embeddings: false };

test("reads both spellings of attention, and leaves out a table that is only looked up", () => {
  const shape = (config: object) =>
    flopShape({
      config: { ...config },
      parameterCount: { total: 5000, active: 1000 },
      vocabSize: 10,
      parameters: new Map(),
      weightTable: [],
    });
  expect(shape(llama)).toEqual({ parameters: 1000 - 80, attentionWidth: 3 * 2 * (4 + 4) });
  expect(shape({ ...llama, tie_word_embeddings: true }).parameters).toBe(1000);
  expect(shape({ ...llama, head_dim: 16 }).attentionWidth).toBe(3 * 2 * 32);
  const latent = { ...llama, kv_lora_rank: 4, qk_nope_head_dim: 6, qk_rope_head_dim: 2, v_head_dim: 5, head_dim: 99 };
  expect(shape(latent).attentionWidth).toBe(3 * 2 * (8 + 5));
});

test("training a model with a next head runs one layer and one output head more", async () => {
  const device = openReference({ precision: "f32" });
  const config = readJson<Record<string, number>>("deepseek-mtp/config.json");
  // With every expert chosen, what is active is everything; the table is looked up, but the head runs twice.
  const all = { ...config, num_experts_per_tok: config.n_routed_experts, topk_group: config.n_group };
  const whole = createModel(device, all, new Random(1));
  expect(flopShape(whole, { nextHead: true }).parameters).toBe(whole.parameterCount.total);
  // With fewer, each mixture layer (the next head's too) leaves out 3 matrices of every expert not chosen.
  const model = createModel(device, config, new Random(1));
  const { n_routed_experts: E, num_experts_per_tok: K, moe_intermediate_size: F, hidden_size: C, num_hidden_layers: L } = config;
  const mixtures = L! - config.first_k_dense_replace! + 1;
  expect(K!).toBeLessThan(E!);
  expect(flopShape(model, { nextHead: true }).parameters).toBe(model.parameterCount.total - mixtures * (E! - K!) * 3 * F! * C!);
  expect(flopShape(model, { nextHead: true }).attentionWidth).toBe((flopShape(model).attentionWidth / L!) * (L! + 1));
  expect(flopShape(model).parameters).toBe(model.parameterCount.active - config.vocab_size! * C!);
  whole.dispose();
  model.dispose();
  await device.close();
});

test("counts a one-layer model by hand", () => {
  // One head of size 4 over 3 tokens, causal: 1 + 2 + 3 keys; each needs 4 multiply-adds for its score and 4 for its value.
  const shape = { parameters: 100, attentionWidth: 8 };
  expect(causalKeys(3)).toBe(6);
  expect(forwardFlop(shape, 3, 6)).toBe(2 * 100 * 3 + 2 * 6 * (4 + 4));
  expect(trainingFlop(shape, 3, 6)).toBe(3 * forwardFlop(shape, 3, 6));
  expect(trainingFlop(shape, 3, 0)).toBe(6 * 100 * 3);
});

test("attended keys: generation one by one equals the whole sequence; packed documents see only themselves", () => {
  let keys = causalKeys(5);
  for (let n = 5; n < 12; n++) keys += causalKeys(n + 1, n);
  expect(keys).toBe(causalKeys(12));
  const documents = [{ ids: [1, 2, 3, 4] }, { ids: [5, 6] }];
  let i = 0;
  const batch = packBatch(() => documents[i++], { B: 1, T: 6 });
  expect(attendedKeys(batch.first, batch.last)).toBe(causalKeys(4) + causalKeys(2));
});

test("DeepSeek-V3's 14.8T tokens come near the published 3.3e24 FLOP", () => {
  const shape = { parameters: 37e9, attentionWidth: 61 * 128 * (192 + 128) };
  expect(trainingFlop(shape, 14.8e12, 0)).toBeCloseTo(3.29e24, -22);
  expect(trainingFlop(shape, 14.8e12, (14.8e12 * 4097) / 2) / 3.29e24).toBeLessThan(1.15);
});
