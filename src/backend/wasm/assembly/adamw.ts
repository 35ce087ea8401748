// One AdamW step over n elements. Arguments: param, grad, m, v, n, factor, lr, beta1, beta2, eps, weightDecay, c1, c2. factor[0] < 0
// leaves everything as it is.

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
  const lr = load<f32>(p, 24);
  const beta1 = load<f32>(p, 28);
  const beta2 = load<f32>(p, 32);
  const eps = v128.load32_splat(p, 36);
  const decay = f32x4.splat(<f32>(1.0 - <f64>lr * <f64>load<f32>(p, 40)));
  const stepSize = f32x4.splat(<f32>(<f64>lr / <f64>load<f32>(p, 44)));
  const rootC2 = f32x4.splat(<f32>(1.0 / sqrt<f64>(<f64>load<f32>(p, 48))));
  const b1 = f32x4.splat(beta1);
  const b2 = f32x4.splat(beta2);
  const r1 = f32x4.splat(<f32>(1.0 - <f64>beta1));
  const r2 = f32x4.splat(<f32>(1.0 - <f64>beta2));
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
