// The two dispatches of attentionBackward that compute gradients: of queries, and of keys and values. In: ranges, bounds and stats (attention-backward.ts). In both a group owns 16
// vectors and meets the others in blocks of 64: scores and dOut·v of all pairs, from them weights and slopes, then mixes. A block in which all see all skips the masks.

import type { Kernels, View } from "../backend.ts";
import { numberText, vectorText } from "./attention-cache.ts";
import { rangeWords } from "./attention-ranges.ts";
import { columns, dots, each, groupSize, mix, type Own, others, spread, tileDeclarations, tilePlaces } from "./attention-tiles.ts";
import { type Accessor, read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export type BackwardArgs = Parameters<Kernels["attentionBackward"]>[0];

export const own: Own = 16;
const vectors = own / 4;

/** Scratch of both dispatches. */
export type Found = {
  /** i32: findRanges's [R, 3], then bounds of every 16 and of every 64 queries of a key head. */
  readonly ranges: View;
  /** [R·H, 2]: log-sum-exp, and out · dOut. */
  readonly stats: View;
};

function operandsOf({ dOut, q, k, v }: BackwardArgs, { ranges, stats }: Found) {
  return { dOut: read(dOut), q: read(q), k: read(k), v: read(v), ranges: read(ranges, "i32"), stats: read(stats) };
}

function sizesOf({ R, S, H, G, D, Dv, kRowStride, kHeadStride, vRowStride, vHeadStride }: BackwardArgs) {
  return { queries: (R * H) / G, S, H, G, perGroup: H / G, D, Dv, kRowStride, kHeadStride, vRowStride, vHeadStride };
}

type Inputs = { readonly dOut: Accessor; readonly q: Accessor; readonly k: Accessor; readonly v: Accessor };

/** Vectors of all four inputs, and the key head of the group: vectors and numbers of q and dOut by cell (row·H + head). */
function declarationsOf({ dOut, q, k, v }: Inputs): string {
  return `
${tileDeclarations(own)}
${numberText("query", q, "p.D", "f32")}
${vectorText("query", "p.D")}
${numberText("slope", dOut, "p.Dv", "f32")}
${vectorText("slope", "p.Dv")}
${numberText("key", k, "p.kRowStride", "f32")}
${vectorText("key", "p.D")}
${numberText("value", v, "p.vRowStride", "f32")}
${vectorText("value", "p.Dv")}
fn is_between(begin: vec4u, key: vec4u, end: vec4u) -> vec4<bool> { return (begin <= key) & (key < end); }
/** row·H + head of a query of a key head; the last one for those beyond. */
fn cell_of_query(query: u32, group_head: u32) -> u32 {
  let bounded = min(query, p.queries - 1);
  return bounded / p.perGroup * p.H + group_head * p.perGroup + bounded % p.perGroup;
}`;
}

export function queryGradients(recorder: Recorder, args: BackwardArgs, found: Found, tiles: number): void {
  const { dq, R, S, H, G, D, Dv, scale } = args;
  recorder.run({
    kernel: "attentionBackward",
    variant: "queries",
    operands: { dq: write(dq), ...operandsOf(args, found) },
    integers: { ...sizesOf(args), tiles, bounds: R * rangeWords },
    numbers: { scale },
    workgroups: G * tiles,
    groupSize,
    work: R * H * S * (2 * D + Dv),
    text: ({ dq, ranges, stats, ...inputs }) => ({
      declarations: `
${declarationsOf(inputs)}
var<workgroup> slopes: array<vec4f, ${others * vectors}>;
var<workgroup> cell_of: array<u32, ${own}>;
var<workgroup> begin_of: array<vec4u, ${vectors}>;
var<workgroup> end_of: array<vec4u, ${vectors}>;
var<workgroup> lse_of: array<vec4f, ${vectors}>;
var<workgroup> delta_of: array<vec4f, ${vectors}>;`,
      body: `
  let tile = block % p.tiles;
  let group_head = block / p.tiles;
  let key_head = group_head * p.kHeadStride;
  let value_head = group_head * p.vHeadStride;
${tilePlaces(own)}
  if (local < ${own}) { cell_of[local] = cell_of_query(tile * ${own} + local, group_head); }
  if (local < ${vectors}) {
    for (var r = 0u; r < 4; r++) {
      let query = tile * ${own} + 4 * local + r;
      let cell = cell_of_query(query, group_head);
      let keys = select(u32(${ranges("3 * (cell / p.H) + 1")}), 0u, query >= p.queries);
      begin_of[local][r] = u32(${ranges("3 * (cell / p.H)")});
      end_of[local][r] = begin_of[local][r] + keys;
      lse_of[local][r] = ${stats("2 * cell")};
      delta_of[local][r] = ${stats("2 * cell + 1")};
    }
  }
  let at = p.bounds + 4 * tile;
  let first = u32(${ranges("at")});
  let end = u32(${ranges("at + 1")});
  let seen_from = u32(${ranges("at + 2")});
  let seen_to = u32(${ranges("at + 3")});
  var base = first;
  loop {
    let count = min(${others}u, end - base);
${dots({
  name: "score",
  own,
  width: "p.D",
  ownVector: (own, d) => `query_vector(cell_of[${own}], 0u, ${d})`,
  otherVector: (other, d) => `key_vector(min(base + ${other}, p.S - 1), key_head, ${d})`,
})}
${dots({
  name: "pull",
  own,
  width: "p.Dv",
  ownVector: (own, d) => `slope_vector(cell_of[${own}], 0u, ${d})`,
  otherVector: (other, d) => `value_vector(min(base + ${other}, p.S - 1), value_head, ${d})`,
})}
${each(
  columns(own),
  (c) => `  {
    let key = vec4u(base + x + ${c * spread(own)});
    let weight = exp4(fma(score_${c}, vec4f(p.scale), -lse_of[y]));
    let slope = weight * (pull_${c} - delta_of[y]) * p.scale;
    slopes[(x + ${c * spread(own)}) * ${vectors} + y] = select(vec4f(), slope, is_between(begin_of[y], key, end_of[y]));
  }`,
)}
    workgroupBarrier();
    let all_see_all = seen_from <= base && base + count <= seen_to;
    for (var d = local; d < p.D; d += ${groupSize}) {
${each(vectors, (v) => `      var mix_${v} = vec4f();`)}
      if (base > first) {
${each(own, (r) => `        mix_${r >> 2}[${r % 4}] = ${dq(`cell_of[${r}] * p.D + d`)};`)}
      }
      if (all_see_all) {
${mix({ name: "mix", own, weights: "slopes", from: "0u", to: "count", value: "key_number(base + o, key_head + d)" })}
      } else {
${mix({
  name: "mix",
  own,
  weights: "slopes",
  from: "0u",
  to: "count",
  value: "key_number(base + o, key_head + d)",
  isSeen: (v) => `is_between(begin_of[${v}], vec4u(base + o), end_of[${v}])`,
})}
      }
      let mixes = array<vec4f, ${vectors}>(mix_0, mix_1, mix_2, mix_3);
      for (var r = 0u; r < min(${own}u, p.queries - tile * ${own}); r++) { ${dq("cell_of[r] * p.D + d")} = mixes[r / 4][r % 4]; }
    }
    base += ${others};
    if (base >= end) { break; }
  }`,
    }),
  });
}

/** sums: dk [S, G, D], then dv [S, G, Dv], overwritten. `bounds`: where those of the blocks of 64 queries lie in the ranges. */
export function keyGradients(recorder: Recorder, args: BackwardArgs, found: Found, sums: View, bounds: number, blocks: number): void {
  const { R, S, H, G, D, Dv, scale, batch } = args;
  const tiles = Math.ceil(S / own);
  recorder.run({
    kernel: "attentionBackward",
    variant: "keys",
    operands: { sums: write(sums), ...operandsOf(args, found) },
    integers: { ...sizesOf(args), tiles, bounds, blocks, partKeys: S / batch, partQueries: ((R / batch) * H) / G },
    numbers: { scale },
    workgroups: G * tiles,
    groupSize,
    work: 2 * R * H * S * (D + Dv),
    text: ({ sums, ranges, stats, ...inputs }) => {
      const gradient = (name: string, weights: string, width: string, at: string, number: string) => `
      for (var d = local; d < ${width}; d += ${groupSize}) {
${each(vectors, (v) => `        var ${name}_${v} = vec4f();`)}
        if (!is_first) {
${each(own, (r) => `          if (key_begin + ${r} < p.S) { ${name}_${r >> 2}[${r % 4}] = ${sums(`${at} + ((key_begin + ${r}) * p.G + group_head) * ${width} + d`)}; }`)}
        }
        if (all_see_all) {
${mix({ name, own, weights, from: "0u", to: "count", value: `${number}(cell_of[o], d)` })}
        } else {
${mix({
  name,
  own,
  weights,
  from: "0u",
  to: "count",
  value: `${number}(cell_of[o], d)`,
  isSeen: (v) => `is_between(vec4u(begin_of[o]), keys + ${4 * v}, vec4u(end_of[o]))`,
})}
        }
        let mixes = array<vec4f, ${vectors}>(${Array.from({ length: vectors }, (_, v) => `${name}_${v}`).join(", ")});
        for (var r = 0u; r < min(${own}u, p.S - key_begin); r++) {
          ${sums(`${at} + ((key_begin + r) * p.G + group_head) * ${width} + d`)} = mixes[r / 4][r % 4];
        }
      }`;
      return {
        declarations: `
${declarationsOf(inputs)}
var<workgroup> weights: array<vec4f, ${others * vectors}>;
var<workgroup> slopes: array<vec4f, ${others * vectors}>;
var<workgroup> cell_of: array<u32, ${others}>;
var<workgroup> begin_of: array<u32, ${others}>;
var<workgroup> end_of: array<u32, ${others}>;
var<workgroup> lse_of: array<f32, ${others}>;
var<workgroup> delta_of: array<f32, ${others}>;`,
        body: `
  let key_begin = block % p.tiles * ${own};
  let key_end = min(key_begin + ${own}, p.S);
  let group_head = block / p.tiles;
  let key_head = group_head * p.kHeadStride;
  let value_head = group_head * p.vHeadStride;
${tilePlaces(own)}
  let keys = vec4u(key_begin) + vec4u(0, 1, 2, 3);
  // Queries of the parts that the keys lie in.
  let part_begin = key_begin / p.partKeys * p.partQueries / ${others};
  let part_end = (((key_end - 1) / p.partKeys + 1) * p.partQueries + ${others - 1}) / ${others};
  var is_first = true;
  for (var b = part_begin; b < part_end; b++) {
    let at = p.bounds + 4 * b;
    // A block without anyone is passed by, but for the last one, if nothing is written yet.
    let is_seen = u32(${ranges("at")}) < key_end && u32(${ranges("at + 1")}) > key_begin;
    if (!is_seen && (b + 1 < part_end || !is_first)) { continue; }
    let base = b * ${others};
    let count = min(${others}u, p.queries - base);
    let all_see_all = u32(${ranges("at + 2")}) <= key_begin && u32(${ranges("at + 3")}) >= key_end;
    workgroupBarrier();
    {
      let cell = cell_of_query(base + local, group_head);
      cell_of[local] = cell;
      begin_of[local] = u32(${ranges("3 * (cell / p.H)")});
      end_of[local] = begin_of[local] + select(u32(${ranges("3 * (cell / p.H) + 1")}), 0u, local >= count);
      lse_of[local] = ${stats("2 * cell")};
      delta_of[local] = ${stats("2 * cell + 1")};
    }
${dots({
  name: "score",
  own,
  width: "p.D",
  ownVector: (own, d) => `key_vector(min(key_begin + ${own}, p.S - 1), key_head, ${d})`,
  otherVector: (other, d) => `query_vector(cell_of[${other}], 0u, ${d})`,
})}
${dots({
  name: "pull",
  own,
  width: "p.Dv",
  ownVector: (own, d) => `value_vector(min(key_begin + ${own}, p.S - 1), value_head, ${d})`,
  otherVector: (other, d) => `slope_vector(cell_of[${other}], 0u, ${d})`,
})}
${each(
  columns(own),
  (c) => `    {
      let o = x + ${c * spread(own)};
      let key = keys + 4 * y;
      let is_visible = is_between(vec4u(begin_of[o]), key, vec4u(end_of[o]));
      let weight = exp4(fma(score_${c}, vec4f(p.scale), vec4f(-lse_of[o])));
      weights[o * ${vectors} + y] = select(vec4f(), weight, is_visible);
      slopes[o * ${vectors} + y] = select(vec4f(), weight * (pull_${c} - delta_of[o]) * p.scale, is_visible);
    }`,
)}
    workgroupBarrier();
${gradient("dk", "slopes", "p.D", "0u", "query_number")}
${gradient("dv", "weights", "p.Dv", "p.S * p.G * p.D", "slope_number")}
    is_first = false;
  }`,
      };
    },
  });
}
