// The two integer products of attention over 8-bit keys and values: 8 queries side by side by a tile of 32 keys, and their codes (attention-bytes-weights.ts) by the tile's
// values. Keys are read as they lie in the cache, through a list of 32 offsets, 4 bytes at a time for all queries: [scale, 32 bytes + 128] for each 32 numbers; the
// queries' strip is that of packed-rows.ts. Values are turned once for all queries, to [8 groups of 4 keys][32 numbers][4]. Integer sums are exact, blocks are
// added in order, so lanes and their company do not matter. Pairs of vectors fuse in the wide build. attention-bytes-widen.ts does the same without a dot product of bytes.

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

/** Scores of one block of 4 keys and 8 queries, added to what s holds. */
// @ts-ignore: decorator
@inline
function block(signed: bool, first: bool, y: usize, k0: usize, k1: usize, k2: usize, k3: usize, s: usize, flip: v128): void {
  const f0 = v128.load32_splat(k0);
  const f1 = v128.load32_splat(k1);
  const f2 = v128.load32_splat(k2);
  const f3 = v128.load32_splat(k3);
  const c0 = v128.load(y, 32);
  const c1 = v128.load(y, 48);
  let q = y + 96;
  let a00 = c0;
  let a01 = c1;
  let a10 = c0;
  let a11 = c1;
  let a20 = c0;
  let a21 = c1;
  let a30 = c0;
  let a31 = c1;
  for (const end = k0 + 32; k0 < end; ) {
    const q00 = v128.load(q);
    const q01 = v128.load(q, 16);
    const x00 = key(signed, v128.load32_splat(k0, 4), flip);
    a00 = dot(q00, x00, a00);
    a01 = dot(q01, x00, a01);
    const x01 = key(signed, v128.load32_splat(k1, 4), flip);
    a10 = dot(q00, x01, a10);
    a11 = dot(q01, x01, a11);
    const x02 = key(signed, v128.load32_splat(k2, 4), flip);
    a20 = dot(q00, x02, a20);
    a21 = dot(q01, x02, a21);
    const x03 = key(signed, v128.load32_splat(k3, 4), flip);
    a30 = dot(q00, x03, a30);
    a31 = dot(q01, x03, a31);
    const q10 = v128.load(q, 32);
    const q11 = v128.load(q, 48);
    const x10 = key(signed, v128.load32_splat(k0, 8), flip);
    a00 = dot(q10, x10, a00);
    a01 = dot(q11, x10, a01);
    const x11 = key(signed, v128.load32_splat(k1, 8), flip);
    a10 = dot(q10, x11, a10);
    a11 = dot(q11, x11, a11);
    const x12 = key(signed, v128.load32_splat(k2, 8), flip);
    a20 = dot(q10, x12, a20);
    a21 = dot(q11, x12, a21);
    const x13 = key(signed, v128.load32_splat(k3, 8), flip);
    a30 = dot(q10, x13, a30);
    a31 = dot(q11, x13, a31);
    const q20 = v128.load(q, 64);
    const q21 = v128.load(q, 80);
    const x20 = key(signed, v128.load32_splat(k0, 12), flip);
    a00 = dot(q20, x20, a00);
    a01 = dot(q21, x20, a01);
    const x21 = key(signed, v128.load32_splat(k1, 12), flip);
    a10 = dot(q20, x21, a10);
    a11 = dot(q21, x21, a11);
    const x22 = key(signed, v128.load32_splat(k2, 12), flip);
    a20 = dot(q20, x22, a20);
    a21 = dot(q21, x22, a21);
    const x23 = key(signed, v128.load32_splat(k3, 12), flip);
    a30 = dot(q20, x23, a30);
    a31 = dot(q21, x23, a31);
    const q30 = v128.load(q, 96);
    const q31 = v128.load(q, 112);
    const x30 = key(signed, v128.load32_splat(k0, 16), flip);
    a00 = dot(q30, x30, a00);
    a01 = dot(q31, x30, a01);
    const x31 = key(signed, v128.load32_splat(k1, 16), flip);
    a10 = dot(q30, x31, a10);
    a11 = dot(q31, x31, a11);
    const x32 = key(signed, v128.load32_splat(k2, 16), flip);
    a20 = dot(q30, x32, a20);
    a21 = dot(q31, x32, a21);
    const x33 = key(signed, v128.load32_splat(k3, 16), flip);
    a30 = dot(q30, x33, a30);
    a31 = dot(q31, x33, a31);
    q += 128;
    k0 += 16;
    k1 += 16;
    k2 += 16;
    k3 += 16;
  }
  const s0 = v128.load(y);
  const s1 = v128.load(y, 16);
  const zero = f32x4.splat(0);
  const b00 = madd(f32x4.convert_i32x4_s(a00), f32x4.mul(s0, f0), first ? zero : v128.load(s));
  const b01 = madd(f32x4.convert_i32x4_s(a01), f32x4.mul(s1, f0), first ? zero : v128.load(s, 16));
  const b10 = madd(f32x4.convert_i32x4_s(a10), f32x4.mul(s0, f1), first ? zero : v128.load(s, 32));
  const b11 = madd(f32x4.convert_i32x4_s(a11), f32x4.mul(s1, f1), first ? zero : v128.load(s, 48));
  const b20 = madd(f32x4.convert_i32x4_s(a20), f32x4.mul(s0, f2), first ? zero : v128.load(s, 64));
  const b21 = madd(f32x4.convert_i32x4_s(a21), f32x4.mul(s1, f2), first ? zero : v128.load(s, 80));
  const b30 = madd(f32x4.convert_i32x4_s(a30), f32x4.mul(s0, f3), first ? zero : v128.load(s, 96));
  const b31 = madd(f32x4.convert_i32x4_s(a31), f32x4.mul(s1, f3), first ? zero : v128.load(s, 112));
  v128.store(s, b00);
  v128.store(s, b01, 16);
  v128.store(s, b10, 32);
  v128.store(s, b11, 48);
  v128.store(s, b20, 64);
  v128.store(s, b21, 80);
  v128.store(s, b30, 96);
  v128.store(s, b31, 112);
}

// @ts-ignore: decorator
@inline
function score(signed: bool, scores: usize, strip: usize, k: usize, offsets: usize, blocks: i32, constants: usize): void {
  const flip = v128.load32_splat(constants, FLIP);
  for (const end = offsets + 128; offsets < end; offsets += 16) {
    let k0 = k + <usize>load<u32>(offsets);
    let k1 = k + <usize>load<u32>(offsets, 4);
    let k2 = k + <usize>load<u32>(offsets, 8);
    let k3 = k + <usize>load<u32>(offsets, 12);
    let y = strip;
    block(signed, true, y, k0, k1, k2, k3, scores, flip);
    for (let b = 1; b < blocks; b++) {
      y += STRIP;
      k0 += BLOCK;
      k1 += BLOCK;
      k2 += BLOCK;
      k3 += BLOCK;
      block(signed, false, y, k0, k1, k2, k3, scores, flip);
    }
    scores += 128;
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

/** A block of 32 rows' values, less 128; scales [8]: the largest of theirs. */
export function turnValues(target: usize, scales: usize, v: usize, offsets: usize, constants: usize): void {
  let top: u32 = 0;
  const flip = v128.load32_splat(constants, FLIP);
  for (const end = offsets + 128; offsets < end; offsets += 16) {
    const r0 = v + <usize>load<u32>(offsets);
    const r1 = v + <usize>load<u32>(offsets, 4);
    const r2 = v + <usize>load<u32>(offsets, 8);
    const r3 = v + <usize>load<u32>(offsets, 12);
    top = max(max(top, max(load<u32>(r0), load<u32>(r1))), max(load<u32>(r2), load<u32>(r3)));
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
  v128.store(scales, i32x4.splat(top));
  v128.store(scales, i32x4.splat(top), 16);
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
    // At every other lane: reads in small portions overlap best.
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
