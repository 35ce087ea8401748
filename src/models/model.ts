// The model contract: one forward for training and for cached generation; the cache is an argument.
// Rows are flat: R tokens of any number of sequences, each with its position and the range of key rows that it sees, so packed training
// batches, ragged prefill and decoding are one thing and nothing is ever padded.

import type { Device } from "../backend/backend.ts";
import type { CacheType } from "../core/dtype.ts";
import type { KeyPages } from "../ops/attention.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * Where new keys go. A cache has slots·length rows; slot s owns rows s·length .. (s+1)·length - 1. A slot is the room of one sequence, or a
 * page that holds a piece of one (ForwardInput.cache.pages).
 */
export type Cache = {
  readonly slots: number;
  readonly length: number;
  /** What keys and values are rounded to when they are written. */
  readonly type: CacheType;
  /**
   * Tensors of each layer: K and V for Llama; latent and rope key in one row for MLA. f32 [slots·length, …], or i32 [slots·length, words] where the type is narrow
   * (core/dtype.ts, cacheRowWords).
   */
  readonly layers: readonly (readonly Tensor[])[];
  readonly bytesPerToken: number;
  dispose(): void;
};

export type ForwardInput = {
  /** i32 [R] token ids. */
  readonly ids: Tensor;
  /** i32 [R] positions inside each sequence, from 0. */
  readonly positions: Tensor;
  /** i32 [R]: first and last key row that each row attends to. Without cache these index the R rows themselves; with cache, the cache's rows. */
  readonly first: Tensor;
  readonly last: Tensor;
  /** Equal parts of the rows without attention between them (training: the number of sequences). Default 1. */
  readonly parts?: number;
  /**
   * Keys of these rows are written to cache rows `rows` (i32 [R]) before attention reads the cache. With `pages` the keys of a sequence lie
   * in pages anywhere in the cache, and `first` and `last` count them from the sequence's beginning.
   */
  readonly cache?: { readonly cache: Cache; readonly rows: Tensor; readonly pages?: KeyPages };
  /** i32 [M]: rows that want logits; all when absent. */
  readonly outputRows?: Tensor;
  /** MLA with a cache: the absorbed form (decoding) or the plain form, which is bit-identical to training. Default plain. */
  readonly absorbed?: boolean;
  /**
   * Multi-token prediction: i32 [N], the token after each of the first N rows, which are whole parts (-1 where there is none). Gives mtpLogits. With
   * a cache (made with `nextHead`) N is R and the head's keys are written too: those of a row with -1 are of no use until predictNext writes them again.
   */
  readonly nextIds?: Tensor;
  /** i32 [M]: those of the N rows that want mtpLogits; all when absent. */
  readonly nextRows?: Tensor;
  /** Gives `hidden`, which predictNext takes when the next token was not yet known here. */
  readonly withHidden?: boolean;
};

/**
 * Multi-token prediction on its own, after the next token was chosen: a draft of the token after it. Rows, ranges and cache mean
 * the same as in ForwardInput; the main model's keys are not touched.
 */
export type NextInput = Pick<ForwardInput, "positions" | "first" | "last" | "parts" | "cache" | "absorbed"> & {
  /** [R, C]: ForwardOutput.hidden of the rows. */
  readonly hidden: Tensor;
  /** i32 [R]: the token after each row. */
  readonly nextIds: Tensor;
  /** i32 [M]: rows that want logits; all when absent. */
  readonly outputRows?: Tensor;
};

export type NextOutput = {
  /** [M, V]: prediction of the token after the next. */
  readonly logits: Tensor;
  readonly routing: readonly Routing[];
};

/** What the gate of one mixture layer did; training balances with it. */
export type Routing = {
  readonly layer: number;
  /** i32 [R, K]. */
  readonly indices: Tensor;
  /** [R, E] scores before the bias. */
  readonly scores: Tensor;
  /** [E] e_score_correction_bias; undefined for gates without one. */
  readonly bias: Tensor | undefined;
};

export type ForwardOutput = {
  /** [M, V]. */
  readonly logits: Tensor;
  /** [M, V]: prediction of the token after the next, for nextRows, or for all N rows that have nextIds. */
  readonly mtpLogits?: Tensor;
  /** [R, C], after the final norm. */
  readonly hidden?: Tensor;
  readonly routing: readonly Routing[];
};

export type CacheOptions = { readonly expanded?: boolean; readonly nextHead?: boolean; readonly type?: CacheType };

export interface Model {
  readonly device: Device;
  /** config.json, in its checkpoint spelling. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly modelType: string;
  readonly vocabSize: number;
  readonly contextLength: number;
  /** Trained tensors by parameter name; experts are stacked [E, …]. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Saved but not trained by gradient: e_score_correction_bias. */
  readonly buffers: ReadonlyMap<string, Tensor>;
  /** Rows of the weight table; see weights.ts. */
  readonly weightTable: readonly WeightRow[];
  forward(input: ForwardInput): ForwardOutput;
  /** Only of models with a multi-token prediction head. */
  predictNext?(input: NextInput): NextOutput;
  /**
   * `nextHead` (models with that head only): room for the keys of multi-token prediction, as one layer more. `expanded` (MLA only): keys and values of every head are stored instead of the latent. More memory per token, but the plain form then
   * expands each token once, not the whole cache at every step; the absorbed form needs the latent. Both give the plain form's bits.
   * `type`: default f32, which alone has the bits of the training pass.
   */
  makeCache(slots: number, length: number, options?: CacheOptions): Cache;
  /** Parameters that one token uses without multi-token prediction (mixtures: the chosen experts only), and all of them. */
  readonly parameterCount: { readonly total: number; readonly active: number };
  dispose(): void;
}

/**
 * One row of a weight table: `[checkpoint name, parameter, action]`. The name may hold `{e}` (with action `stack`): one checkpoint tensor
 * for each expert becomes row e of the parameter. `copy` repeats a parameter under another name: written, but not read.
 * `skip` names a tensor that is known and not used, and why; neither need be in the file.
 */
export type WeightRow =
  | { readonly name: string; readonly parameter: string; readonly action: "as-is" }
  | { readonly name: string; readonly parameter: string; readonly action: "stack"; readonly count: number }
  | { readonly name: string; readonly parameter: string; readonly action: "copy" }
  | { readonly name: string; readonly action: "skip"; readonly because: string };
