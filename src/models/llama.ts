// Llama (2, 3.x): pre-norm RMSNorm, grouped-query attention with half-split rotary embedding, SwiGLU. In: ids, positions and key ranges of
// flat rows. Out: logits. Also its options that published models use: explicit head_dim, tied head, biases, Llama 3.1's rope scaling.

import type { Device } from "../backend/backend.ts";
import { attention } from "../ops/attention.ts";
import { add } from "../ops/binary.ts";
import { embedding } from "../ops/embedding.ts";
import { scatterRows } from "../ops/gather-rows.ts";
import { reshape } from "../ops/reshape.ts";
import { rmsNorm } from "../ops/rms-norm.ts";
import { rope } from "../ops/rope.ts";
import { dispose, scope, type Tensor } from "../tensor/tensor.ts";
import {
  boolean,
  checkCommon,
  chooseContextLength,
  integer,
  limits,
  number,
  parseRope,
  type RawConfig,
  type RopeConfig,
  refuse,
} from "./config.ts";
import type { Family, ModelOptions } from "./family.ts";
import {
  advance,
  checkInput,
  countParameters,
  type FeedForward,
  feedForward,
  finder,
  type Linear,
  makeCache,
  outputHead,
  project,
} from "./layers.ts";
import type { ForwardInput, ForwardOutput, Model } from "./model.ts";
import { makeRopeTables, type RopeTables } from "./rope-tables.ts";
import { bias, disposeWeights, matrix, norm, skip, type WeightEntry, type Weights } from "./weights.ts";

// ---- config -----------------------------------------------------------------------------------------------------

export type LlamaConfig = {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly initializer_range: number;
  readonly tie_word_embeddings: boolean;
  readonly attention_bias: boolean;
  readonly mlp_bias: boolean;
  readonly rope: RopeConfig;
};

/** Defaults are those of the family's first configs, which left the keys out. Throws ConfigError naming the key. */
export function parseLlama(raw: RawConfig): LlamaConfig {
  checkCommon(raw);
  const hidden_size = integer(raw, "hidden_size", 1, limits.width);
  const num_attention_heads = integer(raw, "num_attention_heads", 1, limits.heads);
  const num_key_value_heads = integer(raw, "num_key_value_heads", 1, num_attention_heads, num_attention_heads);
  if (num_attention_heads % num_key_value_heads !== 0) {
    refuse("num_key_value_heads", String(num_key_value_heads), `a divisor of num_attention_heads, ${num_attention_heads}`);
  }
  const head_dim = integer(raw, "head_dim", 2, limits.headSize, hidden_size / num_attention_heads);
  if (head_dim % 2 !== 0) refuse("head_dim", String(head_dim), "an even number: rotary embedding turns pairs");
  return {
    vocab_size: integer(raw, "vocab_size", 1, limits.vocab),
    hidden_size,
    intermediate_size: integer(raw, "intermediate_size", 1, limits.width),
    num_hidden_layers: integer(raw, "num_hidden_layers", 1, limits.layers),
    num_attention_heads,
    num_key_value_heads,
    head_dim,
    max_position_embeddings: integer(raw, "max_position_embeddings", 1, limits.positions),
    rms_norm_eps: number(raw, "rms_norm_eps", 1e-12, 1),
    initializer_range: number(raw, "initializer_range", 0, 10, 0.02),
    tie_word_embeddings: boolean(raw, "tie_word_embeddings", false),
    attention_bias: boolean(raw, "attention_bias", false),
    mlp_bias: boolean(raw, "mlp_bias", false),
    rope: parseRope(raw),
  };
}

// ---- attention --------------------------------------------------------------------------------------------------

type Attention = { readonly q: Linear; readonly k: Linear; readonly v: Linear; readonly o: Linear };
type Context = { readonly config: LlamaConfig; readonly tables: RopeTables; readonly input: ForwardInput };

/** x [R, C] -> [R, C]; `stored` are the layer's key and value caches [S, G, D]. */
function attend(x: Tensor, w: Attention, { config, tables, input }: Context, stored: readonly Tensor[] | undefined): Tensor {
  const { num_attention_heads: H, num_key_value_heads: G, head_dim: D } = config;
  const R = x.shape[0] as number;
  const rotation = { offset: 0, dims: D, interleaved: false };
  const q = rope(reshape(project(x, w.q), [R, H, D]), input.positions, tables, rotation); // [R, H, D]
  let k = rope(reshape(project(x, w.k), [R, G, D]), input.positions, tables, rotation); // [R, G, D]
  let v = reshape(project(x, w.v), [R, G, D]);
  if (stored && input.cache) {
    const [keys, values] = stored as [Tensor, Tensor];
    scatterRows(keys, k, input.cache.rows);
    scatterRows(values, v, input.cache.rows);
    k = keys; // [S, G, D]
    v = values;
  }
  const { first, last, parts } = input;
  const out = attention(q, k, v, { first, last, parts, scale: D ** -0.5, pages: input.cache?.pages }); // [R, H, D]
  return project(reshape(out, [R, H * D]), w.o);
}

// ---- block ------------------------------------------------------------------------------------------------------

type Block = { readonly inputNorm: Tensor; readonly attention: Attention; readonly postNorm: Tensor; readonly mlp: FeedForward };

function runBlock(x: Tensor, w: Block, context: Context, stored: readonly Tensor[] | undefined): Tensor {
  const eps = context.config.rms_norm_eps;
  const h = add(x, attend(rmsNorm(x, w.inputNorm, eps), w.attention, context, stored));
  return add(h, feedForward(rmsNorm(h, w.postNorm, eps), w.mlp));
}

// ---- model ------------------------------------------------------------------------------------------------------

function build(
  device: Device,
  raw: RawConfig,
  config: LlamaConfig,
  contextLength: number,
  entries: readonly WeightEntry[],
  weights: Weights,
): Model {
  const { tensor, projection, mlp } = finder(weights);
  const embed = tensor("model.embed_tokens.weight"); // [V, C]
  const head = config.tie_word_embeddings ? embed : tensor("lm_head.weight");
  const finalNorm = tensor("model.norm.weight");
  const blocks = Array.from({ length: config.num_hidden_layers }, (_, i): Block => {
    const at = `model.layers.${i}`;
    const part = (name: string) => projection(`${at}.self_attn.${name}_proj`);
    return {
      inputNorm: tensor(`${at}.input_layernorm.weight`),
      attention: { q: part("q"), k: part("k"), v: part("v"), o: part("o") },
      postNorm: tensor(`${at}.post_attention_layernorm.weight`),
      mlp: mlp(`${at}.mlp`),
    };
  });
  const tables = makeRopeTables(device, config.rope, config.head_dim, contextLength);

  function forward(input: ForwardInput): ForwardOutput {
    checkInput("llama forward", input, blocks.length, [2]);
    if (input.nextIds)
      refuse("num_nextn_predict_layers", "a request for multi-token prediction", "none: llama has no such head", "leave nextIds out");
    return scope(() => {
      const context = { config, tables, input };
      let x = embedding(embed, input.ids); // [R, C]
      for (const [i, block] of blocks.entries()) {
        x = advance(x, (h) => ({ x: runBlock(h, block, context, input.cache?.cache.layers[i]) })).x;
      }
      return { logits: outputHead(x, input.outputRows, finalNorm, config.rms_norm_eps, head), routing: [] };
    });
  }

  return {
    device,
    config: raw,
    modelType: llama.modelType,
    vocabSize: config.vocab_size,
    contextLength,
    parameters: weights.parameters,
    buffers: weights.buffers,
    weightTable: entries.map(({ row }) => row),
    parameterCount: countParameters(entries, weights, 1),
    forward,
    makeCache: (slots, length) => {
      const row = [config.num_key_value_heads, config.head_dim];
      return makeCache(device, slots, length, blocks.length, [row, row]);
    },
    dispose: () => {
      disposeWeights(weights);
      dispose(tables.cos, tables.sin);
    },
  };
}

// ---- weight names -----------------------------------------------------------------------------------------------

function weightEntries(config: LlamaConfig): WeightEntry[] {
  const { vocab_size: V, hidden_size: C, intermediate_size: F, head_dim: D } = config;
  const entries: WeightEntry[] = [];
  const linear = (name: string, N: number, K: number, withBias: boolean) => {
    entries.push(matrix(`${name}.weight`, N, K));
    if (withBias) entries.push(bias(`${name}.bias`, N));
  };
  entries.push(matrix("model.embed_tokens.weight", V, C));
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const at = `model.layers.${i}`;
    entries.push(norm(`${at}.input_layernorm.weight`, C));
    linear(`${at}.self_attn.q_proj`, config.num_attention_heads * D, C, config.attention_bias);
    linear(`${at}.self_attn.k_proj`, config.num_key_value_heads * D, C, config.attention_bias);
    linear(`${at}.self_attn.v_proj`, config.num_key_value_heads * D, C, config.attention_bias);
    linear(`${at}.self_attn.o_proj`, C, config.num_attention_heads * D, config.attention_bias);
    entries.push(skip(`${at}.self_attn.rotary_emb.inv_freq`, "older files store the rotary frequencies; they follow from the config"));
    entries.push(norm(`${at}.post_attention_layernorm.weight`, C));
    linear(`${at}.mlp.gate_proj`, F, C, config.mlp_bias);
    linear(`${at}.mlp.up_proj`, F, C, config.mlp_bias);
    linear(`${at}.mlp.down_proj`, C, F, config.mlp_bias);
  }
  entries.push(norm("model.norm.weight", C));
  entries.push(config.tie_word_embeddings ? skip("lm_head.weight", "the head is tied to the embedding") : matrix("lm_head.weight", V, C));
  return entries;
}

export const llama: Family = {
  modelType: "llama",
  architecture: "LlamaForCausalLM",
  plan(raw: RawConfig, options: ModelOptions) {
    const config = parseLlama(raw);
    const contextLength = chooseContextLength(config.max_position_embeddings, options.contextLength);
    const entries = weightEntries(config);
    return {
      entries,
      initializerRange: config.initializer_range,
      build: (device, weights) => build(device, raw, config, contextLength, entries, weights),
    };
  },
};
