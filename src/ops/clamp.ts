// min(max(x, low), high). The gradient passes where low <= x <= high.

import { attach, giveGrad } from "../tensor/autograd.ts";
import { empty, size, type Tensor, view } from "../tensor/tensor.ts";
import { expectNumbers, wrong } from "./check.ts";

/** low <= high; either may be infinite. */
export function clamp(x: Tensor, low: number, high: number): Tensor {
  expectNumbers("clamp", "x", x);
  if (!(low <= high)) throw wrong("clamp", `low ${low}, high ${high}`, "low <= high", "exchange the limits");
  const n = size(x);
  const out = empty(x.storage.device, x.shape);
  if (n > 0) x.storage.device.kernels.clamp({ out: view(out), x: view(x), n, low, high });
  return attach("clamp", out, [x], (dy) =>
    giveGrad(x, (dx, accumulate) =>
      dx.storage.device.kernels.clampBackward({ dx: view(dx), dy: view(dy), x: view(x), n, low, high, accumulate }),
    ),
  );
}
