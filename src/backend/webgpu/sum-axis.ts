// sumAxis: x [outer, axis, inner] -> [outer, inner]. Neighbouring sums are chains by an invocation each, over runs of 256 whose sums are summed in the same way, so that
// few columns keep a GPU busy too; rows by themselves (inner 1) that are not short go to groups.

import type { Kernels, View } from "../backend.ts";
import { sumRows } from "./pair-sums.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

const run = 256;
const shortRow = 64;

export function sumAxis(recorder: Recorder): Kernels["sumAxis"] {
  return ({ out, x, outer, axis, inner, accumulate = false }) => {
    if (inner === 1 && axis > shortRow) {
      sumRows(recorder, { kernel: "sumAxis", out, x, rows: outer, width: axis, accumulate }, "values");
    } else sumColumns(recorder, out, x, { outer, axis, inner }, accumulate);
  };
}

function sumColumns(
  recorder: Recorder,
  out: View,
  x: View,
  { outer, axis, inner }: { outer: number; axis: number; inner: number },
  accumulate: boolean,
): void {
  const runs = Math.max(Math.ceil(axis / run), 1);
  const chains = (to: View, added: boolean) =>
    recorder.run({
      kernel: "sumAxis",
      variant: `columns${added ? " added" : ""}`,
      operands: { to: write(to), x: read(x) },
      integers: { axis, inner, runs },
      invocations: outer * runs * inner,
      work: outer * axis * inner,
      text: ({ to, x }) => `
  let column = i % p.inner;
  let run = i / p.inner % p.runs;
  let row = i / p.inner / p.runs;
  let end = min((run + 1) * ${run}, p.axis);
  var sum = 0.0;
  for (var k = run * ${run}; k < end; k++) { sum += ${x("(row * p.axis + k) * p.inner + column")}; }
  ${to("i")} ${added ? "+=" : "="} sum;`,
    });
  if (runs === 1) chains(out, accumulate);
  else {
    recorder.withScratch(outer * runs * inner, (partial) => {
      chains(partial, false);
      sumColumns(recorder, out, partial, { outer, axis: runs, inner }, accumulate);
    });
  }
}
