// DeepSeek-V3 (deepseek_v3): multi-head latent attention (MLA), DeepSeekMoE with the sigmoid gate and its selection bias, and the multi-token
// prediction head. In: ids, positions and key ranges of flat rows. Out: logits, MTP logits, what the gates chose. Unusual: MLA exists in two
// forms beside each other, plain (training, prefill, exact rollouts) and absorbed (decoding over the latent); tests hold them together.
// Settings and weight names: deepseek-config.ts.

import type { Device } from "../backend/backend.ts";
import { attention, attentionStrided } from "../ops/attention.ts";
import { add } from "../ops/binary.ts";
import { concat, expand, slice, transpose } from "../ops/copy.ts";
import { dispatch, expertCombine, expertGather } from "../ops/dispatch.ts";
import { embedding } from "../ops/embedding.ts";
import { scatterRows } from "../ops/gather-rows.ts";
import { groupedLinear } from "../ops/grouped-matmul.ts";
import { linear, matmul } from "../ops/matmul.ts";
import { reshape } from "../ops/reshape.ts";
import { rmsNorm } from "../ops/rms-norm.ts";
import { rope } from "../ops/rope.ts";
import { route } from "../ops/route.ts";
import { swiglu } from "../ops/swiglu.ts";
import { sigmoid } from "../ops/unary.ts";
import { alias, dispose, scope, type Tensor } from "../tensor/tensor.ts";
import { chooseContextLength, type RawConfig, refuse } from "./config.ts";
import { type DeepseekConfig, type MixtureConfig, mixtureOf, parseDeepseek, weightEntries } from "./deepseek-config.ts";
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
import type { ForwardInput, ForwardOutput, Model, Routing } from "./model.ts";
import { makeRopeTables, type RopeTables, softmaxFactor } from "./rope-tables.ts";
import { disposeWeights, type WeightEntry, type Weights } from "./weights.ts";

// ---- attention --------------------------------------------------------------------------------------------------

type Attention = {
  /** q_proj, or down to the latent, norm, and up. */
  readonly q: Linear | { readonly down: Linear; readonly norm: Tensor; readonly up: Linear };
  /** kv_a_proj_with_mqa: the latent and, in its last rows, the rotary key that all heads share. */
  readonly kvDown: Linear;
  readonly kvNorm: Tensor;
  /** kv_b_proj [H·(nope + v), latent]: for each head nope rows, then v rows. */
  readonly kvUp: Linear;
  readonly o: Linear;
};
type Context = { readonly config: DeepseekConfig; readonly tables: RopeTables; readonly input: ForwardInput; readonly masked: number };

/** MLA's inner norms have this eps whatever rms_norm_eps is (transformers, the class default). */
const latentEps = 1e-6;

/** x [R, C] -> [R, C]; `stored` is the layer's cache: [latent] or [keys, values]. */
function attend(x: Tensor, w: Attention, context: Context, stored: readonly Tensor[] | undefined): Tensor {
  const { config, tables, input } = context;
  const { num_attention_heads: H, qk_nope_head_dim: nope, qk_rope_head_dim: turned, kv_lora_rank: rank, v_head_dim: Dv } = config;
  const R = x.shape[0] as number;
  const interleaved = config.rope_interleave;

  const flat = "up" in w.q ? project(rmsNorm(project(x, w.q.down), w.q.norm, latentEps), w.q.up) : project(x, w.q);
  const q = rope(reshape(flat, [R, H, nope + turned]), input.positions, tables, { offset: nope, dims: turned, interleaved }); // [R, H, nope + turned]
  const down = project(x, w.kvDown); // [R, rank + turned]
  const latent = rmsNorm(slice(down, 1, 0, rank), w.kvNorm, latentEps); // [R, rank]
  const shared = reshape(slice(down, 1, rank, rank + turned), [R, 1, turned]);
  const kRope = rope(shared, input.positions, tables, { offset: 0, dims: turned, interleaved }); // [R, 1, turned]

  const scale = (nope + turned) ** -0.5 * softmaxFactor(config.rope);
  let out: Tensor; // [R, H, Dv]
  if (stored && input.cache && stored.length === 1) {
    const rows = stored[0] as Tensor; // [S, rank + turned]
    scatterRows(rows, concat([latent, reshape(kRope, [R, turned])], 1), input.cache.rows);
    if (input.absorbed) out = attendAbsorbed(q, rows, w, context, scale);
    else {
      const kept = slice(rows, 1, rank, rank + turned); // [S, turned]
      const { k, v } = expandLatent(slice(rows, 1, 0, rank), reshape(kept, [rows.shape[0] as number, 1, turned]), w, config);
      out = attention(q, k, v, { first: input.first, last: input.last, scale });
    }
  } else {
    let { k, v } = expandLatent(latent, kRope, w, config); // [R, H, nope + turned], [R, H, Dv]
    if (stored && input.cache) {
      const [keys, values] = stored as [Tensor, Tensor];
      scatterRows(keys, k, input.cache.rows);
      scatterRows(values, v, input.cache.rows);
      k = keys; // [S, H, nope + turned]
      v = values;
    }
    out = attention(q, k, v, { first: input.first, last: input.last, parts: input.parts, scale });
  }
  return project(reshape(out, [R, H * Dv]), w.o);
}

/** Plain form: keys and values of every head from the latent [S, rank] and the rotated shared key [S, 1, turned]. */
function expandLatent(latent: Tensor, kRope: Tensor, w: Attention, config: DeepseekConfig): { k: Tensor; v: Tensor } {
  const { num_attention_heads: H, qk_nope_head_dim: nope, qk_rope_head_dim: turned, v_head_dim: Dv } = config;
  const S = latent.shape[0] as number;
  const kv = reshape(project(latent, w.kvUp), [S, H, nope + Dv]);
  const k = concat([slice(kv, 2, 0, nope), expand(kRope, [S, H, turned])], 2); // [S, H, nope + turned]
  return { k, v: slice(kv, 2, nope, nope + Dv) }; // v [S, H, Dv]
}

/**
 * Absorbed form: kv_b's nope rows are folded into the query and its v rows into the output, so attention runs over the stored rows
 * [S, rank + turned] as one shared key head, whose first `rank` elements are the value too.
 */
function attendAbsorbed(q: Tensor, rows: Tensor, w: Attention, { config, input }: Context, scale: number): Tensor {
  const { num_attention_heads: H, qk_nope_head_dim: nope, qk_rope_head_dim: turned, kv_lora_rank: rank, v_head_dim: Dv } = config;
  const up = reshape(w.kvUp.weight, [H, nope + Dv, rank]);
  const qNope = transpose(slice(q, 2, 0, nope), 0, 1); // [H, R, nope]
  const qLatent = transpose(matmul(qNope, slice(up, 1, 0, nope)), 0, 1); // [R, H, rank]
  const folded = concat([qLatent, slice(q, 2, nope, nope + turned)], 2); // [R, H, rank + turned]
  const store = { tensor: rows, rowStride: rank + turned, headStride: 0, offset: 0 };
  const { first, last } = input;
  const mixed = attentionStrided({ q: folded, k: store, v: store, first, last, S: rows.shape[0] as number, G: 1, Dv: rank, scale }); // [R, H, rank]
  const out = matmul(transpose(mixed, 0, 1), slice(up, 1, nope, nope + Dv), { transposeB: true }); // [H, R, Dv]
  return transpose(out, 0, 1);
}

// ---- feed-forward -----------------------------------------------------------------------------------------------

type Mixture = {
  readonly config: MixtureConfig;
  readonly gate: Tensor; // [E, C]
  readonly bias: Tensor; // [E], e_score_correction_bias: it sways the choice, never the weights
  readonly experts: { readonly gate: Tensor; readonly up: Tensor; readonly down: Tensor }; // [E, F, C], [E, F, C], [E, C, F]
  readonly shared: FeedForward | undefined;
};

/** DeepSeekMoE: x [R, C] -> [R, C] through the K chosen experts of each row and the shared one. */
function mix(x: Tensor, w: Mixture, layer: number, masked: number): { out: Tensor; routing: Routing } {
  const { n_routed_experts: E, num_experts_per_tok: K, n_group, topk_group, norm_topk_prob, routed_scaling_factor } = w.config;
  const scores = sigmoid(linear(x, w.gate)); // [R, E]
  const groupTop = Math.min(2, E / n_group); // a group is worth its two best experts
  const gate = { K, groups: n_group, topkGroups: topk_group, groupTop, masked, normalise: norm_topk_prob, scale: routed_scaling_factor };
  const { indices, weights } = route(scores, w.bias, gate); // [R, K] each
  const places = dispatch(indices, E);
  const sorted = expertGather(x, places, K); // [R·K, C], in expert order
  const hidden = swiglu(groupedLinear(sorted, w.experts.gate, places.offsets), groupedLinear(sorted, w.experts.up, places.offsets)); // [R·K, F]
  const routed = expertCombine(groupedLinear(hidden, w.experts.down, places.offsets), places, weights); // [R, C]
  return { out: w.shared ? add(routed, feedForward(x, w.shared)) : routed, routing: { layer, indices, scores, bias: w.bias } };
}

// ---- block ------------------------------------------------------------------------------------------------------

type Block = {
  readonly layer: number;
  readonly inputNorm: Tensor;
  readonly attention: Attention;
  readonly postNorm: Tensor;
  readonly mlp: FeedForward | Mixture;
};

function runBlock(x: Tensor, w: Block, context: Context, stored: readonly Tensor[] | undefined): { x: Tensor; routing?: Routing } {
  const eps = context.config.rms_norm_eps;
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
 * Depth 1: hidden [R, C] (after the final norm) and the embedding of the token after each row give logits [R, V] for the token after that.
 * The embedding comes first in the concatenation, as in the shipped checkpoint (the paper has it second).
 */
function predictNext(
  hidden: Tensor,
  nextIds: Tensor,
  w: NextHead,
  embed: Tensor,
  head: Tensor,
  context: Context,
): { x: Tensor; routing?: Routing } {
  const eps = context.config.rms_norm_eps;
  const joined = concat([rmsNorm(embedding(embed, nextIds), w.embedNorm, eps), rmsNorm(hidden, w.hiddenNorm, eps)], 1); // [R, 2C]
  const { x, routing } = runBlock(project(joined, w.join), w.block, context, undefined);
  return { x: outputHead(x, undefined, w.norm, eps, head), routing };
}

/** The first N rows of x [R, C]. */
function firstRows(x: Tensor, N: number): Tensor {
  return N === x.shape[0] ? x : slice(x, 0, 0, N);
}

/** What describes the first N rows, which are whole parts. */
function firstParts(input: ForwardInput, N: number): ForwardInput {
  const R = input.ids.shape[0] as number;
  const head = (indices: Tensor) => alias(indices, [N]);
  const { ids, positions, first, last, parts = 1 } = input;
  return { ids: head(ids), positions: head(positions), first: head(first), last: head(last), parts: (parts * N) / R };
}

// ---- model ------------------------------------------------------------------------------------------------------

type Parts = {
  readonly raw: RawConfig;
  readonly config: DeepseekConfig;
  readonly contextLength: number;
  readonly masked: number;
  readonly entries: readonly WeightEntry[];
};

function build(device: Device, { raw, config, contextLength, masked, entries }: Parts, weights: Weights): Model {
  const { num_hidden_layers: L, num_attention_heads: H } = config;
  const { tensor, projection, mlp } = finder(weights);
  const embed = tensor("model.embed_tokens.weight"); // [V, C]
  const head = config.tie_word_embeddings ? embed : tensor("lm_head.weight");
  const finalNorm = tensor("model.norm.weight");

  function makeBlock(layer: number): Block {
    const at = `model.layers.${layer}`;
    const attn = `${at}.self_attn`;
    const moe = mixtureOf(config, layer);
    const latentQuery = () => ({
      down: projection(`${attn}.q_a_proj`),
      norm: tensor(`${attn}.q_a_layernorm.weight`),
      up: projection(`${attn}.q_b_proj`),
    });
    return {
      layer,
      inputNorm: tensor(`${at}.input_layernorm.weight`),
      attention: {
        q: config.q_lora_rank ? latentQuery() : projection(`${attn}.q_proj`),
        kvDown: projection(`${attn}.kv_a_proj_with_mqa`),
        kvNorm: tensor(`${attn}.kv_a_layernorm.weight`),
        kvUp: projection(`${attn}.kv_b_proj`),
        o: projection(`${attn}.o_proj`),
      },
      postNorm: tensor(`${at}.post_attention_layernorm.weight`),
      mlp: moe ? makeMixture(`${at}.mlp`, moe) : mlp(`${at}.mlp`),
    };
  }

  function makeMixture(at: string, moe: MixtureConfig): Mixture {
    const expert = (name: string) => tensor(`${at}.experts.${name}_proj.weight`);
    return {
      config: moe,
      gate: tensor(`${at}.gate.weight`),
      bias: tensor(`${at}.gate.e_score_correction_bias`),
      experts: { gate: expert("gate"), up: expert("up"), down: expert("down") },
      shared: moe.n_shared_experts ? mlp(`${at}.shared_experts`) : undefined,
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
  const tables = makeRopeTables(device, config.rope, config.qk_rope_head_dim, contextLength);

  function forward(input: ForwardInput): ForwardOutput {
    checkInput("deepseek forward", input, L, [1, 2]);
    if (input.absorbed && input.cache?.cache.layers[0]?.length !== 1)
      refuse("absorbed", "no latent cache", "a cache of latents", "use makeCache without `expanded`, or the plain form");
    if (input.nextIds && !nextHead)
      refuse("num_nextn_predict_layers", "a request for multi-token prediction", "a model with that head", "leave nextIds out");
    if (input.nextIds && input.cache) refuse("nextIds", "a cache", "multi-token prediction without a cache", "leave one of them out");
    return scope(() => {
      const context = { config, tables, input, masked };
      const routing: Routing[] = [];
      let x = embedding(embed, input.ids); // [R, C]
      for (const block of blocks) {
        const done = advance(x, (h) => runBlock(h, block, context, input.cache?.cache.layers[block.layer]));
        x = done.x;
        if (done.routing) routing.push(done.routing);
      }
      const logits = outputHead(x, input.outputRows, finalNorm, config.rms_norm_eps, head);
      const { nextIds } = input;
      if (!nextIds || !nextHead) return { logits, routing };
      const N = nextIds.shape[0] as number;
      const hidden = rmsNorm(firstRows(x, N), finalNorm, config.rms_norm_eps);
      const rest = { ...context, input: firstParts(input, N) };
      const next = advance(hidden, (h) => predictNext(h, nextIds, nextHead, embed, head, rest));
      if (next.routing) routing.push(next.routing);
      return { logits, routing, mtpLogits: next.x };
    });
  }

  return {
    device,
    config: raw,
    modelType: deepseek.modelType,
    vocabSize: config.vocab_size,
    contextLength,
    parameters: weights.parameters,
    buffers: weights.buffers,
    weightTable: entries.map(({ row }) => row),
    parameterCount: countParameters(
      entries,
      weights,
      config.moe ? config.moe.num_experts_per_tok / config.moe.n_routed_experts : 1,
      `model.layers.${L}.`,
    ),
    forward,
    makeCache: (slots, length, options) => {
      const latent = [[config.kv_lora_rank + config.qk_rope_head_dim]];
      const expanded = [
        [H, config.qk_nope_head_dim + config.qk_rope_head_dim],
        [H, config.v_head_dim],
      ];
      return makeCache(device, slots, length, L, options?.expanded ? expanded : latent);
    },
    dispose: () => {
      disposeWeights(weights);
      dispose(tables.cos, tables.sin);
    },
  };
}

export const deepseek: Family = {
  modelType: "deepseek_v3",
  architecture: "DeepseekV3ForCausalLM",
  plan(raw: RawConfig, options: ModelOptions, names?: ReadonlySet<string>) {
    let config = parseDeepseek(raw);
    // transformers leaves the MTP layer out when it saves, and still writes num_nextn_predict_layers 1.
    const next = `model.layers.${config.num_hidden_layers}.`;
    if (names && ![...names].some((name) => name.startsWith(next))) config = { ...config, num_nextn_predict_layers: 0 };
    const contextLength = chooseContextLength(config.max_position_embeddings, options.contextLength);
    const entries = weightEntries(config);
    // Written even when 0: transformers takes a missing key for 1.
    const told = { ...raw, num_nextn_predict_layers: config.num_nextn_predict_layers };
    const parts = { raw: told, config, contextLength, masked: options.maskedGroupScore ?? Number.NEGATIVE_INFINITY, entries };
    return { entries, initializerRange: config.initializer_range, build: (device, weights) => build(device, parts, weights) };
  },
};
