// gatherRows: copies the rows that an index names; a row of zeros where the index lies outside. Words move as they are.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function gatherRows(recorder: Recorder): Kernels["gatherRows"] {
  return ({ out, x, index, rows, width, xRows }) =>
    recorder.run({
      kernel: "gatherRows",
      operands: { out: write(out, "u32"), x: read(x, "u32"), index: read(index, "u32") },
      integers: { width, xRows },
      invocations: rows * width,
      // A negative index is a large one.
      text: ({ out, x, index }) => `
  let row = ${index("i / p.width")};
  var word = 0u;
  if (row < p.xRows) { word = ${x("row * p.width + i % p.width")}; }
  ${out("i")} = word;`,
    });
}
