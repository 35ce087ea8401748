// attention: a group of 64 invocations takes 4 or 16 queries of a key head (heads that share keys, and neighbouring rows) and goes through their keys in chunks of 128, counted
// from each row's first key. A chunk gives its largest score, its sum and its mix of values; chunks are folded in ascending order. Where there are few queries and
// many keys (decoding), every chunk has a group of its own and a second dispatch folds them, by the same text: a row's bits do not depend on the way.
// Queries of a group that begin at different keys, or in different page tables, are taken one run after the other.

import type { Kernels, View } from "../backend.ts";
import { integersText, numberText, queryBlocks, readCache, roundedQueryLength, roundQueries, vectorText } from "./attention-cache.ts";
import { findRanges, mostKeys, rangeWords } from "./attention-ranges.ts";
import {
  columns,
  dots,
  each,
  groupSize,
  mix,
  type Own,
  others,
  scaleDeclarations,
  spread,
  tileDeclarations,
  tilePlaces,
} from "./attention-tiles.ts";
import { type Accessor, read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

type AttentionArgs = Parameters<Kernels["attention"]>[0];

/** Keys that are softmaxed and mixed before they are folded. */
const chunkKeys = 128;
/** Fewer groups than this leave a GPU idle; then chunks are spread over groups, if what they leave has room. */
const fewGroups = 128;
const mostPartials = 2 ** 24;

/** Queries of a group: 16 where that many are likely to see the same keys. */
function ownFor({ R, H, G, slot, tables = 0 }: AttentionArgs): Own {
  return H / G >= 12 || R >= (slot ? Math.max(64, 4 * tables) : 64) ? 16 : 4;
}

export function attention(recorder: Recorder): Kernels["attention"] {
  return (args) => {
    const { R, H, G, D, Dv } = args;
    if (R * H === 0) return;
    const own = ownFor(args);
    const tiles = Math.ceil((R * H) / G / own);
    const chunks = Math.max(1, Math.ceil(mostKeys(args) / chunkKeys));
    const partials = R * H * chunks * (Dv + 2);
    const isSplit = chunks > 1 && tiles * G < fewGroups && partials <= mostPartials;
    recorder.withScratch(
      R * rangeWords,
      (ranges) => {
        findRanges(recorder, ranges, args);
        const start = (q: View) => {
          if (!isSplit) attend(recorder, args, { q, ranges, own, tiles });
          else {
            recorder.withScratch(partials, (partial) => {
              attend(recorder, args, { q, ranges, own, tiles, split: { partial, chunks } });
              fold(recorder, args, ranges, partial, chunks);
            });
          }
        };
        if (args.cacheType !== "q8_0") start(args.q);
        else {
          recorder.withScratch(R * H * roundedQueryLength(D), (rounded) => {
            roundQueries(recorder, rounded, args);
            start(rounded);
          });
        }
      },
      "i32",
    );
  };
}

/** Largest score and sum of the chunks so far and of the next one -> largest, sum, factor of the mix so far, factor of the next one's mix. The first chunk is taken as it is. */
const foldText = `
fn folded(top: f32, sum: f32, next_top: f32, next_sum: f32, is_first: bool) -> vec4f {
  if (is_first) { return vec4f(next_top, next_sum, 0.0, 1.0); }
  let both = larger(top, next_top);
  let keep = exp_of(top - both);
  let add = exp_of(next_top - both);
  return vec4f(both, fma(sum, keep, next_sum * add), keep, add);
}
fn mixed(before: f32, next: f32, factors: vec4f) -> f32 { return fma(before, factors.z, next * factors.w); }`;

type Plan = {
  readonly q: View;
  readonly ranges: View;
  readonly own: Own;
  readonly tiles: number;
  /** partial [R·H, chunks, Dv + 2]: mix, largest score, sum. */
  readonly split?: { readonly partial: View; readonly chunks: number };
};

function attend(recorder: Recorder, args: AttentionArgs, { q, ranges, own, tiles, split }: Plan): void {
  const { R, S, H, G, D, Dv, scale, kRowStride, kHeadStride, vRowStride, vHeadStride, cacheType = "f32", pages, pageSize = 0 } = args;
  const isBytes = cacheType === "q8_0";
  const chunks = split?.chunks ?? 1;
  recorder.run({
    kernel: "attention",
    variant: `${own} ${cacheType} ${split ? "split" : ""}`,
    operands: {
      // With `split` the mixes go to `partial`, as it were [R·H·chunks] heads.
      out: write(split?.partial ?? args.out),
      lse: split ? undefined : write(args.lse),
      q: read(q),
      k: readCache(args.k, cacheType),
      v: readCache(args.v, cacheType),
      ranges: read(ranges, "i32"),
      // Without pages some buffer of its own stands in, so that both ways share a text.
      pages: read(pages ?? args.first, "i32"),
    },
    integers: {
      ...{ queries: (R * H) / G, H, perGroup: H / G, D, Dv, tiles, chunks, queryBlocks: queryBlocks(D) },
      ...{ kRowStride, kHeadStride, vRowStride, vHeadStride, pageSize, pageCount: pageSize > 0 ? Math.floor(S / pageSize) : 0 },
    },
    numbers: { scale },
    workgroups: G * tiles * chunks,
    groupSize,
    work: R * H * mostKeys(args) * (D + Dv),
    text: ({ out, lse, q, k, v, ranges, pages }) => ({
      declarations: `
${tileDeclarations(own)}
${foldText}
${numberText("value", v, "p.vRowStride", cacheType)}
${isBytes ? scaleDeclarations(own) + integersText("key", k, "p.kRowStride") : numberText("key", k, "p.kRowStride", cacheType) + vectorText("key", "p.D")}
${queryText(q, isBytes)}
const nobody = 0xffffffffu;
var<workgroup> weights: array<vec4f, ${(chunkKeys * own) / 4}>;
var<workgroup> row_of: array<u32, ${chunkKeys}>;
/** row·H + head of the queries of this run; nobody for the others. */
var<workgroup> cell_of: array<u32, ${own}>;
/** Keys of the queries of this run; 0 for the others. */
var<workgroup> keys_of: array<u32, ${own}>;
var<workgroup> tops: array<vec4f, ${own / 4}>;
var<workgroup> sums: array<vec4f, ${own / 4}>;
/** Result of the folding, for each query. */
var<workgroup> factors: array<vec4f, ${own}>;

fn keys_of_four(v: u32) -> vec4u { return vec4u(keys_of[4 * v], keys_of[4 * v + 1], keys_of[4 * v + 2], keys_of[4 * v + 3]); }
/** The cached row of a key, given where its page table begins. */
fn row_of_key(key: u32, table: u32) -> u32 {
  if (p.pageSize == 0) { return key; }
  let page = clamp(${pages("table + key / p.pageSize")}, 0, i32(p.pageCount) - 1);
  return u32(page) * p.pageSize + key % p.pageSize;
}
${putText(out, split !== undefined)}`,
      body: `
  let chunk = block % p.chunks;
  let tile = block / p.chunks % p.tiles;
  let group_head = block / p.chunks / p.tiles;
${isBytes ? "  let key_head = group_head * p.kHeadStride / 32u * 32u;\n  let key_width = group_head * p.kHeadStride - key_head + p.D;" : "  let key_head = group_head * p.kHeadStride;"}
  let value_head = group_head * p.vHeadStride;
${tilePlaces(own)}
  let tile_begin = tile * ${own};
  let tile_end = min(tile_begin + ${own}, p.queries);
  var run_end = tile_begin;
  while (run_end < tile_end) {
    // The next run: rows with the same first key and page table.
    let run_begin = run_end;
    var row = run_begin / p.perGroup;
    let first = ${ranges("3 * row")};
    let table = ${ranges("3 * row + 2")};
    var most = 0u;
    var fewest = nobody;
    loop {
      let keys = u32(${ranges("3 * row + 1")});
      most = max(most, keys);
      fewest = min(fewest, keys);
      row += 1;
      if (row * p.perGroup >= tile_end || ${ranges("3 * row")} != first || ${ranges("3 * row + 2")} != table) { break; }
    }
    run_end = min(row * p.perGroup, tile_end);
    workgroupBarrier();
    if (local < ${own}) {
      let query = tile_begin + local;
      let is_in_run = query >= run_begin && query < run_end;
      let query_row = min(query, p.queries - 1) / p.perGroup;
      cell_of[local] = select(nobody, query_row * p.H + group_head * p.perGroup + query % p.perGroup, is_in_run);
      keys_of[local] = select(0u, u32(${ranges("3 * query_row + 1")}), is_in_run);
    }
${
  split
    ? `    if (chunk * ${chunkKeys} < most) {
${chunkText("chunk", isBytes, own, out, undefined)}
    }`
    : `    var turn = 0u;
    loop {
${chunkText("turn", isBytes, own, out, lse)}
      turn += 1;
      if (turn * ${chunkKeys} >= most) { break; }
    }`
}
  }`,
    }),
  });
}

/** query_vector(own, d), and for q8_0 query_scale(own, d): zeros for who is not in the run. */
function queryText(q: Accessor, isBytes: boolean): string {
  if (!isBytes) {
    return `
${numberText("query", q, "p.D", "f32")}
${vectorText("query", "p.D")}
fn own_vector(own: u32, d: u32) -> vec4f {
  if (cell_of[own] == nobody) { return vec4f(); }
  return query_vector(cell_of[own], 0u, d);
}`;
  }
  return `
fn own_vector(own: u32, d: u32) -> vec4f {
  if (cell_of[own] == nobody) { return vec4f(); }
  let at = cell_of[own] * (33u * p.queryBlocks) + d;
  return vec4f(${q("at")}, ${q("at + 1")}, ${q("at + 2")}, ${q("at + 3")});
}
fn own_scale_of(own: u32, d: u32) -> f32 {
  if (cell_of[own] == nobody) { return 0.0; }
  return ${q("cell_of[own] * (33u * p.queryBlocks) + 32u * p.queryBlocks + d / 32u")};
}`;
}

/** put(own, d, mix, base, chunk): takes element d of a chunk's mix to where it belongs. */
function putText(out: Accessor, isSplit: boolean): string {
  return `
fn put(own: u32, d: u32, next: f32, base: u32, chunk: u32) {
  let cell = cell_of[own];
  let keys = keys_of[own];
  if (cell == nobody || (keys <= base && ${isSplit ? "true" : "base > 0"})) { return; }
${
  isSplit
    ? `  ${out("(cell * p.chunks + chunk) * (p.Dv + 2) + d")} = next;`
    : `  let at = cell * p.Dv + d;
  var mean = 0.0;
  if (keys > 0) { mean = next; }
  if (base > 0) { mean = mixed(${out("at")}, next, factors[own]); }
  if (keys > base && keys <= base + ${chunkKeys}) { mean = mean / factors[own].y; }
  ${out("at")} = mean;`
}
}`;
}

/** Scores, softmax and mix of a chunk of a run's keys. */
function chunkText(chunk: string, isBytes: boolean, own: Own, out: Accessor, lse: Accessor | undefined): string {
  const vectors = own / 4;
  /** Combines what the 64 invocations left in other_tile, eight by eight, in an order that depends on nothing. */
  const combine = (target: string, of: (a: string, b: string) => string) => `
  workgroupBarrier();
  if (local < ${8 * vectors}) {
    var all = other_tile[local];
    for (var e = 1u; e < 8; e++) { all = ${of("all", `other_tile[local + e * ${8 * vectors}]`)}; }
    other_tile[local] = all;
  }
  workgroupBarrier();
  if (local < ${vectors}) {
    var all = other_tile[local];
    for (var e = 1u; e < 8; e++) { all = ${of("all", `other_tile[local + e * ${vectors}]`)}; }
    ${target}[local] = all;
  }
  workgroupBarrier();`;
  return `
  let base = ${chunk} * ${chunkKeys};
  let count = min(${chunkKeys}u, most - base);
  workgroupBarrier();
  for (var o = local; o < ${chunkKeys}; o += ${groupSize}) {
    // Behind the end stands the last row: its scores are computed and not used.
    row_of[o] = row_of_key(u32(first) + min(base + o, max(most, 1u) - 1), u32(table));
  }
  for (var half = 0u; half < count; half += ${others}) {
${dots({
  name: "score",
  own,
  width: isBytes ? "key_width" : "p.D",
  ownVector: (own, d) => `own_vector(${own}, ${d})`,
  otherVector: (other, d) =>
    isBytes ? `key_integers(row_of[half + ${other}], key_head + ${d})` : `key_vector(row_of[half + ${other}], key_head, ${d})`,
  ...(isBytes && {
    scales: {
      own: (own: string, d: string) => `own_scale_of(${own}, ${d})`,
      other: (other: string, d: string) => `key_scale(row_of[half + ${other}], key_head + ${d})`,
    },
  }),
})}
${each(columns(own), (c) => `    weights[(half + x + ${c * spread(own)}) * ${vectors} + y] = score_${c} * p.scale;`)}
  }
  workgroupBarrier();
  for (var v = 0u; v < ${vectors}; v++) {
    let keys = keys_of_four(v);
    var top = vec4f(-infinity());
    for (var o = local; o < count; o += ${groupSize}) {
      top = larger4(top, select(vec4f(-infinity()), weights[o * ${vectors} + v], vec4u(base + o) < keys));
    }
    other_tile[local * ${vectors} + v] = top;
  }
${combine("tops", (a, b) => `larger4(${a}, ${b})`)}
  for (var v = 0u; v < ${vectors}; v++) {
    let keys = keys_of_four(v);
    var sum = vec4f();
    for (var o = local; o < count; o += ${groupSize}) {
      let weight = select(vec4f(), exp4(weights[o * ${vectors} + v] - tops[v]), vec4u(base + o) < keys);
      weights[o * ${vectors} + v] = weight;
      sum += weight;
    }
    other_tile[local * ${vectors} + v] = sum;
  }
${combine("sums", (a, b) => `${a} + ${b}`)}
  if (local < ${own} && cell_of[local] != nobody) {
    let keys = keys_of[local];
    let top = tops[local / 4][local % 4];
    let sum = sums[local / 4][local % 4];
${
  lse
    ? `    if (keys > base) { factors[local] = folded(factors[local].x, factors[local].y, top, sum, base == 0); }
    if (keys > base && keys <= base + ${chunkKeys}) { ${lse("cell_of[local]")} = factors[local].x + log_of(factors[local].y); }
    if (keys == 0) { ${lse("cell_of[local]")} = -infinity(); }`
    : `    if (keys > base) {
      let at = (cell_of[local] * p.chunks + ${chunk}) * (p.Dv + 2) + p.Dv;
      ${out("at")} = top;
      ${out("at + 1")} = sum;
    }`
}
  }
  workgroupBarrier();
  // Keys that all queries of the run see, then those that some do.
  let seen_by_all = clamp(fewest, base, base + count) - base;
${each(vectors, (v) => `  let keys_${v} = keys_of_four(${v});`)}
  for (var d = local; d < p.Dv; d += ${groupSize}) {
${each(vectors, (v) => `    var mix_${v} = vec4f();`)}
${mix({ name: "mix", own, weights: "weights", from: "0u", to: "seen_by_all", value: "value_number(row_of[o], value_head + d)" })}
${mix({
  name: "mix",
  own,
  weights: "weights",
  from: "seen_by_all",
  to: "count",
  value: "value_number(row_of[o], value_head + d)",
  isSeen: (v) => `vec4u(base + o) < keys_${v}`,
})}
    let mixes = array<vec4f, ${vectors}>(${Array.from({ length: vectors }, (_, v) => `mix_${v}`).join(", ")});
    for (var r = 0u; r < ${own}; r++) { put(r, d, mixes[r / 4][r % 4], base, ${chunk}); }
  }`;
}

/** Folds the chunks of every query. */
function fold(recorder: Recorder, { out, lse, R, H, Dv }: AttentionArgs, ranges: View, partial: View, chunks: number): void {
  recorder.run({
    kernel: "attention fold",
    operands: { out: write(out), lse: write(lse), partial: read(partial), ranges: read(ranges, "i32") },
    integers: { H, Dv, chunks },
    invocations: R * H * Dv,
    work: R * H * Dv * chunks,
    text: ({ out, lse, partial, ranges }) => ({
      declarations: foldText,
      body: `
  let cell = i / p.Dv;
  let keys = u32(${ranges("3 * (cell / p.H) + 1")});
  var mean = 0.0;
  var state = vec4f();
  for (var chunk = 0u; chunk * ${chunkKeys} < keys; chunk++) {
    let at = (cell * p.chunks + chunk) * (p.Dv + 2);
    state = folded(state.x, state.y, ${partial("at + p.Dv")}, ${partial("at + p.Dv + 1")}, chunk == 0);
    let next = ${partial("at + i % p.Dv")};
    if (chunk == 0) { mean = next; } else { mean = mixed(mean, next, state); }
  }
  if (keys > 0) { mean = mean / state.y; }
  ${out("i")} = mean;
  if (i % p.Dv == 0) {
    var logarithm = -infinity();
    if (keys > 0) { logarithm = state.x + log_of(state.y); }
    ${lse("cell")} = logarithm;
  }`,
    }),
  });
}
