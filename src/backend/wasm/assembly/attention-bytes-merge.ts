// Results of chunks of keys, as attention over a cache of q8_0 makes them (attention-bytes.ts): a record is the largest score, the sum of weights, two words of nothing and sums of values. They
// are merged in the order of the chunks, so whoever computed one, a row has the same bits. Powers of two, as the weights are.

import { bound, isEmpty, keysAtMost } from "./attention-ranges";
import { share } from "./control";
import { exp2Negative4, log } from "./math";

/** Keys of a chunk, counted from a row's first; the same number stands in ../attention.ts. */
export const CHUNK: i32 = 1024;
const LN2: f64 = 0.6931471805599453;

// @ts-ignore: decorator
@inline
export function recordBytes(vBlocks: i32): usize {
  return 16 + (<usize>vBlocks << 7);
}

// @ts-ignore: decorator
@inline
export function chunksOf(keys: i32): i32 {
  return (keys + CHUNK - 1) / CHUNK;
}

/** Merges a chunk's result into the record, or begins it. */
export function join(record: usize, top: f32, total: f32, sums: usize, vBlocks: i32, begins: bool): void {
  const width = <usize>vBlocks << 7;
  if (begins) {
    store<f32>(record, top);
    store<f32>(record, total, 4);
    memory.copy(record + 16, sums, width);
    return;
  }
  const before = load<f32>(record);
  const after = before < top ? top : before;
  const a = exp2Negative4(f32x4.splat(before - after));
  const b = exp2Negative4(f32x4.splat(top - after));
  store<f32>(record, after);
  store<f32>(record, load<f32>(record, 4) * f32x4.extract_lane(a, 0) + total * f32x4.extract_lane(b, 0), 4);
  record += 16;
  for (let d: usize = 0; d < width; d += 16) {
    v128.store(record + d, f32x4.add(f32x4.mul(v128.load(record + d), a), f32x4.mul(v128.load(sums + d), b)));
  }
}

/** A merged record to head h of row r of the output. */
export function finish(p: usize, record: usize, r: i32, h: i32): void {
  const H = load<i32>(p, 36);
  const Dv = load<i32>(p, 48);
  const element = h / (H / load<i32>(p, 40)) * load<i32>(p, 68);
  const out = <usize>load<u32>(p) + (<usize>(r * H + h) * <usize>Dv << 2);
  const total = load<f32>(record, 4);
  const values = record + 16 + (<usize>(element & 31) << 2);
  const share = <f32>1 / total;
  for (let d: usize = 0; d < <usize>Dv << 2; d += 4) store<f32>(out + d, load<f32>(values + d) * share);
  store<f32>(<usize>load<u32>(p, 4) + (<usize>(r * H + h) << 2), <f32>(<f64>load<f32>(record) * LN2 + log(<f64>total)));
}

/** Merges the records of each row and head. Arguments: those of attentionBytes. */
export function attentionBytesMerge(p: usize, thread: i32, threads: i32): void {
  const first = <usize>load<u32>(p, 20);
  const last = <usize>load<u32>(p, 24);
  const R = load<i32>(p, 28);
  const H = load<i32>(p, 36);
  const vBlocks = load<i32>(p, 112);
  const size = recordBytes(vBlocks);
  const most = keysAtMost(p);
  const allChunks = <usize>chunksOf(most);
  const to = share(R * H, thread + 1, threads);
  for (let cell = share(R * H, thread, threads); cell < to; cell++) {
    const r = cell / H;
    if (isEmpty(first, last, r, most)) continue;
    const from = bound(load<i32>(first + (<usize>r << 2)), 0, most - 1);
    const count = bound(load<i32>(last + (<usize>r << 2)), 0, most - 1) - from + 1;
    const record = <usize>load<u32>(p, 116) + <usize>cell * allChunks * size;
    for (let chunk = 1; chunk < chunksOf(count); chunk++) {
      const other = record + <usize>chunk * size;
      join(record, load<f32>(other), load<f32>(other, 4), other + 16, vBlocks, false);
    }
    finish(p, record, r, cell % H);
  }
}
