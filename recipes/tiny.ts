// A run of seconds through every stage, with everything on that a checkpoint must hold: a DeepSeek-V3 shape with mixture, gate bias and prediction
// head, accumulation, data on disk and made on demand, rollouts that are used twice, a reference model. It learns next to nothing; the
// kill tests (test/train/kill.ts) stop it at random moments and compare what comes out.

import { grpo } from "../src/train/grpo.ts";
import { pretrain } from "../src/train/pretrain.ts";
import { defineRecipe } from "../src/train/recipe.ts";
import { sft } from "../src/train/sft.ts";

export const recipe = defineRecipe({
  name: "tiny",
  seed: 7,
  task: { name: "arithmetic", options: { steps: 1, max: 3, operators: "+" } },
  tokenizer: { vocabSize: 264, examples: 50, pattern: null },
  model: {
    config: {
      model_type: "deepseek_v3",
      hidden_size: 16,
      intermediate_size: 24,
      moe_intermediate_size: 8,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      num_key_value_heads: 2,
      n_routed_experts: 4,
      n_shared_experts: 1,
      num_experts_per_tok: 2,
      n_group: 1,
      topk_group: 1,
      norm_topk_prob: true,
      routed_scaling_factor: 1,
      first_k_dense_replace: 1,
      num_nextn_predict_layers: 1,
      q_lora_rank: null,
      kv_lora_rank: 8,
      qk_nope_head_dim: 4,
      qk_rope_head_dim: 4,
      v_head_dim: 4,
      max_position_embeddings: 64,
      rms_norm_eps: 1e-6,
      rope_theta: 10000,
      tie_word_embeddings: true,
    },
  },
  checkpointEvery: 3,
  detailEvery: 4,
  stages: [
    pretrain({
      steps: 60,
      batchSize: 2,
      sequenceLength: 32,
      microbatches: 2,
      warmupSteps: 4,
      schedule: "wsd",
      learningRate: 0.02,
      weightDecay: 0,
    }),
    sft({ data: { examples: 4 }, epochs: 8, batchSize: 1, sequenceLength: 32, learningRate: 0.01 }),
    grpo({
      steps: 8,
      promptsPerGeneration: 4,
      numGenerations: 4,
      maxPromptLength: 12,
      maxCompletionLength: 12,
      numIterations: 2,
      beta: 0.01,
      slots: 8,
      microbatchTokens: 160,
      learningRate: 3e-3,
      warmupSteps: 1,
    }),
  ],
});
