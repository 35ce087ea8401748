// Limits, and the gradient that passes between them. Arguments: clamp(out, x, n, low, high); clampBackward(dx, dy, x, n, low, high, accumulate).

import { share } from "./control";
import { load4, store4 } from "./lanes";

export function clamp(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const n = load<i32>(p, 8);
  const low = v128.load32_splat(p, 12);
  const high = v128.load32_splat(p, 16);
  const blocks = (n + 3) >> 2;
  const end = share(blocks, thread + 1, threads) << 2;
  for (let i = share(blocks, thread, threads) << 2; i < end; i += 4) {
    const count = min(4, n - i);
    const at = <usize>i << 2;
    store4(out + at, count, f32x4.min(f32x4.max(load4(x + at, count), low), high));
  }
}

export function clampBackward(p: usize, thread: i32, threads: i32): void {
  const dx = <usize>load<u32>(p);
  const dy = <usize>load<u32>(p, 4);
  const x = <usize>load<u32>(p, 8);
  const n = load<i32>(p, 12);
  const low = v128.load32_splat(p, 16);
  const high = v128.load32_splat(p, 20);
  const accumulate = load<i32>(p, 24) != 0;
  const blocks = (n + 3) >> 2;
  const end = share(blocks, thread + 1, threads) << 2;
  for (let i = share(blocks, thread, threads) << 2; i < end; i += 4) {
    const count = min(4, n - i);
    const at = <usize>i << 2;
    const value = load4(x + at, count);
    let z = v128.and(load4(dy + at, count), v128.and(f32x4.ge(value, low), f32x4.le(value, high)));
    if (accumulate) z = f32x4.add(load4(dx + at, count), z);
    store4(dx + at, count, z);
  }
}
