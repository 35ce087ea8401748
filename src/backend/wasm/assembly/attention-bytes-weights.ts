// Attention over keys and values of 8 bits, between the two integer products (attention-bytes-tiles.ts): scores of a tile of 32 keys and 8 queries to weights, and weights
// to codes. Powers of two, because the factor log2 e is in the rounded queries already. Each lane is one query and never meets another. A code is a weight times the scale
// of the key's block of values, in steps of 1/16383 of the largest in the tile: 14 bits, which lie as two bytes of 7, what every relaxed dot product multiplies exactly.
// The wide build fuses a pair where both loads come before both stores. A tile of 32 keys and 8 queries: weights and their sums 2.4 ns a key on one core, codes 0.7 a block.

import { EXP2_LOWEST, exp2Negative4, exp2With, madd, one4, P2, ROUND } from "./math";

/** Keys of a tile. */
export const TILE: i32 = 32;

/** Constants of these functions, which a thread writes into its scratch: V8 builds a constant vector anew at each use. */
export const CONSTANT_BYTES: usize = 32;
/** 1.5·2^23, see math.ts. */
const ROUNDER: usize = 0;
const MOST: usize = 4;
const TINY: usize = 8;
const LOW_HALF: usize = 12;
const LOW_SEVEN: usize = 16;
/** Bytes with an offset of 128 to signed bytes. */
export const FLIP: usize = 20;

export function writeConstants(constants: usize): void {
  store<f32>(constants, 12582912, ROUNDER);
  store<f32>(constants, 16383, MOST);
  store<f32>(constants, 1e-30, TINY);
  store<u32>(constants, 0xffff, LOW_HALF);
  store<u32>(constants, 0x007f007f, LOW_SEVEN);
  store<u32>(constants, 0x80808080, FLIP);
}

/** State of a block of 8 queries, [8] each: the largest score so far, the sum of weights, what this tile multiplies all earlier sums by, its largest weight. */
export const STATE_BYTES: usize = 128;
/** Below every score; finite, so that its difference from itself is 0. */
export const NO_SCORE: f32 = -3e38;

/** Scores to weights 2^(score - largest so far), in place, and what the state says of them; a NaN is passed over, its weight will be NaN. */
// @ts-ignore: decorator
@inline
function weigh(sums: bool, scores: usize, state: usize): void {
  let a0 = v128.load(scores);
  let a1 = v128.load(scores, 16);
  let b0 = v128.load(scores, 32);
  let b1 = v128.load(scores, 48);
  let c0 = v128.load(scores, 64);
  let c1 = v128.load(scores, 80);
  let d0 = v128.load(scores, 96);
  let d1 = v128.load(scores, 112);
  const end = scores + 1024;
  for (let row = scores + 128; row < end; row += 128) {
    a0 = f32x4.pmax(a0, v128.load(row));
    a1 = f32x4.pmax(a1, v128.load(row, 16));
    b0 = f32x4.pmax(b0, v128.load(row, 32));
    b1 = f32x4.pmax(b1, v128.load(row, 48));
    c0 = f32x4.pmax(c0, v128.load(row, 64));
    c1 = f32x4.pmax(c1, v128.load(row, 80));
    d0 = f32x4.pmax(d0, v128.load(row, 96));
    d1 = f32x4.pmax(d1, v128.load(row, 112));
  }
  const peak0 = f32x4.pmax(f32x4.pmax(a0, b0), f32x4.pmax(c0, d0));
  const peak1 = f32x4.pmax(f32x4.pmax(a1, b1), f32x4.pmax(c1, d1));
  const before0 = v128.load(state);
  const before1 = v128.load(state, 16);
  const top0 = f32x4.pmax(before0, peak0);
  const top1 = f32x4.pmax(before1, peak1);
  const ratio0 = exp2Negative4(f32x4.sub(before0, top0));
  const ratio1 = exp2Negative4(f32x4.sub(before1, top1));
  const weight0 = exp2Negative4(f32x4.sub(peak0, top0));
  const weight1 = exp2Negative4(f32x4.sub(peak1, top1));
  v128.store(state, top0);
  v128.store(state, top1, 16);
  v128.store(state, ratio0, 64);
  v128.store(state, ratio1, 80);
  v128.store(state, weight0, 96);
  v128.store(state, weight1, 112);
  const lowest = v128.load32_splat(EXP2_LOWEST);
  const rounder = v128.load32_splat(ROUND);
  const p0 = v128.load32_splat(P2);
  const p1 = v128.load32_splat(P2, 4);
  const p2 = v128.load32_splat(P2, 8);
  const p3 = v128.load32_splat(P2, 12);
  const p4 = v128.load32_splat(P2, 16);
  const one = one4();
  let even0 = f32x4.splat(0);
  let even1 = f32x4.splat(0);
  let odd0 = f32x4.splat(0);
  let odd1 = f32x4.splat(0);
  for (; scores < end; scores += 64) {
    const w0 = exp2With(f32x4.sub(v128.load(scores), top0), lowest, rounder, p0, p1, p2, p3, p4, one);
    const w1 = exp2With(f32x4.sub(v128.load(scores, 16), top1), lowest, rounder, p0, p1, p2, p3, p4, one);
    v128.store(scores, w0);
    v128.store(scores, w1, 16);
    const x0 = exp2With(f32x4.sub(v128.load(scores, 32), top0), lowest, rounder, p0, p1, p2, p3, p4, one);
    const x1 = exp2With(f32x4.sub(v128.load(scores, 48), top1), lowest, rounder, p0, p1, p2, p3, p4, one);
    v128.store(scores, x0, 32);
    v128.store(scores, x1, 48);
    if (sums) {
      even0 = f32x4.add(even0, w0);
      even1 = f32x4.add(even1, w1);
      odd0 = f32x4.add(odd0, x0);
      odd1 = f32x4.add(odd1, x1);
    }
  }
  if (sums) {
    const sum0 = madd(v128.load(state, 32), v128.load(state, 64), f32x4.add(even0, odd0));
    const sum1 = madd(v128.load(state, 48), v128.load(state, 80), f32x4.add(even1, odd1));
    v128.store(state, sum0, 32);
    v128.store(state, sum1, 48);
  }
}

/** Weights of a tile that all its queries see, and their sums. */
export function weighTile(scores: usize, state: usize): void {
  weigh(true, scores, state);
}

/** Weights alone, where a query may not see a key. */
export function weighTileCareful(scores: usize, state: usize): void {
  weigh(false, scores, state);
}

/** What weighTile adds: even and odd keys each in order. */
export function addWeights(state: usize, weights: usize): void {
  let a0 = v128.load(weights);
  let a1 = v128.load(weights, 16);
  let b0 = v128.load(weights, 32);
  let b1 = v128.load(weights, 48);
  for (let j: usize = 64; j < 1024; j += 64) {
    a0 = f32x4.add(a0, v128.load(weights + j));
    a1 = f32x4.add(a1, v128.load(weights + j, 16));
    b0 = f32x4.add(b0, v128.load(weights + j, 32));
    b1 = f32x4.add(b1, v128.load(weights + j, 48));
  }
  const sum0 = madd(v128.load(state, 32), v128.load(state, 64), f32x4.add(a0, b0));
  const sum1 = madd(v128.load(state, 48), v128.load(state, 80), f32x4.add(a1, b1));
  v128.store(state, sum0, 32);
  v128.store(state, sum1, 48);
}

/** weight·scale; where a query does not see the key (weight 0) 0 whatever the scale is. */
// @ts-ignore: decorator
@inline
function scaled(careful: bool, weight: v128, scale: v128): v128 {
  const product = f32x4.mul(weight, scale);
  return careful ? v128.andnot(product, f32x4.eq(weight, f32x4.splat(0))) : product;
}

/** A code in the low bits, 1.5·2^23 above. */
// @ts-ignore: decorator
@inline
function rounded(careful: bool, weights: usize, scale: v128, inverse: v128, rounder: v128): v128 {
  return madd(scaled(careful, v128.load(weights), scale), inverse, rounder);
}

// @ts-ignore: decorator
@inline
function code(careful: bool, wide: bool, codes: usize, weights: usize, state: usize, largest: usize, scales: usize, constants: usize): void {
  const tiny = v128.load32_splat(constants, TINY);
  const most = v128.load32_splat(constants, MOST);
  const top0 = f32x4.pmax(f32x4.mul(v128.load(state, 96), v128.load(largest)), tiny);
  const top1 = f32x4.pmax(f32x4.mul(v128.load(state, 112), v128.load(largest, 16)), tiny);
  const step0 = f32x4.div(top0, most);
  const step1 = f32x4.div(top1, most);
  v128.store(codes, step0, 512);
  v128.store(codes, step1, 528);
  const i0 = f32x4.div(most, top0);
  const i1 = f32x4.div(most, top1);
  const rounder = v128.load32_splat(constants, ROUNDER);
  const half = v128.load32_splat(constants, LOW_HALF);
  const seven = v128.load32_splat(constants, LOW_SEVEN);
  for (const end = scales + 128; scales < end; scales += 16) {
    const s0 = v128.load32_splat(scales);
    const s1 = v128.load32_splat(scales, 4);
    const s2 = v128.load32_splat(scales, 8);
    const s3 = v128.load32_splat(scales, 12);
    const c00 = v128.and(rounded(careful, weights, s0, i0, rounder), half);
    const c01 = v128.and(rounded(careful, weights + 16, s0, i1, rounder), half);
    const c10 = rounded(careful, weights + 32, s1, i0, rounder);
    const c11 = rounded(careful, weights + 48, s1, i1, rounder);
    const c20 = rounded(careful, weights + 64, s2, i0, rounder);
    const c21 = rounded(careful, weights + 80, s2, i1, rounder);
    const c30 = i32x4.shl(rounded(careful, weights + 96, s3, i0, rounder), 16);
    const c31 = i32x4.shl(rounded(careful, weights + 112, s3, i1, rounder), 16);
    if (wide) {
      const low0 = v128.or(c00, i32x4.shl(c10, 16));
      const low1 = v128.or(c01, i32x4.shl(c11, 16));
      const high0 = v128.or(v128.and(c20, half), c30);
      const high1 = v128.or(v128.and(c21, half), c31);
      v128.store(codes, low0);
      v128.store(codes, low1, 16);
      v128.store(codes, high0, 32);
      v128.store(codes, high1, 48);
      codes += 64;
    } else {
      // Keys 0 and 2, 1 and 3 as halves of a word: their bytes come to lie in order.
      const even0 = v128.or(c00, i32x4.shl(c20, 16));
      const even1 = v128.or(c01, i32x4.shl(c21, 16));
      const odd0 = v128.or(v128.and(c10, half), c30);
      const odd1 = v128.or(v128.and(c11, half), c31);
      const high0 = v128.or(v128.and(i16x8.shr_u(even0, 7), seven), i16x8.shl(v128.and(i16x8.shr_u(odd0, 7), seven), 8));
      const high1 = v128.or(v128.and(i16x8.shr_u(even1, 7), seven), i16x8.shl(v128.and(i16x8.shr_u(odd1, 7), seven), 8));
      const low0 = v128.or(v128.and(even0, seven), i16x8.shl(v128.and(odd0, seven), 8));
      const low1 = v128.or(v128.and(even1, seven), i16x8.shl(v128.and(odd1, seven), 8));
      v128.store(codes, high0);
      v128.store(codes, high1, 16);
      v128.store(codes, low0, 256);
      v128.store(codes, low1, 272);
      codes += 32;
    }
    weights += 128;
  }
}

/** Bytes of a tile's codes, and where the steps begin in it: [8], what one unit of a query's codes stands for. */
export const STEPS: usize = 512;
export const CODES_BYTES: usize = 544;

/** codes: [8 groups of 4 keys][8][4] of the high seven bits, then of the low seven. largest [8]: the largest scale that each query sees; scales [32]. Careful: a query may not see a key. */
export function codeBytes(codes: usize, weights: usize, state: usize, largest: usize, scales: usize, constants: usize): void {
  code(false, false, codes, weights, state, largest, scales, constants);
}

export function codeBytesCareful(codes: usize, weights: usize, state: usize, largest: usize, scales: usize, constants: usize): void {
  code(true, false, codes, weights, state, largest, scales, constants);
}

/** The same for plain SIMD: [16 pairs of keys][8][2] of 16 bits. */
export function codeWords(codes: usize, weights: usize, state: usize, largest: usize, scales: usize, constants: usize): void {
  code(false, true, codes, weights, state, largest, scales, constants);
}

export function codeWordsCareful(codes: usize, weights: usize, state: usize, largest: usize, scales: usize, constants: usize): void {
  code(true, true, codes, weights, state, largest, scales, constants);
}

/** largest[lane]: the largest of the first counts[lane] - done of 32 scales, as integers: none is negative, and NaN is the largest of all. */
export function largestScales(largest: usize, scales: usize, counts: usize, lanes: i32, done: i32): void {
  let known: i32 = -1;
  let top: u32 = 0;
  for (let lane: usize = 0; lane < <usize>lanes; lane++) {
    const seen = max(0, min(TILE, load<i32>(counts + (lane << 2)) - done));
    if (seen != known) {
      top = 0;
      for (let j = 0; j < seen; j++) top = max(top, load<u32>(scales + (<usize>j << 2)));
      known = seen;
    }
    store<u32>(largest + (lane << 2), top);
  }
}
