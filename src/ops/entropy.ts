// Entropy of the distribution that each row of logits stands for. No gradient.

import { empty, type Tensor, view } from "../tensor/tensor.ts";
import { expectNumbers, expectRank, wrong } from "./check.ts";

/** logits [R, V] -> [R] in nats, from 0 to log V. */
export function entropy(logits: Tensor): Tensor {
  expectNumbers("entropy", "logits", logits);
  expectRank("entropy", "logits", logits, 2, "R, V");
  const [rows, vocab] = logits.shape as [number, number];
  if (vocab === 0) throw wrong("entropy", `logits [${rows}, 0]`, "a vocabulary of at least one", "check the output layer");
  const out = empty(logits.storage.device, [rows]);
  if (rows > 0) logits.storage.device.kernels.entropy({ out: view(out), logits: view(logits), rows, vocab });
  return out;
}
