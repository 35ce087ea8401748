// Shapes are plain arrays of non-negative integers, outermost first, always contiguous (row-major).
// Checked products: a shape read from a stranger's file must not overflow before it is refused.

import { ShapeError } from "./errors.ts";

export type Shape = readonly number[];

/** Number of elements; 1 for []. Throws ShapeError when a size is no integer >= 0 or the product exceeds 2^53. */
export function elementCount(shape: Shape, operation = "shape"): number {
  let count = 1;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new ShapeError({
        operation,
        got: showShape(shape),
        expected: "integer sizes of 0 or more",
        cure: "check the sizes that were given",
      });
    }
    count *= size;
    if (!Number.isSafeInteger(count)) {
      throw new ShapeError({ operation, got: showShape(shape), expected: "fewer than 2^53 elements", cure: "use smaller sizes" });
    }
  }
  return count;
}

export function showShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}

/** Row-major strides in elements. */
export function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i] as number;
  }
  return strides;
}
