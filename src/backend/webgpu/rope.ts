// rope: rotary position embedding of part of each head (Su et al. 2021). One invocation for each pair of elements, and for each element that is only copied;
// so it may work in place. A rotation is written with explicit multiply-adds: the same bits whatever the layout.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function rope(recorder: Recorder): Kernels["rope"] {
  return ({ out, x, positions, cos, sin, tableRows, rows, heads, width, offset, dims, interleaved, inverse = false, ...strides }) => {
    const half = dims / 2;
    const units = width - half;
    recorder.run({
      kernel: "rope",
      variant: interleaved ? "interleaved" : "",
      operands: { out: write(out), x: read(x), positions: read(positions, "i32"), cos: read(cos), sin: read(sin) },
      integers: { tableRows, heads, width, first: offset, dims, half, units, ...strides },
      numbers: { sign: inverse ? -1 : 1 },
      invocations: rows * heads * units,
      text: ({ out, x, positions, cos, sin }) => `
  let unit = i % p.units;
  let row = i / p.units / p.heads;
  let head = i / p.units % p.heads * p.width;
  let source = row * p.xRowStride + head;
  let place = row * p.outRowStride + head;
  if (unit >= p.half) {
    // What is not rotated: the elements before, then those behind.
    let copied = unit - p.half;
    let element = copied + select(p.dims, 0u, copied < p.first);
    ${out("place + element")} = ${x("source + element")};
    return;
  }
  let position = u32(clamp(${positions("row")}, 0, i32(p.tableRows) - 1));
  let c = ${cos("position * p.half + unit")};
  let s = ${sin("position * p.half + unit")} * p.sign;
  let one = p.first + ${interleaved ? "2 * unit" : "unit"};
  let other = one + ${interleaved ? "1" : "p.half"};
  let a = ${x("source + one")};
  let b = ${x("source + other")};
  ${out("place + one")} = fma(a, c, -(b * s));
  ${out("place + other")} = fma(b, c, a * s);`,
    });
  };
}
