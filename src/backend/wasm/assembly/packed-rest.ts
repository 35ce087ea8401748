// Packed types without a product of their own: written as codes (packed-codes.ts) with f32 scales when they are loaded, exactly. Q2_K: 2-bit codes, scale and minimum
// for each 16. Q3_K: 3-bit codes (offset 4), a scale for each 16. IQ4_XS: values of a codebook as bytes like Q8_0's, a scale for each 32. MXFP4:
// values + 12, a scale for each 32. IQ4_NL becomes Q8_0 (packed-q8.ts): its codebook's values are bytes, its scale is f16. Bigger than the file: 48, 40, 36, 36, 34
// bytes for 32 weights. One row of the file goes into lane `row` of a panel.

import { half4 } from "./half";
import { awkward } from "./packed-q4";
import { storeBytes } from "./packed-q8";

// @ts-ignore: decorator
@inline
function half(address: usize): f32 {
  return f32x4.extract_lane(half4(address), 0);
}

export function q2kRepack(target: usize, row: usize, from: usize, blocks: i32): void {
  const two = i8x16.splat(3);
  for (let b = 0; b < blocks; b += 8) {
    const d = half(from + 80);
    const least = half(from + 82);
    for (let run = 0; run < 8; run++) {
      for (let h: usize = 0; h < 2; h++) {
        const scale = <i32>load<u8>(from + <usize>run * 2 + h);
        store<f32>(target + row * 4 + h * 32, d * <f32>(scale & 15));
        store<f32>(target + row * 4 + h * 32, -(least * <f32>(scale >> 4)), 64);
      }
      const bytes = from + 16 + <usize>(run >> 2) * 32;
      const shift = (run & 3) * 2;
      const a = v128.and(i16x8.shr_u(v128.load(bytes), shift), two);
      const c = v128.and(i16x8.shr_u(v128.load(bytes, 16), shift), two);
      storeBytes(target + 128 + row * 4, a, c);
      target += 384;
    }
    from += 84;
  }
}

/** The 16 codes of 3 bits: low bits and, where the mask's bit is set, 4. */
// @ts-ignore: decorator
@inline
function threeBits(bytes: usize, shift: i32, mask: usize, run: i32): v128 {
  const low = v128.and(i16x8.shr_u(v128.load(bytes), shift), i8x16.splat(3));
  const high = v128.and(i16x8.shr_u(v128.load(mask), run), i8x16.splat(1));
  return v128.or(low, i16x8.shl(high, 2));
}

export function q3kRepack(target: usize, row: usize, from: usize, blocks: i32): void {
  for (let b = 0; b < blocks; b += 8) {
    const d = half(from + 108);
    const scales = from + 96;
    for (let run = 0; run < 8; run++) {
      for (let h = 0; h < 2; h++) {
        const i = run * 2 + h;
        const low = i < 8 ? load<u8>(scales + <usize>i) & 15 : load<u8>(scales + <usize>(i - 8)) >> 4;
        const high = (load<u8>(scales + <usize>(i & 3), 8) >> <u8>(2 * (i >> 2))) & 3;
        store<f32>(target + row * 4 + <usize>h * 32, d * <f32>((<i32>low | (<i32>high << 4)) - 32));
      }
      const bytes = from + 32 + <usize>(run >> 2) * 32;
      const shift = (run & 3) * 2;
      storeBytes(target + 64 + row * 4, threeBits(bytes, shift, from, run), threeBits(bytes + 16, shift, from + 16, run));
      target += 320;
    }
    from += 110;
  }
}

/** The codebook of IQ4_NL and IQ4_XS. */
// @ts-ignore: decorator
@inline
function codebook(codes: v128): v128 {
  return i8x16.swizzle(i8x16(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113), codes);
}

/** 16 bytes of two 4-bit codes each, through the codebook, to 32 bytes. */
// @ts-ignore: decorator
@inline
function storeCodebook(target: usize, from: usize, flips: v128): void {
  const both = v128.load(from);
  const low = i8x16.splat(15);
  storeBytes(
    target,
    v128.xor(codebook(v128.and(both, low)), flips),
    v128.xor(codebook(v128.and(i16x8.shr_u(both, 4), low)), flips),
  );
}

/** To the layout of Q8_0; returns how awkward the scales are (packed-q4.ts). */
export function iq4nlRepack(target: usize, row: usize, from: usize, blocks: i32, flip: i32): u32 {
  let found: u32 = 0;
  for (let b = 0; b < blocks; b++) {
    store<u16>(target + row * 2, load<u16>(from));
    found += awkward(load<u16>(from));
    storeCodebook(target + 16 + row * 4, from + 2, i8x16.splat(<i8>flip));
    from += 18;
    target += 272;
  }
  return found;
}

export function iq4xsRepack(target: usize, row: usize, from: usize, blocks: i32, flip: i32): void {
  for (let b = 0; b < blocks; b += 8) {
    const d = half(from);
    const high = <i32>load<u16>(from, 2);
    for (let run = 0; run < 8; run++) {
      const low = (<i32>load<u8>(from + <usize>(run >> 1), 4) >> (4 * (run & 1))) & 15;
      const scale = (low | (((high >> (2 * run)) & 3) << 4)) - 32;
      store<f32>(target + row * 4, d * <f32>scale);
      storeCodebook(target + 32 + row * 4, from + 8 + <usize>run * 16, i8x16.splat(<i8>flip));
      target += 288;
    }
    from += 136;
  }
}

/** Values + 12; half of the values are halves, so the scale is half of 2^(e - 127). */
// @ts-ignore: decorator
@inline
function mxfp4Codes(codes: v128): v128 {
  return i8x16.swizzle(i8x16(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0), codes);
}

export function mxfp4Repack(target: usize, row: usize, from: usize, blocks: i32): void {
  const low = i8x16.splat(15);
  for (let b = 0; b < blocks; b++) {
    const exponent = <u32>load<u8>(from);
    store<u32>(target + row * 4, exponent < 2 ? <u32>0x200000 << exponent : (exponent - 1) << 23);
    const both = v128.load(from, 1);
    storeBytes(target + 32 + row * 4, mxfp4Codes(v128.and(both, low)), mxfp4Codes(v128.and(i16x8.shr_u(both, 4), low)));
    from += 17;
    target += 288;
  }
}
