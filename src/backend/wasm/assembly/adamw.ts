// One AdamW step over n elements. Arguments: param, grad, m, v, n, factor, beta1, beta2, rest1 = 1 - beta1, rest2 = 1 - beta2, eps,
// decay = 1 - lr·weightDecay, stepSize = lr/c1, inverseRoot = 1/sqrt(c2), computed by the host in double precision. factor[0] < 0 leaves everything as it is.

import { share } from "./control";
import { load4, store4 } from "./lanes";

export function adamw(p: usize, thread: i32, threads: i32): void {
  const param = <usize>load<u32>(p);
  const grad = <usize>load<u32>(p, 4);
  const m = <usize>load<u32>(p, 8);
  const v = <usize>load<u32>(p, 12);
  const n = load<i32>(p, 16);
  const factor = load<f32>(<usize>load<u32>(p, 20));
  if (!(factor >= 0)) return;
  const b1 = v128.load32_splat(p, 24);
  const b2 = v128.load32_splat(p, 28);
  const r1 = v128.load32_splat(p, 32);
  const r2 = v128.load32_splat(p, 36);
  const eps = v128.load32_splat(p, 40);
  const decay = v128.load32_splat(p, 44);
  const stepSize = v128.load32_splat(p, 48);
  const rootC2 = v128.load32_splat(p, 52);
  const scale = f32x4.splat(factor);
  const blocks = (n + 3) >> 2;
  const end = share(blocks, thread + 1, threads) << 2;
  for (let i = share(blocks, thread, threads) << 2; i < end; i += 4) {
    const count = min(4, n - i);
    const at = <usize>i << 2;
    const g = f32x4.mul(load4(grad + at, count), scale);
    const m1 = f32x4.add(f32x4.mul(load4(m + at, count), b1), f32x4.mul(g, r1));
    const v1 = f32x4.add(f32x4.mul(load4(v + at, count), b2), f32x4.mul(f32x4.mul(g, g), r2));
    store4(m + at, count, m1);
    store4(v + at, count, v1);
    const step = f32x4.div(f32x4.mul(m1, stepSize), f32x4.add(f32x4.mul(f32x4.sqrt(v1), rootC2), eps));
    store4(param + at, count, f32x4.sub(f32x4.mul(load4(param + at, count), decay), step));
  }
}
