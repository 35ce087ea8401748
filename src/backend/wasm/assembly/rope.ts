// Rotary embedding. Arguments: out, x, positions, cos, sin, tableRows, rows, heads, width, offset, dims, interleaved, inverse, xRowStride,
// outRowStride. Scalar arithmetic without fusing: the same bits whatever the layout. Positions are clamped to the tables.

import { share } from "./control";

export function rope(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const positions = <usize>load<u32>(p, 8);
  const cos = <usize>load<u32>(p, 12);
  const sin = <usize>load<u32>(p, 16);
  const tableRows = load<i32>(p, 20);
  const rows = load<i32>(p, 24);
  const heads = load<i32>(p, 28);
  const width = <usize>load<i32>(p, 32);
  const offset = <usize>load<i32>(p, 36);
  const dims = <usize>load<i32>(p, 40);
  const interleaved = load<i32>(p, 44) != 0;
  const sign: f32 = load<i32>(p, 48) != 0 ? -1 : 1;
  const xRowStride = <usize>load<i32>(p, 52) << 2;
  const outRowStride = <usize>load<i32>(p, 56) << 2;
  const half = dims >> 1;
  const step: usize = interleaved ? 8 : 4;
  const partner: usize = interleaved ? 4 : half << 2;
  const inPlace = out == x;
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const position = <usize>max(0, min(tableRows - 1, load<i32>(positions + (<usize>r << 2))));
    const c = cos + (position * half << 2);
    const s = sin + (position * half << 2);
    for (let h = 0; h < heads; h++) {
      const from = x + <usize>r * xRowStride + (<usize>h * width << 2);
      const target = out + <usize>r * outRowStride + (<usize>h * width << 2);
      if (!inPlace) {
        memory.copy(target, from, offset << 2);
        const tail = offset + dims;
        memory.copy(target + (tail << 2), from + (tail << 2), (width - tail) << 2);
      }
      let a = from + (offset << 2);
      let o = target + (offset << 2);
      for (let i: usize = 0; i < half; i++) {
        const cosine = load<f32>(c + (i << 2));
        const sine = load<f32>(s + (i << 2)) * sign;
        const first = load<f32>(a);
        const second = load<f32>(a + partner);
        store<f32>(o, first * cosine - second * sine);
        store<f32>(o + partner, second * cosine + first * sine);
        a += step;
        o += step;
      }
    }
  }
}
