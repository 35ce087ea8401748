// RMSNorm by rows and its gradients. rmsNorm(out, x, weight, rows, width, eps); rmsNormBackward(dx, dy, x, weight, inverse, rows, width, eps) also
// leaves 1/rms of each row in `inverse`; rmsNormWeightGrad(dweight, dy, x, inverse, rows, width) gives each thread some columns, so that every
// element is one chain over the rows.

import { share } from "./control";
import { load4, store4 } from "./lanes";
import { madd, sumLanes } from "./math";

// @ts-ignore: decorator
@inline
function inverseRms(row: usize, width: i32, eps: f32): f32 {
  let even = f32x4.splat(0);
  let odd = f32x4.splat(0);
  let i = 0;
  for (; i + 8 <= width; i += 8) {
    const v = v128.load(row + (<usize>i << 2));
    const w = v128.load(row + (<usize>i << 2), 16);
    even = madd(v, v, even);
    odd = madd(w, w, odd);
  }
  for (; i < width; i += 4) {
    const v = load4(row + (<usize>i << 2), width - i);
    even = madd(v, v, even);
  }
  const sum = f32x4.add(even, odd);
  return <f32>(1.0 / sqrt<f64>(<f64>sumLanes(sum) / <f64>width + <f64>eps));
}

export function rmsNorm(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const weight = <usize>load<u32>(p, 8);
  const rows = load<i32>(p, 12);
  const width = load<i32>(p, 16);
  const eps = load<f32>(p, 20);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const at = <usize>r * <usize>width << 2;
    const inverse = f32x4.splat(inverseRms(x + at, width, eps));
    let i = 0;
    for (; i + 8 <= width; i += 8) {
      const o = <usize>i << 2;
      const first = f32x4.mul(f32x4.mul(v128.load(x + at + o), inverse), v128.load(weight + o));
      const second = f32x4.mul(f32x4.mul(v128.load(x + at + o, 16), inverse), v128.load(weight + o, 16));
      v128.store(out + at + o, first);
      v128.store(out + at + o, second, 16);
    }
    for (; i < width; i += 4) {
      const o = <usize>i << 2;
      const count = width - i;
      store4(out + at + o, count, f32x4.mul(f32x4.mul(load4(x + at + o, count), inverse), load4(weight + o, count)));
    }
  }
}

/** Few elements cancel almost wholly (one element: all but eps): double precision. */
function narrowBackward(dx: usize, dy: usize, x: usize, weight: usize, width: i32, eps: f32): void {
  let squares: f64 = 0;
  let dot: f64 = 0;
  for (let i: usize = 0; i < <usize>width; i++) {
    const value = <f64>load<f32>(x + (i << 2));
    squares += value * value;
    dot += <f64>load<f32>(dy + (i << 2)) * <f64>load<f32>(weight + (i << 2)) * value;
  }
  const inverse = 1.0 / sqrt<f64>(squares / <f64>width + <f64>eps);
  const pull = (dot * inverse * inverse) / <f64>width;
  for (let i: usize = 0; i < <usize>width; i++) {
    const g = <f64>load<f32>(dy + (i << 2)) * <f64>load<f32>(weight + (i << 2));
    store<f32>(dx + (i << 2), <f32>(inverse * (g - <f64>load<f32>(x + (i << 2)) * pull)));
  }
}

export function rmsNormBackward(p: usize, thread: i32, threads: i32): void {
  const dx = <usize>load<u32>(p);
  const dy = <usize>load<u32>(p, 4);
  const x = <usize>load<u32>(p, 8);
  const weight = <usize>load<u32>(p, 12);
  const inverses = <usize>load<u32>(p, 16);
  const rows = load<i32>(p, 20);
  const width = load<i32>(p, 24);
  const eps = load<f32>(p, 28);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const at = <usize>r * <usize>width << 2;
    const inverse = inverseRms(x + at, width, eps);
    store<f32>(inverses + (<usize>r << 2), inverse);
    if (width < 8) {
      narrowBackward(dx + at, dy + at, x + at, weight, width, eps);
      continue;
    }
    let even = f32x4.splat(0);
    let odd = f32x4.splat(0);
    let i = 0;
    for (; i + 8 <= width; i += 8) {
      const o = <usize>i << 2;
      even = madd(f32x4.mul(v128.load(dy + at + o), v128.load(weight + o)), v128.load(x + at + o), even);
      odd = madd(f32x4.mul(v128.load(dy + at + o, 16), v128.load(weight + o, 16)), v128.load(x + at + o, 16), odd);
    }
    for (; i < width; i += 4) {
      const o = <usize>i << 2;
      const count = width - i;
      even = madd(f32x4.mul(load4(dy + at + o, count), load4(weight + o, count)), load4(x + at + o, count), even);
    }
    const pull = f32x4.splat((sumLanes(f32x4.add(even, odd)) * inverse * inverse) / <f32>width);
    const scale = f32x4.splat(inverse);
    for (i = 0; i + 8 <= width; i += 8) {
      const o = <usize>i << 2;
      const g0 = f32x4.mul(v128.load(dy + at + o), v128.load(weight + o));
      const g1 = f32x4.mul(v128.load(dy + at + o, 16), v128.load(weight + o, 16));
      const d0 = f32x4.mul(scale, f32x4.sub(g0, f32x4.mul(v128.load(x + at + o), pull)));
      const d1 = f32x4.mul(scale, f32x4.sub(g1, f32x4.mul(v128.load(x + at + o, 16), pull)));
      v128.store(dx + at + o, d0);
      v128.store(dx + at + o, d1, 16);
    }
    for (; i < width; i += 4) {
      const o = <usize>i << 2;
      const count = width - i;
      const g = f32x4.mul(load4(dy + at + o, count), load4(weight + o, count));
      store4(dx + at + o, count, f32x4.mul(scale, f32x4.sub(g, f32x4.mul(load4(x + at + o, count), pull))));
    }
  }
}

function quadGrad(dweight: usize, dy: usize, x: usize, inverses: usize, rows: i32, step: usize, count: i32): void {
  let sum = f32x4.splat(0);
  for (let r = 0; r < rows; r++) {
    sum = madd(f32x4.mul(load4(dy, count), v128.load32_splat(inverses + (<usize>r << 2))), load4(x, count), sum);
    dy += step;
    x += step;
  }
  store4(dweight, count, f32x4.add(load4(dweight, count), sum));
}

/** quadGrad for 16 columns. */
function lineGrad(dweight: usize, dy: usize, x: usize, inverses: usize, rows: i32, step: usize): void {
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  for (let r = 0; r < rows; r++) {
    const inverse = v128.load32_splat(inverses + (<usize>r << 2));
    s0 = madd(f32x4.mul(v128.load(dy), inverse), v128.load(x), s0);
    s1 = madd(f32x4.mul(v128.load(dy, 16), inverse), v128.load(x, 16), s1);
    s2 = madd(f32x4.mul(v128.load(dy, 32), inverse), v128.load(x, 32), s2);
    s3 = madd(f32x4.mul(v128.load(dy, 48), inverse), v128.load(x, 48), s3);
    dy += step;
    x += step;
  }
  const sum0 = f32x4.add(v128.load(dweight), s0);
  const sum1 = f32x4.add(v128.load(dweight, 16), s1);
  const sum2 = f32x4.add(v128.load(dweight, 32), s2);
  const sum3 = f32x4.add(v128.load(dweight, 48), s3);
  v128.store(dweight, sum0);
  v128.store(dweight, sum1, 16);
  v128.store(dweight, sum2, 32);
  v128.store(dweight, sum3, 48);
}

export function rmsNormWeightGrad(p: usize, thread: i32, threads: i32): void {
  const dweight = <usize>load<u32>(p);
  const dy = <usize>load<u32>(p, 4);
  const x = <usize>load<u32>(p, 8);
  const inverses = <usize>load<u32>(p, 12);
  const rows = load<i32>(p, 16);
  const width = load<i32>(p, 20);
  // A line of 16 columns at a time: memory moves by lines.
  const blocks = (width + 15) >> 4;
  const to = share(blocks, thread + 1, threads) << 4;
  for (let c = share(blocks, thread, threads) << 4; c < to; c += 16) {
    if (c + 16 <= width) lineGrad(dweight + (<usize>c << 2), dy + (<usize>c << 2), x + (<usize>c << 2), inverses, rows, <usize>width << 2);
    else {
      for (let i = c; i < width; i += 4) {
        const o = <usize>i << 2;
        quadGrad(dweight + o, dy + o, x + o, inverses, rows, <usize>width << 2, width - i);
      }
    }
  }
}
