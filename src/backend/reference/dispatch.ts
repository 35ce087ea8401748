// dispatch: stable counting sort of slots (token·K + k) by expert, with the inverse permutation.

import type { Kernels } from "../backend.ts";
import { ints } from "./buffer.ts";

export const dispatch: Kernels["dispatch"] = ({ offsets, sorted, place, indices, slots, E }) => {
  const starts = ints(offsets, E + 1);
  const order = ints(sorted, slots);
  const placeOf = ints(place, slots);
  const expert = ints(indices, slots).map((e) => Math.max(0, Math.min(e, E - 1)));
  let next = 0;
  for (let e = 0; e < E; e++) {
    starts[e] = next;
    for (let slot = 0; slot < slots; slot++) {
      if (expert[slot] !== e) continue;
      order[next] = slot;
      placeOf[slot] = next;
      next++;
    }
  }
  starts[E] = next;
};
