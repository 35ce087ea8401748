// expertCombine and expertCombineWeightGrad: sums each token's K expert rows back into token order, k ascending; the weights' gradient is a dot product of rows, by a
// group of invocations in lanes that depend on the width alone.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

const lanes = 64;

export function expertCombine(recorder: Recorder): Kernels["expertCombine"] {
  return ({ out, y, place, weights, T, K, width, accumulate = false }) =>
    recorder.run({
      kernel: "expertCombine",
      operands: { out: write(out), y: read(y), place: read(place, "u32"), weights: weights && read(weights) },
      integers: { K, width, slots: T * K, accumulate: Number(accumulate) },
      invocations: T * width,
      work: T * width * K,
      text: ({ out, y, place, weights }) => `
  let column = i % p.width;
  let first_slot = i / p.width * p.K;
  var sum = 0.0;
  for (var k = 0u; k < p.K; k++) {
    let row = ${place("first_slot + k")};
    if (row >= p.slots) { continue; }
    sum = fma(${y("row * p.width + column")}, ${weights ? weights("first_slot + k") : "1.0"}, sum);
  }
  if (p.accumulate != 0) { sum += ${out("i")}; }
  ${out("i")} = sum;`,
    });
}

export function expertCombineWeightGrad(recorder: Recorder): Kernels["expertCombineWeightGrad"] {
  return ({ dweights, y, dOut, place, T, K, width }) =>
    recorder.run({
      kernel: "expertCombineWeightGrad",
      operands: { dweights: write(dweights), y: read(y), dOut: read(dOut), place: read(place, "u32") },
      integers: { K, width, slots: T * K },
      workgroups: T * K,
      groupSize: lanes,
      work: T * K * width,
      text: ({ dweights, y, dOut, place }) => ({
        declarations: `var<workgroup> sums: array<f32, ${lanes}>;`,
        body: `
  let row = ${place("block")};
  let first = block / p.K * p.width;
  var sum = 0.0;
  if (row < p.slots) {
    for (var c = local; c < p.width; c += ${lanes}) {
      sum = fma(${y("row * p.width + c")}, ${dOut("first + c")}, sum);
    }
  }
  sums[local] = sum;
  for (var half = ${lanes / 2}u; half > 0; half >>= 1u) {
    workgroupBarrier();
    if (local < half) { sums[local] += sums[local + half]; }
  }
  if (local == 0) { ${dweights("block")} = sums[0]; }`,
      }),
    });
}
