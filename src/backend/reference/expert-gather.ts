// expertGather: token rows in expert order, optionally weighted. Its backward pass is expertCombine, and the other way round.

import type { Kernels } from "../backend.ts";
import { floats, ints } from "./buffer.ts";

export const expertGather: Kernels["expertGather"] = ({ out, x, sorted, weights, slots, K, width }) => {
  const to = floats(out, slots * width);
  const from = floats(x, (slots / K) * width);
  const order = ints(sorted, slots);
  const w = weights && floats(weights, slots);
  for (let p = 0; p < slots; p++) {
    const slot = order[p]!;
    const inside = slot >= 0 && slot < slots;
    const row = Math.floor(slot / K);
    for (let c = 0; c < width; c++) {
      to[p * width + c] = inside ? from[row * width + c]! * (w ? w[slot]! : 1) : 0;
    }
  }
};
