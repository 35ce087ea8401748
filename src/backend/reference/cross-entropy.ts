// crossEntropy and crossEntropyBackward: negative log-probability of a target by rows. Targets outside the vocabulary are ignored.

import type { Kernels } from "../backend.ts";
import { floats, ints } from "./buffer.ts";
import { logSumExp } from "./softmax.ts";

export const crossEntropy: Kernels["crossEntropy"] = ({ loss, lse, logits, targets, rows, vocab }) => {
  const toLoss = floats(loss, rows);
  const toLse = floats(lse, rows);
  const from = floats(logits, rows * vocab);
  const target = ints(targets, rows);
  for (let r = 0; r < rows; r++) {
    const sum = logSumExp(from, r * vocab, vocab);
    const t = target[r]!;
    toLse[r] = sum;
    toLoss[r] = t >= 0 && t < vocab ? sum - from[r * vocab + t]! : 0;
  }
};

export const crossEntropyBackward: Kernels["crossEntropyBackward"] = ({ dlogits, logits, lse, targets, dloss, rows, vocab }) => {
  const to = floats(dlogits, rows * vocab);
  const from = floats(logits, rows * vocab);
  const sums = floats(lse, rows);
  const target = ints(targets, rows);
  const given = floats(dloss, rows);
  for (let r = 0; r < rows; r++) {
    const t = target[r]!;
    const ignored = t < 0 || t >= vocab;
    for (let v = 0; v < vocab; v++) {
      const at = r * vocab + v;
      to[at] = ignored ? 0 : (Math.exp(from[at]! - sums[r]!) - (v === t ? 1 : 0)) * given[r]!;
    }
  }
};
