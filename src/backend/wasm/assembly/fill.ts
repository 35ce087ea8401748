// out[i] = value. Arguments: out, n, value.

import { share } from "./control";

export function fill(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const n = load<i32>(p, 4);
  const value = load<i32>(p, 8);
  const from = share(n, thread, threads);
  const to = share(n, thread + 1, threads);
  const splat = i32x4.splat(value);
  let i = from;
  for (; i + 4 <= to; i += 4) v128.store(out + (<usize>i << 2), splat);
  for (; i < to; i++) store<i32>(out + (<usize>i << 2), value);
}
