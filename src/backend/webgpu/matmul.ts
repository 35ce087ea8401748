// matmul: out [M, N] (+)= A·B for each matrix of a batch, either operand transposed. A group computes a tile of 16 by 16 elements, one each, from tiles of A and B
// that it brings into workgroup memory; every element is one chain of fused multiply-adds over k.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

const tile = 16;

export function matmul(recorder: Recorder): Kernels["matmul"] {
  return ({ out, a, b, M, N, K, transposeA = false, transposeB = false, accumulate = false, batch = 1, ...strides }) => {
    const { outBatchStride = M * N, aBatchStride = M * K, bBatchStride = K * N } = strides;
    const columns = Math.ceil(N / tile);
    const tiles = Math.ceil(M / tile) * columns;
    recorder.run({
      kernel: "matmul",
      variant: `${transposeA} ${transposeB} ${accumulate}`,
      operands: { out: write(out), a: read(a), b: read(b) },
      integers: { M, N, K, columns, tiles, outBatchStride, aBatchStride, bBatchStride },
      workgroups: batch * tiles,
      groupSize: tile * tile,
      work: batch * M * N * K,
      text: ({ out, a, b }) => ({
        declarations: `
var<workgroup> a_tile: array<f32, ${tile * tile}>;
var<workgroup> b_tile: array<f32, ${tile * tile}>;`,
        body: `
  let matrix = block / p.tiles;
  let row0 = (block % p.tiles) / p.columns * ${tile};
  let column0 = block % p.columns * ${tile};
  let y = local / ${tile};
  let x = local % ${tile};
  let row = row0 + y;
  let column = column0 + x;
  var sum = 0.0;
  for (var k0 = 0u; k0 < p.K; k0 += ${tile}) {
    // Neighbours read neighbours; the tiles lie as [row, k] and [k, column].
    ${transposeA ? "let a_k = y; let a_row = x;" : "let a_k = x; let a_row = y;"}
    if (row0 + a_row < p.M && k0 + a_k < p.K) {
      let m = row0 + a_row;
      let k = k0 + a_k;
      a_tile[a_row * ${tile} + a_k] = ${a(`matrix * p.aBatchStride + ${transposeA ? "k * p.M + m" : "m * p.K + k"}`)};
    }
    ${transposeB ? "let b_k = x; let b_column = y;" : "let b_k = y; let b_column = x;"}
    if (column0 + b_column < p.N && k0 + b_k < p.K) {
      let n = column0 + b_column;
      let k = k0 + b_k;
      b_tile[b_k * ${tile} + b_column] = ${b(`matrix * p.bBatchStride + ${transposeB ? "n * p.K + k" : "k * p.N + n"}`)};
    }
    workgroupBarrier();
    let end = min(${tile}u, p.K - k0);
    for (var k = 0u; k < end; k++) { sum = fma(a_tile[y * ${tile} + k], b_tile[k * ${tile} + x], sum); }
    workgroupBarrier();
  }
  if (row < p.M && column < p.N) {
    let at = matrix * p.outBatchStride + row * p.N + column;
    ${out("at")} ${accumulate ? "+=" : "="} sum;
  }`,
      }),
    });
  };
}
