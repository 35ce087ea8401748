// From one row of logits to one id. A pure function of the row, the settings and the generator: nothing else of the batch can be seen.
//
// The order is that of Hugging Face transformers: temperature, top-k, top-p, min-p (llama.cpp by default puts temperature last; with
// temperature 1 both agree). Each filter sees what the one before it left, renormalised:
//   top-k  the k most likely ids; among equals the lower id (transformers keeps every equal of the k-th, llama.cpp exactly k)
//   top-p  the fewest most likely ids whose mass reaches p; always at least one
//   min-p  ids with at least minP times the probability of the best one
// Each keeps a head of one ranking (probability falling, then id rising), so the shortest head wins; its last id is found by selection in
// linear time, without a sort. The draw then walks the kept ids in rising order with one block (two 32-bit draws, 53 bits) of the
// generator; greedy decoding draws nothing. An id more than `reach` nats below the best has a share under 1e-17 and counts as 0.

import type { HostArray } from "../core/dtype.ts";
import type { Random } from "../core/random.ts";

export type SamplerSettings = { readonly temperature: number; readonly topK: number; readonly topP: number; readonly minP: number };

/** The row holds NaN or +Infinity, or nothing but -Infinity. */
export const unusable = -1;

/** Picks an id in 0..width-1 from logits[start .. start + width - 1], or returns `unusable`. -Infinity is a banned id. */
export type Sampler = (logits: HostArray, start: number, width: number, settings: SamplerSettings, random: Random) => number;

const reach = 40;

/** A sampler with scratch memory of its own for rows of at most `vocabSize` logits. */
export function makeSampler(vocabSize: number): Sampler {
  const ids = new Int32Array(vocabSize);
  const weights = new Float64Array(vocabSize);
  const order = new Int32Array(vocabSize);

  return (logits, start, width, settings, random) => {
    const best = argmax(logits, start, width);
    const { temperature, topK, topP, minP } = settings;
    if (best === unusable || temperature === 0) return best;
    const top = logits[start + best] as number;
    const ranked = topK > 0 || topP < 1;
    const floor = ranked ? 0 : minP; // top-k and top-p come first and must see the ids that min-p will drop

    // Candidates in rising id order, weighed against the best one, whose weight is exactly 1.
    let count = 0;
    let total = 0;
    for (let id = 0; id < width; id++) {
      const below = ((logits[start + id] as number) - top) / temperature;
      if (below < -reach) continue;
      const weight = Math.exp(below);
      if (weight < floor) continue;
      ids[count] = id;
      weights[count++] = weight;
      total += weight;
    }
    if (ranked) {
      count = keepHead(ids, weights, order, count, settings);
      total = 0;
      for (let i = 0; i < count; i++) total += weights[i] as number;
    }

    const high = random.uint32();
    const uniform = (high * 2097152 + (random.uint32() >>> 11)) / 9007199254740992; // [0, 1)
    const target = uniform * total;
    let mass = 0;
    for (let i = 0; i < count; i++) {
      mass += weights[i] as number;
      if (mass > target) return ids[i] as number;
    }
    return ids[count - 1] as number;
  };
}

/** The lowest id of the largest logit. */
export function argmax(logits: HostArray, start: number, width: number): number {
  let best = unusable;
  let top = Number.NEGATIVE_INFINITY;
  let broken = false;
  for (let id = 0; id < width; id++) {
    const logit = logits[start + id] as number;
    if (logit > top) {
      top = logit;
      best = id;
    } else if (Number.isNaN(logit)) broken = true;
  }
  return broken || top === Number.POSITIVE_INFINITY ? unusable : best;
}

/** Applies top-k, top-p and min-p to the first `count` candidates, in place; returns how many stay. */
function keepHead(ids: Int32Array, weights: Float64Array, order: Int32Array, count: number, settings: SamplerSettings): number {
  const { topK, topP, minP } = settings;
  for (let i = 0; i < count; i++) order[i] = i;
  let head = count;
  if (topK > 0 && topK < head) {
    selectHead(weights, order, head, topK, Number.POSITIVE_INFINITY);
    head = topK;
  }
  if (topP < 1) {
    let mass = 0;
    for (let i = 0; i < head; i++) mass += weights[order[i] as number] as number;
    head = selectHead(weights, order, head, head, topP * mass);
  }
  let last = order[0] as number;
  for (let i = 1; i < head; i++) {
    if (isBefore(weights, last, order[i] as number)) last = order[i] as number;
  }
  const least = weights[last] as number;
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const weight = weights[i] as number;
    if (weight < minP || weight < least || (weight === least && i > last)) continue;
    ids[kept] = ids[i] as number;
    weights[kept++] = weight;
  }
  return kept;
}

/**
 * Reorders order[0..count-1] so that its first m entries are the best m of the ranking, m being the least number of entries that is `most` or
 * whose weight reaches `mass`; returns m >= 1. Quickselect by count and weight together.
 */
function selectHead(weights: Float64Array, order: Int32Array, count: number, most: number, mass: number): number {
  let low = 0;
  let high = count;
  let before = 0; // weight of order[0 .. low-1], all of which belong to the head
  while (low < high) {
    swap(order, low + ((high - low) >>> 1), high - 1);
    const pivot = order[high - 1] as number;
    let split = low;
    let better = 0;
    for (let i = low; i < high - 1; i++) {
      const candidate = order[i] as number;
      if (!isBefore(weights, candidate, pivot)) continue;
      better += weights[candidate] as number;
      order[i] = order[split] as number;
      order[split++] = candidate;
    }
    swap(order, split, high - 1);
    if (split >= most || before + better >= mass) {
      high = split;
    } else {
      before += better + (weights[pivot] as number);
      low = split + 1;
      if (low >= most || before >= mass) return low;
    }
  }
  return Math.max(1, low);
}

/** Candidates lie in rising id order, so the lower place is the lower id. */
function isBefore(weights: Float64Array, a: number, b: number): boolean {
  const difference = (weights[a] as number) - (weights[b] as number);
  return difference > 0 || (difference === 0 && a < b);
}

function swap(order: Int32Array, a: number, b: number): void {
  const held = order[a] as number;
  order[a] = order[b] as number;
  order[b] = held;
}
