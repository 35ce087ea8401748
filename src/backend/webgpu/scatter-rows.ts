// scatterRows: writes rows to the places that an index names (cache writes); places outside are skipped. Words move as they are.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function scatterRows(recorder: Recorder): Kernels["scatterRows"] {
  return ({ out, x, index, rows, width, outRows }) =>
    recorder.run({
      kernel: "scatterRows",
      operands: { out: write(out, "u32"), x: read(x, "u32"), index: read(index, "u32") },
      integers: { width, outRows },
      invocations: rows * width,
      // A negative index is a large one.
      text: ({ out, x, index }) => `
  let row = ${index("i / p.width")};
  if (row < p.outRows) { ${out("row * p.width + i % p.width")} = ${x("i")}; }`,
    });
}
