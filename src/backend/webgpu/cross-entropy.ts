// crossEntropy and crossEntropyBackward: negative log-probability of a target by rows. Targets outside the vocabulary are ignored (a negative one is large).

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";
import { expSumText, rowGroupSize } from "./row-sums.ts";

export function crossEntropy(recorder: Recorder): Kernels["crossEntropy"] {
  return ({ loss, lse, logits, targets, rows, vocab }) => {
    const groupSize = rowGroupSize(vocab);
    recorder.run({
      kernel: "crossEntropy",
      operands: { loss: write(loss), lse: write(lse), logits: read(logits), targets: read(targets, "u32") },
      integers: { vocab },
      workgroups: rows,
      groupSize,
      work: rows * vocab * 32,
      text: ({ loss, lse, logits, targets }) => ({
        declarations: expSumText(groupSize, (c) => logits(`row * width + ${c}`)),
        body: `
  let found = exp_sum(block, p.vocab, local);
  if (local > 0) { return; }
  let value = found.x + log_of(found.y);
  let target_column = ${targets("block")};
  var lost = 0.0;
  if (target_column < p.vocab) { lost = value - ${logits("block * p.vocab + target_column")}; }
  ${lse("block")} = value;
  ${loss("block")} = lost;`,
      }),
    });
  };
}

export function crossEntropyBackward(recorder: Recorder): Kernels["crossEntropyBackward"] {
  return ({ dlogits, logits, lse, targets, dloss, rows, vocab }) =>
    recorder.run({
      kernel: "crossEntropyBackward",
      operands: { dlogits: write(dlogits), logits: read(logits), lse: read(lse), targets: read(targets, "u32"), dloss: read(dloss) },
      integers: { vocab },
      invocations: rows * vocab,
      work: rows * vocab * 32,
      text: ({ dlogits, logits, lse, targets, dloss }) => `
  let row = i / p.vocab;
  let target_column = ${targets("row")};
  var d = 0.0;
  if (target_column < p.vocab) {
    d = (exp_of(${logits("i")} - ${lse("row")}) - select(0.0, 1.0, i - row * p.vocab == target_column)) * ${dloss("row")};
  }
  ${dlogits("i")} = d;`,
    });
}
