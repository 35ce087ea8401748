// What a chosen id does to its sequence: it stops it, or is appended and maybe fills it. The last of the four parts of a step.

import { noteEmitted } from "./budget.ts";
import { type Choice, ended, isConstrained } from "./choose.ts";
import { emittedCount, type Sequence } from "./sequence.ts";
import { alternatives } from "./top-logits.ts";

/** "go" when the sequence wants another step. `logprob` is of the chosen id, when the request asked for it. */
export function settle(sequence: Sequence, choice: Choice, logprob: number | undefined): "stop" | "length" | "go" {
  const { request, ids } = sequence;
  if (choice.id === ended) return "stop";
  if (!choice.isForced && request.stop.has(choice.id)) {
    sequence.stopLogprob = logprob;
    return "stop";
  }
  if (choice.isForced) sequence.forcedAt.push(emittedCount(sequence));
  ids.push(choice.id);
  if (logprob !== undefined) {
    sequence.logprobs.push(logprob);
    if (choice.ranked) sequence.alternatives.push(alternatives(choice.ranked, logprob));
  }
  if (isConstrained(sequence)) request.constraint?.accept(choice.id);
  if (sequence.budget) noteEmitted(sequence.budget, choice.id);
  return emittedCount(sequence) >= request.limit ? "length" : "go";
}
