// DeepSeek-V2 and DeepSeek-V3 (deepseek_v2, deepseek_v3): multi-head latent attention, DeepSeekMoE, and V3's multi-token prediction head.
// In: ids, positions and key ranges of flat rows. Out: logits, MTP logits, what the gates chose. Unusual: the layer after the last is
// the prediction head's; the main model skips it. Attention: latent-attention.ts. Gate and experts: mixture.ts. Settings and weight
// names: deepseek-config.ts.

import type { Device } from "../backend/backend.ts";
import { showShape } from "../core/shape.ts";
import { add } from "../ops/binary.ts";
import { concat, slice } from "../ops/copy.ts";
import { embedding } from "../ops/embedding.ts";
import { gatherRows } from "../ops/gather-rows.ts";
import { linear } from "../ops/matmul.ts";
import { rmsNorm } from "../ops/rms-norm.ts";
import { alias, dispose, scope, type Tensor } from "../tensor/tensor.ts";
import { chooseContextLength, type RawConfig, refuse } from "./config.ts";
import { type DeepseekConfig, mixtureOf, parseDeepseek, weightEntries } from "./deepseek-config.ts";
import type { Family, ModelOptions, Plan } from "./family.ts";
import { type AttentionContext, attend, cacheRowShapes, type LatentAttention, makeAttention, makeContext } from "./latent-attention.ts";
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
import { type Mixture, makeMixture, mix } from "./mixture.ts";
import type { ForwardInput, ForwardOutput, Model, NextInput, NextOutput, Routing } from "./model.ts";
import { makeRopeTables } from "./rope-tables.ts";
import { disposeWeights, type Weights } from "./weights.ts";

// ---- block ------------------------------------------------------------------------------------------------------

type Block = {
  readonly layer: number;
  readonly inputNorm: Tensor;
  readonly attention: LatentAttention;
  readonly postNorm: Tensor;
  readonly mlp: FeedForward | Mixture;
};
type Context = AttentionContext & { readonly masked: number };

/** x [R, C] -> [R, C], with the keys that the cache holds for this layer. */
function runBlock(x: Tensor, w: Block, context: Context): { x: Tensor; routing?: Routing } {
  const eps = context.config.rms_norm_eps;
  const stored = context.input.cache?.cache.layers[w.layer];
  const h = add(x, attend(rmsNorm(x, w.inputNorm, eps), w.attention, context, stored));
  const normed = rmsNorm(h, w.postNorm, eps);
  if (!("experts" in w.mlp)) return { x: add(h, feedForward(normed, w.mlp)) };
  const { out, routing } = mix(normed, w.mlp, w.layer, context.masked);
  return { x: add(h, out), routing };
}

// ---- multi-token prediction -------------------------------------------------------------------------------------

type NextHead = {
  readonly embedNorm: Tensor;
  readonly hiddenNorm: Tensor;
  readonly join: Linear;
  readonly block: Block;
  readonly norm: Tensor;
};

/**
 * Depth 1: hidden [R, C] (after the final norm) and the embedding of the token after each row -> [R, C], whose head gives the token after
 * that. The embedding comes first in the concatenation, as in the shipped checkpoint (the paper has it second).
 */
function runNextHead(hidden: Tensor, nextIds: Tensor, w: NextHead, embed: Tensor, context: Context): ReturnType<typeof runBlock> {
  const eps = context.config.rms_norm_eps;
  const joined = concat([rmsNorm(embedding(embed, nextIds), w.embedNorm, eps), rmsNorm(hidden, w.hiddenNorm, eps)], 1); // [R, 2C]
  return runBlock(project(joined, w.join), w.block, context);
}

/** The first N rows, which are whole parts (all of them with a cache), as the prediction head takes them. */
function firstParts(input: ForwardInput, hidden: Tensor, N: number): Omit<NextInput, "nextIds"> {
  const R = hidden.shape[0] as number;
  if (N === R) return { ...input, hidden };
  const { positions, first, last, parts = 1 } = input;
  const head = (indices: Tensor) => alias(indices, [N]);
  return { hidden: slice(hidden, 0, 0, N), positions: head(positions), first: head(first), last: head(last), parts: (parts * N) / R };
}

// ---- model ------------------------------------------------------------------------------------------------------

type Parts = {
  readonly modelType: string;
  readonly raw: RawConfig;
  readonly config: DeepseekConfig;
  readonly masked: number;
};

function build(device: Device, { modelType, raw, config, masked }: Parts, plan: Omit<Plan, "build">, weights: Weights): Model {
  const { num_hidden_layers: L, rms_norm_eps: eps } = config;
  const find = finder(weights);
  const { tensor, projection, mlp } = find;
  const embed = tensor("model.embed_tokens.weight"); // [V, C]
  const head = config.tie_word_embeddings ? embed : tensor("lm_head.weight");
  const finalNorm = tensor("model.norm.weight");

  function makeBlock(layer: number): Block {
    const at = `model.layers.${layer}`;
    const moe = mixtureOf(config, layer);
    return {
      layer,
      inputNorm: tensor(`${at}.input_layernorm.weight`),
      attention: makeAttention(find, `${at}.self_attn`, config),
      postNorm: tensor(`${at}.post_attention_layernorm.weight`),
      mlp: moe ? makeMixture(find, `${at}.mlp`, moe) : mlp(`${at}.mlp`),
    };
  }

  function makeNextHead(): NextHead {
    const at = `model.layers.${L}`;
    return {
      embedNorm: tensor(`${at}.enorm.weight`),
      hiddenNorm: tensor(`${at}.hnorm.weight`),
      join: projection(`${at}.eh_proj`),
      block: makeBlock(L),
      norm: tensor(`${at}.shared_head.norm.weight`),
    };
  }

  const blocks = Array.from({ length: L }, (_, layer) => makeBlock(layer));
  const nextHead = config.num_nextn_predict_layers ? makeNextHead() : undefined;
  const tables = makeRopeTables(device, config.rope, config.qk_rope_head_dim, plan.contextLength);

  const attentions = [...blocks, ...(nextHead ? [nextHead.block] : [])].map(({ attention }) => attention);
  const contextOf = (input: AttentionContext["input"]): Context => ({ ...makeContext({ config, tables, input }, attentions), masked });

  function checkAbsorbed({ absorbed, cache }: Pick<ForwardInput, "absorbed" | "cache">): void {
    if (absorbed && cache?.cache.layers[0]?.length !== 1)
      refuse("absorbed", "no latent cache", "a cache of latents", "use makeCache without `expanded`, or the plain form");
  }

  function forward(input: ForwardInput): ForwardOutput {
    checkInput("deepseek forward", input, nextHead ? [L, L + 1] : [L], [1, 2]);
    checkAbsorbed(input);
    if (input.nextIds && !nextHead)
      refuse("num_nextn_predict_layers", "a request for multi-token prediction", "a model with that head", "leave nextIds out");
    if (input.nextIds && input.cache && input.cache.cache.layers.length === L)
      refuse("nextIds", "a cache without a layer for the prediction head", "one with it", "use makeCache with `nextHead`");
    return scope(() => {
      const context = contextOf(input);
      const routing: Routing[] = [];
      let x = embedding(embed, input.ids); // [R, C]
      for (const block of blocks) {
        const done = advance(x, (h) => runBlock(h, block, context));
        x = done.x;
        if (done.routing) routing.push(done.routing);
      }
      const { outputRows, nextIds, withHidden } = input;
      if (!nextIds && !withHidden) return { logits: outputHead(x, outputRows, finalNorm, eps, head), routing };
      const hidden = rmsNorm(x, finalNorm, eps); // [R, C]
      const logits = linear(outputRows ? gatherRows(hidden, outputRows) : hidden, head);
      const next = nextIds && predict({ ...firstParts(input, hidden, nextIds.shape[0] as number), nextIds, outputRows: input.nextRows });
      return {
        logits,
        routing: next ? [...routing, ...next.routing] : routing,
        ...(next && { mtpLogits: next.logits }),
        ...(withHidden && { hidden }),
      };
    });
  }

  function predict(input: NextInput): NextOutput {
    return scope(() => {
      const { hidden, nextIds, outputRows } = input;
      const w = nextHead as NextHead;
      const { x, routing } = runNextHead(hidden, nextIds, w, embed, contextOf(input));
      return { logits: outputHead(x, outputRows, w.norm, eps, head), routing: routing ? [routing] : [] };
    });
  }

  function predictNext(input: NextInput): NextOutput {
    const rows = checkInput("deepseek predictNext", { ...input, ids: input.nextIds }, [L + 1], [1, 2]);
    checkAbsorbed(input);
    const { shape } = input.hidden;
    if (shape.length !== 2 || shape[0] !== rows || shape[1] !== config.hidden_size)
      refuse("hidden", showShape(shape), showShape([rows, config.hidden_size]), "give `hidden` of a forward pass with `withHidden`");
    return predict(input);
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
    ...(nextHead && { predictNext }),
    makeCache: (slots, length, options = {}) => {
      if (options.nextHead && !nextHead)
        refuse("num_nextn_predict_layers", "a cache for multi-token prediction", "a model with that head", "leave nextHead out");
      const rowShapes = cacheRowShapes(config, options.expanded ?? false);
      return makeCache(device, slots, length, { layers: options.nextHead ? L + 1 : L, rowShapes }, options.type);
    },
    dispose: () => {
      disposeWeights(weights);
      dispose(tables.cos, tables.sin);
    },
  };
}

function family(modelType: string, architecture: string): Family {
  return {
    modelType,
    architecture,
    plan(raw: RawConfig, options: ModelOptions, names?: ReadonlySet<string>): Plan {
      let config = parseDeepseek(raw);
      // transformers leaves the MTP layer out when it saves, and still writes num_nextn_predict_layers 1.
      const next = `model.layers.${config.num_hidden_layers}.`;
      if (names && ![...names].some((name) => name.startsWith(next))) config = { ...config, num_nextn_predict_layers: 0 };
      const { moe, num_nextn_predict_layers } = config;
      const entries = weightEntries(config);
      const plan = {
        entries,
        parameterCount: countParameters(entries, moe ? moe.num_experts_per_tok / moe.n_routed_experts : 1, next),
        cacheShape: { layers: config.num_hidden_layers, rowShapes: cacheRowShapes(config, false) },
        vocabSize: config.vocab_size,
        contextLength: chooseContextLength(config.max_position_embeddings, options.contextLength),
        initializerRange: config.initializer_range,
      };
      // Written even when 0: transformers takes a missing key for 1.
      const told = modelType === "deepseek_v3" ? { ...raw, num_nextn_predict_layers } : raw;
      const parts = { modelType, raw: told, config, masked: options.maskedGroupScore ?? Number.NEGATIVE_INFINITY };
      return { ...plan, build: (device, weights) => build(device, parts, plan, weights) };
    },
  };
}

export const deepseekV2 = family("deepseek_v2", "DeepseekV2ForCausalLM");
export const deepseekV3 = family("deepseek_v3", "DeepseekV3ForCausalLM");
