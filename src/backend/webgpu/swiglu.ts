// swiglu and swigluBackward: silu(gate)·up (Shazeer 2020).

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function swiglu(recorder: Recorder): Kernels["swiglu"] {
  return ({ out, gate, up, n }) =>
    recorder.run({
      kernel: "swiglu",
      operands: { out: write(out), gate: read(gate), up: read(up) },
      invocations: n,
      text: ({ out, gate, up }) => `
  let gate = ${gate("i")};
  ${out("i")} = gate * sigmoid_of(gate) * ${up("i")};`,
    });
}

export function swigluBackward(recorder: Recorder): Kernels["swigluBackward"] {
  return ({ dGate, dUp, dOut, gate, up, n }) =>
    recorder.run({
      kernel: "swigluBackward",
      operands: { dGate: write(dGate), dUp: write(dUp), dOut: read(dOut), gate: read(gate), up: read(up) },
      invocations: n,
      text: ({ dGate, dUp, dOut, gate, up }) => `
  let gate = ${gate("i")};
  let d = ${dOut("i")};
  ${dGate("i")} = d * ${up("i")} * silu_slope(gate);
  ${dUp("i")} = d * (gate * sigmoid_of(gate));`,
    });
}
