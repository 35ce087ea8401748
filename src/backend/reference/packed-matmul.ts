// packedMatmul: products with packed weights. The reference keeps the weights decoded; x is rounded to 8 bits in
// blocks of 32 exactly as backend.ts says, all else is plain arithmetic.

import type { DeviceBuffer, Kernels } from "../backend.ts";
import { type Floats, floats, packedFloats } from "./buffer.ts";

const f32 = Math.fround;
const smallest = f32(1e-30);

/** The values of x as the product sees them: q·s of each block of 32, or as they are for 16-bit weights. */
export function roundRows(x: Floats, rows: number, K: number, w: DeviceBuffer): Float64Array {
  const rounded = Float64Array.from(x);
  if (w.dtype === "f16" || w.dtype === "bf16") return rounded;
  for (let block = 0; block < rows * K; block += 32) roundBlock(rounded, block, block + 32);
  return rounded;
}

/** Elements from..to - 1 of x, in place, to q·s of one block. */
export function roundBlock(x: Float64Array, from: number, to: number): void {
  const values = Array.from(x.subarray(from, to), f32);
  const max = Math.max(...values.map(Math.abs));
  const scale = Number.isFinite(max) ? f32(max / 127) : Number.NaN;
  const inverse = f32(127 / max);
  for (const [i, value] of values.entries()) x[from + i] = max < smallest ? 0 : scale * nearestEven(f32(value * inverse));
}

/** The nearest integer, ties to even. */
function nearestEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

export const packedMatmul: Kernels["packedMatmul"] = ({ out, x, w, M, N, K }) => {
  const to = floats(out, M * N);
  const from = roundRows(floats(x, M * K), M, K, w.buffer);
  const weights = packedFloats(w, N * K);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += from[m * K + k]! * weights[n * K + k]!;
      to[m * N + n] = sum;
    }
  }
};
