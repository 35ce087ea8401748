// The third way of packed-codes.ts: products of bytes as 16-bit integers, two to a 32-bit sum. For plain SIMD, and for 8-bit codes where the relaxed dot product is
// exact for 7 bits only. The integers of x are 16 bits wide (packed-rows.ts), so one 64-bit splat serves 2 rows × 4 k. Same sums, same chain.

import { codesBlockBytes, finish } from "./packed-sums";

/** Rows of sums that lie as [row 0: 2 sums, row 1: 2 sums], [rows 2, 3]: one sum a row. */
// @ts-ignore: decorator
@inline
function addPairs(a: v128, b: v128): v128 {
  return i32x4.add(i32x4.shuffle(a, b, 0, 2, 4, 6), i32x4.shuffle(a, b, 1, 3, 5, 7));
}

// @ts-ignore: decorator
@inline
function start(minimum: bool, c: usize, a: v128, b: v128): v128 {
  return minimum ? addPairs(a, b) : i32x4.add(v128.load32_splat(c), addPairs(a, b));
}

/** As strip, by 16-bit products: 4 tokens from `first` on (lanes 8) or 1 (lanes 1), whose integers are 16 bits wide. */
// @ts-ignore: decorator
@inline
function widen(four: bool, halves: i32, minimum: bool, x: usize, first: usize, w: usize, blocks: i32, o: usize): void {
  const lanes: usize = four ? 8 : 1;
  for (let b = 0; b < blocks; b++) {
    let scales = w;
    w += codesBlockBytes(halves, minimum) - 256;
    let y = x + lanes * 12 + first * 8;
    let c = x + lanes * 4 + first * 4;
    for (let half = 0; half < halves; half++) {
      let a00 = i32x4.splat(0);
      let a01 = i32x4.splat(0);
      let a02 = i32x4.splat(0);
      let a03 = i32x4.splat(0);
      let a10 = i32x4.splat(0);
      let a11 = i32x4.splat(0);
      let a12 = i32x4.splat(0);
      let a13 = i32x4.splat(0);
      let a20 = i32x4.splat(0);
      let a21 = i32x4.splat(0);
      let a22 = i32x4.splat(0);
      let a23 = i32x4.splat(0);
      let a30 = i32x4.splat(0);
      let a31 = i32x4.splat(0);
      let a32 = i32x4.splat(0);
      let a33 = i32x4.splat(0);
      for (const end = w + <usize>(256 / halves); w < end; w += 32) {
        const w0 = v128.load8x8_u(w);
        const w1 = v128.load8x8_u(w, 8);
        const w2 = v128.load8x8_u(w, 16);
        const w3 = v128.load8x8_u(w, 24);
        const q0 = v128.load64_splat(y);
        a00 = i32x4.add(a00, i32x4.dot_i16x8_s(q0, w0));
        a01 = i32x4.add(a01, i32x4.dot_i16x8_s(q0, w1));
        a02 = i32x4.add(a02, i32x4.dot_i16x8_s(q0, w2));
        a03 = i32x4.add(a03, i32x4.dot_i16x8_s(q0, w3));
        if (four) {
          const q1 = v128.load64_splat(y, 8);
          a10 = i32x4.add(a10, i32x4.dot_i16x8_s(q1, w0));
          a11 = i32x4.add(a11, i32x4.dot_i16x8_s(q1, w1));
          a12 = i32x4.add(a12, i32x4.dot_i16x8_s(q1, w2));
          a13 = i32x4.add(a13, i32x4.dot_i16x8_s(q1, w3));
          const q2 = v128.load64_splat(y, 16);
          a20 = i32x4.add(a20, i32x4.dot_i16x8_s(q2, w0));
          a21 = i32x4.add(a21, i32x4.dot_i16x8_s(q2, w1));
          a22 = i32x4.add(a22, i32x4.dot_i16x8_s(q2, w2));
          a23 = i32x4.add(a23, i32x4.dot_i16x8_s(q2, w3));
          const q3 = v128.load64_splat(y, 24);
          a30 = i32x4.add(a30, i32x4.dot_i16x8_s(q3, w0));
          a31 = i32x4.add(a31, i32x4.dot_i16x8_s(q3, w1));
          a32 = i32x4.add(a32, i32x4.dot_i16x8_s(q3, w2));
          a33 = i32x4.add(a33, i32x4.dot_i16x8_s(q3, w3));
        }
        y += lanes * 8;
      }
      const s0 = v128.load(scales);
      const s1 = v128.load(scales, 16);
      const m0 = minimum ? v128.load(scales + <usize>halves * 32) : s0;
      const m1 = minimum ? v128.load(scales + <usize>halves * 32, 16) : s1;
      const scale = x + first * 4;
      finish(minimum, start(minimum, c, a00, a01), start(minimum, c, a02, a03), scale, c, s0, s1, m0, m1, o);
      if (four) {
        finish(minimum, start(minimum, c + 4, a10, a11), start(minimum, c + 4, a12, a13), scale + 4, c + 4, s0, s1, m0, m1, o + 32);
        finish(minimum, start(minimum, c + 8, a20, a21), start(minimum, c + 8, a22, a23), scale + 8, c + 8, s0, s1, m0, m1, o + 64);
        finish(minimum, start(minimum, c + 12, a30, a31), start(minimum, c + 12, a32, a33), scale + 12, c + 12, s0, s1, m0, m1, o + 96);
      }
      scales += 32;
      c += lanes * 4;
    }
    x += lanes * 76;
  }
}

// Each a function of its own, see packed-codes.ts.

export function widen1(x: usize, w: usize, blocks: i32, o: usize): void {
  widen(false, 1, false, x, 0, w, blocks, o);
}

export function widen4(x: usize, first: usize, w: usize, blocks: i32, o: usize): void {
  widen(true, 1, false, x, first, w, blocks, o);
}

export function widen1Minimum(x: usize, w: usize, blocks: i32, o: usize): void {
  widen(false, 1, true, x, 0, w, blocks, o);
}

export function widen4Minimum(x: usize, first: usize, w: usize, blocks: i32, o: usize): void {
  widen(true, 1, true, x, first, w, blocks, o);
}

export function widen1Halves(x: usize, w: usize, blocks: i32, o: usize): void {
  widen(false, 2, false, x, 0, w, blocks, o);
}

export function widen4Halves(x: usize, first: usize, w: usize, blocks: i32, o: usize): void {
  widen(true, 2, false, x, first, w, blocks, o);
}

export function widen1HalvesMinimum(x: usize, w: usize, blocks: i32, o: usize): void {
  widen(false, 2, true, x, 0, w, blocks, o);
}

export function widen4HalvesMinimum(x: usize, first: usize, w: usize, blocks: i32, o: usize): void {
  widen(true, 2, true, x, first, w, blocks, o);
}
