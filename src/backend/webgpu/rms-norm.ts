// rmsNorm and rmsNormBackward: x / sqrt(mean(x²) + eps) · weight, by rows (Zhang and Sennrich 2019), a group of invocations for each. Rows of few elements
// have a gradient that cancels almost wholly (one element: all but eps), so theirs is written without what cancels.

import type { Kernels, View } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";
import { rowGroupSize, rowText } from "./row-sums.ts";
import { sumAxis } from "./sum-axis.ts";

/** Rows whose products are added up to one number before sums of such are added in order. */
const chunk = 64;
const narrow = 8;

/** 1/sqrt(mean + eps), with one Newton step: division and square root may be several units off. */
const inverseText = `
fn inverse_of(squares: f32) -> f32 {
  let mean = fma(squares, p.share, p.eps);
  let inverse = 1.0 / root_of(mean);
  let rest = fma(-(mean * inverse), inverse, 1.0);
  return select(inverse, fma(0.5 * rest, inverse, inverse), is_finite(rest));
}`;

export function rmsNorm(recorder: Recorder): Kernels["rmsNorm"] {
  return ({ out, x, weight, rows, width, eps }) => {
    const groupSize = rowGroupSize(width);
    recorder.run({
      kernel: "rmsNorm",
      operands: { out: write(out), x: read(x), weight: read(weight) },
      integers: { width },
      numbers: { eps, share: 1 / width },
      workgroups: rows,
      groupSize,
      work: rows * width * 2,
      text: ({ out, x, weight }) => ({
        declarations: rowText(groupSize) + inverseText,
        body: `
  var part = 0.0;
  for (var c = local; c < p.width; c += ${groupSize}) {
    let value = ${x("block * p.width + c")};
    part = fma(value, value, part);
  }
  let inverse = inverse_of(group_sum(part, local));
  for (var c = local; c < p.width; c += ${groupSize}) {
    let at = block * p.width + c;
    ${out("at")} = ${x("at")} * inverse * ${weight("c")};
  }`,
      }),
    });
  };
}

type Backward = Parameters<Kernels["rmsNormBackward"]>[0];

export function rmsNormBackward(recorder: Recorder): Kernels["rmsNormBackward"] {
  const sum = sumAxis(recorder);
  return (given) => {
    const { dweight, rows, width } = given;
    recorder.withScratch(rows, (inverses) => {
      if (width < narrow) narrowRows(recorder, given, inverses);
      else wideRows(recorder, given, inverses);
      if (!dweight) return;
      const chunks = Math.ceil(rows / chunk);
      recorder.withScratch(chunks * width, (sums) => {
        chunkSums(recorder, given, inverses, sums, chunks);
        sum({ out: dweight, x: sums, outer: 1, axis: chunks, inner: width, accumulate: true });
      });
    });
  };
}

function wideRows(recorder: Recorder, { dx, dy, x, weight, rows, width, eps }: Backward, inverses: View): void {
  const groupSize = rowGroupSize(width);
  recorder.run({
    kernel: "rmsNormBackward",
    operands: { dx: write(dx), inverses: write(inverses), dy: read(dy), x: read(x), weight: read(weight) },
    integers: { width },
    numbers: { eps, share: 1 / width },
    workgroups: rows,
    groupSize,
    work: rows * width * 4,
    text: ({ dx, inverses, dy, x, weight }) => ({
      declarations: rowText(groupSize) + inverseText,
      body: `
  var squares = 0.0;
  var dot = 0.0;
  for (var c = local; c < p.width; c += ${groupSize}) {
    let at = block * p.width + c;
    let value = ${x("at")};
    squares = fma(value, value, squares);
    dot = fma(${dy("at")} * ${weight("c")}, value, dot);
  }
  let inverse = inverse_of(group_sum(squares, local));
  // Small factors first, so that what would fit does not overflow on the way.
  let pull = group_sum(dot, local) * inverse * p.share * inverse;
  for (var c = local; c < p.width; c += ${groupSize}) {
    let at = block * p.width + c;
    ${dx("at")} = inverse * fma(-${x("at")}, pull, ${dy("at")} * ${weight("c")});
  }
  if (local == 0) { ${inverses("block")} = inverse; }`,
    }),
  });
}

/** dx_i = (g_i·width·eps + Σ_j x_j·(g_i·x_j - g_j·x_i)) / (rms·(Σx² + width·eps)), g = dy·weight: what cancels is inside the brackets, and there it is exact. */
function narrowRows(recorder: Recorder, { dx, dy, x, weight, rows, width, eps }: Backward, inverses: View): void {
  recorder.run({
    kernel: "rmsNormBackward",
    variant: "narrow",
    operands: { dx: write(dx), inverses: write(inverses), dy: read(dy), x: read(x), weight: read(weight) },
    integers: { width },
    numbers: { eps, share: 1 / width, all_eps: width * eps },
    invocations: rows * width,
    work: rows * width * width * 32,
    text: ({ dx, inverses, dy, x, weight }) => ({
      declarations: inverseText,
      body: `
  let row = i / p.width;
  let own_x = ${x("i")};
  let own_g = ${dy("i")} * ${weight("i - row * p.width")};
  var squares = 0.0;
  var sum = own_g * p.all_eps;
  for (var c = 0u; c < p.width; c++) {
    let other_x = ${x("row * p.width + c")};
    let other_g = ${dy("row * p.width + c")} * ${weight("c")};
    squares = fma(other_x, other_x, squares);
    let plus = two_product(own_g, other_x);
    let minus = two_product(other_g, own_x);
    sum = fma(other_x, (plus.x - minus.x) + (plus.y - minus.y), sum);
  }
  let inverse = inverse_of(squares);
  ${dx("i")} = inverse * (sum / (squares + p.all_eps));
  if (row * p.width == i) { ${inverses("row")} = inverse; }`,
    }),
  });
}

function chunkSums(recorder: Recorder, { dy, x, rows, width }: Backward, inverses: View, sums: View, chunks: number): void {
  recorder.run({
    kernel: "rmsNormBackward",
    variant: "weight",
    operands: { sums: write(sums), inverses: read(inverses), dy: read(dy), x: read(x) },
    integers: { rows, width },
    invocations: chunks * width,
    work: rows * width * 2,
    text: ({ sums, inverses, dy, x }) => `
  let first = i / p.width * ${chunk};
  let end = min(first + ${chunk}, p.rows);
  var sum = 0.0;
  for (var row = first; row < end; row++) {
    let at = row * p.width + i % p.width;
    sum = fma(${dy("at")} * ${inverses("row")}, ${x("at")}, sum);
  }
  ${sums("i")} = sum;`,
  });
}
