// silu(gate)·up and its gradients. Arguments: swiglu(out, gate, up, n); swigluBackward(dGate, dUp, dOut, gate, up, n).

import { share } from "./control";
import { load4, store4 } from "./lanes";
import { sigmoid4 } from "./math";

export function swiglu(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const gate = <usize>load<u32>(p, 4);
  const up = <usize>load<u32>(p, 8);
  const n = load<i32>(p, 12);
  const blocks = (n + 3) >> 2;
  const end = share(blocks, thread + 1, threads) << 2;
  for (let i = share(blocks, thread, threads) << 2; i < end; i += 4) {
    const count = min(4, n - i);
    const at = <usize>i << 2;
    const g = load4(gate + at, count);
    store4(out + at, count, f32x4.mul(f32x4.mul(g, sigmoid4(g)), load4(up + at, count)));
  }
}

export function swigluBackward(p: usize, thread: i32, threads: i32): void {
  const dGate = <usize>load<u32>(p);
  const dUp = <usize>load<u32>(p, 4);
  const dOut = <usize>load<u32>(p, 8);
  const gate = <usize>load<u32>(p, 12);
  const up = <usize>load<u32>(p, 16);
  const n = load<i32>(p, 20);
  const one = f32x4.splat(1);
  const blocks = (n + 3) >> 2;
  const end = share(blocks, thread + 1, threads) << 2;
  for (let i = share(blocks, thread, threads) << 2; i < end; i += 4) {
    const count = min(4, n - i);
    const at = <usize>i << 2;
    const g = load4(gate + at, count);
    const d = load4(dOut + at, count);
    const s = sigmoid4(g);
    const slope = f32x4.mul(s, f32x4.add(one, f32x4.mul(g, f32x4.sub(one, s))));
    store4(dGate + at, count, f32x4.mul(f32x4.mul(d, load4(up + at, count)), slope));
    store4(dUp + at, count, f32x4.mul(d, f32x4.mul(g, s)));
  }
}
