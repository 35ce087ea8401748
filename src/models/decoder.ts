// The decoder that Llama and Qwen share: pre-norm RMSNorm, grouped-query attention with half-split rotary embedding, SwiGLU or a mixture of
// experts. In: ids, positions and key ranges of flat rows. Out: logits, and what the gates chose. A family is a function from config.json to
// DecoderConfig (llama.ts, qwen.ts); what families differ in are its switches.

import type { Device } from "../backend/backend.ts";
import { attention, attentionStrided } from "../ops/attention.ts";
import { add } from "../ops/binary.ts";
import { cacheWrite } from "../ops/cache-write.ts";
import { embedding } from "../ops/embedding.ts";
import { reshape } from "../ops/reshape.ts";
import { rmsNorm } from "../ops/rms-norm.ts";
import { rope } from "../ops/rope.ts";
import { dispose, scope, type Tensor } from "../tensor/tensor.ts";
import { boolean, chooseContextLength, integer, limits, number, parseRope, type RawConfig, type RopeConfig, refuse } from "./config.ts";
import type { Family, ModelOptions, Plan } from "./family.ts";
import {
  advance,
  cachedHeads,
  checkInput,
  countParameters,
  type FeedForward,
  feedForward,
  finder,
  type Linear,
  linearEntries,
  makeCache,
  mlpEntries,
  outputHead,
  project,
} from "./layers.ts";
import { type Mixture, type MixtureConfig, makeMixture, mix, mixtureEntries } from "./mixture.ts";
import type { ForwardInput, ForwardOutput, Model, Routing } from "./model.ts";
import { makeRopeTables, type RopeTables } from "./rope-tables.ts";
import { disposeWeights, matrix, norm, skip, type WeightEntry, type Weights } from "./weights.ts";

// ---- config -----------------------------------------------------------------------------------------------------

type Sizes = {
  readonly vocab_size: number;
  readonly hidden_size: number;
  /** Of the dense layers. */
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly initializer_range: number;
  readonly tie_word_embeddings: boolean;
  readonly rope: RopeConfig;
};

export type DecoderConfig = Sizes & {
  readonly qkv_bias: boolean;
  readonly o_bias: boolean;
  readonly mlp_bias: boolean;
  /** RMSNorm over each head of q and k, before the rotation (Qwen3). */
  readonly qk_norm: boolean;
  /** Layers that are mixtures of experts; the others are dense. */
  readonly mixture?: { readonly moe: MixtureConfig; readonly layers: ReadonlySet<number> };
};

/** The keys that all these families spell alike. `headSize`: what a missing head_dim means. Throws ConfigError naming the key. */
export function parseSizes(raw: RawConfig, headSize: (hidden: number, heads: number) => number): Sizes {
  const hidden_size = integer(raw, "hidden_size", 1, limits.width);
  const num_attention_heads = integer(raw, "num_attention_heads", 1, limits.heads);
  const num_key_value_heads = integer(raw, "num_key_value_heads", 1, num_attention_heads, num_attention_heads);
  if (num_attention_heads % num_key_value_heads !== 0) {
    refuse("num_key_value_heads", String(num_key_value_heads), `a divisor of num_attention_heads, ${num_attention_heads}`);
  }
  const head_dim = integer(raw, "head_dim", 2, limits.headSize, headSize(hidden_size, num_attention_heads));
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
    rope: parseRope(raw),
  };
}

/** head_dim as most families have it when the key is missing. */
export const sharedWidth = (hidden: number, heads: number): number => hidden / heads;

// ---- attention --------------------------------------------------------------------------------------------------

type Attention = {
  readonly q: Linear;
  readonly k: Linear;
  readonly v: Linear;
  readonly o: Linear;
  /** [D] each. */
  readonly qNorm: Tensor | undefined;
  readonly kNorm: Tensor | undefined;
};
type Context = { readonly config: DecoderConfig; readonly tables: RopeTables; readonly input: ForwardInput };

/** x [R, C] -> [R, C]; `stored` are the layer's key and value caches [S, G, D]. */
function attend(x: Tensor, w: Attention, { config, tables, input }: Context, stored: readonly Tensor[] | undefined): Tensor {
  const { num_attention_heads: H, num_key_value_heads: G, head_dim: D, rms_norm_eps: eps } = config;
  const R = x.shape[0] as number;
  const heads = (part: Linear, count: number, weight: Tensor | undefined): Tensor => {
    const y = reshape(project(x, part), [R, count, D]);
    return rope(weight ? rmsNorm(y, weight, eps) : y, input.positions, tables, { offset: 0, dims: D, interleaved: false });
  };
  const q = heads(w.q, H, w.qNorm); // [R, H, D]
  const k = heads(w.k, G, w.kNorm); // [R, G, D]
  const v = reshape(project(x, w.v), [R, G, D]);
  const { first, last, parts } = input;
  const scale = D ** -0.5;
  let out: Tensor; // [R, H, D]
  if (stored && input.cache) {
    const { cache, rows, pages } = input.cache;
    const [keys, values] = stored as [Tensor, Tensor];
    cacheWrite(keys, cache.type, k, rows);
    cacheWrite(values, cache.type, v, rows);
    out = attentionStrided({
      q,
      k: cachedHeads(keys, D),
      v: cachedHeads(values, D),
      first,
      last,
      S: keys.shape[0] as number,
      G,
      Dv: D,
      scale,
      pages,
      type: cache.type,
    });
  } else out = attention(q, k, v, { first, last, parts, scale });
  return project(reshape(out, [R, H * D]), w.o);
}

// ---- block ------------------------------------------------------------------------------------------------------

type Block = {
  readonly layer: number;
  readonly inputNorm: Tensor;
  readonly attention: Attention;
  readonly postNorm: Tensor;
  readonly mlp: FeedForward | Mixture;
};

function runBlock(x: Tensor, w: Block, context: Context): { x: Tensor; routing?: Routing } {
  const eps = context.config.rms_norm_eps;
  const stored = context.input.cache?.cache.layers[w.layer];
  const h = add(x, attend(rmsNorm(x, w.inputNorm, eps), w.attention, context, stored));
  const normed = rmsNorm(h, w.postNorm, eps);
  if (!("experts" in w.mlp)) return { x: add(h, feedForward(normed, w.mlp)) };
  const { out, routing } = mix(normed, w.mlp, w.layer, Number.NEGATIVE_INFINITY);
  return { x: add(h, out), routing };
}

// ---- model ------------------------------------------------------------------------------------------------------

type Parts = { readonly modelType: string; readonly raw: RawConfig; readonly config: DecoderConfig };

function build(device: Device, { modelType, raw, config }: Parts, plan: Omit<Plan, "build">, weights: Weights): Model {
  const find = finder(weights);
  const { tensor, projection, mlp } = find;
  const embed = tensor("model.embed_tokens.weight"); // [V, C]
  const head = config.tie_word_embeddings ? embed : tensor("lm_head.weight");
  const finalNorm = tensor("model.norm.weight");
  const blocks = Array.from({ length: config.num_hidden_layers }, (_, layer): Block => {
    const at = `model.layers.${layer}`;
    const part = (name: string) => projection(`${at}.self_attn.${name}_proj`);
    const headNorm = (name: string) => (config.qk_norm ? tensor(`${at}.self_attn.${name}_norm.weight`) : undefined);
    return {
      layer,
      inputNorm: tensor(`${at}.input_layernorm.weight`),
      attention: { q: part("q"), k: part("k"), v: part("v"), o: part("o"), qNorm: headNorm("q"), kNorm: headNorm("k") },
      postNorm: tensor(`${at}.post_attention_layernorm.weight`),
      mlp: config.mixture?.layers.has(layer) ? makeMixture(find, `${at}.mlp`, config.mixture.moe) : mlp(`${at}.mlp`),
    };
  });
  const tables = makeRopeTables(device, config.rope, config.head_dim, plan.contextLength);

  function forward(input: ForwardInput): ForwardOutput {
    checkInput(`${modelType} forward`, input, [blocks.length], [2]);
    if (input.nextIds)
      refuse("num_nextn_predict_layers", "a request for multi-token prediction", "none: this model has no such head", "leave nextIds out");
    return scope(() => {
      const context = { config, tables, input };
      const routing: Routing[] = [];
      let x = embedding(embed, input.ids); // [R, C]
      for (const block of blocks) {
        const done = advance(x, (h) => runBlock(h, block, context));
        x = done.x;
        if (done.routing) routing.push(done.routing);
      }
      const logits = outputHead(x, input.outputRows, finalNorm, config.rms_norm_eps, head);
      return { logits, routing, ...(input.withHidden && { hidden: rmsNorm(x, finalNorm, config.rms_norm_eps) }) };
    });
  }

  return {
    device,
    config: raw,
    modelType,
    vocabSize: plan.vocabSize,
    contextLength: plan.contextLength,
    parameters: weights.parameters,
    buffers: weights.buffers,
    weightTable: plan.entries.map(({ row }) => row),
    parameterCount: { total: plan.parameterCount.total, active: plan.parameterCount.active },
    forward,
    makeCache: (slots, length, options = {}) => {
      if (options.nextHead)
        refuse("num_nextn_predict_layers", "a cache for multi-token prediction", "none: this model has no such head", "leave nextHead out");
      return makeCache(device, slots, length, plan.cacheShape, options.type);
    },
    dispose: () => {
      disposeWeights(weights);
      dispose(tables.cos, tables.sin);
    },
  };
}

// ---- weight names -----------------------------------------------------------------------------------------------

function weightEntries(config: DecoderConfig): WeightEntry[] {
  const { vocab_size: V, hidden_size: C, head_dim: D, num_attention_heads: H, num_key_value_heads: G, mixture } = config;
  const entries = [matrix("model.embed_tokens.weight", V, C)];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}`;
    const attn = `${at}.self_attn`;
    entries.push(
      norm(`${at}.input_layernorm.weight`, C),
      ...linearEntries(`${attn}.q_proj`, H * D, C, config.qkv_bias),
      ...linearEntries(`${attn}.k_proj`, G * D, C, config.qkv_bias),
      ...linearEntries(`${attn}.v_proj`, G * D, C, config.qkv_bias),
      ...linearEntries(`${attn}.o_proj`, C, H * D, config.o_bias),
      ...(config.qk_norm ? [norm(`${attn}.q_norm.weight`, D), norm(`${attn}.k_norm.weight`, D)] : []),
      skip(`${attn}.rotary_emb.inv_freq`, "older files store the rotary frequencies; they follow from the config"),
      norm(`${at}.post_attention_layernorm.weight`, C),
      ...(mixture?.layers.has(layer)
        ? mixtureEntries(`${at}.mlp`, mixture.moe, C)
        : mlpEntries(`${at}.mlp`, config.intermediate_size, C, config.mlp_bias)),
    );
  }
  entries.push(norm("model.norm.weight", C));
  entries.push(config.tie_word_embeddings ? skip("lm_head.weight", "the head is tied to the embedding") : matrix("lm_head.weight", V, C));
  return entries;
}

/** A family of these decoders. `architecture` is transformers' class. */
export function decoderFamily(modelType: string, architecture: string, parse: (raw: RawConfig) => DecoderConfig): Family {
  return {
    modelType,
    architecture,
    plan(raw: RawConfig, options: ModelOptions): Plan {
      const config = parse(raw);
      const entries = weightEntries(config);
      const moe = config.mixture?.moe;
      const row = [config.num_key_value_heads, config.head_dim];
      const plan = {
        entries,
        parameterCount: countParameters(entries, moe ? moe.num_experts_per_tok / moe.n_routed_experts : 1),
        cacheShape: { layers: config.num_hidden_layers, rowShapes: [row, row] },
        vocabSize: config.vocab_size,
        contextLength: chooseContextLength(config.max_position_embeddings, options.contextLength),
        initializerRange: config.initializer_range,
      };
      return { ...plan, build: (device, weights) => build(device, { modelType, raw, config }, plan, weights) };
    },
  };
}
