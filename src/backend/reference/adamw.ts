// adamw: one step of decoupled AdamW (Loshchilov and Hutter 2019) in PyTorch's order; a negative factor skips it.

import type { Kernels } from "../backend.ts";
import { floats } from "./buffer.ts";

export const adamw: Kernels["adamw"] = (args) => {
  const { n, lr, beta1, beta2, eps, weightDecay, c1, c2 } = args;
  const param = floats(args.param, n);
  const grad = floats(args.grad, n);
  const m = floats(args.m, n);
  const v = floats(args.v, n);
  const factor = floats(args.factor, 1)[0]!;
  if (factor < 0) return;
  for (let i = 0; i < n; i++) {
    const g = grad[i]! * factor;
    const decayed = param[i]! * (1 - lr * weightDecay);
    const first = beta1 * m[i]! + (1 - beta1) * g;
    const second = beta2 * v[i]! + (1 - beta2) * g * g;
    m[i] = first;
    v[i] = second;
    param[i] = decayed - (lr * (first / c1)) / (Math.sqrt(second / c2) + eps);
  }
};
