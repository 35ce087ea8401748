// Transposes in registers, for packing.

/** Four vectors a, b, c, d as the columns of four rows that lie `step` bytes apart from `t` on. */
// @ts-ignore: decorator
@inline
export function transpose4(a: v128, b: v128, c: v128, d: v128, t: usize, step: usize): void {
  const ab0 = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const ab1 = i32x4.shuffle(a, b, 2, 6, 3, 7);
  const cd0 = i32x4.shuffle(c, d, 0, 4, 1, 5);
  const cd1 = i32x4.shuffle(c, d, 2, 6, 3, 7);
  v128.store(t, i64x2.shuffle(ab0, cd0, 0, 2));
  v128.store(t + step, i64x2.shuffle(ab0, cd0, 1, 3));
  v128.store(t + 2 * step, i64x2.shuffle(ab1, cd1, 0, 2));
  v128.store(t + 3 * step, i64x2.shuffle(ab1, cd1, 1, 3));
}

/** The same with two columns. */
// @ts-ignore: decorator
@inline
export function transpose2(a: v128, b: v128, t: usize, step: usize): void {
  const low = i32x4.shuffle(a, b, 0, 4, 1, 5);
  const high = i32x4.shuffle(a, b, 2, 6, 3, 7);
  v128.store64_lane(t, low, 0);
  v128.store64_lane(t + step, low, 1);
  v128.store64_lane(t + 2 * step, high, 0);
  v128.store64_lane(t + 3 * step, high, 1);
}
