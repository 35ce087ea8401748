// Rows to their places (cache writes). Arguments: out, x, index, rows, width, outRows; indices outside are skipped.

import { share } from "./control";

export function scatterRows(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const index = <usize>load<u32>(p, 8);
  const rows = load<i32>(p, 12);
  const width = <usize>load<i32>(p, 16);
  const outRows = load<u32>(p, 20);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const place = load<u32>(index + (<usize>r << 2));
    if (place < outRows) memory.copy(out + (<usize>place * width << 2), x + (<usize>r * width << 2), width << 2);
  }
}
