// balanceBias: raises the bias of experts with less than the mean load, lowers it above (DeepSeek-V3 section 2.1.2). Counts are whole numbers: their sum in pairs of
// floats is exact, and so is its comparison with E times a count.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function balanceBias(recorder: Recorder): Kernels["balanceBias"] {
  return ({ bias, counts, E, gamma }) =>
    recorder.run({
      kernel: "balanceBias",
      operands: { bias: write(bias), counts: read(counts) },
      integers: { E },
      numbers: { gamma },
      invocations: E,
      work: E * E,
      text: ({ bias, counts }) => `
  var sum = vec2f();
  for (var e = 0u; e < p.E; e++) { sum = add_pairs(sum, vec2f(${counts("e")}, 0.0)); }
  let difference = add_pairs(sum, -two_product(f32(p.E), ${counts("i")}));
  ${bias("i")} += p.gamma * sign(difference.x);`,
    });
}
