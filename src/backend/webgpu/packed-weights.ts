// Packed weights in GPU memory: their buffers, and how rows of a file get there. In: types, sizes and bytes. Out: buffers that know their planes (packed-layout.ts), and
// for the kernels the operands and parameters of such a buffer. Every weight lies in one buffer: one that is larger than a shader may bind is refused.

import { type PackedType, packedRowBytes, packedTypes } from "../../core/dtype.ts";
import { DeviceError } from "../../core/errors.ts";
import type { DeviceBuffer, View } from "../backend.ts";
import { checkPackedSizes, checkWhole, noPackedBuffer, type PackedSizes, packedRowsOf } from "../checks.ts";
import type { Memory } from "./memory.ts";
import { type Plane, planesOf, spreadRows } from "./packed-layout.ts";
import { read } from "./program.ts";
import type { GpuBuffer, Recorder } from "./recorder.ts";

export const packedTypeSet: ReadonlySet<PackedType> = new Set(Object.keys(packedTypes) as PackedType[]);

type PackedBuffer = GpuBuffer & { readonly dtype: PackedType; readonly shape: PackedSizes; readonly planes: readonly Plane[] };

/** Bytes of a file that are spread at a time. */
const chunkBytes = 2 ** 22;

/** Throws ShapeError for sizes that are none, or a width that is no whole number of blocks; DeviceError when it does not fit. */
export function allocatePacked(memory: Memory, type: PackedType, matrices: number, rows: number, width: number): DeviceBuffer {
  checkPackedSizes(type, { matrices, rows, width });
  const { planes, words } = planesOf(type, matrices * rows, width);
  const bytes = words * 4;
  if (bytes > memory.largest) {
    throw new DeviceError({
      operation: "allocate packed",
      got: `${bytes} bytes for one weight: ${matrices} matrices of [${rows}, ${width}] of ${type}`,
      expected: `at most ${memory.largest} bytes in one buffer on this GPU`,
      cure: "quantise the model further, or use the cpu",
    });
  }
  const buffer: PackedBuffer = {
    dtype: type,
    length: matrices * rows * width,
    block: memory.allocate(bytes, true),
    released: false,
    shape: { matrices, rows, width },
    planes,
  };
  return buffer;
}

/** Rows `firstRow`.. from their bytes in the file's layout. Throws ShapeError for what are no whole rows, or rows outside. */
export function writePacked(recorder: Recorder, given: DeviceBuffer, firstRow: number, bytes: Uint8Array): void {
  const { dtype: type, shape, planes, block } = packedBuffer(given, "write packed");
  const { weights, bytes: blockBytes } = packedTypes[type];
  const rowBytes = packedRowBytes(type, shape.width);
  const rows = packedRowsOf(type, shape, firstRow, bytes.length);
  const chunkRows = Math.max(1, Math.floor(chunkBytes / rowBytes));
  for (let row = 0; row < rows; row += chunkRows) {
    const part = bytes.subarray(row * rowBytes, Math.min(rows, row + chunkRows) * rowBytes);
    const spread = spreadRows(type, planes, part, shape.width / weights, blockBytes);
    for (const { name, rowWords, firstWord } of planes) {
      recorder.write(block, 4 * (firstWord + (firstRow + row) * rowWords), spread[name].words);
    }
  }
}

/**
 * The weight of a kernel: its type, operands (as words, and as four words at a time), and where its planes begin. Throws DeviceError for another buffer, ShapeError when the
 * sizes are not those that it was allocated with.
 */
export function packedOperand(view: View, operation: string, expected: PackedSizes) {
  const { dtype: type, shape, planes } = packedBuffer(view.buffer, operation);
  checkWhole(view.offset, shape, expected, operation);
  const first = { codes: 0, scales: 0, pairs: 0, bits: 0 };
  for (const { name, firstWord } of planes) first[name] = firstWord;
  const codeWords = planes.find(({ name }) => name === "codes")?.rowWords ?? 0;
  return {
    type,
    operands: { w: read(view, "u32"), w4: read(view, "vec4u") },
    integers: { blocks: Math.floor(shape.width / 32), codeWords, scales: first.scales, pairs: first.pairs, bits: first.bits },
  };
}

/** Matrices of a packed buffer. */
export function packedMatrices(view: View, operation: string): number {
  return packedBuffer(view.buffer, operation).shape.matrices;
}

function packedBuffer(given: DeviceBuffer, operation: string): PackedBuffer {
  const buffer = given as Partial<PackedBuffer>;
  if (buffer.planes && !buffer.released) return given as PackedBuffer;
  throw noPackedBuffer(given as GpuBuffer, operation);
}
