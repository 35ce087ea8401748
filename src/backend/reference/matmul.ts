// matmul: out [M, N] (+)= A·B for each matrix of a batch, either operand transposed.

import type { Kernels } from "../backend.ts";
import { floats, span } from "./buffer.ts";

export const matmul: Kernels["matmul"] = (args) => {
  const { M, N, K, transposeA = false, transposeB = false, accumulate = false, batch = 1 } = args;
  const { outBatchStride = M * N, aBatchStride = M * K, bBatchStride = K * N } = args;
  const out = floats(args.out, span([batch, M, N], [outBatchStride, N, 1]));
  const a = floats(args.a, span([batch, M, K], [aBatchStride, K, 1]));
  const b = floats(args.b, span([batch, K, N], [bBatchStride, N, 1]));
  for (let n = 0; n < batch; n++) {
    for (let i = 0; i < M; i++) {
      for (let j = 0; j < N; j++) {
        let sum = 0;
        for (let k = 0; k < K; k++) {
          const left = a[n * aBatchStride + (transposeA ? k * M + i : i * K + k)]!;
          const right = b[n * bBatchStride + (transposeB ? j * K + k : k * N + j)]!;
          sum += left * right;
        }
        const at = n * outBatchStride + i * N + j;
        out[at] = accumulate ? out[at]! + sum : sum;
      }
    }
  }
};
