// packedGroupedMatmul: packedMatmul for each expert over the rows that were sorted to it.

import type { Kernels } from "../backend.ts";
import { floats, ints, packedFloats } from "./buffer.ts";
import { roundRows } from "./packed-matmul.ts";

export const packedGroupedMatmul: Kernels["packedGroupedMatmul"] = ({ out, x, w, offsets, S, E, N, K }) => {
  const to = floats(out, S * N);
  const from = roundRows(floats(x, S * K), S, K, w.buffer);
  const weights = packedFloats(w, E * N * K);
  const starts = ints(offsets, E + 1);
  const bounded = (row: number) => Math.min(Math.max(row, 0), S);
  for (let e = 0; e < E; e++) {
    for (let s = bounded(starts[e]!); s < bounded(starts[e + 1]!); s++) {
      for (let n = 0; n < N; n++) {
        let sum = 0;
        for (let k = 0; k < K; k++) sum += from[s * K + k]! * weights[(e * N + n) * K + k]!;
        to[s * N + n] = sum;
      }
    }
  }
};
