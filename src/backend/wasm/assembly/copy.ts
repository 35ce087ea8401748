// Strided copy over four dimensions (the host pads shorter shapes with 1). Arguments: out, x, shape[4], outStrides[4], xStrides[4] (elements),
// accumulate. The two outer dimensions are shared out among the threads; an inner run that is contiguous on both sides moves by vectors.

import { share } from "./control";

export function copy(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const n0 = load<i32>(p, 8);
  const n1 = load<i32>(p, 12);
  const n2 = load<i32>(p, 16);
  const n3 = load<i32>(p, 20);
  const o0 = load<i32>(p, 24) << 2;
  const o1 = load<i32>(p, 28) << 2;
  const o2 = load<i32>(p, 32) << 2;
  const o3 = load<i32>(p, 36) << 2;
  const x0 = load<i32>(p, 40) << 2;
  const x1 = load<i32>(p, 44) << 2;
  const x2 = load<i32>(p, 48) << 2;
  const x3 = load<i32>(p, 52) << 2;
  const accumulate = load<i32>(p, 56) != 0;
  const from = share(n0 * n1, thread, threads);
  const to = share(n0 * n1, thread + 1, threads);
  for (let unit = from; unit < to; unit++) {
    const i0 = unit / n1;
    const i1 = unit % n1;
    const outer = out + <usize>(i0 * o0 + i1 * o1);
    const inner = x + <usize>(i0 * x0 + i1 * x1);
    for (let i2 = 0; i2 < n2; i2++) {
      const o = outer + <usize>(i2 * o2);
      const s = inner + <usize>(i2 * x2);
      if (accumulate) addRun(o, s, n3, o3, x3);
      else copyRun(o, s, n3, o3, x3);
    }
  }
}

function copyRun(o: usize, s: usize, n: i32, oStep: i32, sStep: i32): void {
  let i = 0;
  if (oStep == 4 && sStep == 4) {
    for (; i + 4 <= n; i += 4) v128.store(o + (<usize>i << 2), v128.load(s + (<usize>i << 2)));
  }
  for (; i < n; i++) store<i32>(o + <usize>(i * oStep), load<i32>(s + <usize>(i * sStep)));
}

function addRun(o: usize, s: usize, n: i32, oStep: i32, sStep: i32): void {
  let i = 0;
  if (oStep == 4 && sStep == 4) {
    for (; i + 4 <= n; i += 4) {
      const at = o + (<usize>i << 2);
      v128.store(at, f32x4.add(v128.load(at), v128.load(s + (<usize>i << 2))));
    }
  }
  for (; i < n; i++) {
    const at = o + <usize>(i * oStep);
    store<f32>(at, load<f32>(at) + load<f32>(s + <usize>(i * sStep)));
  }
}
