// Tokens in expert order. Arguments: out, x, sorted, weights (0 when absent), slots, K, width. Slots outside 0..slots-1 give zeros.

import { share } from "./control";
import { load4, store4 } from "./lanes";

export function expertGather(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const sorted = <usize>load<u32>(p, 8);
  const weights = <usize>load<u32>(p, 12);
  const slots = load<i32>(p, 16);
  const K = load<i32>(p, 20);
  const width = load<i32>(p, 24);
  const to = share(slots, thread + 1, threads);
  for (let i = share(slots, thread, threads); i < to; i++) {
    const slot = load<i32>(sorted + (<usize>i << 2));
    if (<u32>slot >= <u32>slots) {
      memory.fill(out + (<usize>i * <usize>width << 2), 0, <usize>width << 2);
      continue;
    }
    const from = x + (<usize>(slot / K) * <usize>width << 2);
    const target = out + (<usize>i * <usize>width << 2);
    if (weights == 0) {
      memory.copy(target, from, <usize>width << 2);
      continue;
    }
    const weight = v128.load32_splat(weights + (<usize>slot << 2));
    for (let c = 0; c < width; c += 4) {
      const o = <usize>c << 2;
      store4(target + o, width - c, f32x4.mul(load4(from + o, width - c), weight));
    }
  }
}
