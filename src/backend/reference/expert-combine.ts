// expertCombine and expertCombineWeightGrad: sums each token's K expert rows back into token order.

import type { Kernels } from "../backend.ts";
import { floats, ints } from "./buffer.ts";

export const expertCombine: Kernels["expertCombine"] = ({ out, y, place, weights, T, K, width, accumulate }) => {
  const to = floats(out, T * width);
  const from = floats(y, T * K * width);
  const placeOf = ints(place, T * K);
  const w = weights && floats(weights, T * K);
  for (let t = 0; t < T; t++) {
    for (let c = 0; c < width; c++) {
      let sum = 0;
      for (let k = 0; k < K; k++) {
        const row = placeOf[t * K + k]!;
        if (row < 0 || row >= T * K) continue;
        sum += from[row * width + c]! * (w ? w[t * K + k]! : 1);
      }
      const at = t * width + c;
      to[at] = accumulate ? to[at]! + sum : sum;
    }
  }
};

export const expertCombineWeightGrad: Kernels["expertCombineWeightGrad"] = ({ dweights, y, dOut, place, T, K, width }) => {
  const to = floats(dweights, T * K);
  const from = floats(y, T * K * width);
  const given = floats(dOut, T * width);
  const placeOf = ints(place, T * K);
  for (let slot = 0; slot < T * K; slot++) {
    const row = placeOf[slot]!;
    const t = Math.floor(slot / K);
    let dot = 0;
    if (row >= 0 && row < T * K) {
      for (let c = 0; c < width; c++) dot += from[row * width + c]! * given[t * width + c]!;
    }
    to[slot] = dot;
  }
};
