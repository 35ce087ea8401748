// Σ x², e.g. of a gradient for clipping. No gradient.

import { empty, size, type Tensor, view } from "../tensor/tensor.ts";
import { expectNumbers } from "./check.ts";
import { fillWith } from "./fill.ts";

/** x of any shape -> []. */
export function sumSquares(x: Tensor): Tensor {
  expectNumbers("sumSquares", "x", x);
  const n = size(x);
  const out = empty(x.storage.device, []);
  if (n === 0) fillWith(out, 0);
  else x.storage.device.kernels.sumSquares({ out: view(out), x: view(x), n });
  return out;
}
