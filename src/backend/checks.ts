// What every device refuses, in the same words: lengths that are none, buffers that were released, ranges that leave their buffer, packed weights of other sizes
// than they were allocated with. In: what the caller gave. Out: nothing, or the error.

import { type PackedType, packedRowBytes, packedTypes } from "../core/dtype.ts";
import { DeviceError, ShapeError } from "../core/errors.ts";
import type { DeviceBuffer } from "./backend.ts";

/** Sizes of a packed weight: so many matrices of [rows, width]. */
export type PackedSizes = { readonly matrices: number; readonly rows: number; readonly width: number };

type Releasable = DeviceBuffer & { readonly released: boolean };

export function checkLength(length: number): void {
  if (Number.isSafeInteger(length) && length >= 0) return;
  throw new ShapeError({ operation: "allocate", got: `${length} elements`, expected: "an integer of 0 or more", cure: "check the shape" });
}

export function releasedBuffer(operation: string): DeviceError {
  return new DeviceError({ operation, got: "a released buffer", expected: "a live one", cure: "release it after its last use" });
}

/** Elements offset..offset+length-1 of a live buffer. */
export function checkRange(buffer: Releasable, offset: number, length: number, operation: string): void {
  if (buffer.released) throw releasedBuffer(operation);
  if (Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 && offset + length <= buffer.length)
    return;
  throw new DeviceError({
    operation,
    got: `elements ${offset}..${offset + length - 1}`,
    expected: `a range inside 0..${buffer.length - 1}`,
    cure: "stay inside the buffer",
  });
}

/** Of a strided copy. */
export function checkDimensions(shape: readonly number[]): void {
  if (shape.length <= 4) return;
  throw new ShapeError({
    operation: "copy",
    got: `${shape.length} dimensions`,
    expected: "at most 4",
    cure: "merge adjacent dimensions",
  });
}

/** Whole numbers, and rows of whole blocks. */
export function checkPackedSizes(type: PackedType, { matrices, rows, width }: PackedSizes): void {
  const { weights } = packedTypes[type];
  if (width % weights === 0 && [matrices, rows, width, matrices * rows * width].every((n) => Number.isSafeInteger(n) && n >= 0)) return;
  throw new ShapeError({
    operation: "allocate packed",
    got: `${matrices} matrices of ${rows} rows of ${width} weights of ${type}`,
    expected: `rows of a multiple of ${weights}`,
    cure: "decode this tensor to f32",
  });
}

/** How many rows `bytes` bytes are that begin with row `firstRow` of all matrices. */
export function packedRowsOf(type: PackedType, { matrices, rows: perMatrix, width }: PackedSizes, firstRow: number, bytes: number): number {
  const rowBytes = packedRowBytes(type, width);
  const all = matrices * perMatrix;
  const rows = bytes === 0 ? 0 : bytes / rowBytes;
  if (Number.isSafeInteger(rows) && (rows === 0 || (Number.isSafeInteger(firstRow) && firstRow >= 0 && firstRow + rows <= all)))
    return rows;
  throw new ShapeError({
    operation: "write packed",
    got: `${bytes} bytes from row ${firstRow} on`,
    expected: `whole rows of ${rowBytes} bytes, inside ${all} rows`,
    cure: "pass the rows as they lie in the file",
  });
}

/** For a buffer that holds no packed weights (any more). */
export function noPackedBuffer(buffer: Releasable, operation: string): DeviceError {
  const got = buffer.released ? "a released buffer" : `a buffer of ${buffer.dtype}`;
  return new DeviceError({ operation, got, expected: "a buffer of allocatePacked", cure: "load the weight as packed" });
}

/** A kernel takes a packed weight whole. */
export function checkWhole(offset: number, has: PackedSizes, wants: PackedSizes, operation: string): void {
  const { matrices, rows, width } = has;
  if (offset === 0 && matrices === wants.matrices && rows === wants.rows && width === wants.width) return;
  throw new ShapeError({
    operation,
    got: `${wants.matrices} matrices of [${wants.rows}, ${wants.width}] at offset ${offset}`,
    expected: `the whole weight: ${matrices} of [${rows}, ${width}]`,
    cure: "pass the sizes that the weight was allocated with",
  });
}
