// Checks that the ops share, made before anything is allocated. Each throws a ShapeError that names the operation, what came, what
// was expected and the cure. Messages are built only on failure, because ops run thousands of times a second.

import { type DType, isPackedType } from "../core/dtype.ts";
import { ShapeError } from "../core/errors.ts";
import { type Shape, sameShape, showShape } from "../core/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { isTrackingGradients } from "../tensor/tracking.ts";

export function wrong(operation: string, got: string, expected: string, cure: string): ShapeError {
  return new ShapeError({ operation, got, expected, cure });
}

function expectLive(operation: string, name: string, x: Tensor): void {
  if (x.storage.isFreed) {
    throw wrong(
      operation,
      `${name} ${showShape(x.shape)}, which was freed`,
      "a live tensor",
      "return it from the scope that made it, or make it outside",
    );
  }
}

/** x holds numbers (f32) and is not freed. */
export function expectNumbers(operation: string, name: string, x: Tensor): void {
  expectLive(operation, name, x);
  if (isPackedType(x.dtype)) throw packedRefused(operation, name, x);
  if (x.dtype !== "f32")
    throw wrong(operation, `${name} of ${x.dtype}`, `${name} of f32`, "indices are not computed with; pass the tensor of numbers");
}

/** x is live; f32 or i32. */
export function expectAny(operation: string, name: string, x: Tensor): asserts x is Tensor & { readonly dtype: DType } {
  expectLive(operation, name, x);
  if (isPackedType(x.dtype)) throw packedRefused(operation, name, x);
}

function packedRefused(operation: string, name: string, x: Tensor): ShapeError {
  return wrong(
    operation,
    `${name} ${showShape(x.shape)}, a packed weight of ${x.dtype}`,
    "a tensor of f32",
    "packed weights are for linear, groupedLinear and embedding; load the model with weights as f32",
  );
}

/** w is a packed weight and not freed; nothing that is trained flows through it. */
export function expectPacked(operation: string, name: string, w: Tensor): void {
  expectLive(operation, name, w);
  if (!isPackedType(w.dtype)) throw wrong(operation, `${name} of ${w.dtype}`, `${name} of a packed type`, "use the op for plain weights");
}

/** Packed weights have no backward pass: x must not need a gradient while gradients are tracked. */
export function expectNoGradient(operation: string, x: Tensor): void {
  if (x.requiresGrad && isTrackingGradients())
    throw wrong(operation, "a gradient through a packed weight", "inference", "load the model with weights as f32 to train it");
}

/** x holds indices (i32) of exactly this shape. */
export function expectIndices(operation: string, name: string, x: Tensor, shape: Shape): void {
  expectLive(operation, name, x);
  if (x.dtype !== "i32")
    throw wrong(operation, `${name} of ${x.dtype}`, `${name} of i32`, 'make it with fromArray(device, data, shape, "i32")');
  expectShape(operation, name, x, shape);
}

export function expectShape(operation: string, name: string, x: Tensor, shape: Shape): void {
  if (!sameShape(x.shape, shape))
    throw wrong(operation, `${name} ${showShape(x.shape)}`, `${name} ${showShape(shape)}`, `reshape ${name} or pass the right tensor`);
}

export function expectRank(operation: string, name: string, x: Tensor, rank: number, letters: string): void {
  if (x.shape.length !== rank)
    throw wrong(operation, `${name} ${showShape(x.shape)}`, `${name} [${letters}]`, `reshape ${name} to ${rank} axes`);
}

export function expectOneDevice(operation: string, a: Tensor, b: Tensor): void {
  if (a.storage.device !== b.storage.device)
    throw wrong(operation, "tensors of two devices", "tensors of one device", "read one and make it again on the other's device");
}

/** The axis as 0..rank-1; -1 is the last. */
export function expectAxis(operation: string, x: Tensor, axis: number): number {
  const rank = x.shape.length;
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw wrong(
      operation,
      `axis ${axis} of x ${showShape(x.shape)}`,
      rank === 0 ? "a tensor with at least one axis" : `an axis from ${-rank} to ${rank - 1}`,
      "choose an axis that exists",
    );
  }
  return axis < 0 ? axis + rank : axis;
}

/** A whole number from low to high. */
export function expectWhole(operation: string, name: string, value: number, low: number, high: number): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw wrong(operation, `${name} ${value}`, `a whole number from ${low} to ${high}`, `choose ${name} within these limits`);
  }
}

/** Elements of the axes from..to-1. */
export function sizeOf(shape: Shape, from: number, to: number): number {
  let count = 1;
  for (let i = from; i < to; i++) count *= shape[i] as number;
  return count;
}
