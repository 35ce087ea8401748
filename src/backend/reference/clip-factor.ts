// clipFactor: the factor by which gradients shrink so that their norm is at most maxNorm; -1 tells adamw to skip the step.

import type { Kernels } from "../backend.ts";
import { floats } from "./buffer.ts";

export const clipFactor: Kernels["clipFactor"] = ({ out, sumSquares, guard, maxNorm }) => {
  const to = floats(out, 1);
  const sum = floats(sumSquares, 1)[0]!;
  const finite = Number.isFinite(sum) && (!guard || Number.isFinite(floats(guard, 1)[0]!));
  to[0] = finite ? Math.min(1, maxNorm / (Math.sqrt(sum) + 1e-6)) : -1;
};
