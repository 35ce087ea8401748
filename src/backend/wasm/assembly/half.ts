// 16-bit floats to f32, four at a time.

/** Four f16 at an address, exactly: denormals, infinities and NaN too. */
// @ts-ignore: decorator
@inline
export function half4(address: usize): v128 {
  const bits = v128.load16x4_u(address);
  const magnitude = v128.and(bits, i32x4.splat(0x7fff));
  const moved = i32x4.shl(magnitude, 13);
  const normal = i32x4.add(moved, i32x4.splat(112 << 23));
  // By an integer, because multiplying a denormal costs some 130 cycles on Intel.
  const denormal = f32x4.mul(f32x4.convert_i32x4_s(magnitude), f32x4.splat(5.9604644775390625e-8));
  const special = v128.or(moved, i32x4.splat(0x7f800000));
  let value = v128.bitselect(denormal, normal, i32x4.lt_s(moved, i32x4.splat(1 << 23)));
  value = v128.bitselect(special, value, i32x4.ge_s(moved, i32x4.splat(31 << 23)));
  return v128.or(value, i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16));
}

/** Four finite f16 at an address, in three operations; mask and factor are the two constants of `halfConstants` (or a power of two times the factor). */
// @ts-ignore: decorator
@inline
export function quickHalf4(address: usize, mask: v128, factor: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(v128.load16x4_s(address), 13), mask), factor);
}

/** Either. */
// @ts-ignore: decorator
@inline
export function scale4(careful: bool, address: usize, mask: v128, factor: v128): v128 {
  return careful ? half4(address) : quickHalf4(address, mask, factor);
}

/** For quickHalf4: the bits of a moved f16, and 2^112. */
export const HALF_MASK: u32 = 0x8fffe000;
export const HALF_FACTOR: u32 = 0x77800000;
