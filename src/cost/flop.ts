// FLOP of a transformer by counting its matrix products; a multiply-add is two. In: the model's shape, tokens, attended keys. Out: FLOP.
//   forward  = tokens · 2 · N + keys · 2 · L · H · (Dk + Dv)        training = 3 · forward (backward is twice the forward)
// N: active parameters: the chosen experts only, without the embedding table, whose rows are looked up (with a tied
// head the table counts once, as the head). keys: key rows that the tokens attend to, summed over the tokens. Without attention terms this
// is the usual 6ND. Norms, softmax, RoPE and the optimiser are left out, as everywhere: under 1 % of large models, a few % of tiny ones.

import { elementCount } from "../core/shape.ts";
import { halfNames } from "../models/halves.ts";
import type { Model } from "../models/model.ts";

export type FlopShape = {
  /** N above. */
  readonly parameters: number;
  /** L · H · (Dk + Dv): elements of queries and of attention outputs, over all layers and heads. */
  readonly attentionWidth: number;
};

type Countable = Pick<Model, "config" | "parameterCount" | "vocabSize" | "parameters" | "weightTable">;

/**
 * Reads the shape of a model from its configuration; both attention spellings (DeepSeek's and Llama's). With `nextHead` the layer of
 * multi-token prediction is counted too, and its second pass through the output head: training runs them, generation does not.
 */
export function flopShape(model: Countable, options: { readonly nextHead?: boolean } = {}): FlopShape {
  const { config, parameterCount, vocabSize } = model;
  const number = (key: string, otherwise: number) => (typeof config[key] === "number" ? (config[key] as number) : otherwise);
  const width = number("hidden_size", 0);
  const heads = number("num_attention_heads", 0);
  const layers = number("num_hidden_layers", 0);
  const headSize = number("head_dim", heads === 0 ? 0 : width / heads);
  const latent = typeof config.kv_lora_rank === "number";
  const Dk = latent ? number("qk_nope_head_dim", 0) + number("qk_rope_head_dim", 0) : headSize;
  const Dv = latent ? number("v_head_dim", 0) : headSize;
  const lookup = config.tie_word_embeddings === true ? 0 : vocabSize * width;
  const extra = options.nextHead && number("num_nextn_predict_layers", 0) > 0;
  return {
    parameters: parameterCount.active - lookup + (extra ? nextLayerParameters(model, layers) + vocabSize * width : 0),
    attentionWidth: (layers + (extra ? 1 : 0)) * heads * (Dk + Dv),
  };
}

/** Active parameters of the layer after the last, which parameterCount.active leaves out. */
function nextLayerParameters({ config, parameters, weightTable }: Countable, layers: number): number {
  const [chosen, experts] = [config.num_experts_per_tok, config.n_routed_experts];
  const share = typeof chosen === "number" && typeof experts === "number" ? chosen / experts : 1;
  const names = new Map<string, number>();
  for (const row of weightTable) {
    // Rows that copy the table and the head name tensors that are counted already.
    if ((row.action === "as-is" || row.action === "stack") && row.name.startsWith(`model.layers.${layers}.`)) {
      const { keys, values } = halfNames(row.parameter);
      for (const name of parameters.has(row.parameter) ? [row.parameter] : [keys, values])
        names.set(name, row.action === "stack" ? share : 1);
    }
  }
  let count = 0;
  for (const [name, part] of names) count += elementCount(parameters.get(name)?.shape ?? [0]) * part;
  return Math.round(count);
}

/** One forward pass over `tokens` tokens that together attend to `keys` key rows. */
export function forwardFlop(shape: FlopShape, tokens: number, keys: number): number {
  return 2 * shape.parameters * tokens + 2 * shape.attentionWidth * keys;
}

/** Forward and backward. */
export function trainingFlop(shape: FlopShape, tokens: number, keys: number): number {
  return 3 * forwardFlop(shape, tokens, keys);
}

/** Attended keys of a batch, from the inclusive ranges that Model.forward takes. */
export function attendedKeys(first: ArrayLike<number>, last: ArrayLike<number>): number {
  let keys = 0;
  for (let r = 0; r < first.length; r++) keys += (last[r] as number) - (first[r] as number) + 1;
  return keys;
}

/** Attended keys of one causal sequence of n tokens, or of tokens start .. n - 1 of it. */
export function causalKeys(n: number, start = 0): number {
  return (n * (n + 1) - start * (start + 1)) / 2;
}
