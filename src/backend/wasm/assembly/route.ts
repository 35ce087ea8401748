// The gate's choice of experts and the gradient of the weights. route(indices, weights, scores, bias, T, E, K, groups, topkGroups, groupTop, masked,
// normalise, scale, scratch, scratchStride): scratch holds E choices and `groups` group scores per thread. routeBackward(dscores, dweights,
// scores, indices, T, E, K, normalise, scale): indices outside are skipped. Rows are few and short: plain scalar code.

import { share } from "./control";

/** Index of the largest of n floats, the lower one on ties; -1 marks are skipped through NaN. */
function largest(values: usize, n: i32): i32 {
  let best = -1;
  let top: f32 = 0;
  for (let i = 0; i < n; i++) {
    const value = load<f32>(values + (<usize>i << 2));
    if (value == value && (best < 0 || value > top)) {
      best = i;
      top = value;
    }
  }
  return best;
}

export function route(p: usize, thread: i32, threads: i32): void {
  const indices = <usize>load<u32>(p);
  const weights = <usize>load<u32>(p, 4);
  const scores = <usize>load<u32>(p, 8);
  const bias = <usize>load<u32>(p, 12);
  const T = load<i32>(p, 16);
  const E = load<i32>(p, 20);
  const K = load<i32>(p, 24);
  const groups = load<i32>(p, 28);
  const topkGroups = load<i32>(p, 32);
  const groupTop = load<i32>(p, 36);
  const masked = load<f32>(p, 40);
  const normalise = load<i32>(p, 44) != 0;
  const scale = load<f32>(p, 48);
  const choice = <usize>load<u32>(p, 52) + <usize>thread * <usize>load<u32>(p, 56);
  const groupScore = choice + (<usize>E << 2);
  const size = E / groups;
  const to = share(T, thread + 1, threads);
  for (let t = share(T, thread, threads); t < to; t++) {
    const row = scores + (<usize>t * <usize>E << 2);
    for (let e: usize = 0; e < <usize>E; e++) {
      const value = load<f32>(row + (e << 2)) + load<f32>(bias + (e << 2));
      // NaN is the mark of a taken expert below; a NaN score must stay choosable, or fewer than K would be found.
      store<f32>(choice + (e << 2), value == value ? value : -Infinity);
    }
    if (groups > 1) {
      for (let g = 0; g < groups; g++) {
        let best: f32 = -Infinity;
        let second: f32 = -Infinity;
        for (let i = 0; i < size; i++) {
          const value = load<f32>(choice + (<usize>(g * size + i) << 2));
          if (value > best) {
            second = best;
            best = value;
          } else if (value > second) second = value;
        }
        store<f32>(groupScore + (<usize>g << 2), groupTop > 1 && size > 1 ? best + second : best);
      }
      // Marks the kept groups with NaN, then masks all others.
      for (let i = 0; i < topkGroups; i++) {
        const g = largest(groupScore, groups);
        if (g >= 0) store<f32>(groupScore + (<usize>g << 2), NaN);
      }
      for (let g = 0; g < groups; g++) {
        const mark = load<f32>(groupScore + (<usize>g << 2));
        if (mark != mark) continue;
        for (let i = 0; i < size; i++) store<f32>(choice + (<usize>(g * size + i) << 2), masked);
      }
    }
    const chosen = indices + (<usize>t * <usize>K << 2);
    const out = weights + (<usize>t * <usize>K << 2);
    let sum: f32 = 0;
    for (let i: usize = 0; i < <usize>K; i++) {
      const e = max(0, largest(choice, E));
      store<f32>(choice + (<usize>e << 2), NaN);
      store<i32>(chosen + (i << 2), e);
      const score = load<f32>(row + (<usize>e << 2));
      store<f32>(out + (i << 2), score);
      sum += score;
    }
    const factor: f32 = normalise ? scale / (sum + <f32>1e-20) : scale;
    for (let i: usize = 0; i < <usize>K; i++) store<f32>(out + (i << 2), load<f32>(out + (i << 2)) * factor);
  }
}

export function routeBackward(p: usize, thread: i32, threads: i32): void {
  const dscores = <usize>load<u32>(p);
  const dweights = <usize>load<u32>(p, 4);
  const scores = <usize>load<u32>(p, 8);
  const indices = <usize>load<u32>(p, 12);
  const T = load<i32>(p, 16);
  const E = load<i32>(p, 20);
  const K = load<i32>(p, 24);
  const normalise = load<i32>(p, 28) != 0;
  const scale = load<f32>(p, 32);
  const to = share(T, thread + 1, threads);
  for (let t = share(T, thread, threads); t < to; t++) {
    const row = scores + (<usize>t * <usize>E << 2);
    const target = dscores + (<usize>t * <usize>E << 2);
    const chosen = indices + (<usize>t * <usize>K << 2);
    const dw = dweights + (<usize>t * <usize>K << 2);
    memory.fill(target, 0, <usize>E << 2);
    let sum: f64 = 1e-20;
    let dot: f64 = 0;
    if (normalise) {
      for (let i: usize = 0; i < <usize>K; i++) {
        const e = <usize>load<u32>(chosen + (i << 2));
        if (e >= <usize>E) continue;
        const score = <f64>load<f32>(row + (e << 2));
        sum += score;
        dot += score * <f64>load<f32>(dw + (i << 2));
      }
    }
    for (let i: usize = 0; i < <usize>K; i++) {
      const e = <usize>load<u32>(chosen + (i << 2));
      if (e >= <usize>E) continue;
      const d = <f64>load<f32>(dw + (i << 2));
      // Doubles: a lone expert's gradient cancels to nothing.
      const gradient = <f32>(normalise ? (<f64>scale * (d - dot / sum)) / sum : <f64>scale * d);
      store<f32>(target + (e << 2), load<f32>(target + (e << 2)) + gradient);
    }
  }
}
