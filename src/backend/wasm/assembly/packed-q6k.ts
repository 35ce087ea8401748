// Q6_K: 6-bit codes, a scale for each 16. Layout of a panel of 8 rows: for each 256 k first [8] f32 d (the file has f16, and in matrices of width 2,048 a denormal one,
// which would send all products the careful way: half the speed); each block of 32 k [8] i8 scale of its first half, [8] i8 of its
// second, 64 bytes of high bits ([2 halves][8 rows][4 bytes]), 128 bytes of low halves as in packed-q4.ts. Weight = d·scale·(code - 32). Byte j of the
// high bits of half h holds k = 16h + 4i + j for i = 0..3 in the bits from 4, 6, 0, 2 on. 26.5 bytes a row and block (file: 26.25). One token, one
// core: 20 GB/s from the cache, 12.2 from memory; more tokens go through packed-tiles.ts, as codes.

import { dot } from "./packed-codes";
import { half4 } from "./half";
import { madd } from "./math";
import { spread } from "./packed-q4";

/** One token (lanes 1) by panels `stride` bytes apart, as packed-q4.ts. */
export function q6kProduct(x: usize, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  const low = v128.load32_splat(constants);
  const high = v128.load32_splat(constants, 16);
  const end = out + (<usize>panels << 5);
  let top = w;
  for (let block = 0; block < blocks; block++) {
    if ((block & 7) == 0) {
      top = w;
      w += 32;
    }
    const scale = v128.load32_splat(x);
    let panel: usize = 0;
    for (let o = out; o < end; o += 32) {
      let v = w + panel;
      let a0 = v128.load32_splat(x, 4);
      let a1 = v128.load32_splat(x, 4);
      let b0 = v128.load32_splat(x, 8);
      let b1 = v128.load32_splat(x, 8);
      const first = v128.load8x8_s(v);
      const second = v128.load8x8_s(v, 8);
      let g0 = v128.load(v, 16);
      let g1 = v128.load(v, 32);
      let h0 = v128.load(v, 48);
      let h1 = v128.load(v, 64);
      let y = x;
      v += 80;
      for (const stop = v + 128; v < stop; v += 64) {
        const v0 = v128.load(v);
        const v1 = v128.load(v, 16);
        const w0 = v128.load(v, 32);
        const w1 = v128.load(v, 48);
        const q = v128.load32_splat(y, 12);
        a0 = dot(q, v128.or(v128.and(v0, low), v128.and(g0, high)), a0);
        a1 = dot(q, v128.or(v128.and(v1, low), v128.and(g1, high)), a1);
        const r = v128.load32_splat(y, 28);
        b0 = dot(r, v128.or(v128.and(i16x8.shr_u(v0, 4), low), v128.and(h0, high)), b0);
        b1 = dot(r, v128.or(v128.and(i16x8.shr_u(v1, 4), low), v128.and(h1, high)), b1);
        const s = v128.load32_splat(y, 16);
        a0 = dot(s, v128.or(v128.and(w0, low), v128.and(i16x8.shr_u(g0, 2), high)), a0);
        a1 = dot(s, v128.or(v128.and(w1, low), v128.and(i16x8.shr_u(g1, 2), high)), a1);
        const t = v128.load32_splat(y, 32);
        b0 = dot(t, v128.or(v128.and(i16x8.shr_u(w0, 4), low), v128.and(i16x8.shr_u(h0, 2), high)), b0);
        b1 = dot(t, v128.or(v128.and(i16x8.shr_u(w1, 4), low), v128.and(i16x8.shr_u(h1, 2), high)), b1);
        g0 = i16x8.shl(g0, 4);
        g1 = i16x8.shl(g1, 4);
        h0 = i16x8.shl(h0, 4);
        h1 = i16x8.shl(h1, 4);
        y += 8;
      }
      const head = top + panel;
      const d0 = v128.load(head);
      const d1 = v128.load(head, 16);
      const s0 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(first)), d0);
      const s1 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(first)), d1);
      const t0 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(second)), d0);
      const t1 = f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(second)), d1);
      let f0 = madd(f32x4.convert_i32x4_s(a0), f32x4.mul(s0, scale), v128.load(o));
      let f1 = madd(f32x4.convert_i32x4_s(a1), f32x4.mul(s1, scale), v128.load(o, 16));
      f0 = madd(f32x4.convert_i32x4_s(b0), f32x4.mul(t0, scale), f0);
      f1 = madd(f32x4.convert_i32x4_s(b1), f32x4.mul(t1, scale), f1);
      v128.store(o, f0);
      v128.store(o, f1, 16);
      panel += stride;
    }
    w += 208;
    x += 44;
  }
}

/** A panel as codes (packed-codes.ts). */
export function q6kUnpack(w: usize, blocks: i32, target: usize, constants: usize): void {
  const low = v128.load32_splat(constants);
  const high = v128.load32_splat(constants, 16);
  for (let b = 0; b < blocks; b += 8) {
    const d0 = v128.load(w);
    const d1 = v128.load(w, 16);
    w += 32;
    for (let run = 0; run < 8; run++) {
      const first = v128.load8x8_s(w);
      const second = v128.load8x8_s(w, 8);
      v128.store(target, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(first)), d0));
      v128.store(target, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(first)), d1), 16);
      v128.store(target, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(second)), d0), 32);
      v128.store(target, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(second)), d1), 48);
      let g0 = v128.load(w, 16);
      let g1 = v128.load(w, 32);
      let h0 = v128.load(w, 48);
      let h1 = v128.load(w, 64);
      w += 80;
      target += 64;
      for (const end = w + 128; w < end; w += 64) {
        const v0 = v128.load(w);
        const v1 = v128.load(w, 16);
        const w0 = v128.load(w, 32);
        const w1 = v128.load(w, 48);
        v128.store(target, v128.or(v128.and(v0, low), v128.and(g0, high)));
        v128.store(target, v128.or(v128.and(v1, low), v128.and(g1, high)), 16);
        v128.store(target, v128.or(v128.and(w0, low), v128.and(i16x8.shr_u(g0, 2), high)), 32);
        v128.store(target, v128.or(v128.and(w1, low), v128.and(i16x8.shr_u(g1, 2), high)), 48);
        v128.store(target, v128.or(v128.and(i16x8.shr_u(v0, 4), low), v128.and(h0, high)), 128);
        v128.store(target, v128.or(v128.and(i16x8.shr_u(v1, 4), low), v128.and(h1, high)), 144);
        v128.store(target, v128.or(v128.and(i16x8.shr_u(w0, 4), low), v128.and(i16x8.shr_u(h0, 2), high)), 160);
        v128.store(target, v128.or(v128.and(i16x8.shr_u(w1, 4), low), v128.and(i16x8.shr_u(h1, 2), high)), 176);
        g0 = i16x8.shl(g0, 4);
        g1 = i16x8.shl(g1, 4);
        h0 = i16x8.shl(h0, 4);
        h1 = i16x8.shl(h1, 4);
        target += 64;
      }
      target += 128;
    }
  }
}

/** 16 numbers of 2 bits, one a byte, as the 4 bytes of a half of the high bits. */
// @ts-ignore: decorator
@inline
function highBits(v: v128): u32 {
  return (
    (i32x4.extract_lane(v, 0) << 4) | (i32x4.extract_lane(v, 1) << 6) | i32x4.extract_lane(v, 2) | (i32x4.extract_lane(v, 3) << 2)
  );
}

/** One row of the file into lane `row` of a panel. */
export function q6kRepack(target: usize, row: usize, from: usize, blocks: i32): void {
  const low = i8x16.splat(15);
  const two = i8x16.splat(3);
  for (let b = 0; b < blocks; b += 8) {
    store<f32>(target + row * 4, f32x4.extract_lane(half4(from + 208), 0));
    target += 32;
    for (let run = 0; run < 8; run++) {
      store<u8>(target + row, load<u8>(from + <usize>run * 2, 192));
      store<u8>(target + row, load<u8>(from + <usize>run * 2, 193), 8);
      const part = <usize>(run >> 2);
      const bits = from + 128 + part * 32;
      const shift = (run & 3) * 2;
      store<u32>(target + 16 + row * 4, highBits(v128.and(i16x8.shr_u(v128.load(bits), shift), two)));
      store<u32>(target + 48 + row * 4, highBits(v128.and(i16x8.shr_u(v128.load(bits, 16), shift), two)));
      const codes = from + part * 64 + <usize>(run & 1) * 32;
      const move = (run & 2) * 2;
      const a = v128.and(i16x8.shr_u(v128.load(codes), move), low);
      const c = v128.and(i16x8.shr_u(v128.load(codes, 16), move), low);
      spread(target + 80 + row * 4, v128.or(a, i16x8.shl(c, 4)));
      target += 208;
    }
    from += 210;
  }
}
