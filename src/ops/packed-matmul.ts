// Products with packed weights (quantised blocks, 16-bit floats), multiplied as they lie in memory; no backward pass. linear and groupedLinear
// call these when their weight is packed. Block types round x to 8 bits (the rounding is in backend.ts).

import { showShape } from "../core/shape.ts";
import { empty, type Tensor, view } from "../tensor/tensor.ts";
import { expectIndices, expectNoGradient, expectNumbers, expectOneDevice, expectPacked, sizeOf, wrong } from "./check.ts";

/** x [..., K] by a packed w [N, K] -> [..., N]. */
export function packedLinear(x: Tensor, w: Tensor): Tensor {
  expectNumbers("packedLinear", "x", x);
  expectPacked("packedLinear", "w", w);
  expectOneDevice("packedLinear", x, w);
  expectNoGradient("packedLinear", x);
  const rank = x.shape.length;
  const [N, K] = w.shape;
  if (N === undefined || K === undefined || w.shape.length !== 2 || x.shape[rank - 1] !== K)
    throw wrong(
      "packedLinear",
      `x ${showShape(x.shape)} by w ${showShape(w.shape)}`,
      "x [..., K] by w [N, K]",
      "pass a weight as wide as x",
    );
  const M = sizeOf(x.shape, 0, rank - 1);
  const out = empty(x.storage.device, x.shape.with(rank - 1, N));
  if (M * N > 0) x.storage.device.kernels.packedMatmul({ out: view(out), x: view(x), w: view(w), M, N, K });
  return out;
}

/** out[s] = w[e]·x[s] for the rows of expert e, as groupedLinear, for a packed w [E, N, K]. */
export function packedGroupedLinear(x: Tensor, w: Tensor, offsets: Tensor): Tensor {
  expectNumbers("packedGroupedLinear", "x", x);
  expectPacked("packedGroupedLinear", "w", w);
  expectOneDevice("packedGroupedLinear", x, w);
  expectNoGradient("packedGroupedLinear", x);
  const [S, wide] = x.shape;
  const [E, N, K] = w.shape;
  if (E === undefined || N === undefined || K === undefined || S === undefined || x.shape.length !== 2 || wide !== K)
    throw wrong(
      "packedGroupedLinear",
      `x ${showShape(x.shape)} by w ${showShape(w.shape)}`,
      "x [S, K] by w [E, N, K]",
      "pass rows of two axes and stacked weights as wide as they are",
    );
  expectIndices("packedGroupedLinear", "offsets", offsets, [E + 1]);
  expectOneDevice("packedGroupedLinear", x, offsets);
  const out = empty(x.storage.device, [S, N]);
  if (S * N > 0)
    x.storage.device.kernels.packedGroupedMatmul({ out: view(out), x: view(x), w: view(w), offsets: view(offsets), S, E, N, K });
  return out;
}
