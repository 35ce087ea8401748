// Rotary position embedding (Su et al. 2021) of a part of each head. The backward pass rotates the other way.

import { showShape } from "../core/shape.ts";
import { addGrad, attach } from "../tensor/autograd.ts";
import { empty, type Tensor, view } from "../tensor/tensor.ts";
import { expectIndices, expectNumbers, expectOneDevice, expectRank, expectShape, expectWhole, wrong } from "./check.ts";

/** cos and sin of every angle, each [P, dims/2]; row p is position p. */
export type RopeTables = { readonly cos: Tensor; readonly sin: Tensor };

export type RopeOptions = {
  /** First rotated element of each head. */
  readonly offset: number;
  /** How many are rotated; even. */
  readonly dims: number;
  /** Pairs (2i, 2i+1), DeepSeek's layout; otherwise (i, i + dims/2). */
  readonly interleaved: boolean;
};

/** x [R, heads, width], positions i32 [R] -> the same shape; the elements outside offset..offset+dims-1 are copied. Positions outside the tables are clamped. */
export function rope(x: Tensor, positions: Tensor, tables: RopeTables, options: RopeOptions): Tensor {
  const { cos, sin } = tables;
  const { offset, dims, interleaved } = options;
  expectNumbers("rope", "x", x);
  expectNumbers("rope", "cos", cos);
  expectNumbers("rope", "sin", sin);
  expectRank("rope", "x", x, 3, "R, heads, width");
  const [rows, heads, width] = x.shape as [number, number, number];
  expectIndices("rope", "positions", positions, [rows]);
  expectWhole("rope", "dims", dims, 0, width);
  expectWhole("rope", "offset", offset, 0, width - dims);
  if (dims % 2 !== 0) throw wrong("rope", `dims ${dims}`, "an even number", "elements are rotated in pairs");
  if (cos.shape.length !== 2 || cos.shape[1] !== dims / 2 || cos.shape[0] === 0) {
    throw wrong("rope", `cos ${showShape(cos.shape)}`, `cos [P, ${dims / 2}] with P >= 1`, "make the tables for these dims");
  }
  expectShape("rope", "sin", sin, cos.shape);
  expectOneDevice("rope", x, positions);
  expectOneDevice("rope", x, cos);
  expectOneDevice("rope", x, sin);
  const out = empty(x.storage.device, x.shape);
  const tableRows = cos.shape[0] as number;
  const rotate = (to: Tensor, from: Tensor, inverse: boolean): void =>
    x.storage.device.kernels.rope({
      out: view(to),
      x: view(from),
      positions: view(positions),
      cos: view(cos),
      sin: view(sin),
      tableRows,
      rows,
      heads,
      width,
      offset,
      dims,
      interleaved,
      inverse,
      xRowStride: heads * width,
      outRowStride: heads * width,
    });
  if (rows * heads * width > 0) rotate(out, x, false);
  return attach("rope", out, [x], (dy) => {
    const dx = empty(x.storage.device, x.shape);
    rotate(dx, dy, true);
    addGrad(x, dx);
  });
}
