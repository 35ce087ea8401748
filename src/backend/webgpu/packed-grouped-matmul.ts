// packedGroupedMatmul: packedMatmul for each expert over the rows that were sorted to it.

import type { Kernels } from "../backend.ts";
import { packedProduct } from "./packed-product.ts";
import type { Recorder } from "./recorder.ts";

export function packedGroupedMatmul(recorder: Recorder): Kernels["packedGroupedMatmul"] {
  return (a) => packedProduct(recorder, { kernel: "packedGroupedMatmul", ...a });
}
