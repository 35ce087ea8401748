// rmsNorm and rmsNormBackward: x / sqrt(mean(x²) + eps) · weight, by rows (Zhang and Sennrich 2019).

import type { Kernels } from "../backend.ts";
import { type Floats, floats } from "./buffer.ts";

function inverseRms(x: Floats, row: number, width: number, eps: number): number {
  let sum = 0;
  for (let c = 0; c < width; c++) sum += x[row * width + c]! ** 2;
  return 1 / Math.sqrt(sum / width + eps);
}

export const rmsNorm: Kernels["rmsNorm"] = ({ out, x, weight, rows, width, eps }) => {
  const to = floats(out, rows * width);
  const from = floats(x, rows * width);
  const w = floats(weight, width);
  for (let r = 0; r < rows; r++) {
    const inverse = inverseRms(from, r, width, eps);
    for (let c = 0; c < width; c++) to[r * width + c] = from[r * width + c]! * inverse * w[c]!;
  }
};

export const rmsNormBackward: Kernels["rmsNormBackward"] = ({ dx, dweight, dy, x, weight, rows, width, eps }) => {
  const toX = floats(dx, rows * width);
  const given = floats(dy, rows * width);
  const from = floats(x, rows * width);
  const w = floats(weight, width);
  const sums = new Float64Array(width); // [C] of dweight
  for (let r = 0; r < rows; r++) {
    const inverse = inverseRms(from, r, width, eps);
    let dot = 0; // Σ dy·weight·x̂
    for (let c = 0; c < width; c++) dot += given[r * width + c]! * w[c]! * from[r * width + c]! * inverse;
    for (let c = 0; c < width; c++) {
      const at = r * width + c;
      const normal = from[at]! * inverse;
      sums[c]! += given[at]! * normal;
      toX[at] = inverse * (given[at]! * w[c]! - (normal * dot) / width);
    }
  }
  if (!dweight) return;
  const toWeight = floats(dweight, width);
  for (let c = 0; c < width; c++) toWeight[c]! += sums[c]!;
};
