// sumSquares: Σ x² into one element (gradient norms), in pairs of floats instead of double precision.

import type { Kernels } from "../backend.ts";
import { sumRows } from "./pair-sums.ts";
import type { Recorder } from "./recorder.ts";

export function sumSquares(recorder: Recorder): Kernels["sumSquares"] {
  return ({ out, x, n, accumulate = false }) =>
    sumRows(recorder, { kernel: "sumSquares", out, x, rows: 1, width: n, accumulate }, "squares");
}
