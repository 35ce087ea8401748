// clamp and clampBackward. NaN stays NaN forward and has derivative 0.

import type { Kernels } from "../backend.ts";
import { floats } from "./buffer.ts";

export const clamp: Kernels["clamp"] = ({ out, x, n, low, high }) => {
  const to = floats(out, n);
  const from = floats(x, n);
  for (let i = 0; i < n; i++) to[i] = Math.min(Math.max(from[i]!, low), high);
};

export const clampBackward: Kernels["clampBackward"] = ({ dx, dy, x, n, low, high, accumulate }) => {
  const to = floats(dx, n);
  const given = floats(dy, n);
  const from = floats(x, n);
  for (let i = 0; i < n; i++) {
    const value = low <= from[i]! && from[i]! <= high ? given[i]! : 0;
    to[i] = accumulate ? to[i]! + value : value;
  }
};
