// silu(gate)·up and its gradients. Arguments: swiglu(out, gate, up, n); swigluBackward(dGate, dUp, dOut, gate, up, n). Eight elements at a time:
// two vectors side by side, which the wide build fuses.

import { share } from "./control";
import { load4, store4 } from "./lanes";
import { one4, sigmoid4 } from "./math";

// @ts-ignore: decorator
@inline
function gated(gate: v128, up: v128): v128 {
  return f32x4.mul(f32x4.mul(gate, sigmoid4(gate)), up);
}

export function swiglu(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const gate = <usize>load<u32>(p, 4);
  const up = <usize>load<u32>(p, 8);
  const n = load<i32>(p, 12);
  const blocks = (n + 7) >> 3;
  const end = min(n, share(blocks, thread + 1, threads) << 3);
  let i = share(blocks, thread, threads) << 3;
  for (; i + 8 <= end; i += 8) {
    const at = <usize>i << 2;
    const first = gated(v128.load(gate + at), v128.load(up + at));
    const second = gated(v128.load(gate + at, 16), v128.load(up + at, 16));
    v128.store(out + at, first);
    v128.store(out + at, second, 16);
  }
  for (; i < end; i += 4) {
    const at = <usize>i << 2;
    store4(out + at, n - i, gated(load4(gate + at, n - i), load4(up + at, n - i)));
  }
}

/** d·up·silu'(gate), given s = sigmoid(gate). */
// @ts-ignore: decorator
@inline
function gateGradient(d: v128, gate: v128, up: v128, s: v128): v128 {
  const one = one4();
  return f32x4.mul(f32x4.mul(d, up), f32x4.mul(s, f32x4.add(one, f32x4.mul(gate, f32x4.sub(one, s)))));
}

export function swigluBackward(p: usize, thread: i32, threads: i32): void {
  const dGate = <usize>load<u32>(p);
  const dUp = <usize>load<u32>(p, 4);
  const dOut = <usize>load<u32>(p, 8);
  const gate = <usize>load<u32>(p, 12);
  const up = <usize>load<u32>(p, 16);
  const n = load<i32>(p, 20);
  const blocks = (n + 7) >> 3;
  const end = min(n, share(blocks, thread + 1, threads) << 3);
  let i = share(blocks, thread, threads) << 3;
  for (; i + 8 <= end; i += 8) {
    const at = <usize>i << 2;
    const g0 = v128.load(gate + at);
    const g1 = v128.load(gate + at, 16);
    const d0 = v128.load(dOut + at);
    const d1 = v128.load(dOut + at, 16);
    const s0 = sigmoid4(g0);
    const s1 = sigmoid4(g1);
    const dGate0 = gateGradient(d0, g0, v128.load(up + at), s0);
    const dGate1 = gateGradient(d1, g1, v128.load(up + at, 16), s1);
    const dUp0 = f32x4.mul(d0, f32x4.mul(g0, s0));
    const dUp1 = f32x4.mul(d1, f32x4.mul(g1, s1));
    v128.store(dGate + at, dGate0);
    v128.store(dGate + at, dGate1, 16);
    v128.store(dUp + at, dUp0);
    v128.store(dUp + at, dUp1, 16);
  }
  for (; i < end; i += 4) {
    const at = <usize>i << 2;
    const count = n - i;
    const g = load4(gate + at, count);
    const d = load4(dOut + at, count);
    const s = sigmoid4(g);
    store4(dGate + at, count, gateGradient(d, g, load4(up + at, count), s));
    store4(dUp + at, count, f32x4.mul(d, f32x4.mul(g, s)));
  }
}
