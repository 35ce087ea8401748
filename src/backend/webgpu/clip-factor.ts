// clipFactor: the factor by which gradients shrink so that their norm is at most maxNorm; -1 tells adamw to skip the step.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function clipFactor(recorder: Recorder): Kernels["clipFactor"] {
  return ({ out, sumSquares, guard, maxNorm }) =>
    recorder.run({
      kernel: "clipFactor",
      operands: { out: write(out), sumSquares: read(sumSquares), guard: guard && read(guard) },
      numbers: { maxNorm },
      invocations: 1,
      text: ({ out, sumSquares, guard }) => `
  let sum = ${sumSquares("0")};
  let guard = ${guard?.("0") ?? "0.0"};
  ${out("0")} = select(-1.0, smaller(1.0, p.maxNorm / (root_of(sum) + 1e-6)), is_finite(sum) && is_finite(guard));`,
    });
}
