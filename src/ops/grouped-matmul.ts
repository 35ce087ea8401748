// The linear layers of all experts at once: rows sorted by expert (dispatch.ts), each group times its own weight.

import { isPackedType } from "../core/dtype.ts";
import { showShape } from "../core/shape.ts";
import { addGrad, attach, gradToAddTo } from "../tensor/autograd.ts";
import { empty, type Tensor, view } from "../tensor/tensor.ts";
import { expectIndices, expectNumbers, expectOneDevice, wrong } from "./check.ts";
import { fillWith } from "./fill.ts";
import { packedGroupedLinear } from "./packed-matmul.ts";

/**
 * out[s] = w[e]·x[s] for the rows s in offsets[e]..offsets[e+1]-1. x [S, K], w [E, N, K], offsets i32 [E+1] -> [S, N].
 * The offsets are those of dispatch: they ascend from 0 to S. (Rows that they leave out are not written.)
 * A packed w has no gradient.
 */
export function groupedLinear(x: Tensor, w: Tensor, offsets: Tensor): Tensor {
  if (isPackedType(w.dtype)) return packedGroupedLinear(x, w, offsets);
  expectNumbers("groupedLinear", "x", x);
  expectNumbers("groupedLinear", "w", w);
  expectOneDevice("groupedLinear", x, w);
  const [S, K] = x.shape;
  const [E, N, wide] = w.shape;
  if (
    x.shape.length !== 2 ||
    w.shape.length !== 3 ||
    S === undefined ||
    K === undefined ||
    E === undefined ||
    N === undefined ||
    wide !== K
  ) {
    const expected = x.shape.length === 2 ? `w [E, N, ${K}]` : "x [S, K]";
    throw wrong(
      "groupedLinear",
      `x ${showShape(x.shape)} by w ${showShape(w.shape)}`,
      expected,
      "pass rows of two axes and stacked weights as wide as they are",
    );
  }
  expectIndices("groupedLinear", "offsets", offsets, [E + 1]);
  expectOneDevice("groupedLinear", x, offsets);
  const { device } = x.storage;
  const cacheW = w.node === undefined; // computed weights are used once
  const out = empty(device, [S, N]);
  if (K === 0 || E === 0) fillWith(out, 0);
  else if (S * N > 0)
    device.kernels.groupedMatmul({ out: view(out), x: view(x), w: view(w), offsets: view(offsets), S, E, N, K, transposeW: true, cacheW });
  return attach("groupedLinear", out, [x, w], (dy) => {
    if (E === 0 || K === 0) return;
    if (x.requiresGrad) {
      const dx = empty(device, x.shape);
      device.kernels.groupedMatmul({
        out: view(dx),
        x: view(dy),
        w: view(w),
        offsets: view(offsets),
        S,
        E,
        N: K,
        K: N,
        transposeW: false,
        cacheW,
      });
      addGrad(x, dx);
    }
    const dw = gradToAddTo(w);
    if (dw) device.kernels.groupedMatmulWeightGrad({ dw: view(dw), dy: view(dy), x: view(x), offsets: view(offsets), S, E, N, K });
  });
}
