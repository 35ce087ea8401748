// softmax and softmaxBackward by rows, a group of invocations for each.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";
import { expSumText, rowGroupSize, rowText } from "./row-sums.ts";

export function softmax(recorder: Recorder): Kernels["softmax"] {
  return ({ out, x, rows, width }) => {
    const groupSize = rowGroupSize(width);
    recorder.run({
      kernel: "softmax",
      operands: { out: write(out), x: read(x) },
      integers: { width },
      workgroups: rows,
      groupSize,
      work: rows * width * 32,
      text: ({ out, x }) => ({
        declarations: expSumText(groupSize, (c) => x(`row * width + ${c}`)),
        body: `
  let found = exp_sum(block, p.width, local);
  let scale = 1.0 / found.y;
  for (var c = local; c < p.width; c += ${groupSize}) {
    let at = block * p.width + c;
    ${out("at")} = exp_of(${x("at")} - found.x) * scale;
  }`,
      }),
    });
  };
}

export function softmaxBackward(recorder: Recorder): Kernels["softmaxBackward"] {
  return ({ dx, dy, y, rows, width }) => {
    const groupSize = rowGroupSize(width);
    recorder.run({
      kernel: "softmaxBackward",
      operands: { dx: write(dx), dy: read(dy), y: read(y) },
      integers: { width },
      workgroups: rows,
      groupSize,
      work: rows * width * 2,
      text: ({ dx, dy, y }) => ({
        declarations: rowText(groupSize),
        body: `
  var part = 0.0;
  for (var c = local; c < p.width; c += ${groupSize}) {
    let at = block * p.width + c;
    part = fma(${dy("at")}, ${y("at")}, part);
  }
  let dot = group_sum(part, local);
  for (var c = local; c < p.width; c += ${groupSize}) {
    let at = block * p.width + c;
    ${dx("at")} = ${y("at")} * (${dy("at")} - dot);
  }`,
      }),
    });
  };
}
