// Entropy of softmax(logits) by row, in nats: lse - Σ p·logit. Arguments: out, logits, rows, vocab.

import { share } from "./control";
import { rowMax } from "./cross-entropy";
import { exp1, log } from "./math";

export function entropy(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const logits = <usize>load<u32>(p, 4);
  const rows = load<i32>(p, 8);
  const vocab = load<i32>(p, 12);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const row = logits + (<usize>r * <usize>vocab << 2);
    const top = rowMax(row, vocab);
    let sum: f64 = 0;
    let weighted: f64 = 0;
    for (let i = 0; i < vocab; i++) {
      const shifted = load<f32>(row + (<usize>i << 2)) - top;
      const e = <f64>exp1(shifted);
      sum += e;
      // 0·(-Infinity) counts 0: an impossible token adds no entropy.
      if (e != 0) weighted += e * <f64>shifted;
    }
    store<f32>(out + (<usize>r << 2), <f32>(log(sum) - weighted / sum));
  }
}
