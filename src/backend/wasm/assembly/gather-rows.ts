// Rows by index. Arguments: out, x, index, rows, width, xRows; indices outside give zeros.

import { share } from "./control";

export function gatherRows(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const index = <usize>load<u32>(p, 8);
  const rows = load<i32>(p, 12);
  const width = <usize>load<i32>(p, 16);
  const xRows = load<u32>(p, 20);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const from = load<u32>(index + (<usize>r << 2));
    const target = out + (<usize>r * width << 2);
    if (from < xRows) memory.copy(target, x + (<usize>from * width << 2), width << 2);
    else memory.fill(target, 0, width << 2);
  }
}
