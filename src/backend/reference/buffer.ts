// Memory of the reference device: a DeviceBuffer that holds a typed array, and the two functions with which every kernel turns a View
// into a checked window on that array. Unusual: a window that leaves its buffer throws, so a wrong stride in ops/ is found here first.

import { isPackedType } from "../../core/dtype.ts";
import { ShapeError } from "../../core/errors.ts";
import type { DeviceBuffer, View } from "../backend.ts";
import { releasedBuffer } from "../checks.ts";

export type Floats = Float32Array | Float64Array;

/** `width`: weights a row of a packed buffer, whose data are the decoded weights. */
export type ReferenceBuffer = DeviceBuffer & { data: Floats | Int32Array | undefined; readonly width?: number };

/** The array behind a buffer; throws DeviceError when the buffer was released. */
export function contents(buffer: DeviceBuffer, operation = "reference kernel"): Floats | Int32Array {
  const data = (buffer as ReferenceBuffer).data;
  if (!data) throw releasedBuffer(operation);
  return data;
}

/** Elements offset..offset+length-1 of a buffer of either dtype, for kernels that only move elements. */
export function elements(view: View, length: number, operation = "reference kernel"): Floats | Int32Array {
  const data = contents(view.buffer, operation);
  if (
    !Number.isSafeInteger(view.offset) ||
    !Number.isSafeInteger(length) ||
    view.offset < 0 ||
    length < 0 ||
    view.offset + length > data.length
  ) {
    throw new ShapeError({
      operation,
      got: `${length} elements at ${view.offset}`,
      expected: `a window inside a buffer of ${data.length}`,
      cure: "check the shapes, strides and offsets that were recorded",
    });
  }
  return data.subarray(view.offset, view.offset + length);
}

export function floats(view: View, length: number): Floats {
  const window = elements(view, length);
  if (window instanceof Int32Array || isPackedType(view.buffer.dtype)) throw wrongDType(view.buffer.dtype, "f32");
  return window;
}

/** The decoded weights of a whole packed buffer. */
export function packedFloats(view: View, length: number): Floats {
  const { dtype } = view.buffer;
  const window = elements(view, length);
  if (window instanceof Int32Array || !isPackedType(dtype)) throw wrongDType(dtype, "a packed type");
  if (view.offset === 0 && length === view.buffer.length) return window;
  throw new ShapeError({
    operation: "reference kernel",
    got: `${length} packed weights at ${view.offset}`,
    expected: `all ${view.buffer.length} from 0 on`,
    cure: "pass the whole packed buffer with its own sizes",
  });
}

export function ints(view: View, length: number): Int32Array {
  const window = elements(view, length);
  if (!(window instanceof Int32Array)) throw wrongDType("f32", "i32");
  return window;
}

/** How many elements a strided operand spans: 0 when one of its sizes is 0. */
export function span(sizes: readonly number[], strides: readonly number[]): number {
  let last = 0;
  for (const [d, size] of sizes.entries()) {
    if (size === 0) return 0;
    last += (size - 1) * strides[d]!;
  }
  return last + 1;
}

function wrongDType(got: string, expected: string): ShapeError {
  return new ShapeError({
    operation: "reference kernel",
    got: `a buffer of ${got}`,
    expected,
    cure: "pass the operand that the contract names",
  });
}
