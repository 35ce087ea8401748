// entropy: of softmax(logits) by rows, in nats. A logit of -Infinity has probability 0 and adds nothing.

import type { Kernels } from "../backend.ts";
import { floats } from "./buffer.ts";
import { logSumExp } from "./softmax.ts";

export const entropy: Kernels["entropy"] = ({ out, logits, rows, vocab }) => {
  const to = floats(out, rows);
  const from = floats(logits, rows * vocab);
  for (let r = 0; r < rows; r++) {
    const lse = logSumExp(from, r * vocab, vocab);
    let sum = 0;
    for (let v = 0; v < vocab; v++) {
      const logProbability = from[r * vocab + v]! - lse;
      if (logProbability !== Number.NEGATIVE_INFINITY) sum -= Math.exp(logProbability) * logProbability;
    }
    to[r] = sum;
  }
};
