// Q5_0, Q5_1 and Q5_K: 5-bit codes. Layout of a panel of 8 rows: as packed-q4.ts, with 32 bytes of fifth bits before each block's codes: [8 rows][4 bytes]; byte j
// holds the bits of k = 4i + j in bit 3 - i and of k = 16 + 4i + j in bit 7 - i, so that doubling the byte brings the next bit in place. 22, 24 and
// 22.5 bytes a row and block (Q5_K in a file: 22). One token, one core: 19 GB/s from the cache, 11.4 from memory; more tokens go through packed-tiles.ts, as codes.

import { dot } from "./packed-codes";
import { quickHalf4, scale4 } from "./half";
import { madd } from "./math";
import { awkward, byteScale, MINIMUM, PLAIN, spread, storeScale, SUPER } from "./packed-q4";

/** One token (lanes 1) by panels `stride` bytes apart, as packed-q4.ts. */
// @ts-ignore: decorator
@inline
function product(kind: i32, x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  const low = v128.load32_splat(constants);
  const mask = v128.load32_splat(constants, 4);
  const factor = v128.load32_splat(constants, 8);
  const fifth = v128.load32_splat(constants, 12);
  const end = out + (<usize>panels << 5);
  let top = w;
  for (let b = 0; b < blocks; b++) {
    if (kind == SUPER && (b & 7) == 0) {
      top = w;
      w += 32;
    }
    const scale = v128.load32_splat(x);
    const c = v128.load32_splat(x, 4);
    let panel: usize = 0;
    for (let o = out; o < end; o += 32) {
      let v = w + panel;
      let s0: v128;
      let s1: v128;
      let m0 = scale;
      let m1 = scale;
      if (kind == SUPER) {
        const scales = v128.load8x8_u(v);
        const minima = v128.load8x8_u(v, 8);
        const head = top + panel;
        s0 = byteScale(scales, quickHalf4(head, mask, factor), false);
        s1 = byteScale(scales, quickHalf4(head + 8, mask, factor), true);
        m0 = byteScale(minima, f32x4.neg(quickHalf4(head + 16, mask, factor)), false);
        m1 = byteScale(minima, f32x4.neg(quickHalf4(head + 24, mask, factor)), true);
      } else {
        s0 = quickHalf4(v, mask, factor);
        s1 = quickHalf4(v + 8, mask, factor);
        if (kind == MINIMUM) {
          m0 = quickHalf4(v + 16, mask, factor);
          m1 = quickHalf4(v + 24, mask, factor);
        }
      }
      v += kind == MINIMUM ? 32 : 16;
      let a0 = kind == PLAIN ? c : i32x4.splat(0);
      let a1 = kind == PLAIN ? c : i32x4.splat(0);
      const h0 = v128.load(v);
      const h1 = v128.load(v, 16);
      let g0 = i8x16.add(h0, h0);
      let g1 = i8x16.add(h1, h1);
      let u0 = i16x8.shr_u(h0, 3);
      let u1 = i16x8.shr_u(h1, 3);
      let y = x;
      v += 32;
      for (const stop = v + 128; v < stop; v += 32) {
        const w0 = v128.load(v);
        const w1 = v128.load(v, 16);
        const q = v128.load32_splat(y, 12);
        const r = v128.load32_splat(y, 28);
        a0 = dot(q, v128.or(v128.and(w0, low), v128.and(g0, fifth)), a0);
        a1 = dot(q, v128.or(v128.and(w1, low), v128.and(g1, fifth)), a1);
        a0 = dot(r, v128.or(v128.and(i16x8.shr_u(w0, 4), low), v128.and(u0, fifth)), a0);
        a1 = dot(r, v128.or(v128.and(i16x8.shr_u(w1, 4), low), v128.and(u1, fifth)), a1);
        g0 = i8x16.add(g0, g0);
        g1 = i8x16.add(g1, g1);
        u0 = i8x16.add(u0, u0);
        u1 = i8x16.add(u1, u1);
        y += 4;
      }
      let f0 = madd(f32x4.convert_i32x4_s(a0), f32x4.mul(s0, scale), v128.load(o));
      let f1 = madd(f32x4.convert_i32x4_s(a1), f32x4.mul(s1, scale), v128.load(o, 16));
      if (kind != PLAIN) {
        f0 = madd(m0, c, f0);
        f1 = madd(m1, c, f1);
      }
      v128.store(o, f0);
      v128.store(o, f1, 16);
      panel += stride;
    }
    w += kind == MINIMUM ? 192 : 176;
    x += 44;
  }
}

// Each a function of its own, see packed-codes.ts.

export function q5Dot(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(PLAIN, x, w, stride, panels, blocks, out, constants);
}

export function q5DotMinimum(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(MINIMUM, x, w, stride, panels, blocks, out, constants);
}

export function q5DotSuper(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(SUPER, x, w, stride, panels, blocks, out, constants);
}

export function q5Product(kind: i32, x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  if (kind == PLAIN) q5Dot(x, w, stride, panels, blocks, out, constants);
  else if (kind == MINIMUM) q5DotMinimum(x, w, stride, panels, blocks, out, constants);
  else q5DotSuper(x, w, stride, panels, blocks, out, constants);
}

/** A panel as codes (packed-codes.ts). careful: scales may be infinite, NaN or denormal. */
// @ts-ignore: decorator
@inline
function unpack(kind: i32, careful: bool, w: usize, blocks: i32, target: usize, constants: usize): void {
  const low = v128.load32_splat(constants);
  const mask = v128.load32_splat(constants, 4);
  const factor = v128.load32_splat(constants, 8);
  const fifth = v128.load32_splat(constants, 12);
  const runs = kind == SUPER ? 8 : blocks;
  let d0 = low;
  let d1 = low;
  let e0 = low;
  let e1 = low;
  for (let done = 0; done < blocks; done += runs) {
    if (kind == SUPER) {
      d0 = scale4(careful, w, mask, factor);
      d1 = scale4(careful, w + 8, mask, factor);
      e0 = f32x4.neg(scale4(careful, w + 16, mask, factor));
      e1 = f32x4.neg(scale4(careful, w + 24, mask, factor));
      w += 32;
    }
    for (let run = 0; run < runs; run++) {
      if (kind == SUPER) {
        const scales = v128.load8x8_u(w);
        const minima = v128.load8x8_u(w, 8);
        v128.store(target, byteScale(scales, d0, false));
        v128.store(target, byteScale(scales, d1, true), 16);
        v128.store(target, byteScale(minima, e0, false), 32);
        v128.store(target, byteScale(minima, e1, true), 48);
      } else {
        const s0 = scale4(careful, w, mask, factor);
        const s1 = scale4(careful, w + 8, mask, factor);
        v128.store(target, s0);
        v128.store(target, s1, 16);
        if (kind == MINIMUM) {
          const m0 = scale4(careful, w + 16, mask, factor);
          const m1 = scale4(careful, w + 24, mask, factor);
          v128.store(target, m0, 32);
          v128.store(target, m1, 48);
        }
      }
      w += kind == MINIMUM ? 32 : 16;
      target += kind == PLAIN ? 32 : 64;
      const h0 = v128.load(w);
      const h1 = v128.load(w, 16);
      let g0 = i8x16.add(h0, h0);
      let g1 = i8x16.add(h1, h1);
      let u0 = i16x8.shr_u(h0, 3);
      let u1 = i16x8.shr_u(h1, 3);
      w += 32;
      for (const end = w + 128; w < end; w += 32) {
        const w0 = v128.load(w);
        const w1 = v128.load(w, 16);
        v128.store(target, v128.or(v128.and(w0, low), v128.and(g0, fifth)));
        v128.store(target, v128.or(v128.and(w1, low), v128.and(g1, fifth)), 16);
        v128.store(target, v128.or(v128.and(i16x8.shr_u(w0, 4), low), v128.and(u0, fifth)), 128);
        v128.store(target, v128.or(v128.and(i16x8.shr_u(w1, 4), low), v128.and(u1, fifth)), 144);
        g0 = i8x16.add(g0, g0);
        g1 = i8x16.add(g1, g1);
        u0 = i8x16.add(u0, u0);
        u1 = i8x16.add(u1, u1);
        target += 32;
      }
      target += 128;
    }
  }
}

export function q5Unpack(kind: i32, careful: bool, w: usize, blocks: i32, target: usize, constants: usize): void {
  if (kind == PLAIN) careful ? unpack(PLAIN, true, w, blocks, target, constants) : q5UnpackPlain(w, blocks, target, constants);
  else if (kind == MINIMUM) careful ? unpack(MINIMUM, true, w, blocks, target, constants) : q5UnpackMinimum(w, blocks, target, constants);
  else careful ? unpack(SUPER, true, w, blocks, target, constants) : q5UnpackSuper(w, blocks, target, constants);
}

export function q5UnpackPlain(w: usize, blocks: i32, target: usize, constants: usize): void {
  unpack(PLAIN, false, w, blocks, target, constants);
}

export function q5UnpackMinimum(w: usize, blocks: i32, target: usize, constants: usize): void {
  unpack(MINIMUM, false, w, blocks, target, constants);
}

export function q5UnpackSuper(w: usize, blocks: i32, target: usize, constants: usize): void {
  unpack(SUPER, false, w, blocks, target, constants);
}

/** Bits 0, 4, 8, 12 to bits 3, 2, 1, 0. */
// @ts-ignore: decorator
@inline
function gather(bits: u32): u32 {
  return (((bits & 0x1111) * 0x8421) >> 12) & 15;
}

/** Bit k of the fifth bits to where the panel wants it: 4 bytes of a row. */
function fifthBits(bits: u32): u32 {
  let bytes: u32 = 0;
  for (let j: u32 = 0; j < 4; j++) bytes |= (gather(bits >> j) | (gather(bits >> (j + 16)) << 4)) << (8 * j);
  return bytes;
}

/** One row of the file into lane `row` of a panel; returns how awkward its scales are (packed-q4.ts). */
export function q5Repack(kind: i32, target: usize, row: usize, from: usize, blocks: i32): u32 {
  let found: u32 = 0;
  if (kind == SUPER) {
    for (let b = 0; b < blocks; b += 8) {
      store<u16>(target + row * 2, load<u16>(from));
      store<u16>(target + row * 2, load<u16>(from, 2), 16);
      found += awkward(load<u16>(from)) + awkward(load<u16>(from, 2));
      target += 32;
      const low = i8x16.splat(15);
      const high = i8x16.splat(-16);
      const bits0 = v128.load(from, 16);
      const bits1 = v128.load(from, 32);
      for (let run: i32 = 0; run < 8; run++) {
        storeScale(target + row, from + 4, run);
        const fifth = i8x16.bitmask(i16x8.shl(bits0, 7 - run)) | (i8x16.bitmask(i16x8.shl(bits1, 7 - run)) << 16);
        store<u32>(target + 16 + row * 4, fifthBits(fifth));
        const a = v128.load(from + 48 + <usize>(run >> 1) * 32);
        const c = v128.load(from + 64 + <usize>(run >> 1) * 32);
        const codes = (run & 1) == 0
          ? v128.or(v128.and(a, low), i16x8.shl(v128.and(c, low), 4))
          : v128.or(v128.and(i16x8.shr_u(a, 4), low), v128.and(c, high));
        spread(target + 48 + row * 4, codes);
        target += 176;
      }
      from += 176;
    }
    return found;
  }
  for (let b = 0; b < blocks; b++) {
    store<u16>(target + row * 2, load<u16>(from));
    found += awkward(load<u16>(from));
    from += 2;
    target += 16;
    if (kind == MINIMUM) {
      store<u16>(target + row * 2, load<u16>(from));
      found += awkward(load<u16>(from));
      from += 2;
      target += 16;
    }
    store<u32>(target + row * 4, fifthBits(load<u32>(from)));
    spread(target + 32 + row * 4, v128.load(from, 4));
    from += 20;
    target += 160;
  }
  return found;
}
