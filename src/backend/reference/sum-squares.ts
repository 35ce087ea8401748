// sumSquares: Σ x² into one element (gradient norms). The chunks of the contract do not matter in float64.

import type { Kernels } from "../backend.ts";
import { floats } from "./buffer.ts";

export const sumSquares: Kernels["sumSquares"] = ({ out, x, n, accumulate }) => {
  const to = floats(out, 1);
  const from = floats(x, n);
  let sum = 0;
  for (let i = 0; i < n; i++) sum += from[i]! * from[i]!;
  to[0] = accumulate ? to[0]! + sum : sum;
};
