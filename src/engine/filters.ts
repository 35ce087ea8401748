// What the sampler may draw from: one row of logits becomes a short list of ids with weights. The order is that of Hugging Face
// transformers: temperature, top-k, top-p, min-p, typical (llama.cpp by default puts temperature last; with temperature 1 both agree).
// Each filter sees what the one before it left, renormalised:
//   top-k    the k most likely ids; among equals the lower id (transformers keeps every equal of the k-th, llama.cpp exactly k)
//   top-p    the fewest most likely ids whose mass reaches p; always at least one
//   min-p    ids with at least minP times the probability of the best one
//   typical  the fewest ids, nearest first of |surprise - entropy|, whose mass reaches typicalP (Meister et al. 2023, section 4)
// The vocabulary is never sorted: a first pass counts ids (top-k) or sums mass (top-p) in buckets of a factor 2^(1/32), a second lists the
// ids down to the bucket where the cut lies, and a selection inside that bucket finds the cut.

import type { HostArray } from "../core/dtype.ts";

export type SamplerSettings = {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly typicalP: number;
};

/** The row holds NaN or +Infinity, or nothing but -Infinity. */
export const unusable = -1;

/** What the filters left, in the first `count` places; the probability of ids[i] is weights[i] / total. Good until the next call. */
export type Kept = { count: number; total: number; readonly ids: Int32Array; readonly weights: Float64Array };

/** The filtered distribution, or undefined where a Sampler returns `unusable`. Temperature 0 leaves the best id alone. */
export type Filter = (logits: HostArray, start: number, width: number, settings: SamplerSettings) => Kept | undefined;

/** Further below the best, in nats, an id counts as 0. */
export const reach = 40;
/** One bucket is a factor of 2^(1/32). */
const perNat = 32 / Math.LN2;
const step = Math.LN2 / 32;
const buckets = Math.ceil(reach * perNat) + 2;
/** 2^(-n/32). */
const powers = Float64Array.from({ length: buckets }, (_, n) => 2 ** (-n / 32));

/** The bucket of an id `below` (0..-reach) nats away from the best; bucket 0 holds the best. */
function bucketOf(below: number): number {
  return (0.5 - below * perNat) | 0;
}

/** No id of the first `last + 1` buckets is further below the best; the cut that follows takes out what slips in. */
function floorOf(last: number): number {
  return Math.max(-reach, -(last + 0.500001) * step);
}

/** exp(x) for x in -reach..0, to 2e-12 of its size; about twice as fast as Math.exp, the greater part of a step's host work. */
export function exponential(x: number): number {
  const n = bucketOf(x);
  const rest = x + n * step; // at most step/2 either way
  return (powers[n] as number) * (1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest * (1 / 24)))));
}

type Scratch = Kept & {
  /** What a cut goes by, larger first: nats below the best, or minus the distance from the entropy. */
  readonly ranks: Float64Array;
  /** Places in the list that are being selected from. */
  readonly order: Int32Array;
  readonly bucketCount: Int32Array;
  readonly bucketMass: Float64Array;
};

/** With scratch memory of its own for rows of at most `vocabSize` logits. */
export function makeFilter(vocabSize: number): Filter {
  const scratch: Scratch = {
    count: 0,
    total: 0,
    ids: new Int32Array(vocabSize),
    weights: new Float64Array(vocabSize),
    ranks: new Float64Array(vocabSize),
    order: new Int32Array(vocabSize),
    bucketCount: new Int32Array(buckets),
    bucketMass: new Float64Array(buckets),
  };
  return (logits, start, width, settings) => {
    const best = argmax(logits, start, width);
    if (best === unusable) return undefined;
    const { temperature, topK, topP, minP, typicalP } = settings;
    if (temperature === 0) {
      scratch.ids[0] = best;
      scratch.weights[0] = 1;
      scratch.count = scratch.total = 1;
      return scratch;
    }
    const top = logits[start + best] as number;
    const scale = Math.min(1 / temperature, 1e300); // finite, so that 0·scale is 0
    if (topK > 0 && topK < width) {
      listMost(scratch, logits, start, width, top, scale, topK);
      if (topP < 1) cut(scratch, scratch.count, topP * scratch.total);
    } else if (topP < 1) listMass(scratch, logits, start, width, top, scale, topP);
    else listAbove(scratch, logits, start, width, top, scale, minP > 0 ? Math.max(-reach, Math.log(minP) - 1e-9) : -reach);
    if (minP > 0) keepAbove(scratch, minP);
    if (typicalP < 1) keepTypical(scratch, typicalP);
    return scratch;
  };
}

/** The lowest id of the largest logit. */
export function argmax(logits: HostArray, start: number, width: number): number {
  let best = unusable;
  let top = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < width; id++) {
    const logit = logits[start + id] as number;
    if (logit <= top) continue; // one comparison for nearly all; NaN fails it
    if (!(logit > top)) return unusable;
    top = logit;
    best = id;
  }
  return top === Number.POSITIVE_INFINITY ? unusable : best;
}

/** Lists every id at most `least` nats (negative) below the best. */
function listAbove(list: Scratch, logits: HostArray, start: number, width: number, top: number, scale: number, least: number): void {
  const { ids, weights, ranks } = list;
  let count = 0;
  let total = 0;
  for (let id = 0; id < width; id++) {
    const below = ((logits[start + id] as number) - top) * scale;
    if (below < least) continue;
    const weight = exponential(below);
    ids[count] = id;
    ranks[count] = below;
    weights[count++] = weight;
    total += weight;
  }
  list.count = count;
  list.total = total;
}

/** Lists the `most` best ids. */
function listMost(list: Scratch, logits: HostArray, start: number, width: number, top: number, scale: number, most: number): void {
  const { bucketCount } = list;
  bucketCount.fill(0);
  for (let id = 0; id < width; id++) {
    const below = ((logits[start + id] as number) - top) * scale;
    if (below >= -reach) (bucketCount[bucketOf(below)] as number)++;
  }
  let last = 0;
  for (let count = bucketCount[0] as number; count < most && last < buckets - 1; ) count += bucketCount[++last] as number;
  listAbove(list, logits, start, width, top, scale, floorOf(last));
  cut(list, most, Number.POSITIVE_INFINITY);
}

/** Lists the best ids whose mass reaches `share` of all. */
function listMass(list: Scratch, logits: HostArray, start: number, width: number, top: number, scale: number, share: number): void {
  const { bucketMass } = list;
  bucketMass.fill(0);
  let total = 0;
  for (let id = 0; id < width; id++) {
    const below = ((logits[start + id] as number) - top) * scale;
    if (below < -reach) continue;
    const weight = exponential(below);
    (bucketMass[bucketOf(below)] as number) += weight;
    total += weight;
  }
  let last = 0;
  // A little more than the share, lest sums in another order end a bucket too early.
  for (let mass = bucketMass[0] as number; mass < share * total * (1 + 1e-9) && last < buckets - 1; ) mass += bucketMass[++last] as number;
  listAbove(list, logits, start, width, top, scale, floorOf(last));
  cut(list, list.count, share * total);
}

/** Keeps the first entries by rank, until they are `most` or weigh `mass`; the list stays in order of ids. */
function cut(list: Scratch, most: number, mass: number): void {
  const { ids, weights, ranks, count } = list;
  const last = findLast(list, most, mass);
  const least = ranks[last] as number;
  let kept = 0;
  let total = 0;
  for (let i = 0; i < count; i++) {
    const rank = ranks[i] as number;
    if (rank < least || (rank === least && i > last)) continue;
    ids[kept] = ids[i] as number;
    ranks[kept] = rank;
    weights[kept] = weights[i] as number;
    total += weights[kept++] as number;
  }
  list.count = kept;
  list.total = total;
}

/** The place of the entry with which the head of the ranking has `most` entries or weighs `mass`. Only one bucket is looked into. */
function findLast(list: Scratch, most: number, mass: number): number {
  const { weights, ranks, order, count, bucketCount, bucketMass } = list;
  bucketCount.fill(0);
  bucketMass.fill(0);
  for (let i = 0; i < count; i++) {
    const bucket = Math.min(bucketOf(ranks[i] as number), buckets - 1);
    (bucketCount[bucket] as number)++;
    (bucketMass[bucket] as number) += weights[i] as number;
  }
  let bucket = -1;
  let countBefore = 0;
  let massBefore = 0;
  for (let next = 0; next < buckets; next++) {
    if (bucketCount[next] === 0) continue;
    if (bucket >= 0) {
      countBefore += bucketCount[bucket] as number;
      massBefore += bucketMass[bucket] as number;
    }
    bucket = next;
    if (countBefore + (bucketCount[bucket] as number) >= most || massBefore + (bucketMass[bucket] as number) >= mass) break;
  }
  let members = 0;
  for (let i = 0; i < count; i++) if (Math.min(bucketOf(ranks[i] as number), buckets - 1) === bucket) order[members++] = i;
  const head = selectHead(list, members, most - countBefore, mass - massBefore);
  let last = order[0] as number;
  for (let i = 1; i < head; i++) if (isBefore(ranks, last, order[i] as number)) last = order[i] as number;
  return last;
}

/** Takes out what is lighter than `least`. */
function keepAbove(list: Scratch, least: number): void {
  const { ids, weights, ranks, count } = list;
  let kept = 0;
  let total = 0;
  for (let i = 0; i < count; i++) {
    const weight = weights[i] as number;
    if (weight < least) continue;
    ids[kept] = ids[i] as number;
    ranks[kept] = ranks[i] as number;
    weights[kept++] = weight;
    total += weight;
  }
  list.count = kept;
  list.total = total;
}

/** Ranks by the distance of an id's surprise, -ln p, from the entropy, and keeps the nearest that reach the share. */
function keepTypical(list: Scratch, share: number): void {
  const { weights, ranks, count, total } = list;
  const logTotal = Math.log(total);
  let entropy = 0;
  for (let i = 0; i < count; i++) entropy += ((weights[i] as number) / total) * (logTotal - (ranks[i] as number));
  for (let i = 0; i < count; i++) ranks[i] = -Math.abs(logTotal - (ranks[i] as number) - entropy);
  cut(list, count, share * total);
}

/**
 * Reorders order[0..count-1] so that its first m entries are the best m of the ranking, m being the least number of entries that is
 * `most` or whose weight reaches `mass`; returns m >= 1. Quickselect by count and weight together.
 */
function selectHead({ ranks, weights, order }: Scratch, count: number, most: number, mass: number): number {
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
      if (!isBefore(ranks, candidate, pivot)) continue;
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

/** By rank falling, then by id rising: places in the list are in order of ids. */
function isBefore(ranks: Float64Array, a: number, b: number): boolean {
  const difference = (ranks[a] as number) - (ranks[b] as number);
  return difference > 0 || (difference === 0 && a < b);
}

function swap(order: Int32Array, a: number, b: number): void {
  const held = order[a] as number;
  order[a] = order[b] as number;
  order[b] = held;
}
