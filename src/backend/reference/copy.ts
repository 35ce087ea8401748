// copy: strided copy over at most 4 dimensions, f32 or i32. Slicing, concatenation, broadcasting and transposition are all this kernel.

import type { Kernels } from "../backend.ts";
import { checkDimensions } from "../checks.ts";
import { elements, span } from "./buffer.ts";

export const copy: Kernels["copy"] = ({ out, x, shape, outStrides, xStrides, accumulate }) => {
  checkDimensions(shape);
  const [n0 = 1, n1 = 1, n2 = 1, n3 = 1] = shape;
  const [o0 = 0, o1 = 0, o2 = 0, o3 = 0] = outStrides;
  const [x0 = 0, x1 = 0, x2 = 0, x3 = 0] = xStrides;
  const to = elements(out, span(shape, outStrides));
  const from = elements(x, span(shape, xStrides));
  for (let i0 = 0; i0 < n0; i0++) {
    for (let i1 = 0; i1 < n1; i1++) {
      for (let i2 = 0; i2 < n2; i2++) {
        for (let i3 = 0; i3 < n3; i3++) {
          const o = i0 * o0 + i1 * o1 + i2 * o2 + i3 * o3;
          const value = from[i0 * x0 + i1 * x1 + i2 * x2 + i3 * x3]!;
          to[o] = accumulate ? to[o]! + value : value;
        }
      }
    }
  }
};
