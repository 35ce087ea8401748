// The recipe of `gradually speedrun`: from random weights to a reasoner in ten minutes on two CPU cores. A DeepSeek-V3 shape (latent attention, a shared
// and eight routed experts, group-limited sigmoid gate, prediction of the token after the next) learns Countdown: worked examples first,
// then 1,000 verified traces, then reinforcement against the rule-based reward. LOG.md says how each number was found.

import { grpo } from "../train/grpo.ts";
import { pretrain } from "../train/pretrain.ts";
import { defineRecipe, type Recipe } from "../train/recipe.ts";
import { sft } from "../train/sft.ts";

/** `scale` multiplies the steps of pretraining and reinforcement: the one dial of a longer run. */
export function speedrunRecipe(scale = 1, seed = 1): Recipe {
  return defineRecipe({
    name: "countdown-reasoner",
    seed,
    task: { name: "countdown", options: { count: 3, min: 1, max: 12, targetMin: 1, targetMax: 99 } },
    // Digit runs and single signs: every number up to 99 becomes one token.
    tokenizer: { vocabSize: 350, examples: 2000, pattern: "\\p{N}+|Wait|\\P{N}" },
    model: {
      config: {
        model_type: "deepseek_v3",
        hidden_size: 128,
        intermediate_size: 384,
        moe_intermediate_size: 128,
        num_hidden_layers: 4,
        first_k_dense_replace: 1,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        n_routed_experts: 8,
        n_shared_experts: 1,
        num_experts_per_tok: 2,
        n_group: 2,
        topk_group: 1,
        norm_topk_prob: true,
        routed_scaling_factor: 1,
        scoring_func: "sigmoid",
        topk_method: "noaux_tc",
        num_nextn_predict_layers: 1,
        q_lora_rank: null,
        kv_lora_rank: 64,
        qk_nope_head_dim: 16,
        qk_rope_head_dim: 16,
        v_head_dim: 32,
        max_position_embeddings: 512,
        rms_norm_eps: 1e-6,
        rope_theta: 10000,
        tie_word_embeddings: false,
        initializer_range: 0.02,
        hidden_act: "silu",
        attention_bias: false,
      },
    },
    checkpointEvery: 500,
    // A kill costs half a minute at most; a checkpoint takes a tenth of a second.
    checkpointSeconds: 30,
    stages: [
      pretrain({
        steps: Math.round(1600 * scale),
        // Few long rows: documents fill them to 96 %, rows of 256 to 93 %.
        batchSize: 4,
        sequenceLength: 512,
        learningRate: 4e-3,
        schedule: "wsd",
        warmupSteps: 50,
        decayShare: 0.7,
        mtpShare: 0.25,
        data: { trace: { order: "written", sharpness: 0.5, maxAttempts: 6, waits: 2, waitShare: 0.35, giveUp: true, drill: 0.4 } },
      }),
      sft({
        epochs: 3,
        batchSize: 8,
        sequenceLength: 256,
        learningRate: 5e-4,
        mtpShare: 0.25,
        data: { examples: 1000, trace: { order: "written", sharpness: 0.5, maxAttempts: 6 } },
      }),
      grpo({
        steps: Math.round(90 * scale),
        promptsPerGeneration: 32,
        numGenerations: 8,
        maxCompletionLength: 240,
        slots: 256,
        learningRate: 3e-4,
        microbatchTokens: 2048,
        warmupSteps: 3,
        schedule: "cosine",
        finalShare: 0.2,
      }),
    ],
  });
}
