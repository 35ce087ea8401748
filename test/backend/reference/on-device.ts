// Helpers of the reference tests: numbers in, numbers out, without tensors.

import type { Device, View } from "../../../src/backend/backend.ts";
import { contents } from "../../../src/backend/reference/buffer.ts";

export type Desk = {
  readonly device: Device;
  floats(values: ArrayLike<number>): View;
  ints(values: ArrayLike<number>): View;
  /** Numbers of a view, from its offset to the end of its buffer. */
  numbers(view: View): number[];
};

/** Works on a reference device, whose kernels execute at once, so nothing needs to be awaited. */
export function desk(device: Device): Desk {
  const put = (dtype: "f32" | "i32") => (values: ArrayLike<number>) => {
    const buffer = device.allocate(dtype, values.length);
    device.write(buffer, 0, Array.from(values));
    return { buffer, offset: 0 };
  };
  return { device, floats: put("f32"), ints: put("i32"), numbers: (view) => Array.from(contents(view.buffer)).slice(view.offset) };
}

export function zeros(n: number): number[] {
  return new Array<number>(n).fill(0);
}

/** Largest absolute difference. */
export function distance(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  // NaN anywhere makes the distance NaN, which is below no bound.
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!));
  return largest;
}
