// packedMatmul: products with one packed matrix.

import type { Kernels } from "../backend.ts";
import { packedProduct } from "./packed-product.ts";
import type { Recorder } from "./recorder.ts";

export function packedMatmul(recorder: Recorder): Kernels["packedMatmul"] {
  return ({ out, x, w, M, N, K }) => packedProduct(recorder, { kernel: "packedMatmul", out, x, w, offsets: undefined, S: M, E: 1, N, K });
}
