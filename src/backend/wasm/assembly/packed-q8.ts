// Q8_0: 8-bit weights. Layout of a panel of 8 rows, block by block of 32 k: [8] f16 scale, then [8 groups][8 rows][4 bytes]: 34 bytes a row and block, as in
// the file. The bytes are stored + 128 (offset 128) where the relaxed product takes its second operand as unsigned, as they are where it takes it as signed; where it
// is exact for 7 bits only, `widen` multiplies in 16 bits. One token, one core of a Xeon, wide build: 38 GB/s from the cache (widen 19), 13.4 from memory; more tokens
// go through packed-tiles.ts.

import { dot } from "./packed-codes";
import { half4, quickHalf4 } from "./half";
import { madd } from "./math";
import { awkward } from "./packed-q4";

/** One token (lanes 1) by panels `stride` bytes apart, as packed-q4.ts. */
export function q8Product(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  const mask = v128.load32_splat(constants, 4);
  const factor = v128.load32_splat(constants, 8);
  const end = out + (<usize>panels << 5);
  for (let b = 0; b < blocks; b++) {
    const scale = v128.load32_splat(x);
    let panel = w;
    for (let o = out; o < end; o += 32) {
      const s0 = quickHalf4(panel, mask, factor);
      const s1 = quickHalf4(panel + 8, mask, factor);
      let a0 = v128.load32_splat(x, 4);
      let a1 = v128.load32_splat(x, 4);
      let y = x;
      let v = panel + 16;
      for (const stop = v + 256; v < stop; v += 64) {
        const q = v128.load32_splat(y, 12);
        const r = v128.load32_splat(y, 16);
        a0 = dot(r, v128.load(v, 32), dot(q, v128.load(v), a0));
        a1 = dot(r, v128.load(v, 48), dot(q, v128.load(v, 16), a1));
        y += 8;
      }
      const f0 = madd(f32x4.convert_i32x4_s(a0), f32x4.mul(s0, scale), v128.load(o));
      const f1 = madd(f32x4.convert_i32x4_s(a1), f32x4.mul(s1, scale), v128.load(o, 16));
      v128.store(o, f0);
      v128.store(o, f1, 16);
      panel += stride;
    }
    w += 272;
    x += 44;
  }
}

/** The same by 16-bit products; the integers of x are 16 bits wide. */
export function q8Widen(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  const mask = v128.load32_splat(constants, 4);
  const factor = v128.load32_splat(constants, 8);
  const end = out + (<usize>panels << 5);
  for (let b = 0; b < blocks; b++) {
    const scale = v128.load32_splat(x);
    const c = v128.load32_splat(x, 4);
    let panel = w;
    for (let o = out; o < end; o += 32) {
      const s0 = quickHalf4(panel, mask, factor);
      const s1 = quickHalf4(panel + 8, mask, factor);
      let a0 = i32x4.splat(0);
      let a1 = i32x4.splat(0);
      let a2 = i32x4.splat(0);
      let a3 = i32x4.splat(0);
      let y = x;
      let v = panel + 16;
      for (const stop = v + 256; v < stop; v += 32) {
        const q = v128.load64_splat(y, 12);
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(q, v128.load8x8_u(v)));
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(q, v128.load8x8_u(v, 8)));
        a2 = i32x4.add(a2, i32x4.dot_i16x8_s(q, v128.load8x8_u(v, 16)));
        a3 = i32x4.add(a3, i32x4.dot_i16x8_s(q, v128.load8x8_u(v, 24)));
        y += 8;
      }
      const b0 = i32x4.add(c, i32x4.add(i32x4.shuffle(a0, a1, 0, 2, 4, 6), i32x4.shuffle(a0, a1, 1, 3, 5, 7)));
      const b1 = i32x4.add(c, i32x4.add(i32x4.shuffle(a2, a3, 0, 2, 4, 6), i32x4.shuffle(a2, a3, 1, 3, 5, 7)));
      const f0 = madd(f32x4.convert_i32x4_s(b0), f32x4.mul(s0, scale), v128.load(o));
      const f1 = madd(f32x4.convert_i32x4_s(b1), f32x4.mul(s1, scale), v128.load(o, 16));
      v128.store(o, f0);
      v128.store(o, f1, 16);
      panel += stride;
    }
    w += 272;
    x += 76;
  }
}

/** A panel as codes (packed-codes.ts). careful: scales may be infinite, NaN or denormal. */
export function q8Unpack(careful: bool, w: usize, blocks: i32, target: usize, constants: usize): void {
  const mask = v128.load32_splat(constants, 4);
  const factor = v128.load32_splat(constants, 8);
  for (let b = 0; b < blocks; b++) {
    v128.store(target, careful ? half4(w) : quickHalf4(w, mask, factor));
    v128.store(target, careful ? half4(w + 8) : quickHalf4(w + 8, mask, factor), 16);
    w += 16;
    target += 32;
    for (const end = w + 256; w < end; w += 64) {
      const v0 = v128.load(w);
      const v1 = v128.load(w, 16);
      const v2 = v128.load(w, 32);
      const v3 = v128.load(w, 48);
      v128.store(target, v0);
      v128.store(target, v1, 16);
      v128.store(target, v2, 32);
      v128.store(target, v3, 48);
      target += 64;
    }
  }
}

/** One row of the file into lane `row` of a panel. `flip`: 0x80 where bytes are stored + 128, else 0. */
export function q8Repack(target: usize, row: usize, from: usize, blocks: i32, flip: i32): u32 {
  const flips = i8x16.splat(<i8>flip);
  let found: u32 = 0;
  for (let b = 0; b < blocks; b++) {
    store<u16>(target + row * 2, load<u16>(from));
    found += awkward(load<u16>(from));
    storeBytes(target + 16 + row * 4, v128.xor(v128.load(from, 2), flips), v128.xor(v128.load(from, 18), flips));
    from += 34;
    target += 272;
  }
  return found;
}

/** 32 bytes of a row as groups 0..7 of codes. */
// @ts-ignore: decorator
@inline
export function storeBytes(target: usize, a: v128, b: v128): void {
  v128.store32_lane(target, a, 0);
  v128.store32_lane(target, a, 1, 32);
  v128.store32_lane(target, a, 2, 64);
  v128.store32_lane(target, a, 3, 96);
  v128.store32_lane(target, b, 0, 128);
  v128.store32_lane(target, b, 1, 160);
  v128.store32_lane(target, b, 2, 192);
  v128.store32_lane(target, b, 3, 224);
}
