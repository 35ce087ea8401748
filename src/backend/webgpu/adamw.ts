// adamw: one step of decoupled AdamW (Loshchilov and Hutter 2019) in PyTorch's order; a negative factor, or NaN, skips it.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function adamw(recorder: Recorder): Kernels["adamw"] {
  return ({ param, grad, m, v, n, factor, lr, beta1, beta2, eps, weightDecay, c1, c2 }) =>
    recorder.run({
      kernel: "adamw",
      operands: { param: write(param), m: write(m), v: write(v), grad: read(grad), factor: read(factor) },
      // Made here in double precision.
      numbers: {
        beta1,
        beta2,
        rest1: 1 - beta1,
        rest2: 1 - beta2,
        eps,
        decay: 1 - lr * weightDecay,
        step: lr / c1,
        inverseRoot: 1 / Math.sqrt(c2),
      },
      invocations: n,
      text: ({ param, grad, m, v, factor }) => `
  let factor = ${factor("0")};
  if (!is_at_most(0.0, factor)) { return; }
  let g = ${grad("i")} * factor;
  let first = ${m("i")} * p.beta1 + g * p.rest1;
  let second = ${v("i")} * p.beta2 + g * g * p.rest2;
  ${m("i")} = first;
  ${v("i")} = second;
  ${param("i")} = ${param("i")} * p.decay - first * p.step / (root_of(second) * p.inverseRoot + p.eps);`,
    });
}
