// The next id of one sequence from its row of logits: what the budget forces, else what the sampler draws, else, where that would end
// thinking too soon, what is put in its place. Overwrites the row (a host copy) with bans, bias and penalties.
// The id at place n of a completion is drawn with block n of its seed's generator, a second try with block 2^40 + n: what came before, in
// this batch or another, does not matter.

import type { HostArray } from "../core/dtype.ts";
import { DeviceError, RequestError } from "../core/errors.ts";
import { Random } from "../core/random.ts";
import { endThinking, extendThinking, isEarly, takeForced } from "./budget.ts";
import { unusable } from "./filters.ts";
import { applyPenalties } from "./penalties.ts";
import type { Sampler } from "./sampler.ts";
import { emittedCount, type Sequence } from "./sequence.ts";
import { type RankedLogits, rankLogits } from "./top-logits.ts";

export type Choice = {
  /** `ended`: the constraint lets nothing follow. */
  readonly id: number;
  readonly isForced: boolean;
  /** The likeliest ids of the untouched row, when the request asked for them. */
  readonly ranked?: RankedLogits;
};

export const ended = -1;

/** Whether the constraint, if any, has a say in the next id. */
export function isConstrained({ budget, request }: Sequence): boolean {
  return request.constraint !== undefined && !budget?.isThinking;
}

/** `width` ids of the row at `start` may be drawn. Throws DeviceError when the row is not finite, RequestError when the request's bans leave nothing of it. */
export function chooseId(
  sequence: Sequence,
  logits: HostArray,
  start: number,
  width: number,
  bannedIds: readonly number[],
  sample: Sampler,
): Choice {
  const { budget, request, ids } = sequence;
  const constraint = isConstrained(sequence) ? request.constraint : undefined;
  const untouched = request.topLogprobs > 0 ? Float32Array.from(logits.subarray(start, start + width)) : undefined;
  const made = (id: number, isForced: boolean): Choice => ({
    id,
    isForced,
    ...(untouched &&
      id !== ended && { ranked: rankLogits(untouched, request.topLogprobs, untouched[id] ?? (logits[start + id] as number)) }),
  });

  const forced = budget && takeForced(budget);
  if (forced !== undefined) return made(forced, true);

  for (const id of bannedIds) logits[start + id] = Number.NEGATIVE_INFINITY;
  applyPenalties(logits, start, width, ids, request.ids.length, request);
  if (constraint && !constraint.mask(logits, start, width)) return made(ended, false);
  const place = emittedCount(sequence);
  const id = sample(logits, start, width, request, randomAt(sequence.seed, place));
  if (id === unusable) throw nothingToDraw(sequence, logits, start, width);
  if (!budget || !isEarly(budget, id, request.stop)) {
    if (!budget?.isThinking || !request.constraint || !request.stop.has(id)) return made(id, false);
    endThinking(budget);
    return made(takeForced(budget) as number, true);
  }

  if (extendThinking(budget)) return made(takeForced(budget) as number, true);
  for (const ending of request.stop) logits[start + ending] = Number.NEGATIVE_INFINITY;
  logits[start + (budget.budget.end[0] as number)] = Number.NEGATIVE_INFINITY;
  const other = sample(logits, start, width, request, randomAt(sequence.seed, secondTry + place));
  return made(other === unusable ? id : other, false);
}

const secondTry = 2 ** 40;

/** Block `block` of a seed's generator; all 53 bits of the seed count. */
function randomAt(seed: number, block: number): Random {
  return new Random(seed % 4294967296, Math.floor(seed / 4294967296), 2 * block);
}

/** Why no id of the row may be drawn. */
function nothingToDraw(sequence: Sequence, logits: HostArray, start: number, width: number): DeviceError | RequestError {
  let nan = 0;
  let infinite = 0;
  for (let i = start; i < start + width; i++) {
    if (Number.isNaN(logits[i])) nan++;
    else if (logits[i] === Number.POSITIVE_INFINITY) infinite++;
  }
  const operation = `generate: request ${sequence.number}, id ${emittedCount(sequence) + 1} of its completion`;
  const { bannedIds, constraint } = sequence.request;
  if (nan + infinite === 0 && bannedIds.length > 0) {
    return new RequestError({
      operation,
      got: `bannedIds that leave no id${constraint ? " of those that the structure allows" : ""}`,
      expected: "an id that may be drawn",
      cure: "ban fewer ids",
    });
  }
  return new DeviceError({
    operation,
    got:
      nan + infinite > 0 ? `${nan} NaN and ${infinite} infinite logits of ${width}` : "no id that may be drawn (every logit is -Infinity)",
    expected: "finite logits",
    cure: "check the weights for NaN and overflow; other requests are not affected",
  });
}
