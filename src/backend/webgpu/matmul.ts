// matmul: out [M, N] (+)= A·B for each matrix of a batch, either operand transposed: a group of invocations for each tile of the result (matmul-tile.ts).

import type { Kernels } from "../backend.ts";
import { tileGroupSize, tileSize, tileText, tilingFor } from "./matmul-tile.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function matmul(recorder: Recorder): Kernels["matmul"] {
  return ({ out, a, b, M, N, K, transposeA = false, transposeB = false, accumulate = false, batch = 1, ...strides }) => {
    const { outBatchStride = M * N, aBatchStride = M * K, bBatchStride = K * N } = strides;
    const tiling = tilingFor(M);
    const { height, width } = tileSize(tiling);
    const tileColumns = Math.ceil(N / width);
    const tiles = Math.ceil(M / height) * tileColumns;
    recorder.run({
      kernel: "matmul",
      variant: `${transposeA} ${transposeB} ${height} ${width}`,
      operands: { out: write(out), a: read(a), b: read(b) },
      integers: { M, N, K, tileColumns, tiles, outBatchStride, aBatchStride, bBatchStride, accumulate: Number(accumulate) },
      workgroups: batch * tiles,
      groupSize: tileGroupSize,
      work: batch * M * N * K,
      text: ({ out, a, b }) => {
        const { declarations, body } = tileText(tiling, {
          rowEnd: "p.M",
          columnEnd: "p.N",
          kEnd: "p.K",
          a: (m, k) => a(`matrix * p.aBatchStride + ${transposeA ? `${k} * p.M + ${m}` : `${m} * p.K + ${k}`}`),
          b: (k, n) => b(`matrix * p.bBatchStride + ${transposeB ? `${n} * p.K + ${k}` : `${k} * p.N + ${n}`}`),
          transposeA,
          transposeB,
          store: (m, n, sum) => `
      let at = matrix * p.outBatchStride + ${m} * p.N + ${n};
      if (p.accumulate != 0) { ${sum} += ${out("at")}; }
      ${out("at")} = ${sum};`,
        });
        return {
          declarations,
          body: `
  let matrix = block / p.tiles;
  let row0 = (block % p.tiles) / p.tileColumns * ${height};
  let column0 = block % p.tileColumns * ${width};${body}`,
        };
      },
    });
  };
}
