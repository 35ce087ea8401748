// x [outer, axis, inner] -> out [outer, inner]. Arguments: out, x, outer, axis, inner, accumulate. With inner 1 the row is summed in four lanes;
// otherwise each output element is one chain over the axis.

import { share } from "./control";
import { load4, store4 } from "./lanes";
import { sumLanes } from "./math";

export function sumAxis(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const outer = load<i32>(p, 8);
  const axis = load<i32>(p, 12);
  const inner = load<i32>(p, 16);
  const accumulate = load<i32>(p, 20) != 0;
  if (inner == 1) {
    const to = share(outer, thread + 1, threads);
    for (let o = share(outer, thread, threads); o < to; o++) {
      const row = x + (<usize>o * <usize>axis << 2);
      // Long rows (a whole tensor): sums of 1,024 elements are added in double precision, so the error does not grow with the length.
      let total: f64 = 0;
      for (let start = 0; start < axis; start += 1024) {
        const stop = min(axis, start + 1024);
        let sum = f32x4.splat(0);
        for (let i = start; i < stop; i += 4) sum = f32x4.add(sum, load4(row + (<usize>i << 2), stop - i));
        total += <f64>sumLanes(sum);
      }
      const at = out + (<usize>o << 2);
      store<f32>(at, accumulate ? load<f32>(at) + <f32>total : <f32>total);
    }
    return;
  }
  const blocks = (inner + 3) >> 2;
  const units = outer * blocks;
  const to = share(units, thread + 1, threads);
  const step = <usize>inner << 2;
  for (let unit = share(units, thread, threads); unit < to; unit++) {
    const o = unit / blocks;
    const i = (unit % blocks) << 2;
    const count = min(4, inner - i);
    let source = x + ((<usize>o * <usize>axis * <usize>inner + <usize>i) << 2);
    let sum = f32x4.splat(0);
    for (let k = 0; k < axis; k++) {
      sum = f32x4.add(sum, load4(source, count));
      source += step;
    }
    const at = out + ((<usize>o * <usize>inner + <usize>i) << 2);
    if (accumulate) sum = f32x4.add(load4(at, count), sum);
    store4(at, count, sum);
  }
}
