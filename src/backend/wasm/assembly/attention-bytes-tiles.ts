// The two integer products of attention over 8-bit keys and values: 8 queries side by side by a tile of 32 keys, and their codes (attention-bytes-weights.ts) by the tile's
// values. Keys are read as they lie in the cache, through a list of 32 offsets, 4 bytes at a time for all queries: [scale, 32 bytes + 128] for each 32 numbers; the
// queries' strip is that of packed-rows.ts. Values are turned once for all queries, to [8 groups of 4 keys][32 numbers][4]. Integer sums are exact, blocks are
// added in order, so lanes and their company do not matter. Pairs of vectors fuse in the wide build. attention-bytes-widen.ts does the same without a dot product of bytes. Scores of two
// blocks take 4.2 ns a key on one core, turning 0.9 a block, values 3.1 a block: 13, 3 and 9.5 cycles where the products alone need 8, 0 and 8.

import { lookAhead } from "./attention-bytes-rows";
import { FLIP, STEPS } from "./attention-bytes-weights";
import { madd } from "./math";
import { dot } from "./packed-codes";

/** Bytes of a block of a cached row, and of a strip of 8 queries. */
const BLOCK: usize = 36;
const STRIP: usize = 352;

/** The engine's product takes its second operand as unsigned: keys as they are; as signed: keys less 128. */
// @ts-ignore: decorator
@inline
function key(signed: bool, bytes: v128, flip: v128): v128 {
  return signed ? v128.xor(bytes, flip) : bytes;
}

/** Sums of half a block, 16 numbers of one key by those of 4 queries, and what sum holds. */
// @ts-ignore: decorator
@inline
function half(signed: bool, x: usize, q0: v128, q1: v128, q2: v128, q3: v128, sum: v128, flip: v128): v128 {
  const s0 = dot(q0, key(signed, v128.load32_splat(x), flip), sum);
  const s1 = dot(q1, key(signed, v128.load32_splat(x, 4), flip), s0);
  const s2 = dot(q2, key(signed, v128.load32_splat(x, 8), flip), s1);
  return dot(q3, key(signed, v128.load32_splat(x, 12), flip), s2);
}

/** Scores of one block of all keys, added to what was there: the queries stay in registers while the keys pass. */
// @ts-ignore: decorator
@inline
function block(signed: bool, first: bool, scores: usize, y: usize, k: usize, offsets: usize, flip: v128): void {
  const zero = i32x4.splat(0);
  const q00 = v128.load(y, 96);
  const q01 = v128.load(y, 112);
  const q10 = v128.load(y, 128);
  const q11 = v128.load(y, 144);
  const q20 = v128.load(y, 160);
  const q21 = v128.load(y, 176);
  const q30 = v128.load(y, 192);
  const q31 = v128.load(y, 208);
  const q40 = v128.load(y, 224);
  const q41 = v128.load(y, 240);
  const q50 = v128.load(y, 256);
  const q51 = v128.load(y, 272);
  const q60 = v128.load(y, 288);
  const q61 = v128.load(y, 304);
  const q70 = v128.load(y, 320);
  const q71 = v128.load(y, 336);
  const c0 = v128.load(y, 32);
  const c1 = v128.load(y, 48);
  const s0 = v128.load(y);
  const s1 = v128.load(y, 16);
  for (const end = offsets + 128; offsets < end; offsets += 16) {
    const k0 = k + <usize>load<u32>(offsets);
    const k1 = k + <usize>load<u32>(offsets, 4);
    const k2 = k + <usize>load<u32>(offsets, 8);
    const k3 = k + <usize>load<u32>(offsets, 12);
    const a00 = half(signed, k0 + 4, q00, q10, q20, q30, c0, flip);
    const b00 = half(signed, k0 + 20, q40, q50, q60, q70, zero, flip);
    const a01 = half(signed, k0 + 4, q01, q11, q21, q31, c1, flip);
    const b01 = half(signed, k0 + 20, q41, q51, q61, q71, zero, flip);
    const f0 = v128.load32_splat(k0);
    const t00 = madd(f32x4.convert_i32x4_s(i32x4.add(a00, b00)), f32x4.mul(s0, f0), first ? f32x4.splat(0) : v128.load(scores));
    const t01 = madd(f32x4.convert_i32x4_s(i32x4.add(a01, b01)), f32x4.mul(s1, f0), first ? f32x4.splat(0) : v128.load(scores, 16));
    v128.store(scores, t00);
    v128.store(scores, t01, 16);
    const a10 = half(signed, k1 + 4, q00, q10, q20, q30, c0, flip);
    const b10 = half(signed, k1 + 20, q40, q50, q60, q70, zero, flip);
    const a11 = half(signed, k1 + 4, q01, q11, q21, q31, c1, flip);
    const b11 = half(signed, k1 + 20, q41, q51, q61, q71, zero, flip);
    const f1 = v128.load32_splat(k1);
    const t10 = madd(f32x4.convert_i32x4_s(i32x4.add(a10, b10)), f32x4.mul(s0, f1), first ? f32x4.splat(0) : v128.load(scores, 32));
    const t11 = madd(f32x4.convert_i32x4_s(i32x4.add(a11, b11)), f32x4.mul(s1, f1), first ? f32x4.splat(0) : v128.load(scores, 48));
    v128.store(scores, t10, 32);
    v128.store(scores, t11, 48);
    const a20 = half(signed, k2 + 4, q00, q10, q20, q30, c0, flip);
    const b20 = half(signed, k2 + 20, q40, q50, q60, q70, zero, flip);
    const a21 = half(signed, k2 + 4, q01, q11, q21, q31, c1, flip);
    const b21 = half(signed, k2 + 20, q41, q51, q61, q71, zero, flip);
    const f2 = v128.load32_splat(k2);
    const t20 = madd(f32x4.convert_i32x4_s(i32x4.add(a20, b20)), f32x4.mul(s0, f2), first ? f32x4.splat(0) : v128.load(scores, 64));
    const t21 = madd(f32x4.convert_i32x4_s(i32x4.add(a21, b21)), f32x4.mul(s1, f2), first ? f32x4.splat(0) : v128.load(scores, 80));
    v128.store(scores, t20, 64);
    v128.store(scores, t21, 80);
    const a30 = half(signed, k3 + 4, q00, q10, q20, q30, c0, flip);
    const b30 = half(signed, k3 + 20, q40, q50, q60, q70, zero, flip);
    const a31 = half(signed, k3 + 4, q01, q11, q21, q31, c1, flip);
    const b31 = half(signed, k3 + 20, q41, q51, q61, q71, zero, flip);
    const f3 = v128.load32_splat(k3);
    const t30 = madd(f32x4.convert_i32x4_s(i32x4.add(a30, b30)), f32x4.mul(s0, f3), first ? f32x4.splat(0) : v128.load(scores, 96));
    const t31 = madd(f32x4.convert_i32x4_s(i32x4.add(a31, b31)), f32x4.mul(s1, f3), first ? f32x4.splat(0) : v128.load(scores, 112));
    v128.store(scores, t30, 96);
    v128.store(scores, t31, 112);
    scores += 128;
  }
}

// @ts-ignore: decorator
@inline
function score(signed: bool, scores: usize, strip: usize, k: usize, offsets: usize, blocks: i32, constants: usize): void {
  const flip = v128.load32_splat(constants, FLIP);
  block(signed, true, scores, strip, k, offsets, flip);
  for (let b = 1; b < blocks; b++) {
    strip += STRIP;
    k += BLOCK;
    block(signed, false, scores, strip, k, offsets, flip);
  }
}

/** scores[32][8] of the keys at k + offsets[j], `blocks` blocks each; the strip's c0 is -128·Σq. */
export function scoreUnsigned(scores: usize, strip: usize, k: usize, offsets: usize, blocks: i32, constants: usize): void {
  score(false, scores, strip, k, offsets, blocks, constants);
}

/** The same where the product takes signed bytes; c0 is 0. */
export function scoreSigned(scores: usize, strip: usize, k: usize, offsets: usize, blocks: i32, constants: usize): void {
  score(true, scores, strip, k, offsets, blocks, constants);
}

/** A block of 32 rows' values, less 128; scales: [8] the largest of theirs, [32] theirs. */
export function turnValues(target: usize, scales: usize, v: usize, offsets: usize, constants: usize): void {
  let scale = scales + 32;
  const flip = v128.load32_splat(constants, FLIP);
  for (const end = offsets + 128; offsets < end; offsets += 16) {
    const r0 = v + <usize>load<u32>(offsets);
    const r1 = v + <usize>load<u32>(offsets, 4);
    const r2 = v + <usize>load<u32>(offsets, 8);
    const r3 = v + <usize>load<u32>(offsets, 12);
    store<u32>(scale, load<u32>(r0));
    store<u32>(scale, load<u32>(r1), 4);
    store<u32>(scale, load<u32>(r2), 8);
    store<u32>(scale, load<u32>(r3), 12);
    scale += 16;
    for (let half: usize = 0; half < 2; half++) {
      const a = v128.xor(v128.load(r0 + (half << 4), 4), flip);
      const b = v128.xor(v128.load(r1 + (half << 4), 4), flip);
      const c = v128.xor(v128.load(r2 + (half << 4), 4), flip);
      const d = v128.xor(v128.load(r3 + (half << 4), 4), flip);
      const ab0 = i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const ab1 = i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      const cd0 = i8x16.shuffle(c, d, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const cd1 = i8x16.shuffle(c, d, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      v128.store(target, i16x8.shuffle(ab0, cd0, 0, 8, 1, 9, 2, 10, 3, 11));
      v128.store(target, i16x8.shuffle(ab0, cd0, 4, 12, 5, 13, 6, 14, 7, 15), 16);
      v128.store(target, i16x8.shuffle(ab1, cd1, 0, 8, 1, 9, 2, 10, 3, 11), 32);
      v128.store(target, i16x8.shuffle(ab1, cd1, 4, 12, 5, 13, 6, 14, 7, 15), 48);
      target += 64;
    }
  }
  largestOfAll(scales);
}

/** scales [8]: the largest of the 32 behind them. As integers: none is negative, and NaN is the largest of all. */
export function largestOfAll(scales: usize): void {
  let top = v128.load(scales, 32);
  for (let at = scales + 48; at < scales + 160; at += 16) top = i32x4.max_u(top, v128.load(at));
  top = i32x4.max_u(top, i32x4.shuffle(top, top, 2, 3, 0, 1));
  top = i32x4.max_u(top, i32x4.shuffle(top, top, 1, 0, 3, 2));
  v128.store(scales, top);
  v128.store(scales, top, 16);
}

/**
 * out[lane][32] = ratio·out + step·Σ code·value for `lanes` lanes; out rows are `stride` bytes apart, ratios [8]. High and low bits of the codes are summed apart. ahead:
 * what is looked at meanwhile (attention-bytes-rows.ts).
 */
export function mixBytes(out: usize, stride: usize, codes: usize, values: usize, ratios: usize, lanes: i32, ahead: usize): void {
  let steps = codes + STEPS;
  for (const end = codes + (<usize>lanes << 2); codes < end; codes += 4) {
    let h0 = i32x4.splat(0);
    let h1 = i32x4.splat(0);
    let h2 = i32x4.splat(0);
    let h3 = i32x4.splat(0);
    let h4 = i32x4.splat(0);
    let h5 = i32x4.splat(0);
    let h6 = i32x4.splat(0);
    let h7 = i32x4.splat(0);
    let l0 = i32x4.splat(0);
    let l1 = i32x4.splat(0);
    let l2 = i32x4.splat(0);
    let l3 = i32x4.splat(0);
    let l4 = i32x4.splat(0);
    let l5 = i32x4.splat(0);
    let l6 = i32x4.splat(0);
    let l7 = i32x4.splat(0);
    let c = codes;
    // At every other lane.
    if ((codes & 4) == 0) lookAhead(ahead);
    for (const stop = values + 1024; values < stop; values += 128) {
      const x = v128.load32_splat(c);
      const y = v128.load32_splat(c, 256);
      const v0 = v128.load(values);
      const v1 = v128.load(values, 16);
      h0 = dot(v0, x, h0);
      h1 = dot(v1, x, h1);
      l0 = dot(v0, y, l0);
      l1 = dot(v1, y, l1);
      const v2 = v128.load(values, 32);
      const v3 = v128.load(values, 48);
      h2 = dot(v2, x, h2);
      h3 = dot(v3, x, h3);
      l2 = dot(v2, y, l2);
      l3 = dot(v3, y, l3);
      const v4 = v128.load(values, 64);
      const v5 = v128.load(values, 80);
      h4 = dot(v4, x, h4);
      h5 = dot(v5, x, h5);
      l4 = dot(v4, y, l4);
      l5 = dot(v5, y, l5);
      const v6 = v128.load(values, 96);
      const v7 = v128.load(values, 112);
      h6 = dot(v6, x, h6);
      h7 = dot(v7, x, h7);
      l6 = dot(v6, y, l6);
      l7 = dot(v7, y, l7);
      c += 32;
    }
    values -= 1024;
    const a0 = i32x4.add(i32x4.shl(h0, 7), l0);
    const a1 = i32x4.add(i32x4.shl(h1, 7), l1);
    const a2 = i32x4.add(i32x4.shl(h2, 7), l2);
    const a3 = i32x4.add(i32x4.shl(h3, 7), l3);
    const a4 = i32x4.add(i32x4.shl(h4, 7), l4);
    const a5 = i32x4.add(i32x4.shl(h5, 7), l5);
    const a6 = i32x4.add(i32x4.shl(h6, 7), l6);
    const a7 = i32x4.add(i32x4.shl(h7, 7), l7);
    addTo(out, v128.load32_splat(steps), v128.load32_splat(ratios), a0, a1, a2, a3, a4, a5, a6, a7);
    out += stride;
    steps += 4;
    ratios += 4;
  }
}

/** 32 sums of one lane join what was summed before. */
// @ts-ignore: decorator
@inline
export function addTo(out: usize, step: v128, ratio: v128, a0: v128, a1: v128, a2: v128, a3: v128, a4: v128, a5: v128, a6: v128, a7: v128): void {
  const s0 = madd(f32x4.convert_i32x4_s(a0), step, f32x4.mul(v128.load(out), ratio));
  const s1 = madd(f32x4.convert_i32x4_s(a1), step, f32x4.mul(v128.load(out, 16), ratio));
  const s2 = madd(f32x4.convert_i32x4_s(a2), step, f32x4.mul(v128.load(out, 32), ratio));
  const s3 = madd(f32x4.convert_i32x4_s(a3), step, f32x4.mul(v128.load(out, 48), ratio));
  const s4 = madd(f32x4.convert_i32x4_s(a4), step, f32x4.mul(v128.load(out, 64), ratio));
  const s5 = madd(f32x4.convert_i32x4_s(a5), step, f32x4.mul(v128.load(out, 80), ratio));
  const s6 = madd(f32x4.convert_i32x4_s(a6), step, f32x4.mul(v128.load(out, 96), ratio));
  const s7 = madd(f32x4.convert_i32x4_s(a7), step, f32x4.mul(v128.load(out, 112), ratio));
  v128.store(out, s0);
  v128.store(out, s1, 16);
  v128.store(out, s2, 32);
  v128.store(out, s3, 48);
  v128.store(out, s4, 64);
  v128.store(out, s5, 80);
  v128.store(out, s6, 96);
  v128.store(out, s7, 112);
}
