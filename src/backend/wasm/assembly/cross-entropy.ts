// Negative log-probability of a target by row, and its gradient. crossEntropy(loss, lse, logits, targets, rows, vocab);
// crossEntropyBackward(dlogits, logits, lse, targets, dloss, rows, vocab). Targets outside 0..vocab-1 count nothing.
// The sum of exponentials is finished in double precision: lse decides the log-probabilities that reinforcement compares.

import { share } from "./control";
import { load4, store4 } from "./lanes";
import { expNegative4, log, maxLanes, sumLanes } from "./math";

/** Largest value of a row. */
// @ts-ignore: decorator
@inline
export function rowMax(row: usize, width: i32): f32 {
  let top = f32x4.splat(-Infinity);
  let i = 0;
  for (; i + 4 <= width; i += 4) top = f32x4.max(top, v128.load(row + (<usize>i << 2)));
  let best = maxLanes(top);
  for (; i < width; i++) best = max(best, load<f32>(row + (<usize>i << 2)));
  return best;
}

/** Σ exp(row - top). */
// @ts-ignore: decorator
@inline
export function sumExp(row: usize, width: i32, top: f32): f32 {
  const shift = f32x4.splat(top);
  let sum = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= width; i += 4) sum = f32x4.add(sum, expNegative4(f32x4.sub(v128.load(row + (<usize>i << 2)), shift)));
  let total = sumLanes(sum);
  for (; i < width; i++) total += f32x4.extract_lane(expNegative4(f32x4.splat(load<f32>(row + (<usize>i << 2)) - top)), 0);
  return total;
}

export function crossEntropy(p: usize, thread: i32, threads: i32): void {
  const loss = <usize>load<u32>(p);
  const lse = <usize>load<u32>(p, 4);
  const logits = <usize>load<u32>(p, 8);
  const targets = <usize>load<u32>(p, 12);
  const rows = load<i32>(p, 16);
  const vocab = load<i32>(p, 20);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const row = logits + (<usize>r * <usize>vocab << 2);
    const top = rowMax(row, vocab);
    const value = <f32>(<f64>top + log(<f64>sumExp(row, vocab, top)));
    store<f32>(lse + (<usize>r << 2), value);
    const target = load<u32>(targets + (<usize>r << 2));
    store<f32>(loss + (<usize>r << 2), target < <u32>vocab ? value - load<f32>(row + (<usize>target << 2)) : 0);
  }
}

export function crossEntropyBackward(p: usize, thread: i32, threads: i32): void {
  const dlogits = <usize>load<u32>(p);
  const logits = <usize>load<u32>(p, 4);
  const lse = <usize>load<u32>(p, 8);
  const targets = <usize>load<u32>(p, 12);
  const dloss = <usize>load<u32>(p, 16);
  const rows = load<i32>(p, 20);
  const vocab = load<i32>(p, 24);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const at = <usize>r * <usize>vocab << 2;
    const target = load<u32>(targets + (<usize>r << 2));
    if (target >= <u32>vocab) {
      memory.fill(dlogits + at, 0, <usize>vocab << 2);
      continue;
    }
    const shift = v128.load32_splat(lse + (<usize>r << 2));
    const scale = v128.load32_splat(dloss + (<usize>r << 2));
    let i = 0;
    for (; i + 8 <= vocab; i += 8) {
      const o = at + (<usize>i << 2);
      const first = f32x4.mul(expNegative4(f32x4.sub(v128.load(logits + o), shift)), scale);
      const second = f32x4.mul(expNegative4(f32x4.sub(v128.load(logits + o, 16), shift)), scale);
      v128.store(dlogits + o, first);
      v128.store(dlogits + o, second, 16);
    }
    for (; i < vocab; i += 4) {
      const o = at + (<usize>i << 2);
      const count = vocab - i;
      store4(dlogits + o, count, f32x4.mul(expNegative4(f32x4.sub(load4(logits + o, count), shift)), scale));
    }
    const place = dlogits + at + (<usize>target << 2);
    store<f32>(place, load<f32>(place) - load<f32>(dloss + (<usize>r << 2)));
  }
}
