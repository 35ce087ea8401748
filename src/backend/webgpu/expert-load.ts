// expertLoad: how often each expert was chosen, separately for equal parts of the slots (sequences). A group of invocations for each count; whole numbers, so the order
// of the additions does not matter.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

const lanes = 64;

export function expertLoad(recorder: Recorder): Kernels["expertLoad"] {
  return ({ counts, indices, slots, parts, E, accumulate = false }) =>
    recorder.run({
      kernel: "expertLoad",
      operands: { counts: write(counts), indices: read(indices, "u32") },
      integers: { E, partSlots: slots / parts, accumulate: Number(accumulate) },
      workgroups: parts * E,
      groupSize: lanes,
      work: slots * E,
      text: ({ counts, indices }) => ({
        declarations: "var<workgroup> total: atomic<u32>;",
        body: `
  let expert = block % p.E;
  let first = block / p.E * p.partSlots;
  var count = 0u;
  for (var slot = local; slot < p.partSlots; slot += ${lanes}) {
    if (${indices("first + slot")} == expert) { count++; }
  }
  atomicAdd(&total, count);
  workgroupBarrier();
  if (local == 0) {
    var sum = f32(atomicLoad(&total));
    if (p.accumulate != 0) { sum += ${counts("block")}; }
    ${counts("block")} = sum;
  }`,
      }),
    });
}
