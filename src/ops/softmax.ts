// Softmax over the last axis. The backward pass needs only the result.

import { addGrad, attach } from "../tensor/autograd.ts";
import { empty, size, type Tensor, view } from "../tensor/tensor.ts";
import { expectNumbers, wrong } from "./check.ts";

/** x [..., V] -> [..., V]; each row adds to 1. */
export function softmax(x: Tensor): Tensor {
  expectNumbers("softmax", "x", x);
  const width = x.shape.at(-1);
  if (width === undefined) throw wrong("softmax", "x []", "x [..., V]", "reshape x to have rows");
  const { device } = x.storage;
  const n = size(x);
  const rows = n === 0 ? 0 : n / width;
  const y = empty(device, x.shape);
  if (n > 0) device.kernels.softmax({ out: view(y), x: view(x), rows, width });
  return attach("softmax", y, [x], (dy) => {
    const dx = empty(device, x.shape);
    device.kernels.softmaxBackward({ dx: view(dx), dy: view(dy), y: view(y), rows, width });
    addGrad(x, dx);
  });
}
