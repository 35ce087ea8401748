// softmax and softmaxBackward by rows. logSumExp, used by cross-entropy.ts and entropy.ts as well, subtracts the row's maximum.

import type { Kernels } from "../backend.ts";
import { type Floats, floats } from "./buffer.ts";

/** log Σ exp(x[start .. start+width-1]). */
export function logSumExp(x: Floats, start: number, width: number): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let c = 0; c < width; c++) max = Math.max(max, x[start + c]!);
  let sum = 0;
  for (let c = 0; c < width; c++) sum += Math.exp(x[start + c]! - max);
  return max + Math.log(sum);
}

export const softmax: Kernels["softmax"] = ({ out, x, rows, width }) => {
  const to = floats(out, rows * width);
  const from = floats(x, rows * width);
  for (let r = 0; r < rows; r++) {
    const lse = logSumExp(from, r * width, width);
    for (let c = 0; c < width; c++) to[r * width + c] = Math.exp(from[r * width + c]! - lse);
  }
};

export const softmaxBackward: Kernels["softmaxBackward"] = ({ dx, dy, y, rows, width }) => {
  const to = floats(dx, rows * width);
  const given = floats(dy, rows * width);
  const p = floats(y, rows * width);
  for (let r = 0; r < rows; r++) {
    let dot = 0;
    for (let c = 0; c < width; c++) dot += given[r * width + c]! * p[r * width + c]!;
    for (let c = 0; c < width; c++) to[r * width + c] = p[r * width + c]! * (given[r * width + c]! - dot);
  }
};
