// Negative log-probability of each row's target. The log of each row's sum is kept for the backward pass (and freed at once without a tape).

import { addGrad, attach } from "../tensor/autograd.ts";
import { empty, type Tensor, view } from "../tensor/tensor.ts";
import { expectIndices, expectNumbers, expectOneDevice, expectRank, wrong } from "./check.ts";

/** logits [R, V], targets i32 [R] -> loss [R] in nats. A target outside 0..V-1 (use -1) gives 0 and no gradient. */
export function crossEntropy(logits: Tensor, targets: Tensor): Tensor {
  expectNumbers("crossEntropy", "logits", logits);
  expectRank("crossEntropy", "logits", logits, 2, "R, V");
  const [rows, vocab] = logits.shape as [number, number];
  if (vocab === 0) throw wrong("crossEntropy", `logits [${rows}, 0]`, "a vocabulary of at least one", "check the output layer");
  expectIndices("crossEntropy", "targets", targets, [rows]);
  expectOneDevice("crossEntropy", logits, targets);
  const { device } = logits.storage;
  const loss = empty(device, [rows]);
  if (rows === 0) return attach("crossEntropy", loss, [logits], () => {});
  const lse = empty(device, [rows]);
  device.kernels.crossEntropy({ loss: view(loss), lse: view(lse), logits: view(logits), targets: view(targets), rows, vocab });
  attach("crossEntropy", loss, [logits], (dloss) => {
    const dlogits = empty(device, logits.shape);
    device.kernels.crossEntropyBackward({
      dlogits: view(dlogits),
      logits: view(logits),
      lse: view(lse),
      targets: view(targets),
      dloss: view(dloss),
      rows,
      vocab,
    });
    addGrad(logits, dlogits);
  });
  if (!loss.node) lse.storage.free();
  return loss;
}
