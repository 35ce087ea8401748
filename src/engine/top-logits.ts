// The likeliest ids of a row, for log-probabilities with alternatives. Their log-probabilities follow from that of the emitted id, which the
// device's crossEntropy computes: both differ by the difference of the logits.

import type { Alternative } from "./request.ts";

export type RankedLogits = {
  /** Likeliest first, the lower id among equals. */
  readonly ids: readonly number[];
  readonly logits: readonly number[];
  /** The logit of the emitted id. */
  readonly chosen: number;
};

/** The `count` (1..20) largest logits of the row; NaN is passed over. One pass with insertion: a new entry is rare. */
export function rankLogits(row: Float32Array, count: number, chosen: number): RankedLogits {
  const ids: number[] = [];
  const logits: number[] = [];
  let least = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < row.length; id++) {
    const logit = row[id] as number;
    if (!(logit > least || (ids.length < count && logit === least))) continue;
    let place = ids.length;
    while (place > 0 && logit > (logits[place - 1] as number)) place--;
    ids.splice(place, 0, id);
    logits.splice(place, 0, logit);
    if (ids.length > count) {
      ids.pop();
      logits.pop();
    }
    if (ids.length === count) least = logits[count - 1] as number;
  }
  return { ids, logits, chosen };
}

export function alternatives({ ids, logits, chosen }: RankedLogits, chosenLogprob: number): Alternative[] {
  return ids.map((id, i) => ({ id, logprob: (logits[i] as number) - chosen + chosenLogprob }));
}
