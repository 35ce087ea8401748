// attention: a group of 64 invocations takes 4 or 16 queries of a key head (heads that share keys, and neighbouring rows) and goes through their keys in chunks of 128, counted
// from each row's first key. A chunk gives its largest score, its sum and its mix of values; chunks are folded in ascending order. Where there are few queries and
// many keys (decoding), every chunk has a group of its own and a second dispatch folds them, by the same text: a row's bits do not depend on the way.
// Queries of a group that begin at different keys, or in different page tables, are taken one run after the other.

import type { Kernels, View } from "../backend.ts";
import { integersText, numberText, queryBlocks, readCache, roundedQueryLength, roundQueries, vectorText } from "./attention-cache.ts";
import { chunkKeys, chunkText, foldText, putText } from "./attention-chunk.ts";
import { findRanges, mostKeys, rangeWords } from "./attention-ranges.ts";
import { groupSize, type Own, scaleDeclarations, tileDeclarations, tilePlaces } from "./attention-tiles.ts";
import { type Accessor, read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

type AttentionArgs = Parameters<Kernels["attention"]>[0];

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
  if (keys > 0) { mean = finished(mean, state.y); }
  ${out("i")} = mean;
  if (i % p.Dv == 0) {
    var logarithm = -infinity();
    if (keys > 0) { logarithm = state.x + log_of(state.y); }
    ${lse("cell")} = logarithm;
  }`,
    }),
  });
}
