// Back from expert order. expertCombine(out, y, place, weights (0 when absent), T, K, width, accumulate): the K parts of a token are added in the order of k.
// expertCombineWeightGrad(dweights, y, dOut, place, T, K, width). Places outside 0..T·K-1 count as rows of zeros.

import { share } from "./control";
import { load4, store4 } from "./lanes";
import { madd, sumLanes } from "./math";

export function expertCombine(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const y = <usize>load<u32>(p, 4);
  const place = <usize>load<u32>(p, 8);
  const weights = <usize>load<u32>(p, 12);
  const T = load<i32>(p, 16);
  const K = load<i32>(p, 20);
  const width = load<i32>(p, 24);
  const accumulate = load<i32>(p, 28) != 0;
  const to = share(T, thread + 1, threads);
  for (let t = share(T, thread, threads); t < to; t++) {
    const target = out + (<usize>t * <usize>width << 2);
    for (let c = 0; c < width; c += 4) {
      const o = <usize>c << 2;
      const count = width - c;
      let sum = f32x4.splat(0);
      for (let k = 0; k < K; k++) {
        const slot = t * K + k;
        const from = load<u32>(place + (<usize>slot << 2));
        if (from >= <u32>(T * K)) continue;
        const part = load4(y + (<usize>from * <usize>width << 2) + o, count);
        sum = weights == 0 ? f32x4.add(sum, part) : madd(part, v128.load32_splat(weights + (<usize>slot << 2)), sum);
      }
      if (accumulate) sum = f32x4.add(load4(target + o, count), sum);
      store4(target + o, count, sum);
    }
  }
}

export function expertCombineWeightGrad(p: usize, thread: i32, threads: i32): void {
  const dweights = <usize>load<u32>(p);
  const y = <usize>load<u32>(p, 4);
  const dOut = <usize>load<u32>(p, 8);
  const place = <usize>load<u32>(p, 12);
  const T = load<i32>(p, 16);
  const K = load<i32>(p, 20);
  const width = load<i32>(p, 24);
  const slots = T * K;
  const to = share(slots, thread + 1, threads);
  for (let slot = share(slots, thread, threads); slot < to; slot++) {
    const from = load<u32>(place + (<usize>slot << 2));
    if (from >= <u32>slots) {
      store<f32>(dweights + (<usize>slot << 2), 0);
      continue;
    }
    const row = y + (<usize>from * <usize>width << 2);
    const d = dOut + (<usize>(slot / K) * <usize>width << 2);
    let sum = f32x4.splat(0);
    for (let c = 0; c < width; c += 4) {
      const o = <usize>c << 2;
      sum = madd(load4(row + o, width - c), load4(d + o, width - c), sum);
    }
    store<f32>(dweights + (<usize>slot << 2), sumLanes(sum));
  }
}
