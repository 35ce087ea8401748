// Products of prepared rows (packed-rows.ts) with a panel of 8 weight rows as plain codes. Layout of a panel's block of 32 k: [8] f32 scale, once or for
// each half of 16; [8] f32 minimum, once for each scale, when the type has one; then a byte a weight: [8 groups of 4 k][8 rows][4]. Every packed type can be
// unpacked to this; types without a product of their own lie in memory so. Weight = code·scale + minimum; offsets are in the prepared rows (c0, c1).
//
// Each sum over a block is exact; then the chain of the bitwise law: sum·(scale·x's scale) is added, then minimum·c, half by half. Three ways to make the sums, for all
// the same: `dot` needs one instruction for 16 products where the CPU has AVX-VNNI; `pair` (packed-tiles.ts, packed-q4.ts) keeps 16-bit sums over a block (codes up to 15);
// `widen` (packed-widen.ts) is for plain SIMD, and for 8-bit codes where the relaxed product is exact for 7 bits only. Adjacent vectors are rows 0..3 and 4..7: the wide
// build fuses them. One core of a Xeon (Sapphire Rapids, AVX-VNNI), unpacking included: 195 GOP/s in the wide build, 140 in the relaxed one; widen 70 and 47. (f32: 80 and 50.)

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
function begin(zero: bool, c: usize): v128 {
  return zero ? i32x4.splat(0) : v128.load32_splat(c);
}

/** Adds `blocks` blocks to tile [8 or 4 tokens][8 rows]; x is a strip of 8 lanes (the first 4 from x on when not `eight`). */
// @ts-ignore: decorator
@inline
function strip(eight: bool, halves: i32, minimum: bool, x: usize, w: usize, blocks: i32, o: usize): void {
  for (let b = 0; b < blocks; b++) {
    let scales = w;
    w += codesBlockBytes(halves, minimum) - 256;
    let y = x + 96;
    let c = x + 32;
    for (let half = 0; half < halves; half++) {
      let a00 = begin(minimum, c);
      let a01 = begin(minimum, c);
      let a10 = begin(minimum, c + 4);
      let a11 = begin(minimum, c + 4);
      let a20 = begin(minimum, c + 8);
      let a21 = begin(minimum, c + 8);
      let a30 = begin(minimum, c + 12);
      let a31 = begin(minimum, c + 12);
      let a40 = begin(minimum, c + 16);
      let a41 = begin(minimum, c + 16);
      let a50 = begin(minimum, c + 20);
      let a51 = begin(minimum, c + 20);
      let a60 = begin(minimum, c + 24);
      let a61 = begin(minimum, c + 24);
      let a70 = begin(minimum, c + 28);
      let a71 = begin(minimum, c + 28);
      for (const end = w + <usize>(256 / halves); w < end; w += 64) {
        const w0 = v128.load(w);
        const w1 = v128.load(w, 16);
        const w2 = v128.load(w, 32);
        const w3 = v128.load(w, 48);
        const q0 = v128.load32_splat(y, 0);
        const r0 = v128.load32_splat(y, 32);
        a00 = dot(r0, w2, dot(q0, w0, a00));
        a01 = dot(r0, w3, dot(q0, w1, a01));
        const q1 = v128.load32_splat(y, 4);
        const r1 = v128.load32_splat(y, 36);
        a10 = dot(r1, w2, dot(q1, w0, a10));
        a11 = dot(r1, w3, dot(q1, w1, a11));
        const q2 = v128.load32_splat(y, 8);
        const r2 = v128.load32_splat(y, 40);
        a20 = dot(r2, w2, dot(q2, w0, a20));
        a21 = dot(r2, w3, dot(q2, w1, a21));
        const q3 = v128.load32_splat(y, 12);
        const r3 = v128.load32_splat(y, 44);
        a30 = dot(r3, w2, dot(q3, w0, a30));
        a31 = dot(r3, w3, dot(q3, w1, a31));
        if (eight) {
          const q4 = v128.load32_splat(y, 16);
          const r4 = v128.load32_splat(y, 48);
          a40 = dot(r4, w2, dot(q4, w0, a40));
          a41 = dot(r4, w3, dot(q4, w1, a41));
          const q5 = v128.load32_splat(y, 20);
          const r5 = v128.load32_splat(y, 52);
          a50 = dot(r5, w2, dot(q5, w0, a50));
          a51 = dot(r5, w3, dot(q5, w1, a51));
          const q6 = v128.load32_splat(y, 24);
          const r6 = v128.load32_splat(y, 56);
          a60 = dot(r6, w2, dot(q6, w0, a60));
          a61 = dot(r6, w3, dot(q6, w1, a61));
          const q7 = v128.load32_splat(y, 28);
          const r7 = v128.load32_splat(y, 60);
          a70 = dot(r7, w2, dot(q7, w0, a70));
          a71 = dot(r7, w3, dot(q7, w1, a71));
        }
        y += 64;
      }
      const s0 = v128.load(scales);
      const s1 = v128.load(scales, 16);
      const m0 = minimum ? v128.load(scales + <usize>halves * 32) : s0;
      const m1 = minimum ? v128.load(scales + <usize>halves * 32, 16) : s1;
      finish(minimum, a00, a01, x, c, s0, s1, m0, m1, o);
      finish(minimum, a10, a11, x + 4, c + 4, s0, s1, m0, m1, o + 32);
      finish(minimum, a20, a21, x + 8, c + 8, s0, s1, m0, m1, o + 64);
      finish(minimum, a30, a31, x + 12, c + 12, s0, s1, m0, m1, o + 96);
      if (eight) {
        finish(minimum, a40, a41, x + 16, c + 16, s0, s1, m0, m1, o + 128);
        finish(minimum, a50, a51, x + 20, c + 20, s0, s1, m0, m1, o + 160);
        finish(minimum, a60, a61, x + 24, c + 24, s0, s1, m0, m1, o + 192);
        finish(minimum, a70, a71, x + 28, c + 28, s0, s1, m0, m1, o + 224);
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
  strip(true, 1, false, x, w, blocks, o);
}

export function dot8Minimum(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(true, 1, true, x, w, blocks, o);
}

export function dot8Halves(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(true, 2, false, x, w, blocks, o);
}

export function dot8HalvesMinimum(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(true, 2, true, x, w, blocks, o);
}

export function dot4(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, 1, false, x, w, blocks, o);
}

export function dot4Minimum(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, 1, true, x, w, blocks, o);
}

export function dot4Halves(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, 2, false, x, w, blocks, o);
}

export function dot4HalvesMinimum(x: usize, w: usize, blocks: i32, o: usize): void {
  strip(false, 2, true, x, w, blocks, o);
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
  } else if (halves == 1) {
    if (tokens > 4) minimum ? dot8Minimum(x, w, blocks, o) : dot8(x, w, blocks, o);
    else minimum ? dot4Minimum(x, w, blocks, o) : dot4(x, w, blocks, o);
  } else {
    if (tokens > 4) minimum ? dot8HalvesMinimum(x, w, blocks, o) : dot8Halves(x, w, blocks, o);
    else minimum ? dot4HalvesMinimum(x, w, blocks, o) : dot4Halves(x, w, blocks, o);
  }
}
