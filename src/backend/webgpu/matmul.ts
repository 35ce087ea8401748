// matmul: out [M, N] (+)= A·B for each matrix of a batch, either operand transposed. A group of 64 invocations brings tiles of A and B into workgroup memory, where
// each invocation multiplies a block of rows by columns; few rows of A (decoding) have tiles of their own. Every element is one chain of fused multiply-adds
// over k, whatever the tile.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

const groupSize = 64;

/** Invocations of a group over rows and columns, rows and columns of each, and how much of k a tile holds. */
type Tiling = { readonly down: number; readonly across: number; readonly rows: number; readonly columns: number; readonly depth: number };

const square: Tiling = { down: 8, across: 8, rows: 4, columns: 4, depth: 16 };

function tilingFor(M: number): Tiling {
  return M > 4 ? square : { down: 1, across: groupSize, rows: M > 1 ? 4 : 1, columns: 1, depth: 32 };
}

export function matmul(recorder: Recorder): Kernels["matmul"] {
  return ({ out, a, b, M, N, K, transposeA = false, transposeB = false, accumulate = false, batch = 1, ...strides }) => {
    const { outBatchStride = M * N, aBatchStride = M * K, bBatchStride = K * N } = strides;
    const tiling = tilingFor(M);
    const { down, across, rows, columns, depth } = tiling;
    const [height, width] = [down * rows, across * columns];
    const tileColumns = Math.ceil(N / width);
    const tiles = Math.ceil(M / height) * tileColumns;
    recorder.run({
      kernel: "matmul",
      variant: `${transposeA} ${transposeB} ${down} ${rows}`,
      operands: { out: write(out), a: read(a), b: read(b) },
      integers: { M, N, K, tileColumns, tiles, outBatchStride, aBatchStride, bBatchStride, accumulate: Number(accumulate) },
      workgroups: batch * tiles,
      groupSize,
      work: batch * M * N * K,
      text: ({ out, a, b }) => {
        const all = (count: number, line: (i: number) => string) => Array.from({ length: count }, (_, i) => line(i)).join("\n");
        const cells = (line: (r: number, c: number) => string) => all(rows, (r) => all(columns, (c) => line(r, c)));
        return {
          declarations: `
var<workgroup> a_tile: array<f32, ${height * depth}>;
var<workgroup> b_tile: array<f32, ${depth * width}>;`,
          body: `
  let matrix = block / p.tiles;
  let row0 = (block % p.tiles) / p.tileColumns * ${height};
  let column0 = block % p.tileColumns * ${width};
  let y = local / ${across};
  let x = local % ${across};
${cells((r, c) => `  var sum_${r}_${c} = 0.0;`)}
  for (var k0 = 0u; k0 < p.K; k0 += ${depth}) {
    // Neighbours read neighbours; the tiles lie as [k, row] and [k, column].
    for (var e = local; e < ${height * depth}; e += ${groupSize}) {
      ${transposeA ? `let tile_row = e % ${height}; let tile_k = e / ${height};` : `let tile_k = e % ${depth}; let tile_row = e / ${depth};`}
      let m = row0 + tile_row;
      let k = k0 + tile_k;
      if (m < p.M && k < p.K) {
        a_tile[tile_k * ${height} + tile_row] = ${a(`matrix * p.aBatchStride + ${transposeA ? "k * p.M + m" : "m * p.K + k"}`)};
      }
    }
    for (var e = local; e < ${depth * width}; e += ${groupSize}) {
      ${transposeB ? `let tile_k = e % ${depth}; let tile_column = e / ${depth};` : `let tile_column = e % ${width}; let tile_k = e / ${width};`}
      let n = column0 + tile_column;
      let k = k0 + tile_k;
      if (n < p.N && k < p.K) {
        b_tile[tile_k * ${width} + tile_column] = ${b(`matrix * p.bBatchStride + ${transposeB ? "n * p.K + k" : "k * p.N + n"}`)};
      }
    }
    workgroupBarrier();
    let end = min(${depth}u, p.K - k0);
    for (var k = 0u; k < end; k++) {
${all(rows, (r) => `      let a_${r} = a_tile[k * ${height} + y * ${rows} + ${r}];`)}
${all(columns, (c) => `      let b_${c} = b_tile[k * ${width} + x + ${c * across}];`)}
${cells((r, c) => `      sum_${r}_${c} = fma(a_${r}, b_${c}, sum_${r}_${c});`)}
    }
    workgroupBarrier();
  }
${cells(
  (r, c) => `  {
    let m = row0 + y * ${rows} + ${r};
    let n = column0 + x + ${c * across};
    if (m < p.M && n < p.N) {
      let at = matrix * p.outBatchStride + m * p.N + n;
      if (p.accumulate != 0) { sum_${r}_${c} += ${out("at")}; }
      ${out("at")} = sum_${r}_${c};
    }
  }`,
)}`,
        };
      },
    });
  };
}
