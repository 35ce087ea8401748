// Rollouts as packed rows for a forward pass, and their log-probabilities. In: rollouts. Out: batches of at most so many tokens, four long rows
// each where rollouts are short, and for every completion token the row that predicts it. Only those rows get logits.

import type { Batch } from "../data/pack.ts";
import { packBatch } from "../data/pack.ts";
import type { Model } from "../models/model.ts";
import { affine } from "../ops/affine.ts";
import { crossEntropy } from "../ops/cross-entropy.ts";
import { neg } from "../ops/unary.ts";
import { dispose, fromArray, read, scope, type Tensor } from "../tensor/tensor.ts";
import { noGradients } from "../tensor/tracking.ts";
import type { Rollout } from "./rollout.ts";

export type RolloutBatch = {
  readonly batch: Batch;
  readonly rollouts: readonly Rollout[];
  /** [M], rollout after rollout: the row that predicts each completion token, and the token. */
  readonly rows: Int32Array;
  readonly targets: Int32Array;
};

/** Packs in order. `maxTokens` bounds B·T, but a row always fits. */
export function packRollouts(rollouts: readonly Rollout[], maxTokens: number): RolloutBatch[] {
  const documents = rollouts.map(({ promptIds, ids }) => ({ ids: [...promptIds, ...ids] }));
  // A row wastes half a rollout on average: long rows waste less of themselves. Four, because rows are the unit of parallel work in attention.
  const T = Math.max(2, Math.floor(maxTokens / 4), ...documents.map(({ ids }) => ids.length));
  const B = Math.max(1, Math.floor(maxTokens / T));
  const batches: RolloutBatch[] = [];
  for (let done = 0; done < rollouts.length; ) {
    let next = done;
    const packed = packBatch(() => documents[next++], { B, T });
    batches.push(locate(trim(packed), rollouts.slice(done, done + packed.documents)));
    done += packed.documents;
  }
  return batches;
}

/** Leaves out the sequences that stayed empty, and the empty end of a lone one. */
function trim(batch: Batch): Batch {
  const B = Math.max(...batch.starts.map((start) => Math.floor(start / batch.T))) + 1;
  const T = B === 1 ? Math.max(2, batch.used) : batch.T;
  const cut = (data: Int32Array) => data.subarray(0, B * T);
  const { ids, targets, positions, first, last, nextIds, mtpTargets } = batch;
  return {
    ...batch,
    B,
    T,
    ids: cut(ids),
    targets: cut(targets),
    positions: cut(positions),
    first: cut(first),
    last: cut(last),
    nextIds: cut(nextIds),
    mtpTargets: cut(mtpTargets),
  };
}

function locate(batch: Batch, rollouts: readonly Rollout[]): RolloutBatch {
  const rows: number[] = [];
  for (const [d, { promptIds, ids }] of rollouts.entries()) {
    const before = (batch.starts[d] as number) + promptIds.length - 1;
    for (let t = 0; t < ids.length; t++) rows.push(before + t);
  }
  return { batch, rollouts, rows: Int32Array.from(rows), targets: Int32Array.from(rollouts.flatMap(({ ids }) => ids)) };
}

/** Log-probabilities [M] of the completion tokens at a temperature, and the logits [M, V] that gave them. */
export function forwardRollouts(
  model: Model,
  { batch, rows, targets }: RolloutBatch,
  temperature: number,
): { logprobs: Tensor; logits: Tensor } {
  const indices = (data: Int32Array) => fromArray(model.device, data, [data.length], "i32");
  const output = model.forward({
    ids: indices(batch.ids),
    positions: indices(batch.positions),
    first: indices(batch.first),
    last: indices(batch.last),
    parts: batch.B,
    outputRows: indices(rows),
  });
  const logits = temperature === 1 ? output.logits : affine(output.logits, 1 / temperature);
  return { logits, logprobs: neg(crossEntropy(logits, indices(targets))) };
}

/** Log-probabilities of every rollout's tokens, without gradients. */
export async function scoreRollouts(
  model: Model,
  rollouts: readonly Rollout[],
  temperature: number,
  maxTokens: number,
): Promise<number[][]> {
  const scores: number[][] = [];
  for (const part of packRollouts(rollouts, maxTokens)) {
    const logprobs = noGradients(() => scope(() => forwardRollouts(model, part, temperature).logprobs));
    const values = await read(logprobs);
    dispose(logprobs);
    let at = 0;
    for (const { ids } of part.rollouts) {
      scores.push(Array.from(values.subarray(at, at + ids.length)));
      at += ids.length;
    }
  }
  return scores;
}
