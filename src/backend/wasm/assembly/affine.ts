// out = x·scale + shift, or added to out. Arguments: out, x, n, scale, shift, accumulate.

import { share } from "./control";
import { load4, store4 } from "./lanes";

export function affine(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const n = load<i32>(p, 8);
  const scale = v128.load32_splat(p, 12);
  const shift = v128.load32_splat(p, 16);
  const accumulate = load<i32>(p, 20) != 0;
  const blocks = (n + 3) >> 2;
  const end = share(blocks, thread + 1, threads) << 2;
  let i = share(blocks, thread, threads) << 2;
  // Gradients that are added up: pairs of vectors, which the wide build fuses.
  if (accumulate) {
    for (; i + 8 <= min(n, end); i += 8) {
      const at = <usize>i << 2;
      const first = f32x4.add(v128.load(out + at), f32x4.add(f32x4.mul(v128.load(x + at), scale), shift));
      const second = f32x4.add(v128.load(out + at, 16), f32x4.add(f32x4.mul(v128.load(x + at, 16), scale), shift));
      v128.store(out + at, first);
      v128.store(out + at, second, 16);
    }
  }
  for (; i < end; i += 4) {
    const count = min(4, n - i);
    const at = <usize>i << 2;
    let z = f32x4.add(f32x4.mul(load4(x + at, count), scale), shift);
    if (accumulate) z = f32x4.add(load4(out + at, count), z);
    store4(out + at, count, z);
  }
}
