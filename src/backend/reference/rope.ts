// rope: rotary position embedding of part of each head (Su et al. 2021); `inverse` is its own backward pass.

import type { Kernels } from "../backend.ts";
import { floats, ints, span } from "./buffer.ts";

export const rope: Kernels["rope"] = (args) => {
  const { tableRows, rows, heads, width, offset, dims, interleaved, inverse = false, xRowStride, outRowStride } = args;
  const half = dims / 2;
  const out = floats(args.out, span([rows, heads, width], [outRowStride, width, 1]));
  const x = floats(args.x, span([rows, heads, width], [xRowStride, width, 1]));
  const positions = ints(args.positions, rows);
  const cos = floats(args.cos, tableRows * half); // [P, dims/2]
  const sin = floats(args.sin, tableRows * half);
  for (let r = 0; r < rows; r++) {
    const position = Math.max(0, Math.min(positions[r]!, tableRows - 1));
    for (let h = 0; h < heads; h++) {
      const from = r * xRowStride + h * width;
      const to = r * outRowStride + h * width;
      for (let c = 0; c < width; c++) {
        if (c < offset || c >= offset + dims) out[to + c] = x[from + c]!;
      }
      for (let i = 0; i < half; i++) {
        const first = offset + (interleaved ? 2 * i : i);
        const second = offset + (interleaved ? 2 * i + 1 : i + half);
        const c = cos[position * half + i]!;
        const s = inverse ? -sin[position * half + i]! : sin[position * half + i]!;
        const a = x[from + first]!;
        const b = x[from + second]!;
        out[to + first] = a * c - b * s;
        out[to + second] = b * c + a * s;
      }
    }
  }
};
