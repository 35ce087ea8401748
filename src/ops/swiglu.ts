// silu(gate)·up, the middle of a SwiGLU feed-forward layer (Shazeer 2020, "GLU variants improve Transformer").

import { addGrad, attach } from "../tensor/autograd.ts";
import { empty, size, type Tensor, view } from "../tensor/tensor.ts";
import { expectNumbers, expectOneDevice, expectShape } from "./check.ts";

/** gate and up have one shape, e.g. [R, F]. */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  expectNumbers("swiglu", "gate", gate);
  expectNumbers("swiglu", "up", up);
  expectShape("swiglu", "up", up, gate.shape);
  expectOneDevice("swiglu", gate, up);
  const { device } = gate.storage;
  const n = size(gate);
  const out = empty(device, gate.shape);
  if (n > 0) device.kernels.swiglu({ out: view(out), gate: view(gate), up: view(up), n });
  return attach("swiglu", out, [gate, up], (dy) => {
    const dGate = empty(device, gate.shape);
    const dUp = empty(device, gate.shape);
    device.kernels.swigluBackward({ dGate: view(dGate), dUp: view(dUp), dOut: view(dy), gate: view(gate), up: view(up), n });
    addGrad(gate, dGate);
    addGrad(up, dUp);
  });
}
