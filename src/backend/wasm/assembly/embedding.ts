// Table rows by id, and the gradient of the table. embedding(out, table, ids, rows, width, vocab): ids outside give zeros.
// embeddingBackward(dtable, dy, ids, rows, width, vocab): each thread owns some columns and takes the rows in order, so no two threads meet.

import { share } from "./control";
import { load4, store4 } from "./lanes";

export function embedding(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const table = <usize>load<u32>(p, 4);
  const ids = <usize>load<u32>(p, 8);
  const rows = load<i32>(p, 12);
  const width = <usize>load<i32>(p, 16) << 2;
  const vocab = load<u32>(p, 20);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const id = load<u32>(ids + (<usize>r << 2));
    if (id < vocab) memory.copy(out + <usize>r * width, table + <usize>id * width, width);
    else memory.fill(out + <usize>r * width, 0, width);
  }
}

export function embeddingBackward(p: usize, thread: i32, threads: i32): void {
  const dtable = <usize>load<u32>(p);
  const dy = <usize>load<u32>(p, 4);
  const ids = <usize>load<u32>(p, 8);
  const rows = load<i32>(p, 12);
  const width = load<i32>(p, 16);
  const vocab = load<u32>(p, 20);
  const blocks = (width + 3) >> 2;
  const from = share(blocks, thread, threads) << 2;
  const to = min(width, share(blocks, thread + 1, threads) << 2);
  for (let r = 0; r < rows; r++) {
    const id = load<u32>(ids + (<usize>r << 2));
    if (id >= vocab) continue;
    const target = dtable + (<usize>id * <usize>width << 2);
    const source = dy + (<usize>r * <usize>width << 2);
    for (let i = from; i < to; i += 4) {
      const o = <usize>i << 2;
      store4(target + o, to - i, f32x4.add(load4(target + o, to - i), load4(source + o, to - i)));
    }
  }
}
