// Elementwise with broadcasting. Arguments: kind, out, a, b, n, bRepeat, bPeriod, accumulate; b[(i / bRepeat) mod bPeriod]. Four elements at a
// time; b comes as a vector where its index moves with i, as a splat where it stands still, else lane by lane.

import { share } from "./control";
import { load4, store4 } from "./lanes";

// @ts-ignore: decorator
@inline
function apply(kind: i32, a: v128, b: v128): v128 {
  switch (kind) {
    case 0: return f32x4.add(a, b);
    case 1: return f32x4.sub(a, b);
    case 2: return f32x4.mul(a, b);
    case 3: return f32x4.div(a, b);
    case 4: return f32x4.min(a, b);
    case 5: return f32x4.max(a, b);
    case 6: return v128.and(f32x4.le(a, b), f32x4.splat(1));
    default: return v128.and(f32x4.lt(a, b), f32x4.splat(1));
  }
}

export function binary(p: usize, thread: i32, threads: i32): void {
  const kind = load<i32>(p);
  const out = <usize>load<u32>(p, 4);
  const a = <usize>load<u32>(p, 8);
  const b = <usize>load<u32>(p, 12);
  const n = load<i32>(p, 16);
  const repeat = load<i32>(p, 20);
  const period = load<i32>(p, 24);
  const accumulate = load<i32>(p, 28) != 0;
  const blocks = (n + 3) >> 2;
  const from = share(blocks, thread, threads);
  const end = share(blocks, thread + 1, threads) << 2;
  const same = repeat == 1 && period >= n;
  let i = from << 2;
  // The sums of residual streams: nothing to decide inside the loop.
  if (kind == 0 && same && !accumulate) {
    for (; i + 8 <= min(n, end); i += 8) {
      const at = <usize>i << 2;
      const first = f32x4.add(v128.load(a + at), v128.load(b + at));
      const second = f32x4.add(v128.load(a + at, 16), v128.load(b + at, 16));
      v128.store(out + at, first);
      v128.store(out + at, second, 16);
    }
  }
  for (; i < end; i += 4) {
    const count = min(4, n - i);
    const at = <usize>i << 2;
    let y: v128;
    if (same) y = load4(b + at, count);
    else if (period == 1) y = v128.load32_splat(b);
    else if (repeat == 1) {
      const j = i % period;
      if (j + 4 <= period) y = v128.load(b + (<usize>j << 2));
      else y = lanes(b, i, count, 1, period);
    } else y = lanes(b, i, count, repeat, period);
    let z = apply(kind, load4(a + at, count), y);
    if (accumulate) z = f32x4.add(load4(out + at, count), z);
    store4(out + at, count, z);
  }
}

function lanes(b: usize, i: i32, count: i32, repeat: i32, period: i32): v128 {
  let y = v128.load32_splat(b + (<usize>((i / repeat) % period) << 2));
  if (count > 1) y = f32x4.replace_lane(y, 1, load<f32>(b + (<usize>(((i + 1) / repeat) % period) << 2)));
  if (count > 2) y = f32x4.replace_lane(y, 2, load<f32>(b + (<usize>(((i + 2) / repeat) % period) << 2)));
  if (count > 3) y = f32x4.replace_lane(y, 3, load<f32>(b + (<usize>(((i + 3) / repeat) % period) << 2)));
  return y;
}
