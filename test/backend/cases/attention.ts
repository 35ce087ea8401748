// Cases of attention and attentionBackward: causal and packed rows, ragged caches with strides, the absorbed form (v inside k), empty and
// clamped ranges, keys in pages. Key rows that nobody may see hold NaN, as an uninitialised cache does. The law pieces: a row alone, a head
// group alone, and the same row with its keys elsewhere in a larger cache (training against cached decoding, pages against one range).

import type { Random } from "../../../src/core/random.ts";
import {
  type Alone,
  type Cases,
  input,
  integers,
  type KernelCase,
  kernelCase,
  normals,
  type Operand,
  output,
  part,
  referenceResult,
  sum,
  summed,
} from "../kernel-case.ts";

type Sizes = { R: number; S: number; H: number; G: number; D: number; Dv: number };
type Ranges = { first: readonly number[]; last: readonly number[] };
type Paging = {
  readonly pages: readonly number[];
  readonly slot: readonly number[];
  tables: number;
  tableStride: number;
  pageSize: number;
};
type Strides = { kRowStride: number; kHeadStride: number; vRowStride: number; vHeadStride: number };

function contiguous({ G, D, Dv }: Sizes): Strides {
  return { kRowStride: G * D, kHeadStride: D, vRowStride: G * Dv, vHeadStride: Dv };
}

function spanned(rows: number, heads: number, width: number, rowStride: number, headStride: number): number {
  return rows * heads * width === 0 ? 0 : (rows - 1) * rowStride + (heads - 1) * headStride + width;
}

function closeness(bound = summed) {
  return { bound, scale: 0.1 };
}

type Given = { q: Float32Array; k: Float32Array; v?: Float32Array };

/** Without v, v lies inside k. */
function make(
  sizes: Sizes,
  ranges: Ranges,
  strides: Strides,
  given: Given,
  scale: number,
  label: string,
  alone: Alone[] = [],
  paging?: Paging,
): KernelCase {
  const { R, H, Dv } = sizes;
  const { pages, slot, ...shape } = paging ?? {};
  const operands = {
    out: output(R * H * Dv, closeness()),
    lse: output(R * H, closeness()),
    q: input(given.q),
    k: input(given.k),
    v: input(given.v ?? given.k),
    first: integers(...ranges.first),
    last: integers(...ranges.last),
    pages: pages && integers(...pages),
    slot: slot && integers(...slot),
  };
  return kernelCase("attention", operands, { ...sizes, scale, ...strides, ...shape }, { label, alone, sharing: given.v ? {} : { v: "k" } });
}

function causal(R: number, parts = 1): Ranges {
  const T = R / parts;
  return { first: Array.from({ length: R }, (_, r) => r - (r % T)), last: Array.from({ length: R }, (_, r) => r) };
}

/** Neighbours that begin at one key, with ends in no order and empty ranges between them. */
const ragged: Ranges = { first: [3, 3, 3, 3, 3, 3, 3, 3, 3], last: [17, 9, 2, 39, 38, -1, 3, 20, 20] };

function randomRanges(random: Random, R: number, S: number): Ranges {
  const first = Array.from({ length: R }, () => random.integer(S));
  return { first, last: first.map((from) => from + random.integer(S - from)) };
}

/** Copies key rows start..start+count-1 to row `to` of a larger array of another layout, whose other elements are NaN. */
function moved(
  x: Float32Array,
  from: { start: number; rowStride: number; headStride: number },
  to: { row: number; rows: number; rowStride: number; headStride: number },
  count: number,
  G: number,
  width: number,
): Float32Array {
  const target = new Float32Array(spanned(to.rows, G, width, to.rowStride, to.headStride)).fill(Number.NaN);
  for (let j = 0; j < count; j++) {
    for (let g = 0; g < G; g++) {
      for (let d = 0; d < width; d++) {
        target[(to.row + j) * to.rowStride + g * to.headStride + d] = x[
          (from.start + j) * from.rowStride + g * from.headStride + d
        ] as number;
      }
    }
  }
  return target;
}

/** One row, alone with its keys in a cache of another layout, place and length. */
function rowPiece(sizes: Sizes, ranges: Ranges, strides: Strides, given: Required<Given>, scale: number, r: number, place: number): Alone {
  const { H, G, D, Dv } = sizes;
  const start = ranges.first[r] as number;
  const count = (ranges.last[r] as number) - start + 1;
  const rows = place + count + 3;
  const other = { kRowStride: G * D + place, kHeadStride: D, vRowStride: G * Dv + 2 * place, vHeadStride: Dv };
  const k = moved(
    given.k,
    { start, rowStride: strides.kRowStride, headStride: strides.kHeadStride },
    { row: place, rows, rowStride: other.kRowStride, headStride: D },
    count,
    G,
    D,
  );
  const v = moved(
    given.v,
    { start, rowStride: strides.vRowStride, headStride: strides.vHeadStride },
    { row: place, rows, rowStride: other.vRowStride, headStride: Dv },
    count,
    G,
    Dv,
  );
  const alone = { q: part(given.q, r * H * D, H * D), k, v };
  const piece = make({ ...sizes, R: 1, S: rows }, { first: [place], last: [place + count - 1] }, other, alone, scale, `row ${r} alone`);
  return {
    piece,
    same: [
      { operand: "out", start: r * H * Dv, length: H * Dv },
      { operand: "lse", start: r * H, length: H },
    ],
  };
}

/** All rows with the heads of group g only. */
function groupPiece(sizes: Sizes, ranges: Ranges, strides: Strides, given: Required<Given>, scale: number, g: number): Alone {
  const { R, S, H, G, D, Dv } = sizes;
  const heads = H / G;
  const q = Float32Array.from(
    { length: R * heads * D },
    (_, i) => given.q[Math.floor(i / (heads * D)) * H * D + g * heads * D + (i % (heads * D))] as number,
  );
  const k = part(given.k, g * strides.kHeadStride, spanned(S, 1, D, strides.kRowStride, 0));
  const v = part(given.v, g * strides.vHeadStride, spanned(S, 1, Dv, strides.vRowStride, 0));
  const piece = make({ ...sizes, H: heads, G: 1 }, ranges, strides, { q, k, v }, scale, `group ${g} alone`);
  const same = Array.from({ length: R }, (_, r) => [
    { operand: "out", start: (r * H + g * heads) * Dv, from: r * heads * Dv, length: heads * Dv },
    { operand: "lse", start: r * H + g * heads, from: r * heads, length: heads },
  ]).flat();
  return { piece, same };
}

export const attentionCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  const add = (sizes: Sizes, ranges: Ranges, label: string, scale = 1 / Math.sqrt(sizes.D)) => {
    const { R, S, H, G, D, Dv } = sizes;
    const strides = contiguous(sizes);
    const given = { q: normals(random, R * H * D), k: normals(random, S * G * D), v: normals(random, S * G * Dv) };
    const rows = [...new Set([0, R >> 1, R - 1])].filter(
      (r) => r >= 0 && r < R && (ranges.first[r] as number) <= (ranges.last[r] as number),
    );
    const alone = rows.flatMap((r) => [0, 5, 37].map((place) => rowPiece(sizes, ranges, strides, given, scale, r, place)));
    if (G > 1 && R > 0)
      alone.push(groupPiece(sizes, ranges, strides, given, scale, 0), groupPiece(sizes, ranges, strides, given, scale, G - 1));
    cases.push(make(sizes, ranges, strides, given, scale, label, alone));
  };
  add({ R: 1, S: 1, H: 1, G: 1, D: 1, Dv: 1 }, causal(1), "one of all");
  add({ R: 3, S: 3, H: 2, G: 1, D: 3, Dv: 5 }, causal(3), "causal");
  add({ R: 17, S: 17, H: 4, G: 2, D: 16, Dv: 16 }, causal(17), "causal");
  add({ R: 129, S: 129, H: 2, G: 2, D: 32, Dv: 32 }, causal(129), "causal");
  add({ R: 68, S: 68, H: 2, G: 1, D: 24, Dv: 16 }, causal(68, 4), "packed");
  add({ R: 34, S: 34, H: 3, G: 3, D: 64, Dv: 64 }, causal(34, 2), "packed");
  add({ R: 5, S: 130, H: 6, G: 3, D: 17, Dv: 9 }, randomRanges(random, 5, 130), "random ranges");
  add({ R: 3, S: 700, H: 4, G: 2, D: 8, Dv: 8 }, { first: [0, 1, 699], last: [699, 650, 699] }, "long");
  add({ R: 17, S: 17, H: 2, G: 1, D: 8, Dv: 8 }, causal(17), "sharp", 12);
  // So many rows that a device may go through keys in another way than for one row.
  add({ R: 256, S: 300, H: 8, G: 4, D: 4, Dv: 4 }, causal(256), "many rows");
  add({ R: 9, S: 40, H: 2, G: 2, D: 16, Dv: 32 }, ragged, "one first key, ragged ends");
  add({ R: 0, S: 5, H: 2, G: 1, D: 4, Dv: 4 }, { first: [], last: [] }, "no rows");
  return [...cases, ...edgeCases(random), ...cacheCases(random), ...pagedCases(random)];
};

function edgeCases(random: Random): KernelCase[] {
  const sizes = { R: 8, S: 9, H: 4, G: 2, D: 6, Dv: 5 };
  const strides = contiguous(sizes);
  const given = { q: normals(random, 8 * 24), k: normals(random, 9 * 12), v: normals(random, 9 * 10) };
  const empty = { first: [3, 0, 8, 1, 2147483647, 5, 4, 0], last: [2, -1, 8, 0, -2147483648, 4, 4, 8] };
  const outside = { first: [-5, 9, 100, -2147483648, 8, 0, -9, 7], last: [3, 9, 2147483647, 2147483647, 12, 9, -9, 7] };
  const nothing = make({ ...sizes, S: 0 }, empty, strides, { q: given.q, k: new Float32Array(0), v: new Float32Array(0) }, 0.4, "no keys");
  return [make(sizes, empty, strides, given, 0.4, "empty ranges"), make(sizes, outside, strides, given, 0.4, "clamped ranges"), nothing];
}

/** Strided caches in which only the visible rows were ever written; v apart, and v as the first Dv elements of the key rows. */
function cacheCases(random: Random): KernelCase[] {
  const cases: KernelCase[] = [];
  const slots = 3;
  const length = 50;
  for (const [R, H, G, D, Dv] of [
    [3, 4, 2, 16, 16],
    [1, 8, 1, 40, 32],
    [3, 8, 1, 24, 16],
    [6, 2, 2, 5, 3],
  ] as const) {
    const sizes = { R, S: slots * length, H, G, D, Dv };
    const ranges = {
      first: Array.from({ length: R }, (_, r) => (r % slots) * length),
      last: Array.from({ length: R }, (_, r) => (r % slots) * length + 7 + 11 * (r % slots) + Math.floor(r / slots)),
    };
    const seen = (row: number) => ranges.first.some((from, r) => from <= row && row <= (ranges.last[r] as number));
    const q = normals(random, R * H * D);
    const strides = { kRowStride: G * (D + 2) + 3, kHeadStride: D + 2, vRowStride: G * Dv + 1, vHeadStride: Dv };
    const k = hideRows(normals(random, spanned(sizes.S, G, D, strides.kRowStride, strides.kHeadStride)), strides.kRowStride, seen);
    const v = hideRows(normals(random, spanned(sizes.S, G, Dv, strides.vRowStride, strides.vHeadStride)), strides.vRowStride, seen);
    const alone = Array.from({ length: R }, (_, r) => rowPiece(sizes, ranges, strides, { q, k, v }, 0.25, r, 1));
    cases.push(make(sizes, ranges, strides, { q, k, v }, 0.25, "cache", alone));
    if (G === 1) {
      const inside = { kRowStride: D + 3, kHeadStride: 0, vRowStride: D + 3, vHeadStride: 0 };
      const latent = hideRows(normals(random, spanned(sizes.S, 1, D, D + 3, 0)), D + 3, seen);
      cases.push(make(sizes, ranges, inside, { q, k: latent }, 0.25, "absorbed"));
    }
  }
  return cases;
}

/**
 * Three sequences whose keys lie in pages of a pool in random order, the first page shared by two of them, all other rows NaN. Each row alone,
 * with its keys in one range, must have the same bits.
 */
function pagedCases(random: Random): KernelCase[] {
  const cases: KernelCase[] = [];
  for (const [pageSize, H, G, D, Dv] of [
    [1, 2, 1, 4, 4],
    [4, 4, 2, 16, 16],
    [8, 2, 2, 5, 3],
    [16, 8, 1, 40, 32],
    [32, 2, 1, 64, 64],
  ] as const) {
    const tableStride = 4;
    const lengths = [3 * pageSize + 1, pageSize, 2 * pageSize + Math.ceil(pageSize / 2)];
    const slot = [0, 2, 1, 0, 2, 2];
    const R = slot.length;
    const sizes = { R, S: 11 * pageSize + Math.floor(pageSize / 2), H, G, D, Dv };
    const free = Array.from({ length: 11 }, (_, i) => ({ i, key: random.uniform() })).sort((a, b) => a.key - b.key);
    const tables = lengths.map((length) => Array.from({ length: Math.ceil(length / pageSize) }, () => free.pop()?.i as number));
    (tables[2] as number[])[0] = tables[0]?.[0] as number; // a shared prefix
    const pages = tables.flatMap((table, t) => [...table, ...Array(tableStride - table.length).fill(t === 1 ? -7 : 1e9)]);
    const last = slot.map((t, r) => (lengths[t] as number) - 1 - (r < 3 ? 0 : r % pageSize));
    const ranges = { first: slot.map((_, r) => (r === 4 ? Math.floor((last[r] as number) / 2) : 0)), last };
    const rowOf = (r: number, j: number) => (tables[slot[r] as number]?.[Math.floor(j / pageSize)] as number) * pageSize + (j % pageSize);
    const seen = new Set(slot.flatMap((_, r) => Array.from({ length: (last[r] as number) + 1 }, (_, j) => rowOf(r, j))));
    const q = normals(random, R * H * D);
    const strides = { kRowStride: G * D + 3, kHeadStride: D, vRowStride: G * Dv + 1, vHeadStride: Dv };
    const hidden = (width: number, rowStride: number) =>
      hideRows(normals(random, spanned(sizes.S, G, width, rowStride, width)), rowStride, (row) => seen.has(row));
    const given = { q, k: hidden(D, strides.kRowStride), v: hidden(Dv, strides.vRowStride) };
    const inOrder = (x: Float32Array, rowStride: number, width: number, r: number) =>
      Float32Array.from({ length: ((last[r] as number) + 1) * G * width }, (_, i) => {
        const place = i % (G * width);
        return x[rowOf(r, Math.floor(i / (G * width))) * rowStride + place] as number;
      });
    const alone = slot.map((_, r): Alone => {
      const [from, to] = [ranges.first[r] as number, last[r] as number];
      const row = {
        q: part(q, r * H * D, H * D),
        k: inOrder(given.k, strides.kRowStride, D, r),
        v: inOrder(given.v, strides.vRowStride, Dv, r),
      };
      const one = { ...sizes, R: 1, S: to + 1 };
      return {
        piece: make(one, { first: [from], last: [to] }, contiguous(one), row, 0.3, `row ${r} in one range`),
        same: [
          { operand: "out", start: r * H * Dv, length: H * Dv },
          { operand: "lse", start: r * H, length: H },
        ],
      };
    });
    cases.push(make(sizes, ranges, strides, given, 0.3, "pages", alone, { pages, slot, tables: 3, tableStride, pageSize }));
  }
  return [...cases, ...pagedEdgeCases(random)];
}

/** Page numbers, tables and keys out of range, and a pool smaller than a page. */
function pagedEdgeCases(random: Random): KernelCase[] {
  const sizes = { R: 6, S: 9, H: 2, G: 1, D: 4, Dv: 4 };
  const given = { q: normals(random, 48), k: normals(random, 36), v: normals(random, 36) };
  const ranges = { first: [0, -3, 5, 0, 2, 2147483647], last: [3, 100, 5, 11, 1, 2147483647] };
  const paging = { pages: [0, -1, 1, 99, 1, -2147483648], slot: [0, 1, 2, -5, 0, 1], tables: 2, tableStride: 3, pageSize: 4 };
  const strides = contiguous(sizes);
  return [
    make(sizes, ranges, strides, given, 0.4, "clamped pages", [], paging),
    make({ ...sizes, S: 3 }, ranges, strides, given, 0.4, "no whole page", [], paging),
    make(sizes, ranges, strides, given, 0.4, "no tables", [], { ...paging, pages: [], tables: 0 }),
  ];
}

function hideRows(x: Float32Array, rowStride: number, seen: (row: number) => boolean): Float32Array {
  return x.map((value, i) => (seen(Math.floor(i / rowStride)) ? value : Number.NaN));
}

export const attentionBackwardCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  const add = (
    sizes: Sizes,
    ranges: Ranges,
    batch: number,
    label: string,
    padding = 0,
    scale = 1 / Math.sqrt(sizes.D),
    broken?: number,
  ) => {
    const { R, S, H, G, D, Dv } = sizes;
    const strides = { kRowStride: G * D + padding, kHeadStride: D, vRowStride: G * Dv + 2 * padding, vHeadStride: Dv };
    const gradients = { dkRowStride: G * (D + padding), dkHeadStride: D + padding, dvRowStride: G * Dv + padding, dvHeadStride: Dv };
    const q = normals(random, R * H * D);
    const k = normals(random, spanned(S, G, D, strides.kRowStride, strides.kHeadStride));
    const v = normals(random, spanned(S, G, Dv, strides.vRowStride, strides.vHeadStride));
    if (broken !== undefined) q[broken * H * D] = k[broken * strides.kRowStride] = Number.NaN;
    const forward = referenceResult(make(sizes, ranges, strides, { q, k, v }, scale, "forward"));
    const given = (name: string): Operand => input(Float32Array.from(forward[name] as Float64Array));
    const operands = {
      dq: output(R * H * D, closeness()),
      dk: sum(normals(random, spanned(S, G, D, gradients.dkRowStride, gradients.dkHeadStride)), closeness()),
      dv: sum(normals(random, spanned(S, G, Dv, gradients.dvRowStride, gradients.dvHeadStride)), closeness()),
      dOut: input(normals(random, R * H * Dv)),
      out: given("out"),
      lse: given("lse"),
      q: input(q),
      k: input(k),
      v: input(v),
      first: integers(...ranges.first),
      last: integers(...ranges.last),
    };
    cases.push(kernelCase("attentionBackward", operands, { ...sizes, scale, batch, ...strides, ...gradients }, { label }));
  };
  add({ R: 1, S: 1, H: 1, G: 1, D: 1, Dv: 1 }, causal(1), 1, "one of all");
  add({ R: 3, S: 3, H: 2, G: 1, D: 3, Dv: 5 }, causal(3), 1, "causal");
  add({ R: 17, S: 17, H: 4, G: 2, D: 16, Dv: 16 }, causal(17), 1, "causal");
  add({ R: 68, S: 68, H: 2, G: 2, D: 24, Dv: 16 }, causal(68, 4), 4, "packed");
  add({ R: 68, S: 68, H: 2, G: 2, D: 24, Dv: 16 }, causal(68, 4), 1, "packed, one part");
  add({ R: 129, S: 129, H: 2, G: 1, D: 32, Dv: 32 }, causal(129), 1, "causal");
  add({ R: 66, S: 66, H: 3, G: 3, D: 32, Dv: 16 }, causal(66, 2), 2, "packed, a key head for each head", 7);
  add({ R: 9, S: 40, H: 2, G: 2, D: 16, Dv: 32 }, ragged, 1, "one first key, ragged ends");
  add({ R: 10, S: 40, H: 6, G: 3, D: 17, Dv: 9 }, randomRanges(random, 10, 40), 1, "random ranges", 3);
  add({ R: 6, S: 6, H: 2, G: 1, D: 8, Dv: 8 }, causal(6, 2), 2, "strided", 5);
  add({ R: 17, S: 17, H: 2, G: 2, D: 8, Dv: 8 }, causal(17), 1, "sharp", 0, 6);
  add({ R: 4, S: 5, H: 2, G: 1, D: 4, Dv: 4 }, { first: [3, 0, -7, 4], last: [2, -1, 1, 90] }, 1, "empty and clamped ranges");
  add({ R: 12, S: 12, H: 2, G: 1, D: 4, Dv: 4 }, causal(12, 3), 1, "NaN in one sequence", 0, 0.5, 6);
  add({ R: 0, S: 3, H: 2, G: 1, D: 4, Dv: 4 }, { first: [], last: [] }, 1, "no rows");
  add({ R: 2, S: 0, H: 2, G: 1, D: 4, Dv: 4 }, { first: [0, 0], last: [0, 1] }, 1, "no keys");
  return cases;
};
