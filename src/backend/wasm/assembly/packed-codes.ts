// Products of prepared rows (packed-rows.ts) with a panel of 8 weight rows as plain codes. Layout of a panel's block of 32 k: [8] f32 scale, once or for
// each half of 16; [8] f32 minimum, once for each scale, when the type has one; then a byte a weight: [8 groups of 4 k][8 rows][4]. Every packed type can be
// unpacked to this; types without a product of their own lie in memory so. Weight = code·scale + minimum; offsets are in the prepared rows (c0, c1).
//
// Each sum over a block is exact; then the chain of the bitwise law: sum·(scale·x's scale) is added, then minimum·c, half by half. Three ways to make the sums, for all
// the same: `dot` needs one instruction for 16 products where the CPU has AVX-VNNI; `pair` (packed-tiles.ts, packed-q4.ts) keeps 16-bit sums over a block (codes up to 15);
// `widen` (packed-widen.ts) is for plain SIMD, and for 8-bit codes where the relaxed product is exact for 7 bits only. Adjacent vectors are rows 0..3 and 4..7: the wide
// build fuses them. Here are one row of x and `widen`; more rows go through packed-tiles.ts.

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

/** Adds the products of one token (lanes 1) with a panel to out [8 rows]. */
export function codesProduct(way: i32, halves: i32, minimum: bool, x: usize, w: usize, blocks: i32, o: usize): void {
  if (way == WIDEN) {
    if (halves == 1) minimum ? widen1Minimum(x, w, blocks, o) : widen1(x, w, blocks, o);
    else minimum ? widen1HalvesMinimum(x, w, blocks, o) : widen1Halves(x, w, blocks, o);
  } else if (halves == 1) minimum ? dot1Minimum(x, w, blocks, o) : dot1(x, w, blocks, o);
  else minimum ? dot1HalvesMinimum(x, w, blocks, o) : dot1Halves(x, w, blocks, o);
}

/** `rows` rows of x (strips of 8 lanes, 16 bits wide) by `panels` panels of codes: adds to tiles [panels][rows, a multiple of 4][8]. */
export function widenProducts(
  halves: i32, minimum: bool, x: usize, stripBytes: usize, rows: i32, w: usize, stride: usize, panels: i32, blocks: i32, tiles: usize,
): void {
  for (let panel = 0; panel < panels; panel++) {
    for (let row = 0; row < rows; row += 4) {
      const strip = x + <usize>(row >> 3) * stripBytes;
      const first = row & 4;
      if (halves == 1) minimum ? widen4Minimum(strip, first, w, blocks, tiles) : widen4(strip, first, w, blocks, tiles);
      else minimum ? widen4HalvesMinimum(strip, first, w, blocks, tiles) : widen4Halves(strip, first, w, blocks, tiles);
      tiles += 128;
    }
    w += stride;
  }
}
