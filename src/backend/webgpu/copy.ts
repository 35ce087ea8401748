// copy: strided copy over at most 4 dimensions. Words move as they are; only what is added is read as f32.

import type { Kernels } from "../backend.ts";
import { checkDimensions } from "../checks.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function copy(recorder: Recorder): Kernels["copy"] {
  return ({ out, x, shape, outStrides, xStrides, accumulate }) => {
    checkDimensions(shape);
    const [n0 = 1, n1 = 1, n2 = 1, n3 = 1] = shape;
    const [o0 = 0, o1 = 0, o2 = 0, o3 = 0] = outStrides;
    const [x0 = 0, x1 = 0, x2 = 0, x3 = 0] = xStrides;
    const type = accumulate ? "f32" : "u32";
    recorder.run({
      kernel: "copy",
      variant: accumulate ? "add" : "",
      operands: { out: write(out, type), x: read(x, type) },
      integers: { n1, n2, n3, o0, o1, o2, o3, x0, x1, x2, x3 },
      invocations: n0 * n1 * n2 * n3,
      text: ({ out, x }) => `
  let i3 = i % p.n3;
  let rows = i / p.n3;
  let i2 = rows % p.n2;
  let planes = rows / p.n2;
  let i1 = planes % p.n1;
  let i0 = planes / p.n1;
  let out_at = i0 * p.o0 + i1 * p.o1 + i2 * p.o2 + i3 * p.o3;
  let x_at = i0 * p.x0 + i1 * p.x1 + i2 * p.x2 + i3 * p.x3;
  ${out("out_at")} ${accumulate ? "+=" : "="} ${x("x_at")};`,
    });
  };
}
