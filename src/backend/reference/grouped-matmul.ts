// groupedMatmul and groupedMatmulWeightGrad: one matrix product for each expert over the rows that were sorted to it.

import type { Kernels } from "../backend.ts";
import { floats, ints } from "./buffer.ts";

export const groupedMatmul: Kernels["groupedMatmul"] = ({ out, x, w, offsets, S, E, N, K, transposeW }) => {
  const to = floats(out, S * N);
  const from = floats(x, S * K);
  const weight = floats(w, E * N * K);
  const starts = ints(offsets, E + 1);
  for (let e = 0; e < E; e++) {
    const end = bounded(starts[e + 1]!, S);
    for (let s = bounded(starts[e]!, S); s < end; s++) {
      for (let n = 0; n < N; n++) {
        let sum = 0;
        for (let k = 0; k < K; k++) {
          sum += from[s * K + k]! * weight[transposeW ? (e * N + n) * K + k : (e * K + k) * N + n]!;
        }
        to[s * N + n] = sum;
      }
    }
  }
};

export const groupedMatmulWeightGrad: Kernels["groupedMatmulWeightGrad"] = ({ dw, dy, x, offsets, S, E, N, K }) => {
  const to = floats(dw, E * N * K);
  const given = floats(dy, S * N);
  const from = floats(x, S * K);
  const starts = ints(offsets, E + 1);
  for (let e = 0; e < E; e++) {
    const start = bounded(starts[e]!, S);
    const end = bounded(starts[e + 1]!, S);
    for (let n = 0; n < N; n++) {
      for (let k = 0; k < K; k++) {
        let sum = 0;
        for (let s = start; s < end; s++) sum += given[s * N + n]! * from[s * K + k]!;
        to[(e * N + n) * K + k]! += sum;
      }
    }
  }
};

function bounded(row: number, S: number): number {
  return Math.min(Math.max(row, 0), S);
}
