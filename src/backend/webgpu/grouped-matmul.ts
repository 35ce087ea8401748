// groupedMatmul and groupedMatmulWeightGrad: one matrix product for each expert over the rows that were sorted to it, by the tiles of matmul. Where experts begin
// is known on the device alone, so there are as many groups as tiles could be needed; a group finds its expert by bisection, and many find nothing to do.

import type { Kernels } from "../backend.ts";
import { tileGroupSize, tileSize, tileText, tilingFor } from "./matmul-tile.ts";
import { type Accessor, read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

/** The first row of an expert, inside 0..S. */
function boundText(offsets: Accessor): string {
  return `fn first_row(expert: u32) -> u32 { return u32(clamp(${offsets("expert")}, 0, i32(p.S))); }`;
}

export function groupedMatmul(recorder: Recorder): Kernels["groupedMatmul"] {
  return ({ out, x, w, offsets, S, E, N, K, transposeW }) => {
    const tiling = tilingFor(S / E);
    const { height, width } = tileSize(tiling);
    const tileColumns = Math.ceil(N / width);
    recorder.run({
      kernel: "groupedMatmul",
      variant: `${transposeW} ${height} ${width}`,
      operands: { out: write(out), x: read(x), w: read(w), offsets: read(offsets, "i32") },
      integers: { S, E, N, K, tileColumns },
      // Expert e has the tiles from first_row(e) / height + e on: enough for its rows, and before those of expert e + 1.
      workgroups: (Math.floor(S / height) + E) * tileColumns,
      groupSize: tileGroupSize,
      work: S * N * K,
      text: ({ out, x, w, offsets }) => {
        const { declarations, body } = tileText(tiling, {
          rowEnd: "row_end",
          columnEnd: "p.N",
          kEnd: "p.K",
          a: (m, k) => x(`${m} * p.K + ${k}`),
          b: (k, n) => w(`expert * p.N * p.K + ${transposeW ? `${n} * p.K + ${k}` : `${k} * p.N + ${n}`}`),
          transposeA: false,
          transposeB: transposeW,
          store: (m, n, sum) => `${out(`${m} * p.N + ${n}`)} = ${sum};`,
        });
        return {
          declarations: `${boundText(offsets)}
fn first_tile(expert: u32) -> u32 { return first_row(expert) / ${height} + expert; }${declarations}`,
          body: `
  let tile = block / p.tileColumns;
  var expert = 0u;
  var beyond = p.E;
  while (beyond - expert > 1u) {
    let middle = (expert + beyond) / 2u;
    if (first_tile(middle) <= tile) { expert = middle; } else { beyond = middle; }
  }
  if (tile < first_tile(expert)) { return; }
  let row0 = first_row(expert) + (tile - first_tile(expert)) * ${height};
  let row_end = first_row(expert + 1u);
  if (row0 >= row_end) { return; }
  let column0 = block % p.tileColumns * ${width};${body}`,
        };
      },
    });
  };
}

export function groupedMatmulWeightGrad(recorder: Recorder): Kernels["groupedMatmulWeightGrad"] {
  return ({ dw, dy, x, offsets, S, E, N, K }) => {
    const tiling = tilingFor(N);
    const { height, width } = tileSize(tiling);
    const tileColumns = Math.ceil(K / width);
    const tiles = Math.ceil(N / height) * tileColumns;
    recorder.run({
      kernel: "groupedMatmulWeightGrad",
      variant: `${height} ${width}`,
      operands: { dw: write(dw), dy: read(dy), x: read(x), offsets: read(offsets, "i32") },
      integers: { S, N, K, tileColumns, tiles },
      workgroups: E * tiles,
      groupSize: tileGroupSize,
      work: S * N * K,
      // The transposed rows of dy by the rows of x.
      text: ({ dw, dy, x, offsets }) => {
        const { declarations, body } = tileText(tiling, {
          rowEnd: "p.N",
          columnEnd: "p.K",
          kEnd: "count",
          a: (m, k) => dy(`(start + ${k}) * p.N + ${m}`),
          b: (k, n) => x(`(start + ${k}) * p.K + ${n}`),
          transposeA: true,
          transposeB: false,
          store: (m, n, sum) => `${dw(`(expert * p.N + ${m}) * p.K + ${n}`)} += ${sum};`,
        });
        return {
          declarations: `${boundText(offsets)}${declarations}`,
          body: `
  let expert = block / p.tiles;
  let start = first_row(expert);
  let count = max(first_row(expert + 1u), start) - start;
  let row0 = (block % p.tiles) / p.tileColumns * ${height};
  let column0 = block % p.tileColumns * ${width};${body}`,
        };
      },
    });
  };
}
