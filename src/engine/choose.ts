// The next id of one sequence from its row of logits: what the budget forces, else what the sampler draws, else, where that would end
// thinking too soon, what is put in its place. Overwrites the row (a host copy) to ban ids.

import type { HostArray } from "../core/dtype.ts";
import { DeviceError } from "../core/errors.ts";
import { extendThinking, isEarly, takeForced } from "./budget.ts";
import { type Sampler, unusable } from "./sampler.ts";
import { emittedCount, type Sequence } from "./sequence.ts";

export type Choice = { readonly id: number; readonly isForced: boolean };

/** `width` ids of the row at `start` may be drawn. Throws DeviceError when the row is not finite. */
export function chooseId(
  sequence: Sequence,
  logits: HostArray,
  start: number,
  width: number,
  bannedIds: readonly number[],
  sample: Sampler,
): Choice {
  const { budget, request, random } = sequence;
  const forced = budget && takeForced(budget);
  if (forced !== undefined) return { id: forced, isForced: true };

  for (const id of bannedIds) logits[start + id] = Number.NEGATIVE_INFINITY;
  const id = sample(logits, start, width, request, random);
  if (id === unusable) throw notFinite(sequence, logits, start, width);
  if (!budget || !isEarly(budget, id, request.stop)) return { id, isForced: false };

  if (extendThinking(budget)) return { id: takeForced(budget) as number, isForced: true };
  for (const ending of request.stop) logits[start + ending] = Number.NEGATIVE_INFINITY;
  logits[start + (budget.budget.end[0] as number)] = Number.NEGATIVE_INFINITY;
  const other = sample(logits, start, width, request, random);
  return { id: other === unusable ? id : other, isForced: false };
}

function notFinite(sequence: Sequence, logits: HostArray, start: number, width: number): DeviceError {
  let nan = 0;
  let infinite = 0;
  for (let i = start; i < start + width; i++) {
    if (Number.isNaN(logits[i])) nan++;
    else if (logits[i] === Number.POSITIVE_INFINITY) infinite++;
  }
  return new DeviceError({
    operation: `generate: request ${sequence.number}, id ${emittedCount(sequence) + 1} of its completion`,
    got:
      nan + infinite > 0 ? `${nan} NaN and ${infinite} infinite logits of ${width}` : "no id that may be drawn (every logit is -Infinity)",
    expected: "finite logits",
    cure: "check the weights for NaN and overflow; other requests are not affected",
  });
}
