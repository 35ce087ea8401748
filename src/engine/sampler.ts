// From one row of logits to one id. A pure function of the row, the settings and the generator: nothing else of the batch can be seen.
//
// The order is that of Hugging Face transformers: temperature, top-k, top-p, min-p (llama.cpp by default puts temperature last; with
// temperature 1 both agree). Each filter sees what the one before it left, renormalised:
//   top-k  the k most likely ids; among equals the lower id (transformers keeps every equal of the k-th, llama.cpp exactly k)
//   top-p  the fewest most likely ids whose mass reaches p; always at least one
//   min-p  ids with at least minP times the probability of the best one
// Each keeps a head of one ranking (probability falling, then id rising), whose last id is found in linear time, by buckets and a
// selection inside one of them. The draw then walks the kept ids in rising order with one block (two 32-bit draws, 53 bits) of the
// generator; greedy decoding draws nothing. An id more than `reach` nats below the best has a share under 1e-17 and counts as 0.

import type { HostArray } from "../core/dtype.ts";
import type { Random } from "../core/random.ts";

export type SamplerSettings = { readonly temperature: number; readonly topK: number; readonly topP: number; readonly minP: number };

/** The row holds NaN or +Infinity, or nothing but -Infinity. */
export const unusable = -1;

/** Picks an id in 0..width-1 from logits[start .. start + width - 1], or returns `unusable`. -Infinity is a banned id. */
export type Sampler = (logits: HostArray, start: number, width: number, settings: SamplerSettings, random: Random) => number;

const reach = 40;
/** Weights are sorted roughly by exponent and three bits of mantissa; bucket 0 holds weight 1 alone, and weights reach down to 2^-58. */
const buckets = 58 * 8 + 1;

type Scratch = {
  /** By id: against the best id, whose weight is exactly 1; 0 for ids that are out. */
  readonly weights: Float64Array;
  /** The same memory; the odd elements are the upper halves. */
  readonly words: Uint32Array;
  readonly order: Int32Array;
  readonly bucketCount: Int32Array;
  readonly bucketMass: Float64Array;
};

/** A sampler with scratch memory of its own for rows of at most `vocabSize` logits. */
export function makeSampler(vocabSize: number): Sampler {
  const weights = new Float64Array(vocabSize);
  const scratch: Scratch = {
    weights,
    words: new Uint32Array(weights.buffer),
    order: new Int32Array(vocabSize),
    bucketCount: new Int32Array(buckets),
    bucketMass: new Float64Array(buckets),
  };

  return (logits, start, width, settings, random) => {
    const best = argmax(logits, start, width);
    const { temperature, topK, topP, minP } = settings;
    if (best === unusable || temperature === 0) return best;
    const top = logits[start + best] as number;
    const scale = Math.min(1 / temperature, 1e300); // finite, so that 0·scale is 0
    let total = 0;
    for (let id = 0; id < width; id++) {
      const below = ((logits[start + id] as number) - top) * scale;
      const weight = below < -reach ? 0 : exponential(below);
      weights[id] = weight;
      total += weight;
    }
    if (topK > 0 || topP < 1) total = keepHead(scratch, width, total, settings);
    if (minP > 0) total = keepAbove(weights, width, minP);

    const high = random.uint32();
    const uniform = (high * 2097152 + (random.uint32() >>> 11)) / 9007199254740992; // [0, 1)
    const target = uniform * total;
    let mass = 0;
    for (let id = 0; id < width; id++) {
      mass += weights[id] as number;
      if (mass > target) return id; // never an id of weight 0: it adds nothing
    }
    return best; // where the last sum was rounded down
  };
}

const step = Math.LN2 / 32;
/** 2^(-n/32). */
const powers = Float64Array.from({ length: Math.ceil(reach / step) + 2 }, (_, n) => 2 ** (-n / 32));

/** exp(x) for x in -reach..0, to 2e-12 of its size; about twice as fast as Math.exp, the greater part of a step's host work. */
function exponential(x: number): number {
  const n = (0.5 - x * (32 / Math.LN2)) | 0;
  const rest = x + n * step; // at most step/2 either way
  return (powers[n] as number) * (1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest * (1 / 24)))));
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

/** Takes out what is lighter than `least`; returns the mass that stays. */
function keepAbove(weights: Float64Array, width: number, least: number): number {
  let total = 0;
  for (let id = 0; id < width; id++) {
    if ((weights[id] as number) < least) weights[id] = 0;
    else total += weights[id] as number;
  }
  return total;
}

/** Takes out what top-k and top-p drop of weights with the sum `total`; returns the mass that stays. */
function keepHead(scratch: Scratch, width: number, total: number, { topK, topP }: SamplerSettings): number {
  const { weights, words, bucketCount, bucketMass } = scratch;
  bucketCount.fill(0);
  bucketMass.fill(0);
  for (let id = 0; id < width; id++) {
    const weight = weights[id] as number;
    if (weight === 0) continue;
    const bucket = bucketOf(words, id);
    (bucketCount[bucket] as number)++;
    (bucketMass[bucket] as number) += weight;
  }
  const most = topK > 0 ? topK : width;
  const mass = topK > 0 && topP < 1 ? findLast(scratch, width, most, Number.POSITIVE_INFINITY).mass : total;
  const { last } = findLast(scratch, width, most, topP < 1 ? topP * mass : Number.POSITIVE_INFINITY);
  const least = weights[last] as number;
  let kept = 0;
  for (let id = 0; id < width; id++) {
    const weight = weights[id] as number;
    if (weight < least || (weight === least && id > last)) weights[id] = 0;
    else kept += weight;
  }
  return kept;
}

/** Rises as the weight falls; weight 0 is beyond all buckets. */
function bucketOf(words: Uint32Array, id: number): number {
  return (0x3ff00000 >>> 17) - ((words[2 * id + 1] as number) >>> 17);
}

/** The last id of the shortest head that has `most` ids or reaches `mass`, and that head's mass. Only one bucket is looked into. */
function findLast(scratch: Scratch, width: number, most: number, mass: number): { last: number; mass: number } {
  const { words, weights, order, bucketCount, bucketMass } = scratch;
  let bucket = 0; // holds the best id, so it is never empty
  let countBefore = 0;
  let massBefore = 0;
  for (let next = 0; next < buckets; next++) {
    if (bucketCount[next] === 0) continue;
    if (next > 0) {
      countBefore += bucketCount[bucket] as number;
      massBefore += bucketMass[bucket] as number;
    }
    bucket = next;
    if (countBefore + (bucketCount[bucket] as number) >= most || massBefore + (bucketMass[bucket] as number) >= mass) break;
  }
  let members = 0;
  for (let id = 0; id < width; id++) if (bucketOf(words, id) === bucket) order[members++] = id;
  const head = selectHead(weights, order, members, most - countBefore, mass - massBefore);
  let last = order[0] as number;
  let sum = massBefore;
  for (let i = 0; i < head; i++) {
    const id = order[i] as number;
    sum += weights[id] as number;
    if (isBefore(weights, last, id)) last = id;
  }
  return { last, mass: sum };
}

/**
 * Reorders order[0..count-1] so that its first m entries are the best m of the ranking, m being the least number of entries that is
 * `most` or whose weight reaches `mass`; returns m >= 1. Quickselect by count and weight together.
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

function isBefore(weights: Float64Array, a: number, b: number): boolean {
  const difference = (weights[a] as number) - (weights[b] as number);
  return difference > 0 || (difference === 0 && a < b);
}

function swap(order: Int32Array, a: number, b: number): void {
  const held = order[a] as number;
  order[a] = order[b] as number;
  order[b] = held;
}
