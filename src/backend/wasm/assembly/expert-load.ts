// How often each expert was chosen, by part. Arguments: counts, indices, slots, parts, E, accumulate. Indices outside are not counted.

import { share } from "./control";

export function expertLoad(p: usize, thread: i32, threads: i32): void {
  const counts = <usize>load<u32>(p);
  const indices = <usize>load<u32>(p, 4);
  const slots = load<i32>(p, 8);
  const parts = load<i32>(p, 12);
  const E = load<u32>(p, 16);
  const accumulate = load<i32>(p, 20) != 0;
  const size = slots / parts;
  const to = share(parts, thread + 1, threads);
  for (let part = share(parts, thread, threads); part < to; part++) {
    const row = counts + (<usize>part * <usize>E << 2);
    if (!accumulate) memory.fill(row, 0, <usize>E << 2);
    for (let i = part * size; i < (part + 1) * size; i++) {
      const e = load<u32>(indices + (<usize>i << 2));
      if (e < E) store<f32>(row + (<usize>e << 2), load<f32>(row + (<usize>e << 2)) + 1);
    }
  }
}
