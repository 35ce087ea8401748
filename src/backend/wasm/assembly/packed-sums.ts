// What both ways of multiplying panels of codes (packed-codes.ts, packed-widen.ts) share: the size of a block, and the end of its chain, by which a block's
// exact sums are added to the tile: sum·(scale·x's scale), then minimum·c.

import { madd } from "./math";

/** Bytes of a block of a panel as codes. */
// @ts-ignore: decorator
@inline
export function codesBlockBytes(halves: i32, minimum: bool): usize {
  return <usize>(256 + 32 * halves * (minimum ? 2 : 1));
}

/** Adds a block's sums to the tile's row at o. Both loads come before both stores, or V8 does not fuse them. */
// @ts-ignore: decorator
@inline
export function finish(minimum: bool, a0: v128, a1: v128, x: usize, c: usize, s0: v128, s1: v128, m0: v128, m1: v128, o: usize): void {
  const scale = v128.load32_splat(x);
  let f0 = madd(f32x4.convert_i32x4_s(a0), f32x4.mul(s0, scale), v128.load(o));
  let f1 = madd(f32x4.convert_i32x4_s(a1), f32x4.mul(s1, scale), v128.load(o, 16));
  if (minimum) {
    const sum = v128.load32_splat(c);
    f0 = madd(m0, sum, f0);
    f1 = madd(m1, sum, f1);
  }
  v128.store(o, f0);
  v128.store(o, f1, 16);
}
