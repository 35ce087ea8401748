// Products of prepared rows (packed-rows.ts) with a panel of 8 weight rows as plain codes. Layout of a panel's block of 32 k: [8] f32 scale, once or for
// each half of 16; [8] f32 minimum, once for each scale, when the type has one; then a byte a weight: [8 groups of 4 k][8 rows][4]. Every packed type can be
// unpacked to this; types without a product of their own lie in memory so. Weight = code·scale + minimum; offsets are in the prepared rows (c0, c1).
//
// Each sum over a block is exact; then the chain of the bitwise law: sum·(scale·x's scale) is added, then minimum·c, half by half. Three ways to make the sums, for all
// the same: `dot` needs one instruction for 16 products where the CPU has AVX-VNNI; `pair` keeps 16-bit sums over a block (codes up to 15); `widen` (packed-widen.ts)
// is for plain SIMD, and for 8-bit codes where the relaxed product is exact for 7 bits only. Adjacent vectors are rows 0..3 and 4..7: the wide build fuses them.
// 8 rows × 8 tokens, codes in the cache, one core of a Xeon (AVX-VNNI), wide build: dot 209, pair 163, widen 88 GOP/s (relaxed build: 139, 105, 54).

import { codesBlockBytes, finish } from "./packed-sums";
import {
  widen1, widen1Halves, widen1HalvesMinimum, widen1Minimum, widen4, widen4Halves, widen4HalvesMinimum, widen4Minimum,
} from "./packed-widen";

/** Ways to sum the products of a block. */
export const DOT: i32 = 0;
export const PAIR: i32 = 1;
export const WIDEN: i32 = 2;

// @ts-ignore: decorator
@inline
export function dot(x: v128, w: v128, sum: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i32x4.relaxed_dot_i8x16_i7x16_add_s(x, w, sum) : sum;
}

// @ts-ignore: decorator
@inline
export function pairDot(x: v128, w: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? i16x8.relaxed_dot_i8x16_i7x16_s(x, w) : x;
}

// @ts-ignore: decorator
@inline
function step(pair: bool, x: v128, w: v128, sum: v128): v128 {
  return pair ? i16x8.add(sum, pairDot(x, w)) : dot(x, w, sum);
}

// @ts-ignore: decorator
@inline
function begin(zero: bool, c: usize): v128 {
  return zero ? i32x4.splat(0) : v128.load32_splat(c);
}

/** The sum in 32 bits. */
// @ts-ignore: decorator
@inline
function whole(pair: bool, minimum: bool, sum: v128, c: usize): v128 {
  if (!pair) return sum;
  const wide = i32x4.extadd_pairwise_i16x8_s(sum);
  return minimum ? wide : i32x4.add(wide, v128.load32_splat(c));
}

/** Adds `blocks` blocks to tile [8 or 4 tokens][8 rows]; x is a strip of 8 lanes (the first 4 from x on when not `eight`). */
// @ts-ignore: decorator
@inline
function strip(pair: bool, eight: bool, halves: i32, minimum: bool, x: usize, w: usize, blocks: i32, o: usize): void {
  const zero = pair || minimum;
  for (let b = 0; b < blocks; b++) {
    let scales = w;
    w += codesBlockBytes(halves, minimum) - 256;
    let y = x + 96;
    let c = x + 32;
    for (let half = 0; half < halves; half++) {
      let a00 = begin(zero, c);
      let a01 = begin(zero, c);
      let a10 = begin(zero, c + 4);
      let a11 = begin(zero, c + 4);
      let a20 = begin(zero, c + 8);
      let a21 = begin(zero, c + 8);
      let a30 = begin(zero, c + 12);
      let a31 = begin(zero, c + 12);
      let a40 = begin(zero, c + 16);
      let a41 = begin(zero, c + 16);
      let a50 = begin(zero, c + 20);
      let a51 = begin(zero, c + 20);
      let a60 = begin(zero, c + 24);
      let a61 = begin(zero, c + 24);
      let a70 = begin(zero, c + 28);
      let a71 = begin(zero, c + 28);
      for (const end = w + <usize>(256 / halves); w < end; w += 32) {
        const w0 = v128.load(w);
        const w1 = v128.load(w, 16);
        const q0 = v128.load32_splat(y);
        a00 = step(pair, q0, w0, a00);
        a01 = step(pair, q0, w1, a01);
        const q1 = v128.load32_splat(y, 4);
        a10 = step(pair, q1, w0, a10);
        a11 = step(pair, q1, w1, a11);
        const q2 = v128.load32_splat(y, 8);
        a20 = step(pair, q2, w0, a20);
        a21 = step(pair, q2, w1, a21);
        const q3 = v128.load32_splat(y, 12);
        a30 = step(pair, q3, w0, a30);
        a31 = step(pair, q3, w1, a31);
        if (eight) {
          const q4 = v128.load32_splat(y, 16);
          a40 = step(pair, q4, w0, a40);
          a41 = step(pair, q4, w1, a41);
          const q5 = v128.load32_splat(y, 20);
          a50 = step(pair, q5, w0, a50);
          a51 = step(pair, q5, w1, a51);
          const q6 = v128.load32_splat(y, 24);
          a60 = step(pair, q6, w0, a60);
          a61 = step(pair, q6, w1, a61);
          const q7 = v128.load32_splat(y, 28);
          a70 = step(pair, q7, w0, a70);
          a71 = step(pair, q7, w1, a71);
        }
        y += 32;
      }
      const s0 = v128.load(scales);
      const s1 = v128.load(scales, 16);
      const m0 = minimum ? v128.load(scales + <usize>halves * 32) : s0;
      const m1 = minimum ? v128.load(scales + <usize>halves * 32, 16) : s1;
      finish(minimum, whole(pair, minimum, a00, c), whole(pair, minimum, a01, c), x, c, s0, s1, m0, m1, o);
      finish(minimum, whole(pair, minimum, a10, c + 4), whole(pair, minimum, a11, c + 4), x + 4, c + 4, s0, s1, m0, m1, o + 32);
      finish(minimum, whole(pair, minimum, a20, c + 8), whole(pair, minimum, a21, c + 8), x + 8, c + 8, s0, s1, m0, m1, o + 64);
      finish(minimum, whole(pair, minimum, a30, c + 12), whole(pair, minimum, a31, c + 12), x + 12, c + 12, s0, s1, m0, m1, o + 96);
      if (eight) {
        finish(minimum, whole(pair, minimum, a40, c + 16), whole(pair, minimum, a41, c + 16), x + 16, c + 16, s0, s1, m0, m1, o + 128);
        finish(minimum, whole(pair, minimum, a50, c + 20), whole(pair, minimum, a51, c + 20), x + 20, c + 20, s0, s1, m0, m1, o + 160);
        finish(minimum, whole(pair, minimum, a60, c + 24), whole(pair, minimum, a61, c + 24), x + 24, c + 24, s0, s1, m0, m1, o + 192);
        finish(minimum, whole(pair, minimum, a70, c + 28), whole(pair, minimum, a71, c + 28), x + 28, c + 28, s0, s1, m0, m1, o + 224);
      }
      scales += 32;
      c += 32;
    }
    x = y;
  }
}

/** One token (lanes 1). */
// @ts-ignore: decorator
@inline
function single(halves: i32, minimum: bool, x: usize, w: usize, blocks: i32, o: usize): void {
  for (let b = 0; b < blocks; b++) {
    let scales = w;
    w += codesBlockBytes(halves, minimum) - 256;
    let y = x + 12;
    let c = x + 4;
    for (let half = 0; half < halves; half++) {
      let a0 = begin(minimum, c);
      let a1 = begin(minimum, c);
      for (const end = w + <usize>(256 / halves); w < end; w += 32) {
        const q = v128.load32_splat(y);
        a0 = dot(q, v128.load(w), a0);
        a1 = dot(q, v128.load(w, 16), a1);
        y += 4;
      }
      const m = scales + <usize>halves * 32;
      finish(minimum, a0, a1, x, c, v128.load(scales), v128.load(scales, 16), v128.load(minimum ? m : scales), v128.load(minimum ? m : scales, 16), o);
      scales += 32;
      c += 4;
    }
    x += 44;
  }
}

// Each way a function of its own, exported by the module so that the optimiser leaves it one: V8 fuses pairs of vectors, and assigns registers,
// function by function, and does neither well in one that holds them all.

export function dot8(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, true, 1, false, x, w, blocks, o);
}

export function dot8Minimum(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, true, 1, true, x, w, blocks, o);
}

export function dot8Halves(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, true, 2, false, x, w, blocks, o);
}

export function dot8HalvesMinimum(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, true, 2, true, x, w, blocks, o);
}

export function dot4(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, false, 1, false, x, w, blocks, o);
}

export function dot4Minimum(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, false, 1, true, x, w, blocks, o);
}

export function dot4Halves(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, false, 2, false, x, w, blocks, o);
}

export function dot4HalvesMinimum(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, false, 2, true, x, w, blocks, o);
}

export function pair8(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(true, true, 1, false, x, w, blocks, o);
}

export function pair8Minimum(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(true, true, 1, true, x, w, blocks, o);
}

export function pair4(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(true, false, 1, false, x, w, blocks, o);
}

export function pair4Minimum(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(true, false, 1, true, x, w, blocks, o);
}

export function dot1(x: usize, w: usize, blocks: i32, o: usize): void {
  single(1, false, x, w, blocks, o);
}

export function dot1Minimum(x: usize, w: usize, blocks: i32, o: usize): void {
  single(1, true, x, w, blocks, o);
}

export function dot1Halves(x: usize, w: usize, blocks: i32, o: usize): void {
  single(2, false, x, w, blocks, o);
}

export function dot1HalvesMinimum(x: usize, w: usize, blocks: i32, o: usize): void {
  single(2, true, x, w, blocks, o);
}

/** Adds the products of up to 8 tokens (lanes 8), or one (lanes 1), with a panel to the tile [tokens][8 rows] at o. */
export function codesProduct(way: i32, lanes: i32, tokens: i32, halves: i32, minimum: bool, x: usize, w: usize, blocks: i32, o: usize): void {
  if (way == WIDEN) {
    if (lanes == 1) {
      if (halves == 1) minimum ? widen1Minimum(x, w, blocks, o) : widen1(x, w, blocks, o);
      else minimum ? widen1HalvesMinimum(x, w, blocks, o) : widen1Halves(x, w, blocks, o);
      return;
    }
    for (let first = 0; first < tokens; first += 4) {
      const at = o + (<usize>first << 5);
      if (halves == 1) minimum ? widen4Minimum(x, first, w, blocks, at) : widen4(x, first, w, blocks, at);
      else minimum ? widen4HalvesMinimum(x, first, w, blocks, at) : widen4Halves(x, first, w, blocks, at);
    }
  } else if (lanes == 1) {
    if (halves == 1) minimum ? dot1Minimum(x, w, blocks, o) : dot1(x, w, blocks, o);
    else minimum ? dot1HalvesMinimum(x, w, blocks, o) : dot1Halves(x, w, blocks, o);
  } else if (way == PAIR && halves == 1) {
    if (tokens > 4) minimum ? pair8Minimum(x, w, blocks, o) : pair8(x, w, blocks, o);
    else minimum ? pair4Minimum(x, w, blocks, o) : pair4(x, w, blocks, o);
  } else if (halves == 1) {
    if (tokens > 4) minimum ? dot8Minimum(x, w, blocks, o) : dot8(x, w, blocks, o);
    else minimum ? dot4Minimum(x, w, blocks, o) : dot4(x, w, blocks, o);
  } else {
    if (tokens > 4) minimum ? dot8HalvesMinimum(x, w, blocks, o) : dot8Halves(x, w, blocks, o);
    else minimum ? dot4HalvesMinimum(x, w, blocks, o) : dot4Halves(x, w, blocks, o);
  }
}
