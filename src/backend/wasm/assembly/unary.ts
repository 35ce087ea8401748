// Elementwise functions and their gradients. Arguments: unary(kind, out, x, n); unaryBackward(kind, dx, dy, x, n, accumulate).

import { share } from "./control";
import { load4, store4 } from "./lanes";
import { exp4, log, sigmoid4 } from "./math";

// @ts-ignore: decorator
@inline
function tanh4(x: v128): v128 {
  // 2·sigmoid(2x) - 1 loses digits near 0: there the odd series up to x⁷ is used.
  const far = f32x4.sub(f32x4.mul(f32x4.splat(2), sigmoid4(f32x4.add(x, x))), f32x4.splat(1));
  const z = f32x4.mul(x, x);
  let s = f32x4.add(f32x4.mul(z, f32x4.splat(-0.05396825397)), f32x4.splat(0.1333333333));
  s = f32x4.add(f32x4.mul(z, s), f32x4.splat(-0.3333333333));
  s = f32x4.add(x, f32x4.mul(f32x4.mul(x, z), s));
  return v128.bitselect(s, far, f32x4.lt(f32x4.abs(x), f32x4.splat(0.15)));
}

function logVector(x: v128): v128 {
  let y = f32x4.splat(<f32>log(f32x4.extract_lane(x, 0)));
  y = f32x4.replace_lane(y, 1, <f32>log(f32x4.extract_lane(x, 1)));
  y = f32x4.replace_lane(y, 2, <f32>log(f32x4.extract_lane(x, 2)));
  return f32x4.replace_lane(y, 3, <f32>log(f32x4.extract_lane(x, 3)));
}

// @ts-ignore: decorator
@inline
function apply(kind: i32, x: v128): v128 {
  switch (kind) {
    case 0: return f32x4.neg(x);
    case 1: return exp4(x);
    case 2: return logVector(x);
    case 3: return f32x4.sqrt(x);
    case 4: return f32x4.div(f32x4.splat(1), x);
    case 5: return sigmoid4(x);
    case 6: return f32x4.mul(x, sigmoid4(x));
    case 7: return tanh4(x);
    case 8: return f32x4.mul(x, x);
    default: return f32x4.abs(x);
  }
}

// @ts-ignore: decorator
@inline
function slope(kind: i32, x: v128): v128 {
  const one = f32x4.splat(1);
  switch (kind) {
    case 0: return f32x4.splat(-1);
    case 1: return exp4(x);
    case 2: return f32x4.div(one, x);
    case 3: return f32x4.div(f32x4.splat(0.5), f32x4.sqrt(x));
    case 4: return f32x4.neg(f32x4.div(one, f32x4.mul(x, x)));
    case 5: {
      const s = sigmoid4(x);
      return f32x4.mul(s, f32x4.sub(one, s));
    }
    case 6: {
      const s = sigmoid4(x);
      return f32x4.mul(s, f32x4.add(one, f32x4.mul(x, f32x4.sub(one, s))));
    }
    case 7: {
      const t = tanh4(x);
      return f32x4.sub(one, f32x4.mul(t, t));
    }
    case 8: return f32x4.add(x, x);
    default: return f32x4.sub(v128.and(f32x4.gt(x, f32x4.splat(0)), one), v128.and(f32x4.lt(x, f32x4.splat(0)), one));
  }
}

export function unary(p: usize, thread: i32, threads: i32): void {
  const kind = load<i32>(p);
  const out = <usize>load<u32>(p, 4);
  const x = <usize>load<u32>(p, 8);
  const n = load<i32>(p, 12);
  const blocks = (n + 3) >> 2;
  const end = share(blocks, thread + 1, threads) << 2;
  for (let i = share(blocks, thread, threads) << 2; i < end; i += 4) {
    const count = min(4, n - i);
    const at = <usize>i << 2;
    store4(out + at, count, apply(kind, load4(x + at, count)));
  }
}

export function unaryBackward(p: usize, thread: i32, threads: i32): void {
  const kind = load<i32>(p);
  const dx = <usize>load<u32>(p, 4);
  const dy = <usize>load<u32>(p, 8);
  const x = <usize>load<u32>(p, 12);
  const n = load<i32>(p, 16);
  const accumulate = load<i32>(p, 20) != 0;
  const blocks = (n + 3) >> 2;
  const end = share(blocks, thread + 1, threads) << 2;
  for (let i = share(blocks, thread, threads) << 2; i < end; i += 4) {
    const count = min(4, n - i);
    const at = <usize>i << 2;
    let z = f32x4.mul(load4(dy + at, count), slope(kind, load4(x + at, count)));
    if (accumulate) z = f32x4.add(load4(dx + at, count), z);
    store4(dx + at, count, z);
  }
}
