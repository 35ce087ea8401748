// One answer out of several: the one that most agree on, or the one that scores best.

import { RequestError } from "../core/errors.ts";

/**
 * Self-consistency (Wang et al. 2022): the answers that `read` gives, undefined where there is none, are counted; the first that has the most votes
 * wins, with its number of votes. Undefined when nobody voted.
 */
export function majorityVote<T>(
  answers: readonly T[],
  read: (answer: T) => string | undefined,
): { readonly answer: T; readonly value: string; readonly votes: number } | undefined {
  const counts = new Map<string, { answer: T; votes: number }>();
  for (const answer of answers) {
    const value = read(answer);
    if (value === undefined) continue;
    const entry = counts.get(value);
    if (entry) entry.votes++;
    else counts.set(value, { answer, votes: 1 });
  }
  let best: { answer: T; value: string; votes: number } | undefined;
  for (const [value, entry] of counts) if (!best || entry.votes > best.votes) best = { value, ...entry };
  return best;
}

/** The answer with the highest score, the first among equals; NaN never wins. Throws RequestError for no answers. */
export function bestOf<T>(answers: readonly T[], score: (answer: T) => number): T {
  let best: { answer: T; score: number } | undefined;
  for (const answer of answers) {
    const value = score(answer);
    if (!best || value > best.score || (Number.isNaN(best.score) && !Number.isNaN(value))) best = { answer, score: value };
  }
  if (!best) {
    throw new RequestError({ operation: "bestOf", got: "no answers", expected: "at least one", cure: "ask for n of 1 or more" });
  }
  return best.answer;
}

/** The mean log-probability of an answer's ids: the usual score for bestOf. Needs `logprobs`. -Infinity where there are none. */
export function meanLogprob({ logprobs }: { readonly logprobs?: readonly number[] }): number {
  if (!logprobs || logprobs.length === 0) return Number.NEGATIVE_INFINITY;
  return logprobs.reduce((sum, value) => sum + value, 0) / logprobs.length;
}
