// Drafts by prompt lookup: where the last ids stood before, in the prompt or the answer, what followed then may follow now. In: the ids of a
// sequence. Out: the ids after the place with the longest match. Each sequence has an index of its own: for every pair of ids the places where
// it ended, as chains (the matching of LZ77). Time for one proposal is bounded, whatever the ids are. (Prompt lookup: Saxena 2023; n-gram
// matching: Yang et al. 2023.)

import type { Drafter, Proposal } from "./speculation.ts";

type Index = {
  /** For a pair of ids, as one number: the place after its last occurrence. */
  readonly heads: Map<number, number>;
  /** For each place: the place before it after the same pair; 0 where there is none. */
  readonly previous: number[];
};

/** Places that are compared at most, and ids of each. */
const mostPlaces = 16;
const mostCompared = 32;

/** Shortest matches of each grade: a longer match comes true more often. */
const gradeLengths = [2, 3, 5, 9] as const;

export class PromptLookup implements Drafter {
  readonly #indices = new WeakMap<readonly number[], Index>();

  /** Undefined when the last two ids never stood together before. */
  propose({ ids }: { readonly ids: readonly number[] }, most: number): Proposal | undefined {
    const end = ids.length;
    if (end < 3) return undefined;
    const index = this.#indexOf(ids);
    let best = 0;
    let bestLength = 0;
    let place = index.heads.get(pairBefore(ids, end)) ?? 0;
    for (let i = 0; i < mostPlaces && place > 0; i++, place = index.previous[place] as number) {
      const length = commonBefore(ids, place, end);
      if (length <= bestLength) continue;
      best = place;
      bestLength = length;
      if (length === mostCompared) break;
    }
    if (best === 0) return undefined;
    const drafts: number[] = [];
    // Past the end it goes on with itself, as a repetition does.
    for (let at = best; drafts.length < most; at++) drafts.push((ids[at] ?? drafts[at - end]) as number);
    return { ids: drafts, grade: gradeLengths.findLastIndex((length) => length <= bestLength) };
  }

  /** Knows of all pairs but the last. */
  #indexOf(ids: readonly number[]): Index {
    let index = this.#indices.get(ids);
    if (!index) {
      index = { heads: new Map(), previous: [0, 0] };
      this.#indices.set(ids, index);
    }
    const { heads, previous } = index;
    for (let place = previous.length; place < ids.length; place++) {
      const pair = pairBefore(ids, place);
      previous.push(heads.get(pair) ?? 0);
      heads.set(pair, place);
    }
    return index;
  }
}

/** ids[place - 2] and ids[place - 1] as one number: exact for ids below 2^26. Equal for others, it would only make a poor draft. */
function pairBefore(ids: readonly number[], place: number): number {
  return (ids[place - 2] as number) * 67108864 + (ids[place - 1] as number);
}

/** How many ids before the two places are the same. */
function commonBefore(ids: readonly number[], a: number, b: number): number {
  let length = 0;
  while (length < mostCompared && a - length > 0 && ids[a - 1 - length] === ids[b - 1 - length]) length++;
  return length;
}
