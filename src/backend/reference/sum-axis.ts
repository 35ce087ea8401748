// sumAxis: x [outer, axis, inner] -> [outer, inner], ascending over axis.

import type { Kernels } from "../backend.ts";
import { floats } from "./buffer.ts";

export const sumAxis: Kernels["sumAxis"] = ({ out, x, outer, axis, inner, accumulate }) => {
  const to = floats(out, outer * inner);
  const from = floats(x, outer * axis * inner);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      let sum = 0;
      for (let a = 0; a < axis; a++) sum += from[(o * axis + a) * inner + i]!;
      const at = o * inner + i;
      to[at] = accumulate ? to[at]! + sum : sum;
    }
  }
};
