// The losses that pretraining and fine-tuning share: next-token cross-entropy, multi-token prediction (DeepSeek-V3 2.2), the sequence-wise
// balance loss and the auxiliary-loss-free bias (V3 2.1.2; V2's device and communication losses are for clusters and left out). In: a packed
// batch. Out: one scalar to descend and the sums to log. Unusual: every sum is divided by the totals of the whole step, so microbatches
// add up to exactly one big batch; padding is seen by no loss and by no load count.

import type { Device } from "../backend/backend.ts";
import type { Batch } from "../data/pack.ts";
import type { Model, Routing } from "../models/model.ts";
import { affine } from "../ops/affine.ts";
import { add, div, lessEqual, mul } from "../ops/binary.ts";
import { concat } from "../ops/copy.ts";
import { crossEntropy } from "../ops/cross-entropy.ts";
import { expertLoad } from "../ops/dispatch.ts";
import { entropy } from "../ops/entropy.ts";
import { fillWith } from "../ops/fill.ts";
import { gatherRows } from "../ops/gather-rows.ts";
import { reshape } from "../ops/reshape.ts";
import { route } from "../ops/route.ts";
import { sum, sumAxis } from "../ops/sum-axis.ts";
import { dispose, empty, fromArray, keep, read, type Tensor, view } from "../tensor/tensor.ts";
import { noGradients } from "../tensor/tracking.ts";
import { real } from "./options.ts";

export const objectiveFields = {
  /** λ of multi-token prediction, for models that have the head. V3: 0.3, then 0.1. */
  mtpWeight: real(0.3, { min: 0, max: 10 }),
  /**
   * Share of each microbatch's sequences that multi-token prediction learns from, at least one: its layer costs as much as any other. V3: all.
   */
  mtpShare: real(1, { above: 0, max: 1 }),
  /** α of the sequence balance loss, for mixtures. V3: 1e-4. */
  balanceWeight: real(1e-4, { min: 0, max: 10 }),
  /** γ: how far the gate's bias moves after each step, for mixtures. V3: 1e-3, at the end 0. */
  biasRate: real(1e-3, { min: 0, max: 1 }),
} as const;

export type ObjectiveWeights = { readonly mtpWeight: number; readonly mtpShare?: number; readonly balanceWeight: number };

/** What one microbatch put on the device. */
export type Recorded = {
  /** [], on the tape: its share of the step's loss. */
  readonly loss: Tensor;
  /** [] each: shares of what is logged. */
  readonly sums: Readonly<Record<string, Tensor>>;
  /** Loads of the mixture layers, [E] each, for the bias. */
  readonly loads: readonly LayerLoad[];
};

export type LayerLoad = { readonly layer: number; readonly bias: Tensor; readonly counts: Tensor };

/** Over all microbatches of a step. */
export type StepTotals = { readonly tokens: number; readonly mtpTokens: number; readonly sequences: number; readonly mtpSequences: number };

export function totalsOf(batches: readonly Batch[], mtpShare = 1): StepTotals {
  let tokens = 0;
  let mtpTokens = 0;
  let sequences = 0;
  let mtpSequences = 0;
  for (const batch of batches) {
    const next = nextSequences(batch, mtpShare);
    tokens += batch.tokens;
    for (const target of batch.mtpTargets.subarray(0, next * batch.T)) if (target >= 0) mtpTokens++;
    const { filled } = paddingOf(batch);
    sequences += countFilled(filled);
    mtpSequences += countFilled(filled.slice(0, next));
  }
  return { tokens, mtpTokens, sequences, mtpSequences };
}

/** Sequences of a batch, from the first on, that multi-token prediction learns from. */
function nextSequences({ B }: Batch, mtpShare: number): number {
  return Math.max(1, Math.round(B * mtpShare));
}

function countFilled(filled: readonly number[]): number {
  return filled.filter((count) => count > 0).length;
}

/** Does the model have a head for the token after the next? */
export function hasNextHead(model: Model): boolean {
  return typeof model.config.num_nextn_predict_layers === "number" && model.config.num_nextn_predict_layers > 0;
}

/** The parameters that this objective reaches: without multi-token prediction its layer stays as it is (no decay either). */
export function trainedParameters(model: Model, withNextHead: boolean): ReadonlyMap<string, Tensor> {
  if (withNextHead || !hasNextHead(model)) return model.parameters;
  const head = `model.layers.${model.config.num_hidden_layers}.`;
  return new Map([...model.parameters].filter(([name]) => !name.startsWith(head)));
}

/** Records forward and loss of one microbatch; to be called while gradients are tracked. `detail`: accuracy and entropy too, two more passes over the logits. */
export function recordTokenLoss(model: Model, batch: Batch, totals: StepTotals, weights: ObjectiveWeights, detail: boolean): Recorded {
  const { device } = model;
  const { B, T } = batch;
  const R = B * T;
  const indices = (data: Int32Array) => fromArray(device, data, [data.length], "i32");
  // Only rows with a target need logits; none at all needs one forward all the same.
  const rows = batch.tokens > 0 && batch.tokens < R ? rowsWithTarget(batch) : undefined;
  const targets = indices(rows ? rows.map((r) => batch.targets[r] as number) : batch.targets);
  const withNext = weights.mtpWeight > 0 && hasNextHead(model);
  const nextRows = nextSequences(batch, weights.mtpShare ?? 1) * T;

  const output = model.forward({
    ids: indices(batch.ids),
    positions: indices(batch.positions),
    first: indices(batch.first),
    last: indices(batch.last),
    parts: B,
    ...(rows && { outputRows: indices(rows) }),
    ...(withNext && { nextIds: indices(batch.nextIds.subarray(0, nextRows)) }),
  });

  const share = 1 / Math.max(1, totals.tokens);
  const losses = crossEntropy(output.logits, targets); // [M]
  let loss = affine(sum(losses), share);
  const sums: Record<string, Tensor> = { loss };
  if (output.mtpLogits) {
    const mtpLoss = affine(
      sum(crossEntropy(output.mtpLogits, indices(batch.mtpTargets.subarray(0, nextRows)))),
      1 / Math.max(1, totals.mtpTokens),
    );
    sums.mtp_loss = mtpLoss;
    loss = add(loss, affine(mtpLoss, weights.mtpWeight));
  }
  const padding = output.routing.length > 0 ? paddingOf(batch) : undefined;
  const loads: LayerLoad[] = [];
  for (const routing of padding ? output.routing : []) {
    const sequences = (routing.indices.shape[0] as number) / T; // fewer than B in the layer of multi-token prediction
    const { balance, counts } = balanceOf(device, routing, cutPadding(padding as Padding, sequences, T), sequences, T);
    if (routing.bias) loads.push({ layer: routing.layer, bias: routing.bias, counts });
    if (weights.balanceWeight === 0) continue;
    const mean = affine(balance(), 1 / Math.max(1, sequences < B ? totals.mtpSequences : totals.sequences));
    sums.balance_loss = sums.balance_loss ? add(sums.balance_loss, mean) : mean;
    loss = add(loss, affine(mean, weights.balanceWeight));
  }
  if (detail && batch.tokens > 0)
    Object.assign(
      sums,
      noGradients(() => details(output.logits, losses, share)),
    );
  return { loss, sums, loads };
}

function rowsWithTarget(batch: Batch): Int32Array {
  const rows = new Int32Array(batch.tokens);
  let n = 0;
  for (let r = 0; r < batch.targets.length; r++) if ((batch.targets[r] as number) >= 0) rows[n++] = r;
  return rows;
}

/** Shares of mean_token_accuracy (the target has the largest logit) and entropy. logits [M, V], losses [M], a target in every row. */
function details(logits: Tensor, losses: Tensor, share: number): Record<string, Tensor> {
  const { device } = logits.storage;
  const [M, V] = logits.shape as [number, number];
  // The gate's kernel finds the largest of each row; its loss is the least that any target could have.
  const options = { K: 1, groups: 1, topkGroups: 1, groupTop: 1, masked: Number.NEGATIVE_INFINITY, normalise: false, scale: 1 };
  const { indices } = route(logits, fillWith(empty(device, [V]), 0), options); // [M, 1]
  const right = lessEqual(losses, crossEntropy(logits, reshape(indices, [M]))); // [M]
  return { mean_token_accuracy: affine(sum(right), share), entropy: affine(sum(entropy(logits)), share) };
}

type Padding = {
  /** Rows of documents in each of the B sequences. */
  readonly filled: readonly number[];
  /** 1 for rows of documents, 0 for padding; undefined when there is no padding. */
  readonly real: Uint8Array | undefined;
};

/** A row that sees only itself and has no next token is padding (or a document of one token, which teaches nothing). */
function paddingOf(batch: Batch): Padding {
  const { B, T, first, nextIds } = batch;
  const real = new Uint8Array(B * T);
  const filled = new Array<number>(B).fill(0);
  let any = false;
  for (let r = 0; r < B * T; r++) {
    if (first[r] === r && nextIds[r] === -1) any = true;
    else {
      real[r] = 1;
      const b = Math.floor(r / T);
      filled[b] = (filled[b] as number) + 1;
    }
  }
  return { filled, real: any ? real : undefined };
}

/** That of the first B sequences. */
function cutPadding({ filled, real }: Padding, B: number, T: number): Padding {
  return { filled: filled.slice(0, B), real: real?.subarray(0, B * T) };
}

/**
 * One mixture layer. counts [E]: how often each expert was chosen by real rows. balance(): Σ over sequences of Σ_e f_e·P_e (V3 eq. 17 to 20) -> [], with
 * f_e = E/(K·n)·(rows that chose e) and P_e = mean over the n real rows of score_e / Σ scores.
 */
function balanceOf(
  device: Device,
  { indices, scores }: Routing,
  { filled, real }: Padding,
  B: number,
  T: number,
): { balance: () => Tensor; counts: Tensor } {
  const [R, K] = indices.shape as [number, number];
  const E = scores.shape[1] as number;
  // -1 is counted for no expert: padding rows take it from one row more.
  const chosen = real
    ? gatherRows(
        concat([indices, fillWith(empty(device, [1, K], "i32"), -1)], 0),
        fromArray(
          device,
          Int32Array.from(real, (is, r) => (is ? r : R)),
          [R],
          "i32",
        ),
      )
    : indices;
  const load = expertLoad(chosen, B, E); // [B, E]
  const balance = () => {
    const total = affine(sumAxis(scores, 1), 1, 1e-20); // [R]
    const perRow = fromArray(
      device,
      Array.from({ length: R }, (_, r) => ((real?.[r] ?? 1) ? 1 / (filled[Math.floor(r / T)] as number) : 0)),
      [R, 1],
    );
    const P = sumAxis(reshape(mul(div(scores, reshape(total, [R, 1])), perRow), [B, T, E]), 1); // [B, E]
    const scale = fromArray(
      device,
      filled.map((n) => (n > 0 ? E / (K * n) : 0)),
      [B, 1],
    );
    return sum(mul(P, mul(load, scale)));
  };
  return { balance, counts: noGradients(() => sumAxis(load, 0)) };
}

/** Counts the loads of a step and moves each layer's bias against them once the step was applied. */
export class BiasBalancer {
  readonly #rate: number;
  readonly #layers = new Map<number, { readonly bias: Tensor; readonly counts: Tensor; isFresh: boolean }>();

  constructor(rate: number) {
    this.#rate = rate;
  }

  /** Before a step. */
  clear(): void {
    for (const layer of this.#layers.values()) layer.isFresh = true;
  }

  add(loads: readonly LayerLoad[]): void {
    if (this.#rate === 0) return;
    for (const { layer, bias, counts } of loads) {
      const entry = this.#layers.get(layer) ?? { bias, counts: keep(() => empty(counts.storage.device, counts.shape)), isFresh: true };
      this.#layers.set(layer, entry);
      const accumulate = !entry.isFresh;
      counts.storage.device.kernels.affine({
        out: view(entry.counts),
        x: view(counts),
        n: counts.shape[0] as number,
        scale: 1,
        shift: 0,
        accumulate,
      });
      entry.isFresh = false;
    }
  }

  /** The counts of this step, by layer; undefined where no layer counted. */
  async loads(): Promise<Record<string, number[]> | undefined> {
    const fresh = [...this.#layers].filter(([, { isFresh }]) => !isFresh);
    if (fresh.length === 0) return undefined;
    const loads: Record<string, number[]> = {};
    for (const [layer, { counts }] of fresh.sort(([a], [b]) => a - b)) loads[layer] = [...(await read(counts))];
    return loads;
  }

  /** bias[e] += rate·sign(mean load - load[e]). */
  apply(): void {
    for (const { bias, counts, isFresh } of this.#layers.values()) {
      if (isFresh) continue;
      const E = counts.shape[0] as number;
      counts.storage.device.kernels.balanceBias({ bias: view(bias), counts: view(counts), E, gamma: this.#rate });
    }
  }

  dispose(): void {
    for (const { counts } of this.#layers.values()) dispose(counts);
    this.#layers.clear();
  }
}
