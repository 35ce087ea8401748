// x·scale + shift with two plain numbers.

import { addGrad, attach, giveGrad } from "../tensor/autograd.ts";
import { empty, size, type Tensor, view } from "../tensor/tensor.ts";
import { expectNumbers } from "./check.ts";

export function affine(x: Tensor, scale: number, shift = 0): Tensor {
  expectNumbers("affine", "x", x);
  const n = size(x);
  const out = empty(x.storage.device, x.shape);
  if (n > 0) x.storage.device.kernels.affine({ out: view(out), x: view(x), n, scale, shift });
  return attach("affine", out, [x], (dy) => {
    if (scale === 1) addGrad(x, dy);
    else giveGrad(x, (dx, accumulate) => dx.storage.device.kernels.affine({ out: view(dx), x: view(dy), n, scale, shift: 0, accumulate }));
  });
}
