// Sum of squares in chunks of 4,096 elements: sumSquares writes the partial sums (partials, x, n), finishSum adds them in order (out,
// partials, count, accumulate). Doubles inside, so that thousands of parameters lose nothing.

import { share } from "./control";

const CHUNK: i32 = 4096;

export function sumSquares(p: usize, thread: i32, threads: i32): void {
  const partials = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const n = load<i32>(p, 8);
  const chunks = (n + CHUNK - 1) / CHUNK;
  const to = share(chunks, thread + 1, threads);
  for (let chunk = share(chunks, thread, threads); chunk < to; chunk++) {
    const stop = min(n, (chunk + 1) * CHUNK);
    let even = f64x2.splat(0);
    let odd = f64x2.splat(0);
    let i = chunk * CHUNK;
    for (; i + 4 <= stop; i += 4) {
      const v = v128.load(x + (<usize>i << 2));
      const low = f64x2.promote_low_f32x4(v);
      const high = f64x2.promote_low_f32x4(i64x2.shuffle(v, v, 1, 0));
      even = f64x2.add(even, f64x2.mul(low, low));
      odd = f64x2.add(odd, f64x2.mul(high, high));
    }
    const both = f64x2.add(even, odd);
    let sum = f64x2.extract_lane(both, 0) + f64x2.extract_lane(both, 1);
    for (; i < stop; i++) {
      const v = <f64>load<f32>(x + (<usize>i << 2));
      sum += v * v;
    }
    store<f64>(partials + (<usize>chunk << 3), sum);
  }
}

export function finishSum(p: usize, thread: i32, threads: i32): void {
  if (thread != 0) return;
  const out = <usize>load<u32>(p);
  const partials = <usize>load<u32>(p, 4);
  const count = load<i32>(p, 8);
  let sum: f64 = load<i32>(p, 12) != 0 ? <f64>load<f32>(out) : 0;
  for (let i = 0; i < count; i++) sum += load<f64>(partials + (<usize>i << 3));
  store<f32>(out, <f32>sum);
}
