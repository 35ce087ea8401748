// attention-bytes-tiles.ts without a dot product of bytes: products of 16-bit integers, two to a 32-bit sum. For plain SIMD, and where the relaxed dot product is exact for 7
// bits only. Queries lie 16 bits wide (packed-rows.ts), codes as pairs of 14 bits, values as [16 pairs of keys][32 numbers][2]. Same sums, same chain.

import { addTo, largestOfAll } from "./attention-bytes-tiles";
import { FLIP, STEPS } from "./attention-bytes-weights";
import { madd } from "./math";

const BLOCK: usize = 36;
const STRIP: usize = 608;

/** Two sums a query, [queries 0, 1] and [2, 3], to one, and c0. */
// @ts-ignore: decorator
@inline
function joined(a: v128, b: v128, c: v128): v128 {
  return i32x4.add(c, i32x4.add(i32x4.shuffle(a, b, 0, 2, 4, 6), i32x4.shuffle(a, b, 1, 3, 5, 7)));
}

/** scoreUnsigned. */
export function scoreWords(scores: usize, strip: usize, k: usize, offsets: usize, blocks: i32): void {
  for (const end = offsets + 128; offsets < end; offsets += 4) {
    let x = k + <usize>load<u32>(offsets);
    let y = strip;
    let f0 = f32x4.splat(0);
    let f1 = f32x4.splat(0);
    for (let b = 0; b < blocks; b++) {
      let a0 = i32x4.splat(0);
      let a1 = i32x4.splat(0);
      let a2 = i32x4.splat(0);
      let a3 = i32x4.splat(0);
      let q = y + 96;
      for (let i: usize = 0; i < 32; i += 8) {
        const bytes = v128.load8x8_u(x + i, 4);
        const low = i64x2.shuffle(bytes, bytes, 0, 0);
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load(q), low));
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load(q, 16), low));
        a2 = i32x4.add(a2, i32x4.dot_i16x8_s(v128.load(q, 32), low));
        a3 = i32x4.add(a3, i32x4.dot_i16x8_s(v128.load(q, 48), low));
        const high = i64x2.shuffle(bytes, bytes, 1, 1);
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load(q, 64), high));
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load(q, 80), high));
        a2 = i32x4.add(a2, i32x4.dot_i16x8_s(v128.load(q, 96), high));
        a3 = i32x4.add(a3, i32x4.dot_i16x8_s(v128.load(q, 112), high));
        q += 128;
      }
      const scale = v128.load32_splat(x);
      f0 = madd(f32x4.convert_i32x4_s(joined(a0, a1, v128.load(y, 32))), f32x4.mul(v128.load(y), scale), f0);
      f1 = madd(f32x4.convert_i32x4_s(joined(a2, a3, v128.load(y, 48))), f32x4.mul(v128.load(y, 16), scale), f1);
      x += BLOCK;
      y += STRIP;
    }
    v128.store(scores, f0);
    v128.store(scores, f1, 16);
    scores += 32;
  }
}

/** turnValues. */
export function turnWords(target: usize, scales: usize, v: usize, offsets: usize, constants: usize): void {
  let scale = scales + 32;
  const flip = v128.load32_splat(constants, FLIP);
  for (const end = offsets + 128; offsets < end; offsets += 8) {
    const r0 = v + <usize>load<u32>(offsets);
    const r1 = v + <usize>load<u32>(offsets, 4);
    store<u32>(scale, load<u32>(r0));
    store<u32>(scale, load<u32>(r1), 4);
    scale += 8;
    for (let half: usize = 0; half < 32; half += 16) {
      const a = v128.xor(v128.load(r0 + half, 4), flip);
      const b = v128.xor(v128.load(r1 + half, 4), flip);
      const low = i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const high = i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      v128.store(target, i16x8.extend_low_i8x16_s(low));
      v128.store(target, i16x8.extend_high_i8x16_s(low), 16);
      v128.store(target, i16x8.extend_low_i8x16_s(high), 32);
      v128.store(target, i16x8.extend_high_i8x16_s(high), 48);
      target += 64;
    }
  }
  largestOfAll(scales);
}

/** mixBytes, lane by lane. */
export function mixWords(out: usize, stride: usize, codes: usize, values: usize, ratios: usize, lanes: i32): void {
  let steps = codes + STEPS;
  for (let lane = 0; lane < lanes; lane++) {
    let a0 = i32x4.splat(0);
    let a1 = i32x4.splat(0);
    let a2 = i32x4.splat(0);
    let a3 = i32x4.splat(0);
    let a4 = i32x4.splat(0);
    let a5 = i32x4.splat(0);
    let a6 = i32x4.splat(0);
    let a7 = i32x4.splat(0);
    let v = values;
    for (let g: usize = 0; g < 512; g += 32) {
      const x = v128.load32_splat(codes + g);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load(v), x));
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load(v, 16), x));
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(v128.load(v, 32), x));
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(v128.load(v, 48), x));
      a4 = i32x4.add(a4, i32x4.dot_i16x8_s(v128.load(v, 64), x));
      a5 = i32x4.add(a5, i32x4.dot_i16x8_s(v128.load(v, 80), x));
      a6 = i32x4.add(a6, i32x4.dot_i16x8_s(v128.load(v, 96), x));
      a7 = i32x4.add(a7, i32x4.dot_i16x8_s(v128.load(v, 112), x));
      v += 128;
    }
    addTo(out, v128.load32_splat(steps), v128.load32_splat(ratios), a0, a1, a2, a3, a4, a5, a6, a7);
    out += stride;
    codes += 4;
    steps += 4;
    ratios += 4;
  }
}
