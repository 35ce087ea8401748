// Root mean square normalisation by rows (Zhang and Sennrich 2019): x / sqrt(mean(x²) + eps)·weight.

import { addGrad, attach, gradToAddTo } from "../tensor/autograd.ts";
import { empty, size, type Tensor, view } from "../tensor/tensor.ts";
import { expectNumbers, expectOneDevice, expectShape, wrong } from "./check.ts";

/** x [..., C], weight [C] -> [..., C]. eps >= 0, e.g. 1e-6. */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  expectNumbers("rmsNorm", "x", x);
  expectNumbers("rmsNorm", "weight", weight);
  const width = x.shape.at(-1);
  if (width === undefined) throw wrong("rmsNorm", "x []", "x [..., C]", "reshape x to have rows");
  expectShape("rmsNorm", "weight", weight, [width]);
  expectOneDevice("rmsNorm", x, weight);
  if (!(eps >= 0)) throw wrong("rmsNorm", `eps ${eps}`, "0 or more", "use the eps of the checkpoint, e.g. 1e-6");
  const { device } = x.storage;
  const n = size(x);
  const rows = n === 0 ? 0 : n / width;
  const out = empty(device, x.shape);
  if (n > 0) device.kernels.rmsNorm({ out: view(out), x: view(x), weight: view(weight), rows, width, eps });
  return attach("rmsNorm", out, [x, weight], (dy) => {
    const dweight = gradToAddTo(weight);
    const dx = empty(device, x.shape);
    const parts = { dx: view(dx), dy: view(dy), x: view(x), weight: view(weight), rows, width, eps };
    device.kernels.rmsNormBackward(dweight ? { ...parts, dweight: view(dweight) } : parts);
    addGrad(x, dx);
  });
}
