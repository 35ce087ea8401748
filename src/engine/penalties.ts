// What is done to a row of logits before it is filtered, in this order; each step sees what the one before it left:
//   banned      -Infinity: the engine's and the request's ids
//   bias        logit += bias, for the ids of logitBias (OpenAI)
//   repetition  each id of the prompt or completion once: logit / penalty where it is positive, logit · penalty where it is negative
//               (Keskar et al. 2019, section 4.1; transformers, and llama.cpp with an unlimited window)
//   presence    logit -= presencePenalty for ids of the completion
//   frequency   logit -= frequencyPenalty · (how often the id is in the completion) (OpenAI)
// A function of the ids so far and the settings alone: nothing is kept from one step to the next, so a sequence may move, wait or be
// computed again. Forced ids count like drawn ones.

import type { HostArray } from "../core/dtype.ts";

export type PenaltySettings = {
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly logitBias: ReadonlyMap<number, number>;
  readonly bannedIds: readonly number[];
};

/** Changes logits[start .. start + width - 1] in place. ids[0 .. promptLength - 1] are the prompt, the others the completion. */
export function applyPenalties(
  logits: HostArray,
  start: number,
  width: number,
  ids: readonly number[],
  promptLength: number,
  settings: PenaltySettings,
): void {
  const { repetitionPenalty, presencePenalty, frequencyPenalty, logitBias, bannedIds } = settings;
  for (const id of bannedIds) logits[start + id] = Number.NEGATIVE_INFINITY;
  for (const [id, bias] of logitBias) (logits[start + id] as number) += bias;
  if (repetitionPenalty !== 1) {
    for (const id of new Set(ids)) {
      if (id >= width) continue;
      const logit = logits[start + id] as number;
      logits[start + id] = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
    }
  }
  if (presencePenalty === 0 && frequencyPenalty === 0) return;
  const counts = new Map<number, number>();
  for (let i = promptLength; i < ids.length; i++) counts.set(ids[i] as number, (counts.get(ids[i] as number) ?? 0) + 1);
  for (const [id, count] of counts) if (id < width) (logits[start + id] as number) -= presencePenalty + frequencyPenalty * count;
}
