// Cases of cacheWrite, and of attention where queries share keys or the cache is narrow. The law pieces: each head with keys of its own (one query after the other
// instead of eight side by side), and the numbers of a narrow cache as an f32 cache without pages; both must give the same bits.

import { openCache } from "../../../src/backend/reference/cache-write.ts";
import { openReference } from "../../../src/backend/reference/open.ts";
import { cacheRowWords } from "../../../src/core/dtype.ts";
import type { Random } from "../../../src/core/random.ts";
import {
  type Alone,
  type Cases,
  type Closeness,
  input,
  integers,
  type KernelCase,
  kernelCase,
  normals,
  output,
  outputIntegers,
  summed,
} from "../kernel-case.ts";

const narrowTypes = ["f16", "q8_0"] as const;

/** Rows of every size of number: plain ones, zeros, powers of two, halves between two codes, tiny, huge, NaN, infinities. */
function rowsOf(random: Random, rows: number, width: number): Float32Array {
  const x = new Float32Array(rows * width);
  for (let r = 0; r < rows; r++) {
    const row = x.subarray(r * width, (r + 1) * width);
    const scale = [1, 1e-3, 2 ** 14, 3e-31, 1e-20, 5e8, 2 ** 30, 1][r % 8] as number;
    for (let i = 0; i < width; i++) row[i] = r % 5 === 3 ? random.integer(255) - 127 : random.normal() * scale;
    if (r % 7 === 1) row.fill(0, 0, width >> 1);
    if (r % 7 === 4) row[width - 1] = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 2 ** 29][(r >> 2) % 4] as number;
    if (r % 7 === 6) for (let i = 0; i < width; i++) row[i] = (i % 2 ? -1 : 1) * 2 ** ((i % 60) - 40);
  }
  return x;
}

export const cacheWriteCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const type of narrowTypes) {
    for (const rows of [0, 1, 3, 40]) {
      for (const width of [1, 3, 32, 80, 131]) {
        const cacheRows = 43;
        const places = random.shuffle(Array.from({ length: cacheRows }, (_, i) => i)).slice(0, rows);
        const index = places.map((place, r) => (r % 9 === 5 ? ([-1, cacheRows, 2147483647, -2147483648][(r >> 3) % 4] as number) : place));
        const operands = {
          cache: outputIntegers(cacheRows * cacheRowWords(type, width)),
          x: input(rowsOf(random, rows, width)),
          index: integers(...index),
        };
        cases.push(kernelCase("cacheWrite", operands, { rows, width, cacheRows, type }));
      }
    }
  }
  return cases;
};

type Shape = { readonly R: number; readonly H: number; readonly G: number; readonly D: number; readonly Dv: number };
type Ranges = { readonly first: readonly number[]; readonly last: readonly number[] };
type Contents = { readonly q: Float32Array; readonly k: Float32Array; readonly v: Float32Array };

const closeness = { bound: summed, scale: 0.1 };
/** q8_0: weights may be rounded to 1/32766 of the largest of 32 (backend.ts). */
const rounding = { bound: 3e-8, scale: 0.1 };

function results({ R, H, Dv }: Shape, bound: Closeness = closeness) {
  return { out: output(R * H * Dv, bound), lse: output(R * H, closeness) };
}

/** Contiguous f32 keys. */
function plainCase(
  shape: Shape,
  S: number,
  { first, last }: Ranges,
  { q, k, v }: Contents,
  label: string,
  alone: Alone[] = [],
): KernelCase {
  const { G, D, Dv } = shape;
  const operands = {
    ...results(shape),
    q: input(q),
    k: input(k),
    v: input(v),
    first: integers(...first),
    last: integers(...last),
    pages: undefined,
    slot: undefined,
  };
  const strides = { kRowStride: G * D, kHeadStride: D, vRowStride: G * Dv, vHeadStride: Dv };
  return kernelCase("attention", operands, { ...shape, S, scale: 0.4, ...strides }, { label, alone });
}

/** The same where each head has a copy of its group's keys. */
function headsApart(shape: Shape, S: number, ranges: Ranges, { q, k, v }: Contents): Alone {
  const { R, H, G, D, Dv } = shape;
  const spread = (x: Float32Array, width: number) =>
    Float32Array.from({ length: S * H * width }, (_, i) => {
      const [j, h] = [Math.floor(i / (H * width)), Math.floor(i / width) % H];
      return x[(j * G + Math.floor(h / (H / G))) * width + (i % width)] as number;
    });
  const piece = plainCase({ ...shape, G: H }, S, ranges, { q, k: spread(k, D), v: spread(v, Dv) }, "heads apart");
  return {
    piece,
    same: [
      { operand: "out", start: 0, length: R * H * Dv },
      { operand: "lse", start: 0, length: R * H },
    ],
  };
}

/** Runs of rows with one first key, ends that differ by little and by much, an empty range now and then. */
function runs(random: Random, R: number, S: number): Ranges {
  const first = Array.from({ length: R }, (_, r) => (r < R >> 1 ? 0 : Math.floor(S / 5)));
  const last = first.map((from, r) =>
    r % 11 === 7 ? from - 1 : r % 5 === 2 ? from + random.integer(S - from) : Math.max(from, S - R + r),
  );
  return { first, last };
}

export const groupedAttentionCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  const shapes: [Shape, number][] = [
    [{ R: 1, H: 8, G: 1, D: 64, Dv: 64 }, 131],
    [{ R: 1, H: 32, G: 4, D: 16, Dv: 32 }, 70],
    [{ R: 13, H: 14, G: 2, D: 32, Dv: 16 }, 45],
    [{ R: 21, H: 8, G: 2, D: 8, Dv: 16 }, 37],
    [{ R: 9, H: 12, G: 2, D: 12, Dv: 48 }, 300],
    [{ R: 40, H: 4, G: 2, D: 20, Dv: 16 }, 41],
    [{ R: 3, H: 44, G: 1, D: 36, Dv: 32 }, 50],
    [{ R: 7, H: 10, G: 1, D: 17, Dv: 9 }, 33],
  ];
  for (const [shape, S] of shapes) {
    const { R, H, G, D, Dv } = shape;
    const given = { q: normals(random, R * H * D), k: normals(random, S * G * D), v: normals(random, S * G * Dv) };
    const ranges = runs(random, R, S);
    cases.push(plainCase(shape, S, ranges, given, "shared keys", [headsApart(shape, S, ranges, given)]));
  }
  return cases;
};

export const narrowAttentionCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  const shapes: [Shape, number, boolean][] = [
    [{ R: 1, H: 8, G: 1, D: 64, Dv: 64 }, 32, false],
    [{ R: 5, H: 16, G: 2, D: 32, Dv: 32 }, 8, false],
    [{ R: 6, H: 4, G: 2, D: 17, Dv: 9 }, 4, false],
    [{ R: 9, H: 3, G: 3, D: 24, Dv: 16 }, 16, false],
    [{ R: 7, H: 16, G: 1, D: 80, Dv: 64 }, 32, true],
    [{ R: 12, H: 7, G: 1, D: 40, Dv: 20 }, 16, true],
  ];
  // Chunks of 1,024 keys: one row, whose chunks threads share, and many, each with all of its own.
  const long: [Shape, number, boolean][] = [
    [{ R: 1, H: 8, G: 2, D: 64, Dv: 32 }, 256, false],
    [{ R: 40, H: 8, G: 4, D: 40, Dv: 32 }, 256, false],
    [{ R: 3, H: 12, G: 1, D: 96, Dv: 64 }, 260, true],
  ];
  for (const type of narrowTypes)
    for (const [shape, pageSize, absorbed] of type === "q8_0" ? [...shapes, ...long] : shapes)
      cases.push(narrowCase(random, shape, pageSize, absorbed, type));
  for (const type of narrowTypes) cases.push(narrowCase(random, { R: 5, H: 16, G: 2, D: 32, Dv: 32 }, 16, false, type, true));
  return cases;
};

/**
 * One sequence of four pages and a bit, its pages in another order; with `absorbed` the values are the first Dv numbers of the keys. Broken: a key and a value hold NaN, which one
 * row does not see.
 */
function narrowCase(
  random: Random,
  shape: Shape,
  pageSize: number,
  absorbed: boolean,
  type: (typeof narrowTypes)[number],
  isBroken = false,
): KernelCase {
  const { R, H, G, D, Dv } = shape;
  const table = [5, 0, 3, 1, 4];
  const S = 6 * pageSize;
  const keys = 4 * pageSize + 1 + random.integer(pageSize);
  const last = Array.from({ length: R }, (_, r) => (r === 2 ? 3 : keys - R + r));
  const ranges = { first: Array.from({ length: R }, () => 0), last };
  const q = normals(random, R * H * D);
  const rowOf = (j: number) => (table[Math.floor(j / pageSize)] as number) * pageSize + (j % pageSize);
  const numbers = (width: number, at: number) => {
    const x = normals(random, S * width);
    if (isBroken) x[at] = Number.NaN;
    return x;
  };
  const k = stored(numbers(G * D, rowOf(7) * G * D), S, G * D, type);
  const v = absorbed ? k : stored(numbers(G * Dv, (rowOf(5) + 1) * G * Dv - 1), S, G * Dv, type);
  const strides = { kRowStride: cacheRowWords(type, G * D), kHeadStride: absorbed ? 0 : D, vHeadStride: absorbed ? 0 : Dv };
  const given = { ...strides, vRowStride: absorbed ? strides.kRowStride : cacheRowWords(type, G * Dv), scale: 0.4, cacheType: type };
  const sharing = absorbed ? { v: "k" as const } : {};
  const whole = { start: 0, length: R * H };

  /** The same numbers as an f32 cache without pages. */
  function asFloats(): Alone[] {
    const inOrder = (open: (row: number, i: number) => number, width: number) =>
      Float32Array.from({ length: keys * width }, (_, i) => open(rowOf(Math.floor(i / width)), i % width));
    const piece = plainCase(shape, keys, ranges, { q, k: inOrder(k.open, G * D), v: inOrder(v.open, G * Dv) }, "as f32");
    return [{ piece, same: sameCells(whole, Dv) }];
  }

  /** The same rows without pages, for some rows' queries, or for one head of each group. What no query sees is NaN. */
  function without(pages: string, rows: readonly number[], heads: readonly number[]): Alone {
    const inOrder = (words: Int32Array, stride: number) => {
      const moved = new Int32Array((keys + 3) * stride).fill(-1);
      for (let j = 0; j < keys; j++) moved.set(words.subarray(rowOf(j) * stride, (rowOf(j) + 1) * stride), j * stride);
      return moved;
    };
    const queries = rows.flatMap((r) => heads.map((h) => [...q.subarray((r * H + h) * D, (r * H + h + 1) * D)]));
    const operands = {
      ...results({ ...shape, R: rows.length, H: heads.length }, rounding),
      q: input(Float32Array.from(queries.flat())),
      k: input(inOrder(k.words, given.kRowStride)),
      v: input(inOrder(v.words, given.vRowStride)),
      first: integers(...rows.map(() => 0)),
      last: integers(...rows.map((r) => last[r] as number)),
      pages: undefined,
      slot: undefined,
    };
    const sizes = { ...shape, R: rows.length, H: heads.length, S: keys + 3 };
    const piece = kernelCase("attention", operands, { ...sizes, ...given }, { label: pages, sharing });
    const cells = rows.flatMap((r, i) => heads.map((h, at) => ({ start: r * H + h, from: i * heads.length + at, length: 1 })));
    return { piece, same: cells.flatMap((cell) => sameCells(cell, Dv)) };
  }

  const everyHead = Array.from({ length: H }, (_, h) => h);
  const apart = [
    without("one row without pages", [R - 1], everyHead),
    without(
      "one head of each group without pages",
      [...new Set([0, Math.min(2, R - 1), R >> 1, R - 1])],
      Array.from({ length: G }, (_, g) => ((g + 1) * H) / G - 1),
    ),
  ];
  const operands = {
    ...results(shape, type === "q8_0" ? rounding : closeness),
    q: input(q),
    k: input(k.words),
    v: input(v.words),
    first: integers(...ranges.first),
    last: integers(...last),
    pages: integers(...table),
    slot: integers(...Array.from({ length: R }, () => 0)),
  };
  return kernelCase(
    "attention",
    operands,
    { ...shape, S, ...given, tables: 1, tableStride: table.length, pageSize },
    { label: absorbed ? "absorbed" : "narrow", sharing, alone: type === "q8_0" ? apart : asFloats() },
  );
}

/** Cells (row, head) of both results. */
function sameCells({ start, from = start, length }: { start: number; from?: number; length: number }, Dv: number): Alone["same"] {
  return [
    { operand: "out", start: start * Dv, from: from * Dv, length: length * Dv },
    { operand: "lse", start, from, length },
  ];
}

/** Rows as cacheWrite stores them, and the numbers that they stand for. */
function stored(x: Float32Array, rows: number, width: number, type: (typeof narrowTypes)[number]) {
  const device = openReference({ precision: "f32" });
  const rowWords = cacheRowWords(type, width);
  const cache = { buffer: device.allocate("i32", rows * rowWords), offset: 0 };
  const given = { buffer: device.allocate("f32", x.length), offset: 0 };
  const index = { buffer: device.allocate("i32", rows), offset: 0 };
  device.write(given.buffer, 0, x);
  device.write(
    index.buffer,
    0,
    Array.from({ length: rows }, (_, i) => i),
  );
  device.kernels.cacheWrite({ cache, x: given, index, rows, width, cacheRows: rows, type });
  const open = openCache(cache, rows, rowWords, type);
  const words = (cache.buffer as unknown as { readonly data: Int32Array }).data;
  return { words, open };
}
