// affine: x·scale + shift with two constants; with scale 1 it copies or adds.

import type { Kernels } from "../backend.ts";
import { floats } from "./buffer.ts";

export const affine: Kernels["affine"] = ({ out, x, n, scale, shift, accumulate }) => {
  const to = floats(out, n);
  const from = floats(x, n);
  for (let i = 0; i < n; i++) {
    const value = from[i]! * scale + shift;
    to[i] = accumulate ? to[i]! + value : value;
  }
};
