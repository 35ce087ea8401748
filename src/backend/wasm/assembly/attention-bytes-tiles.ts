// The two integer products of attention over 8-bit keys and values: 8 queries side by side by a tile of 32 keys, and their codes (attention-bytes-weights.ts) by the tile's
// values. Keys are read as they lie in the cache, through a list of 32 offsets, 4 bytes at a time for all queries: [scale, 32 bytes + 128] for each 32 numbers; the
// queries' strip is that of packed-rows.ts. Values are turned once for all queries, to [8 groups of 4 keys][32 numbers][4]. Integer sums are exact, blocks are
// added in order, so lanes and their company do not matter. Pairs of vectors fuse in the wide build. attention-bytes-widen.ts does the same without a dot product of bytes.

import { FLIP } from "./attention-bytes-weights";
import { madd } from "./math";
import { dot } from "./packed-codes";

/** Bytes of a block of a cached row, and of a strip of 8 queries. */
const BLOCK: usize = 36;
const STRIP: usize = 352;

/** The engine's product takes its second operand as unsigned: keys as they are; as signed: keys less 128. */
// @ts-ignore: decorator
@inline
function key(signed: bool, address: usize, flip: v128): v128 {
  const bytes = v128.load32_splat(address, 4);
  return signed ? v128.xor(bytes, flip) : bytes;
}

/** Scores of one block of 4 keys and 8 queries, added to what s holds. */
// @ts-ignore: decorator
@inline
function block(signed: bool, first: bool, y: usize, k0: usize, k1: usize, k2: usize, k3: usize, s: usize, flip: v128): void {
  const c0 = v128.load(y, 32);
  const c1 = v128.load(y, 48);
  let a00 = c0;
  let a01 = c1;
  let a10 = c0;
  let a11 = c1;
  let a20 = c0;
  let a21 = c1;
  let a30 = c0;
  let a31 = c1;
  for (let g: usize = 0; g < 32; g += 8) {
    const q0 = v128.load(y + (g << 3), 96);
    const q1 = v128.load(y + (g << 3), 112);
    const x0 = key(signed, k0 + g, flip);
    a00 = dot(q0, x0, a00);
    a01 = dot(q1, x0, a01);
    const x1 = key(signed, k1 + g, flip);
    a10 = dot(q0, x1, a10);
    a11 = dot(q1, x1, a11);
    const x2 = key(signed, k2 + g, flip);
    a20 = dot(q0, x2, a20);
    a21 = dot(q1, x2, a21);
    const x3 = key(signed, k3 + g, flip);
    a30 = dot(q0, x3, a30);
    a31 = dot(q1, x3, a31);
    const r0 = v128.load(y + (g << 3), 128);
    const r1 = v128.load(y + (g << 3), 144);
    const z0 = key(signed, k0 + g + 4, flip);
    a00 = dot(r0, z0, a00);
    a01 = dot(r1, z0, a01);
    const z1 = key(signed, k1 + g + 4, flip);
    a10 = dot(r0, z1, a10);
    a11 = dot(r1, z1, a11);
    const z2 = key(signed, k2 + g + 4, flip);
    a20 = dot(r0, z2, a20);
    a21 = dot(r1, z2, a21);
    const z3 = key(signed, k3 + g + 4, flip);
    a30 = dot(r0, z3, a30);
    a31 = dot(r1, z3, a31);
  }
  const s0 = v128.load(y);
  const s1 = v128.load(y, 16);
  const f0 = v128.load32_splat(k0);
  const f1 = v128.load32_splat(k1);
  const f2 = v128.load32_splat(k2);
  const f3 = v128.load32_splat(k3);
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

/** A block of 32 rows' values, less 128. */
export function turnValues(target: usize, v: usize, offsets: usize, constants: usize): void {
  const flip = v128.load32_splat(constants, FLIP);
  for (const end = offsets + 128; offsets < end; offsets += 16) {
    const r0 = v + <usize>load<u32>(offsets);
    const r1 = v + <usize>load<u32>(offsets, 4);
    const r2 = v + <usize>load<u32>(offsets, 8);
    const r3 = v + <usize>load<u32>(offsets, 12);
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
}

/**
 * out[lane][32] = ratio·out + step·Σ code·value for `lanes` lanes, rounded up to pairs; out rows are `stride` bytes apart, steps [8], ratios [8]. The sum of the codes'
 * high bits comes first, times 128 it goes on with the low ones.
 */
export function mixBytes(out: usize, stride: usize, codes: usize, values: usize, steps: usize, ratios: usize, lanes: i32): void {
  for (let lane = 0; lane < lanes; lane += 2) {
    let a0 = i32x4.splat(0);
    let a1 = i32x4.splat(0);
    let a2 = i32x4.splat(0);
    let a3 = i32x4.splat(0);
    let a4 = i32x4.splat(0);
    let a5 = i32x4.splat(0);
    let a6 = i32x4.splat(0);
    let a7 = i32x4.splat(0);
    let b0 = i32x4.splat(0);
    let b1 = i32x4.splat(0);
    let b2 = i32x4.splat(0);
    let b3 = i32x4.splat(0);
    let b4 = i32x4.splat(0);
    let b5 = i32x4.splat(0);
    let b6 = i32x4.splat(0);
    let b7 = i32x4.splat(0);
    let c = codes;
    for (const end = c + 512; c < end; c += 256) {
      a0 = i32x4.shl(a0, 7);
      a1 = i32x4.shl(a1, 7);
      a2 = i32x4.shl(a2, 7);
      a3 = i32x4.shl(a3, 7);
      a4 = i32x4.shl(a4, 7);
      a5 = i32x4.shl(a5, 7);
      a6 = i32x4.shl(a6, 7);
      a7 = i32x4.shl(a7, 7);
      b0 = i32x4.shl(b0, 7);
      b1 = i32x4.shl(b1, 7);
      b2 = i32x4.shl(b2, 7);
      b3 = i32x4.shl(b3, 7);
      b4 = i32x4.shl(b4, 7);
      b5 = i32x4.shl(b5, 7);
      b6 = i32x4.shl(b6, 7);
      b7 = i32x4.shl(b7, 7);
      let v = values;
      for (let g: usize = 0; g < 256; g += 32) {
        const x = v128.load32_splat(c + g);
        const y = v128.load32_splat(c + g, 4);
        const v0 = v128.load(v, 0);
        const v1 = v128.load(v, 16);
        a0 = dot(v0, x, a0);
        a1 = dot(v1, x, a1);
        b0 = dot(v0, y, b0);
        b1 = dot(v1, y, b1);
        const v2 = v128.load(v, 32);
        const v3 = v128.load(v, 48);
        a2 = dot(v2, x, a2);
        a3 = dot(v3, x, a3);
        b2 = dot(v2, y, b2);
        b3 = dot(v3, y, b3);
        const v4 = v128.load(v, 64);
        const v5 = v128.load(v, 80);
        a4 = dot(v4, x, a4);
        a5 = dot(v5, x, a5);
        b4 = dot(v4, y, b4);
        b5 = dot(v5, y, b5);
        const v6 = v128.load(v, 96);
        const v7 = v128.load(v, 112);
        a6 = dot(v6, x, a6);
        a7 = dot(v7, x, a7);
        b6 = dot(v6, y, b6);
        b7 = dot(v7, y, b7);
        v += 128;
      }
    }
    const next = out + stride;
    addTo(out, v128.load32_splat(steps), v128.load32_splat(ratios), a0, a1, a2, a3, a4, a5, a6, a7);
    addTo(next, v128.load32_splat(steps, 4), v128.load32_splat(ratios, 4), b0, b1, b2, b3, b4, b5, b6, b7);
    out = next + stride;
    codes += 8;
    steps += 8;
    ratios += 8;
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
