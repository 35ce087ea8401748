// expertGather: token rows in expert order, optionally weighted. Its backward pass is expertCombine, and the other way round.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function expertGather(recorder: Recorder): Kernels["expertGather"] {
  return ({ out, x, sorted, weights, slots, K, width }) =>
    recorder.run({
      kernel: "expertGather",
      operands: { out: write(out), x: read(x), sorted: read(sorted, "u32"), weights: weights && read(weights) },
      integers: { slots, K, width },
      invocations: slots * width,
      // A negative slot is a large one.
      text: ({ out, x, sorted, weights }) => `
  let slot = ${sorted("i / p.width")};
  var value = 0.0;
  if (slot < p.slots) { value = ${x("slot / p.K * p.width + i % p.width")}${weights ? ` * ${weights("slot")}` : ""}; }
  ${out("i")} = value;`,
    });
}
