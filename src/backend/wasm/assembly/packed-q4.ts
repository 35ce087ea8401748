// Q4_0, Q4_1 and Q4_K: 4-bit codes. Layout of a panel of 8 rows, block by block of 32 k:
//   Q4_0   [8] f16 scale, 128 bytes of codes (weight = scale·(code - 8))                         18 bytes a row and block, as in the file
//   Q4_1   [8] f16 scale, [8] f16 minimum, codes (scale·code + minimum)                          20, as in the file
//   Q4_K   for each 256 k first [8] f16 d, [8] f16 dmin; each block [8] u8 scale, [8] u8 minimum, codes (d·scale·code - dmin·minimum)   18.5 (file: 18)
// Codes: [4 groups][8 rows][4 bytes]; byte j of group g holds k = 4g + j in its low half, k = 16 + 4g + j in its high half, so one vector of 16 bytes
// gives 4 rows × 4 k twice, and one 32-bit splat of x serves 8 rows. One token, one core of a Xeon (Sapphire Rapids), wide build: 23 GB/s from the cache, 12.5 from memory,
// where reading alone gives 11.9; two threads 19 of 23. Without AVX-VNNI 20 from the cache. More tokens go through packed-tiles.ts.

import { dot, pairDot } from "./packed-codes";
import { quickHalf4, scale4 } from "./half";
import { madd } from "./math";

export const PLAIN: i32 = 0;
export const MINIMUM: i32 = 1;
export const SUPER: i32 = 2;

/**
 * One token (lanes 1) by `panels` panels that are `stride` bytes apart: adds to out [panels][8]. Block by block through all panels, because one stream of
 * weights waits for memory where eight do not (8.9 against 12 GB/s on one core). constants: see packed-matmul.ts.
 */
// @ts-ignore: decorator
@inline
function product(
  pair: bool, kind: i32, x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize,
): void {
  const low = v128.load32_splat(constants);
  const mask = v128.load32_splat(constants, 4);
  const factor = v128.load32_splat(constants, 8);
  const zero = pair || kind != PLAIN;
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
      let a0 = zero ? i32x4.splat(0) : c;
      let a1 = zero ? i32x4.splat(0) : c;
      let y = x;
      for (const stop = v + 128; v < stop; v += 32) {
        const w0 = v128.load(v);
        const w1 = v128.load(v, 16);
        const q = v128.load32_splat(y, 12);
        const r = v128.load32_splat(y, 28);
        if (pair) {
          a0 = i16x8.add(a0, i16x8.add(pairDot(q, v128.and(w0, low)), pairDot(r, v128.and(i16x8.shr_u(w0, 4), low))));
          a1 = i16x8.add(a1, i16x8.add(pairDot(q, v128.and(w1, low)), pairDot(r, v128.and(i16x8.shr_u(w1, 4), low))));
        } else {
          a0 = dot(r, v128.and(i16x8.shr_u(w0, 4), low), dot(q, v128.and(w0, low), a0));
          a1 = dot(r, v128.and(i16x8.shr_u(w1, 4), low), dot(q, v128.and(w1, low), a1));
        }
        y += 4;
      }
      if (pair) {
        a0 = i32x4.extadd_pairwise_i16x8_s(a0);
        a1 = i32x4.extadd_pairwise_i16x8_s(a1);
        if (kind == PLAIN) {
          a0 = i32x4.add(a0, c);
          a1 = i32x4.add(a1, c);
        }
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
    w += kind == MINIMUM ? 160 : 144;
    x += 44;
  }
}

// Each a function of its own, see packed-codes.ts.

export function q4Dot(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(false, PLAIN, x, w, stride, panels, blocks, out, constants);
}

export function q4DotMinimum(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(false, MINIMUM, x, w, stride, panels, blocks, out, constants);
}

export function q4DotSuper(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(false, SUPER, x, w, stride, panels, blocks, out, constants);
}

export function q4Pair(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(true, PLAIN, x, w, stride, panels, blocks, out, constants);
}

export function q4PairMinimum(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(true, MINIMUM, x, w, stride, panels, blocks, out, constants);
}

export function q4PairSuper(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(true, SUPER, x, w, stride, panels, blocks, out, constants);
}

export function q4Product(
  pair: bool, kind: i32, x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize,
): void {
  if (kind == PLAIN) pair ? q4Pair(x, w, stride, panels, blocks, out, constants) : q4Dot(x, w, stride, panels, blocks, out, constants);
  else if (kind == MINIMUM) pair ? q4PairMinimum(x, w, stride, panels, blocks, out, constants) : q4DotMinimum(x, w, stride, panels, blocks, out, constants);
  else pair ? q4PairSuper(x, w, stride, panels, blocks, out, constants) : q4DotSuper(x, w, stride, panels, blocks, out, constants);
}

/** The scales of 8 rows in bytes, as f32. */
// @ts-ignore: decorator
@inline
export function byteScale(bytes: v128, d: v128, high: bool): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(high ? i32x4.extend_high_i16x8_u(bytes) : i32x4.extend_low_i16x8_u(bytes)), d);
}

/** A panel as codes (packed-codes.ts). careful: scales may be infinite, NaN or denormal. */
// @ts-ignore: decorator
@inline
function unpack(kind: i32, careful: bool, w: usize, blocks: i32, target: usize, constants: usize): void {
  const low = v128.load32_splat(constants);
  const mask = v128.load32_splat(constants, 4);
  const factor = v128.load32_splat(constants, 8);
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
      for (const end = w + 128; w < end; w += 32) {
        const w0 = v128.load(w);
        const w1 = v128.load(w, 16);
        v128.store(target, v128.and(w0, low));
        v128.store(target, v128.and(w1, low), 16);
        v128.store(target, v128.and(i16x8.shr_u(w0, 4), low), 128);
        v128.store(target, v128.and(i16x8.shr_u(w1, 4), low), 144);
        target += 32;
      }
      target += 128;
    }
  }
}

export function q4Unpack(kind: i32, careful: bool, w: usize, blocks: i32, target: usize, constants: usize): void {
  if (kind == PLAIN) careful ? unpack(PLAIN, true, w, blocks, target, constants) : q4UnpackPlain(w, blocks, target, constants);
  else if (kind == MINIMUM) careful ? unpack(MINIMUM, true, w, blocks, target, constants) : q4UnpackMinimum(w, blocks, target, constants);
  else careful ? unpack(SUPER, true, w, blocks, target, constants) : q4UnpackSuper(w, blocks, target, constants);
}

export function q4UnpackPlain(w: usize, blocks: i32, target: usize, constants: usize): void {
  unpack(PLAIN, false, w, blocks, target, constants);
}

export function q4UnpackMinimum(w: usize, blocks: i32, target: usize, constants: usize): void {
  unpack(MINIMUM, false, w, blocks, target, constants);
}

export function q4UnpackSuper(w: usize, blocks: i32, target: usize, constants: usize): void {
  unpack(SUPER, false, w, blocks, target, constants);
}

/** Stores 16 bytes of codes as group 0..3 of a row. */
// @ts-ignore: decorator
@inline
export function spread(target: usize, codes: v128): void {
  v128.store32_lane(target, codes, 0);
  v128.store32_lane(target, codes, 1, 32);
  v128.store32_lane(target, codes, 2, 64);
  v128.store32_lane(target, codes, 3, 96);
}

/** f16 bits that the quick conversion gets wrong (1: infinity, NaN) or slow (65536: denormal). */
// @ts-ignore: decorator
@inline
export function awkward(bits: u32): u32 {
  const exponent = bits & 0x7c00;
  if (exponent == 0x7c00) return 1;
  return exponent == 0 && (bits & 0x3ff) != 0 ? 65536 : 0;
}

/** Scale and minimum r of the 12 bytes at an address, 6 bits each, as Q4_K and Q5_K keep them, to a panel's two rows of bytes. */
// @ts-ignore: decorator
@inline
export function storeScale(target: usize, from: usize, r: usize): void {
  if (r < 4) {
    store<u8>(target, load<u8>(from + r) & 63);
    store<u8>(target, load<u8>(from + r, 4) & 63, 8);
    return;
  }
  store<u8>(target, (load<u8>(from + r, 4) & 15) | ((load<u8>(from + r - 4) >> 6) << 4));
  store<u8>(target, (load<u8>(from + r, 4) >> 4) | ((load<u8>(from + r) >> 6) << 4), 8);
}

/** One row of the file into lane `row` of a panel; returns how awkward its scales are (see awkward). */
export function q4Repack(kind: i32, target: usize, row: usize, from: usize, blocks: i32): u32 {
  let found: u32 = 0;
  if (kind == SUPER) {
    for (let b = 0; b < blocks; b += 8) {
      store<u16>(target + row * 2, load<u16>(from));
      store<u16>(target + row * 2, load<u16>(from, 2), 16);
      found += awkward(load<u16>(from)) + awkward(load<u16>(from, 2));
      target += 32;
      const low = i8x16.splat(15);
      const high = i8x16.splat(-16);
      for (let run: usize = 0; run < 8; run += 2) {
        const a = v128.load(from + 16 + run * 16);
        const c = v128.load(from + 32 + run * 16);
        storeScale(target + row, from + 4, run);
        spread(target + 16 + row * 4, v128.or(v128.and(a, low), i16x8.shl(v128.and(c, low), 4)));
        storeScale(target + 144 + row, from + 4, run + 1);
        spread(target + 160 + row * 4, v128.or(v128.and(i16x8.shr_u(a, 4), low), v128.and(c, high)));
        target += 288;
      }
      from += 144;
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
    spread(target + row * 4, v128.load(from));
    from += 16;
    target += 128;
  }
  return found;
}
