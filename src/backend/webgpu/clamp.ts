// clamp and clampBackward. NaN stays NaN forward and has derivative 0.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function clamp(recorder: Recorder): Kernels["clamp"] {
  return ({ out, x, n, low, high }) =>
    recorder.run({
      kernel: "clamp",
      operands: { out: write(out), x: read(x) },
      numbers: { low, high },
      invocations: n,
      text: ({ out, x }) => `${out("i")} = smaller(larger(${x("i")}, p.low), p.high);`,
    });
}

export function clampBackward(recorder: Recorder): Kernels["clampBackward"] {
  return ({ dx, dy, x, n, low, high, accumulate }) =>
    recorder.run({
      kernel: "clampBackward",
      variant: accumulate ? "add" : "",
      operands: { dx: write(dx), dy: read(dy), x: read(x) },
      numbers: { low, high },
      invocations: n,
      text: ({ dx, dy, x }) => `
  let x = ${x("i")};
  ${dx("i")} ${accumulate ? "+=" : "="} select(0.0, ${dy("i")}, is_at_most(p.low, x) && is_at_most(x, p.high));`,
    });
}
