import { expect, test } from "vitest";
import { attendedKeys, causalKeys, flopShape, forwardFlop, trainingFlop } from "../../src/cost/flop.ts";
import { packBatch } from "../../src/data/pack.ts";

const llama = { hidden_size: 8, num_attention_heads: 2, num_hidden_layers: 3, tie_word_embeddings: false };

test("reads both spellings of attention, and leaves out a table that is only looked up", () => {
  const count = { total: 5000, active: 1000 };
  expect(flopShape({ config: llama, parameterCount: count, vocabSize: 10 })).toEqual({
    parameters: 1000 - 80,
    attentionWidth: 3 * 2 * (4 + 4),
  });
  expect(flopShape({ config: { ...llama, tie_word_embeddings: true }, parameterCount: count, vocabSize: 10 }).parameters).toBe(1000);
  expect(flopShape({ config: { ...llama, head_dim: 16 }, parameterCount: count, vocabSize: 10 }).attentionWidth).toBe(3 * 2 * 32);
  const latent = { ...llama, kv_lora_rank: 4, qk_nope_head_dim: 6, qk_rope_head_dim: 2, v_head_dim: 5, head_dim: 99 };
  expect(flopShape({ config: latent, parameterCount: count, vocabSize: 10 }).attentionWidth).toBe(3 * 2 * (8 + 5));
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
