// Softmax by rows and its gradient. softmax(out, x, rows, width); softmaxBackward(dx, dy, y, rows, width).

import { share } from "./control";
import { rowMax, sumExp } from "./cross-entropy";
import { load4, store4 } from "./lanes";
import { expNegative4, madd, sumLanes } from "./math";

export function softmax(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const rows = load<i32>(p, 8);
  const width = load<i32>(p, 12);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const at = <usize>r * <usize>width << 2;
    const top = rowMax(x + at, width);
    const shift = f32x4.splat(top);
    const scale = f32x4.splat(<f32>(1.0 / <f64>sumExp(x + at, width, top)));
    for (let i = 0; i < width; i += 4) {
      const o = at + (<usize>i << 2);
      store4(out + o, width - i, f32x4.mul(expNegative4(f32x4.sub(load4(x + o, width - i), shift)), scale));
    }
  }
}

export function softmaxBackward(p: usize, thread: i32, threads: i32): void {
  const dx = <usize>load<u32>(p);
  const dy = <usize>load<u32>(p, 4);
  const y = <usize>load<u32>(p, 8);
  const rows = load<i32>(p, 12);
  const width = load<i32>(p, 16);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const at = <usize>r * <usize>width << 2;
    let dot = f32x4.splat(0);
    for (let i = 0; i < width; i += 4) {
      const o = at + (<usize>i << 2);
      dot = madd(load4(dy + o, width - i), load4(y + o, width - i), dot);
    }
    const shift = f32x4.splat(sumLanes(dot));
    for (let i = 0; i < width; i += 4) {
      const o = at + (<usize>i << 2);
      store4(dx + o, width - i, f32x4.mul(load4(y + o, width - i), f32x4.sub(load4(dy + o, width - i), shift)));
    }
  }
}
