// The text of attention's inner part: what a group does with a chunk of 128 keys (scores, softmax, mix of values), and how chunks are folded. In: names that attention.ts
// declares. Every sum has one order: scores in four lanes (attention-tiles.ts), weights in 64 lanes that are combined eight by eight, values in one chain over the keys.

import { columns, dots, each, groupSize, mix, type Own, others, spread } from "./attention-tiles.ts";
import type { Accessor } from "./program.ts";

/** Keys that are softmaxed and mixed before they are folded. */
export const chunkKeys = 128;

/** Largest score and sum of the chunks so far and of the next one -> largest, sum, factor of the mix so far, factor of the next one's mix. The first chunk is taken as it is. */
export const foldText = `
fn folded(top: f32, sum: f32, next_top: f32, next_sum: f32, is_first: bool) -> vec4f {
  if (is_first) { return vec4f(next_top, next_sum, 0.0, 1.0); }
  let both = larger(top, next_top);
  let keep = exp_of(top - both);
  let add = exp_of(next_top - both);
  return vec4f(both, fma(sum, keep, next_sum * add), keep, add);
}
/** As a product with the reciprocal: a compiler that finds one divisor for many numbers does the same to a quotient, but not everywhere. */
fn finished(mean: f32, sum: f32) -> f32 { return mean * (1.0 / sum); }
fn mixed(before: f32, next: f32, factors: vec4f) -> f32 { return fma(before, factors.z, next * factors.w); }`;

/** put(own, d, mix, base, chunk): takes element d of a chunk's mix to where it belongs. */
export function putText(out: Accessor, isSplit: boolean): string {
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
  if (keys > base && keys <= base + ${chunkKeys}) { mean = finished(mean, factors[own].y); }
  ${out("at")} = mean;`
}
}`;
}

/** Scores, softmax and mix of a chunk of a run's keys. */
export function chunkText(chunk: string, isBytes: boolean, own: Own, out: Accessor, lse: Accessor | undefined): string {
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
