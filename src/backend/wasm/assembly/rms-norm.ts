// RMSNorm by rows and its gradients. rmsNorm(out, x, weight, rows, width, eps); rmsNormBackward(dx, dy, x, weight, inverse, rows, width, eps) also
// leaves 1/rms of each row in `inverse`; rmsNormWeightGrad(dweight, dy, x, inverse, rows, width) gives each thread some columns, so that every
// element is one chain over the rows.

import { share } from "./control";
import { load4, store4 } from "./lanes";
import { madd, sumLanes } from "./math";

// @ts-ignore: decorator
@inline
function inverseRms(row: usize, width: i32, eps: f32): f32 {
  let sum = f32x4.splat(0);
  for (let i = 0; i < width; i += 4) {
    const v = load4(row + (<usize>i << 2), width - i);
    sum = madd(v, v, sum);
  }
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
    for (let i = 0; i < width; i += 4) {
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
    let dot = f32x4.splat(0);
    for (let i = 0; i < width; i += 4) {
      const o = <usize>i << 2;
      const count = width - i;
      dot = madd(f32x4.mul(load4(dy + at + o, count), load4(weight + o, count)), load4(x + at + o, count), dot);
    }
    const pull = f32x4.splat((sumLanes(dot) * inverse * inverse) / <f32>width);
    const scale = f32x4.splat(inverse);
    for (let i = 0; i < width; i += 4) {
      const o = <usize>i << 2;
      const count = width - i;
      const g = f32x4.mul(load4(dy + at + o, count), load4(weight + o, count));
      store4(dx + at + o, count, f32x4.mul(scale, f32x4.sub(g, f32x4.mul(load4(x + at + o, count), pull))));
    }
  }
}

export function rmsNormWeightGrad(p: usize, thread: i32, threads: i32): void {
  const dweight = <usize>load<u32>(p);
  const dy = <usize>load<u32>(p, 4);
  const x = <usize>load<u32>(p, 8);
  const inverses = <usize>load<u32>(p, 12);
  const rows = load<i32>(p, 16);
  const width = load<i32>(p, 20);
  const blocks = (width + 3) >> 2;
  const to = share(blocks, thread + 1, threads);
  for (let block = share(blocks, thread, threads); block < to; block++) {
    const count = width - (block << 2);
    let at = <usize>block << 4;
    let sum = f32x4.splat(0);
    for (let r = 0; r < rows; r++) {
      sum = madd(f32x4.mul(load4(dy + at, count), v128.load32_splat(inverses + (<usize>r << 2))), load4(x + at, count), sum);
      at += <usize>width << 2;
    }
    const target = dweight + (<usize>block << 4);
    store4(target, count, f32x4.add(load4(target, count), sum));
  }
}
