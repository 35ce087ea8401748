// entropy: of softmax(logits) by rows, in nats: log Σe - Σ e·d / Σe with d the logits below the largest one and e = exp(d). No term is negative, so nothing cancels.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";
import { expSumText, rowGroupSize } from "./row-sums.ts";

export function entropy(recorder: Recorder): Kernels["entropy"] {
  return ({ out, logits, rows, vocab }) => {
    const groupSize = rowGroupSize(vocab);
    recorder.run({
      kernel: "entropy",
      operands: { out: write(out), logits: read(logits) },
      integers: { vocab },
      workgroups: rows,
      groupSize,
      work: rows * vocab * 64,
      text: ({ out, logits }) => ({
        declarations: expSumText(groupSize, (c) => logits(`row * width + ${c}`)),
        body: `
  let found = exp_sum(block, p.vocab, local);
  var part = 0.0;
  for (var c = local; c < p.vocab; c += ${groupSize}) {
    let below = found.x - ${logits("block * p.vocab + c")};
    let e = exp_of(-below);
    // 0·infinity counts 0: what cannot come adds nothing.
    if (e > 0.0) { part = fma(e, below, part); }
  }
  let weighted = group_sum(part, local);
  if (local == 0) { ${out("block")} = log_of(found.y) + weighted / found.y; }`,
      }),
    });
  };
}
