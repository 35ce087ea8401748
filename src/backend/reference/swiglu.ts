// swiglu and swigluBackward: silu(gate)·up (Shazeer 2020).

import type { Kernels } from "../backend.ts";
import { floats } from "./buffer.ts";
import { sigmoid, siluDerivative } from "./unary.ts";

export const swiglu: Kernels["swiglu"] = ({ out, gate, up, n }) => {
  const to = floats(out, n);
  const g = floats(gate, n);
  const u = floats(up, n);
  for (let i = 0; i < n; i++) to[i] = g[i]! * sigmoid(g[i]!) * u[i]!;
};

export const swigluBackward: Kernels["swigluBackward"] = ({ dGate, dUp, dOut, gate, up, n }) => {
  const toGate = floats(dGate, n);
  const toUp = floats(dUp, n);
  const given = floats(dOut, n);
  const g = floats(gate, n);
  const u = floats(up, n);
  for (let i = 0; i < n; i++) {
    toGate[i] = given[i]! * u[i]! * siluDerivative(g[i]!);
    toUp[i] = given[i]! * g[i]! * sigmoid(g[i]!);
  }
};
