// Cases of the products with packed weights. The law pieces: a row alone, an expert's row as a plain product. Where x lies on the 8-bit grid
// already, the packed product must equal the product with decoded weights to f32 rounding.

import { packedSamples } from "../../../src/backend/packed-samples.ts";
import { type PackedType, packedRowBytes, packedTypes } from "../../../src/core/dtype.ts";
import type { Random } from "../../../src/core/random.ts";
import { decodeBlocks } from "../../../src/formats/blocks/index.ts";
import {
  type Alone,
  type Cases,
  input,
  integers,
  type KernelCase,
  kernelCase,
  normals,
  output,
  packed,
  part,
  summed,
} from "../kernel-case.ts";

const types = Object.keys(packedTypes) as PackedType[];

function closeness(K: number) {
  return { bound: summed, scale: 0.1 * Math.sqrt(K) };
}

/** Product of x [M, K] and packed rows [N, K]. */
function product(type: PackedType, x: Float32Array, bytes: Uint8Array, N: number, K: number, label: string, alone: Alone[] = []) {
  const operands = { out: output((x.length / K) * N, closeness(K)), x: input(x), w: packed(type, 1, N, K, bytes) };
  return kernelCase("packedMatmul", operands, { M: x.length / K, N, K }, { label: `${type} ${label}`, alone });
}

function rowPieces(type: PackedType, x: Float32Array, bytes: Uint8Array, N: number, K: number): Alone[] {
  const M = x.length / K;
  const rows = [...new Set([0, M >> 1, M - 1])].map((m) => ({
    piece: product(type, part(x, m * K, K), bytes, N, K, "a row alone"),
    same: [{ operand: "out", start: m * N, length: N }],
  }));
  const some = Math.ceil(M / 2);
  const half = {
    piece: product(type, part(x, 0, some * K), bytes, N, K, "half of the rows"),
    same: [{ operand: "out", start: 0, length: some * N }],
  };
  const n = N >> 1;
  const rowBytes = packedRowBytes(type, K);
  const column = {
    piece: product(type, x, bytes.slice(n * rowBytes, (n + 1) * rowBytes), 1, K, "a column alone"),
    same: Array.from({ length: M }, (_, m) => ({ operand: "out", start: m * N + n, from: m, length: 1 })),
  };
  return [...rows, half, column];
}

export const packedMatmulCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const type of types) {
    const block = packedTypes[type].weights;
    const widths = block === 256 ? [256, 512, 1280] : block === 32 ? [32, 64, 96, 1056] : [1, 17, 32, 129, 260];
    for (const [i, [M = 0, N = 0]] of [
      [1, 1],
      [1, 17],
      [1, 129],
      [2, 3],
      [3, 16],
      [4, 8],
      [5, 17],
      [6, 33],
      [9, 129],
      [37, 70],
      [64, 24],
      [0, 5],
    ].entries()) {
      const K = widths[i % widths.length] as number;
      const x = normals(random, M * K);
      const bytes = packedSamples(random, type, N * K);
      cases.push(product(type, x, bytes, N, K, "", M > 0 ? rowPieces(type, x, bytes, N, K) : []));
    }
    cases.push(...specialCases(random, type));
  }
  return cases;
};

/** Blocks of zeros, of NaN, of infinity, of one tiny number; weights whose scale is NaN or infinite. */
function specialCases(random: Random, type: PackedType): KernelCase[] {
  const [M, N, K] = [6, 19, 512];
  const x = normals(random, M * K);
  x.fill(0, K, K + 64);
  x[2 * K + 33] = Number.NaN;
  x[3 * K + 500] = Number.POSITIVE_INFINITY;
  x.fill(1e-36, 4 * K + 32, 4 * K + 64);
  x.fill(3e30, 5 * K, 5 * K + 32);
  const good = packedSamples(random, type, N * K);
  const cases = [
    product(type, x, good, N, K, "special x", rowPieces(type, x, good, N, K)),
    product(type, x.slice(4 * K), good, N, K, "special x, few rows"),
  ];
  const { weights, bytes: blockBytes } = packedTypes[type];
  const at = {
    f16: 0,
    bf16: 0,
    q8_0: 0,
    q4_0: 0,
    q4_1: 2,
    q5_0: 0,
    q5_1: 0,
    q2_k: 80,
    q3_k: 108,
    q4_k: 0,
    q5_k: 2,
    q6_k: 208,
    iq4_nl: 0,
    iq4_xs: 0,
  };
  if (type === "mxfp4") return cases;
  for (const [label, high, low] of [
    ["NaN", 0x7f, 0xc1],
    ["infinity", 0x7c, 0],
    ["denormal", 0x00, 0x81],
  ] as const) {
    // Within a block of codes the sum of integers times infinity may be NaN or infinite, whatever the single products would give.
    if (label === "infinity" && weights > 1) continue;
    const bytes = good.slice();
    // In the middle of row 3, and in the last row.
    for (const block of [(3.5 * K) / weights, (N * K) / weights - 1]) {
      bytes[block * blockBytes + at[type]] = low;
      bytes[block * blockBytes + at[type] + 1] = type === "bf16" && label !== "denormal" ? 0x7f : high;
      if (type === "bf16" && label === "infinity") bytes[block * blockBytes] = 0x80;
    }
    const plain = normals(random, M * K);
    cases.push(product(type, plain, bytes, N, K, `${label} in a weight`, rowPieces(type, plain, bytes, N, K)));
  }
  return cases;
}

/** Ascending offsets for S rows of E experts, some experts empty. */
function randomOffsets(random: Random, E: number, S: number): number[] {
  return [0, ...Array.from({ length: E - 1 }, () => random.integer(S + 1)).sort((a, b) => a - b), S];
}

export const packedGroupedMatmulCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const type of types) {
    for (const [S, E, N] of [
      [1, 4, 17],
      [6, 8, 24],
      [40, 7, 33],
      [0, 3, 5],
    ] as const) {
      const K = packedTypes[type].weights === 1 ? 45 : 256;
      const x = normals(random, S * K);
      const bytes = packedSamples(random, type, E * N * K);
      const make = (given: readonly number[], label: string, alone: Alone[] = []) =>
        kernelCase(
          "packedGroupedMatmul",
          { out: output(S * N, closeness(K)), x: input(x), w: packed(type, E, N, K, bytes), offsets: integers(...given) },
          { S, E, N, K },
          { label: `${type} ${label} ${given}`, alone },
        );
      const offsets = randomOffsets(random, E, S);
      const rowBytes = packedRowBytes(type, K);
      const alone = [...new Set([0, S >> 1, S - 1])]
        .filter((s) => s >= 0 && s < S)
        .map((s) => {
          const expert = offsets.findLastIndex((offset, e) => e < E && offset <= s && s < (offsets[e + 1] as number));
          const matrix = bytes.slice(expert * N * rowBytes, (expert + 1) * N * rowBytes);
          return {
            piece: product(type, part(x, s * K, K), matrix, N, K, "an expert's row"),
            same: [{ operand: "out", start: s * N, length: N }],
          };
        });
      cases.push(make(offsets, "", alone));
      cases.push(make(randomOffsets(random, E, S >> 1), "rows beyond the last expert"));
      cases.push(
        make(
          offsets.map((offset) => Math.max(offset, S >> 2)),
          "rows before the first expert",
        ),
      );
      cases.push(
        make(
          offsets.map((offset, e) => (e === 0 ? -1000000 : e === E ? 2147483647 : offset)),
          "offsets outside",
        ),
      );
    }
  }
  return cases;
};

export const packedEmbeddingCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const type of types) {
    const block = packedTypes[type].weights;
    for (const [matrices, rows, width] of [
      [1, 1, block],
      [1, 29, block === 1 ? 33 : 256],
      [3, 11, block === 1 ? 5 : 512],
    ] as const) {
      const vocab = matrices * rows;
      const ids = [0, vocab - 1, -1, vocab, 2147483647, -2147483648, ...Array.from({ length: 9 }, () => random.integer(vocab))];
      const out = output(ids.length * width, { bound: 0 });
      const table = packed(type, matrices, rows, width, packedSamples(random, type, vocab * width));
      cases.push(kernelCase("packedEmbedding", { out, table, ids: integers(...ids) }, { rows: ids.length, width, vocab }, { label: type }));
    }
  }
  return cases;
};

/** For x on the 8-bit grid: packed products, and the same by matmul with decoded weights. [packed, plain, label] */
export function gridCases(random: Random): [KernelCase, KernelCase, string][] {
  return types
    .filter((type) => packedTypes[type].weights > 1)
    .map((type) => {
      const [M, N, K] = [5, 19, 256];
      // Each block of 32 holds ±127 times a power of two, so rounding changes nothing.
      const x = Float32Array.from({ length: M * K }, (_, i) => (i % 32 === 7 ? 127 : random.integer(255) - 127) * 2 ** -((i >> 5) % 9));
      const bytes = packedSamples(random, type, N * K);
      const decoded = new Float32Array(N * K);
      decodeBlocks(type, bytes, decoded);
      const plain = kernelCase(
        "matmul",
        { out: output(M * N, closeness(K)), a: input(x), b: input(decoded) },
        { M, N, K, transposeB: true },
      );
      return [product(type, x, bytes, N, K, "x on the grid"), plain, type];
    });
}
