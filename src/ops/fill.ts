// Tensors of one value.

import type { Device } from "../backend/backend.ts";
import type { DType } from "../core/dtype.ts";
import type { Shape } from "../core/shape.ts";
import { empty, size, type Tensor, view } from "../tensor/tensor.ts";

export function zeros(device: Device, shape: Shape, dtype: DType = "f32"): Tensor {
  return fillWith(empty(device, shape, dtype), 0);
}

export function ones(device: Device, shape: Shape): Tensor {
  return fillWith(empty(device, shape), 1);
}

export function full(device: Device, shape: Shape, value: number): Tensor {
  return fillWith(empty(device, shape), value);
}

/** Overwrites every element of x in place (no gradient); returns x. */
export function fillWith(x: Tensor, value: number): Tensor {
  const n = size(x);
  if (n > 0) x.storage.device.kernels.fill({ out: view(x), n, value });
  return x;
}
