// expertLoad: how often each expert was chosen, separately for equal parts of the slots (sequences).

import type { Kernels } from "../backend.ts";
import { floats, ints } from "./buffer.ts";

export const expertLoad: Kernels["expertLoad"] = ({ counts, indices, slots, parts, E, accumulate }) => {
  const to = floats(counts, parts * E);
  const expert = ints(indices, slots);
  if (!accumulate) to.fill(0);
  for (let slot = 0; slot < slots; slot++) {
    const e = expert[slot]!;
    if (e < 0 || e >= E) continue;
    to[Math.floor(slot / (slots / parts)) * E + e]! += 1;
  }
};
