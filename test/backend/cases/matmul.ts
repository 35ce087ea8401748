// Cases of matmul and groupedMatmul. The law pieces: a row alone, one element alone, one matrix of a batch, the same product with an operand
// stored transposed, and an expert's row as a plain product.

import type { Random } from "../../../src/core/random.ts";
import {
  type Alone,
  type Cases,
  input,
  integers,
  type KernelCase,
  kernelCase,
  normals,
  output,
  part,
  result,
  sum,
  summed,
} from "../kernel-case.ts";

function closeness(K: number) {
  return { bound: summed, scale: 0.3 * Math.sqrt(K) };
}

function transposed(x: Float32Array, rows: number, columns: number): Float32Array {
  return x.map((_, i) => x[(i % rows) * columns + Math.floor(i / rows)] as number);
}

/** A plain product with A [M, K] and B [K, N] given untransposed and stored as asked. */
function product(
  a: Float32Array,
  b: Float32Array,
  M: number,
  N: number,
  K: number,
  transposeA: boolean,
  transposeB: boolean,
  more: { alone?: Alone[]; cacheB?: boolean } = {},
) {
  const operands = {
    out: output(M * N, closeness(K)),
    a: input(transposeA ? transposed(a, M, K) : a),
    b: input(transposeB ? transposed(b, K, N) : b),
  };
  return kernelCase("matmul", operands, { M, N, K, transposeA, transposeB, cacheB: more.cacheB }, { alone: more.alone });
}

function pieces(a: Float32Array, b: Float32Array, M: number, N: number, K: number, transposeA: boolean, transposeB: boolean): Alone[] {
  const found: Alone[] = [];
  for (const i of new Set([0, M >> 1, M - 1])) {
    const row = part(a, i * K, K);
    for (const cacheB of [false, true]) {
      found.push({
        piece: product(row, b, 1, N, K, transposeA, transposeB, { cacheB }),
        same: [{ operand: "out", start: i * N, length: N }],
      });
    }
    const j = (i * 7) % N;
    const column = Float32Array.from({ length: K }, (_, k) => b[k * N + j] as number);
    found.push({ piece: product(row, column, 1, 1, K, transposeA, transposeB), same: [{ operand: "out", start: i * N + j, length: 1 }] });
  }
  // The first rows and the first columns by themselves, and the other three storage orders.
  const rows = Math.ceil(M / 2);
  found.push({
    piece: product(part(a, 0, rows * K), b, rows, N, K, transposeA, transposeB),
    same: [{ operand: "out", start: 0, length: rows * N }],
  });
  const columns = Math.ceil(N / 2);
  const left = Float32Array.from({ length: K * columns }, (_, i) => b[Math.floor(i / columns) * N + (i % columns)] as number);
  const same = Array.from({ length: M }, (_, i) => ({ operand: "out", start: i * N, from: i * columns, length: columns }));
  found.push({ piece: product(a, left, M, columns, K, transposeA, transposeB), same });
  for (const [ta, tb] of [
    [!transposeA, transposeB],
    [transposeA, !transposeB],
    [!transposeA, !transposeB],
  ] as const) {
    found.push({ piece: product(a, b, M, N, K, ta, tb), same: [{ operand: "out", start: 0, length: M * N }] });
  }
  return found;
}

export const matmulCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  const shapes = [
    [1, 1, 1],
    [1, 17, 3],
    [3, 1, 17],
    [17, 3, 1],
    [1, 129, 129],
    [3, 17, 129],
    [17, 129, 3],
    [129, 3, 17],
    [5, 8, 16],
    [6, 16, 64],
    [7, 31, 33],
    [65, 130, 70],
    [2, 300, 515],
    [0, 5, 3],
    [3, 0, 5],
    [3, 5, 0],
  ];
  for (const [M = 0, N = 0, K = 0] of shapes) {
    const empty = M * N * K === 0;
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const a = normals(random, M * K);
        const b = normals(random, K * N);
        cases.push(product(a, b, M, N, K, transposeA, transposeB, { alone: empty ? [] : pieces(a, b, M, N, K, transposeA, transposeB) }));
        const operands = { out: sum(normals(random, M * N), closeness(K)), a: input(a), b: input(b) };
        cases.push(
          kernelCase("matmul", operands, { M, N, K, transposeA, transposeB, accumulate: true, cacheB: transposeA !== transposeB }),
        );
      }
    }
  }
  return [...cases, ...batchedCases(random), ...nonFiniteCases(random)];
};

function batchedCases(random: Random): KernelCase[] {
  const cases: KernelCase[] = [];
  for (const [batch, M, N, K] of [
    [3, 5, 17, 9],
    [2, 1, 33, 65],
    [4, 17, 3, 1],
    [0, 3, 3, 3],
  ] as const) {
    for (const transposeB of [false, true]) {
      const a = normals(random, batch * M * K);
      const b = normals(random, batch * K * N);
      const scalars = { M, N, K, transposeB };
      const alone = Array.from({ length: batch }, (_, n) => {
        const operands = { out: output(M * N, closeness(K)), a: input(part(a, n * M * K, M * K)), b: input(part(b, n * K * N, K * N)) };
        return { piece: kernelCase("matmul", operands, scalars), same: [{ operand: "out", start: n * M * N, length: M * N }] };
      });
      const operands = { out: output(batch * M * N, closeness(K)), a: input(a), b: input(b) };
      cases.push(kernelCase("matmul", operands, { ...scalars, batch }, { alone }));
      if (batch === 0) continue;
      const wide = { outBatchStride: M * N + 5, aBatchStride: M * K + 2, bBatchStride: K * N + 1 };
      const padded = {
        out: output((batch - 1) * wide.outBatchStride + M * N, closeness(K)),
        a: input(normals(random, (batch - 1) * wide.aBatchStride + M * K)),
        b: input(normals(random, (batch - 1) * wide.bBatchStride + K * N)),
      };
      cases.push(kernelCase("matmul", padded, { ...scalars, batch, ...wide }, { label: "padded batches" }));
      const shared = { out: sum(normals(random, batch * M * N), closeness(K)), a: input(a), b: input(part(b, 0, K * N)) };
      cases.push(kernelCase("matmul", shared, { ...scalars, batch, bBatchStride: 0, accumulate: true }, { label: "shared b" }));
      const sharedA = { out: output(batch * M * N, closeness(K)), a: input(part(a, 0, M * K)), b: input(b) };
      cases.push(kernelCase("matmul", sharedA, { ...scalars, batch, aBatchStride: 0 }, { label: "shared a" }));
    }
  }
  return cases;
}

/** A bad row spoils its own row of the result and no other; 0 · Infinity is NaN. */
function nonFiniteCases(random: Random): KernelCase[] {
  return [Number.NaN, Number.POSITIVE_INFINITY].map((bad) => {
    const [M, N, K] = [7, 19, 21];
    const a = normals(random, M * K);
    a[3 * K + 20] = bad;
    const b = normals(random, K * N);
    b[20 * N + 1] = 0;
    return kernelCase("matmul", { out: output(M * N, closeness(K)), a: input(a), b: input(b) }, { M, N, K }, { label: `${bad} in row 3` });
  });
}

/** Ascending offsets for S rows of E experts, some experts empty; the last offset is `used`. */
function randomOffsets(random: Random, E: number, used: number): number[] {
  const inner = Array.from({ length: E - 1 }, () => random.integer(used + 1)).sort((a, b) => a - b);
  return [0, ...inner, used];
}

export const groupedMatmulCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const [S, E, N, K] of [
    [0, 3, 5, 4],
    [1, 1, 1, 1],
    [1, 4, 17, 3],
    [17, 4, 3, 17],
    [40, 7, 33, 9],
    [130, 5, 17, 65],
    [129, 16, 24, 32],
    [3, 2, 5, 0],
  ] as const) {
    for (const transposeW of [true, false]) {
      const x = normals(random, S * K);
      const w = normals(random, E * N * K);
      const offsets = randomOffsets(random, E, S);
      const make = (given: readonly number[], label: string, alone: Alone[] = [], cacheW = false) =>
        kernelCase(
          "groupedMatmul",
          { out: output(S * N, closeness(K)), x: input(x), w: input(w), offsets: integers(...given) },
          { S, E, N, K, transposeW, cacheW },
          { label: `${label} ${given}`, alone },
        );
      const alone = [...new Set([0, S >> 1, S - 1])]
        .filter((s) => s >= 0 && s < S && K > 0)
        .flatMap((s) => rowPieces(x, w, offsets, s, { E, N, K, transposeW }));
      cases.push(make(offsets, "", alone), make(offsets, "cached", [], true));
      cases.push(make(randomOffsets(random, E, S >> 1), "rows beyond the last expert"));
      const [middle, ...rest] = randomOffsets(random, E, S).map((offset) => Math.max(offset, S >> 2));
      cases.push(make([middle ?? 0, ...rest], "rows before the first expert"));
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

/** Row s alone, and as a plain product with its expert's matrix. */
function rowPieces(
  x: Float32Array,
  w: Float32Array,
  offsets: readonly number[],
  s: number,
  sizes: { E: number; N: number; K: number; transposeW: boolean },
): Alone[] {
  const { E, N, K, transposeW } = sizes;
  const expert = offsets.findLastIndex((offset, e) => e < E && offset <= s && s < (offsets[e + 1] as number));
  const same = [{ operand: "out", start: s * N, length: N }];
  const row = input(part(x, s * K, K));
  const starts = integers(...Array.from({ length: E + 1 }, (_, e) => (e > expert ? 1 : 0)));
  const grouped = kernelCase("groupedMatmul", { out: output(N), x: row, w: input(w), offsets: starts }, { S: 1, ...sizes });
  const matrix = input(part(w, expert * N * K, N * K));
  const plain = kernelCase("matmul", { out: output(N), a: row, b: matrix }, { M: 1, N, K, transposeB: transposeW });
  return [
    { piece: grouped, same },
    { piece: plain, same },
  ];
}

export const groupedMatmulWeightGradCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const [S, E, N, K] of [
    [0, 3, 5, 4],
    [1, 1, 1, 1],
    [1, 4, 17, 3],
    [17, 4, 3, 17],
    [40, 7, 33, 9],
    [130, 3, 17, 65],
  ] as const) {
    const offsets = randomOffsets(random, E, S);
    const outside = offsets.map((offset, e) => (e === 0 ? -7 : e === E ? S + 1000000 : offset));
    for (const given of [offsets, randomOffsets(random, E, S >> 1), outside]) {
      const operands = {
        dw: result(random, E * N * K, true, closeness(S / E)),
        dy: input(normals(random, S * N)),
        x: input(normals(random, S * K)),
        offsets: integers(...given),
      };
      cases.push(kernelCase("groupedMatmulWeightGrad", operands, { S, E, N, K }, { label: `offsets ${given}` }));
    }
  }
  return cases;
};
