// affine: x·scale + shift with two constants; with scale 1 it copies or adds.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function affine(recorder: Recorder): Kernels["affine"] {
  return ({ out, x, n, scale, shift, accumulate }) =>
    recorder.run({
      kernel: "affine",
      variant: accumulate ? "add" : "",
      operands: { out: write(out), x: read(x) },
      numbers: { scale, shift },
      invocations: n,
      text: ({ out, x }) => `${out("i")} ${accumulate ? "+=" : "="} fma(${x("i")}, p.scale, p.shift);`,
    });
}
