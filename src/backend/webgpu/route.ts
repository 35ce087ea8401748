// route and routeBackward: the gate of a mixture of experts (DeepSeek-V3 section 2.1.2; V2 with groupTop 1). One group of invocations for each row. Unusual: nobody
// sorts; an expert counts how many come before it, which is its place among the chosen. Choices are compared as integers in the order of the numbers, because
// a compiler may believe that there are no infinities.

import type { Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

const groupSize = 64;

const declarations = `
const lowest = 0x007fffffu; // of -infinity

/** Larger for larger numbers; NaN counts as -infinity, -0 as 0. */
fn rank_key(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  if (is_nan(x)) { return lowest; }
  if ((bits & 0x7fffffffu) == 0u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}
fn key_value(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key ^ 0x80000000u, (key >> 31u) == 1u));
}`;

export function route(recorder: Recorder): Kernels["route"] {
  return ({ indices, weights, scores, bias, T, E, K, groups, topkGroups, groupTop, masked, normalise, scale }) =>
    recorder.withScratch(
      T * (E + groups),
      (keys) =>
        recorder.run({
          kernel: "route",
          operands: {
            indices: write(indices, "u32"),
            weights: write(weights),
            scores: read(scores),
            bias: read(bias),
            keys: write(keys, "u32"),
          },
          integers: { E, K, groups, topkGroups, members: E / groups, groupTop, normalise: Number(normalise) },
          numbers: { masked, scale },
          workgroups: T,
          groupSize,
          work: T * E * E,
          text: ({ indices, weights, scores, bias, keys }) => ({
            declarations,
            body: `
  let row = block * p.E;
  let first_key = block * (p.E + p.groups);
  let first_group = first_key + p.E;
  let first_slot = block * p.K;
  for (var e = local; e < p.E; e += ${groupSize}) {
    ${keys("first_key + e")} = rank_key(${scores("row + e")} + ${bias("e")});
  }
  storageBarrier();
  if (p.groups > 1) {
    for (var g = local; g < p.groups; g += ${groupSize}) {
      var best = lowest;
      var second = lowest;
      for (var m = 0u; m < p.members; m++) {
        let key = ${keys("first_key + g * p.members + m")};
        if (key > best) {
          second = best;
          best = key;
        } else {
          second = max(second, key);
        }
      }
      var score = key_value(best);
      if (p.groupTop > 1 && p.members > 1) { score += key_value(second); }
      ${keys("first_group + g")} = rank_key(score);
    }
    storageBarrier();
    for (var g = local; g < p.groups; g += ${groupSize}) {
      let key = ${keys("first_group + g")};
      var before = 0u;
      for (var other = 0u; other < p.groups; other++) {
        let its = ${keys("first_group + other")};
        if (its > key || (its == key && other < g)) { before++; }
      }
      if (before < p.topkGroups) { continue; }
      for (var m = 0u; m < p.members; m++) { ${keys("first_key + g * p.members + m")} = rank_key(p.masked); }
    }
    storageBarrier();
  }
  for (var e = local; e < p.E; e += ${groupSize}) {
    let key = ${keys("first_key + e")};
    var before = 0u;
    for (var other = 0u; other < p.E && before < p.K; other++) {
      let its = ${keys("first_key + other")};
      if (its > key || (its == key && other < e)) { before++; }
    }
    if (before < p.K) { ${indices("first_slot + before")} = e; }
  }
  storageBarrier();
  var sum = 0.0;
  for (var k = 0u; k < p.K; k++) { sum += ${scores(`row + ${indices("first_slot + k")}`)}; }
  var factor = p.scale;
  if (p.normalise != 0) { factor = p.scale / (sum + 1e-20); }
  for (var k = local; k < p.K; k += ${groupSize}) {
    ${weights("first_slot + k")} = ${scores(`row + ${indices("first_slot + k")}`)} * factor;
  }`,
          }),
        }),
      "i32",
    );
}

export function routeBackward(recorder: Recorder): Kernels["routeBackward"] {
  return ({ dscores, dweights, scores, indices, T, E, K, normalise, scale }) =>
    recorder.run({
      kernel: "routeBackward",
      operands: { dscores: write(dscores), dweights: read(dweights), scores: read(scores), indices: read(indices, "u32") },
      integers: { E, K, normalise: Number(normalise) },
      numbers: { scale },
      invocations: T * E,
      work: T * E * K,
      // Of weight = score / sum: (d·sum - Σ d_j·score_j) / sum², with d·sum - Σ d_j·score_j written as Σ score_j·(d - d_j), in which a lone expert cancels exactly.
      text: ({ dscores, dweights, scores, indices }) => `
  let e = i % p.E;
  let row = i - e;
  let first_slot = i / p.E * p.K;
  var own = p.K;
  for (var k = 0u; k < p.K; k++) {
    if (${indices("first_slot + k")} == e) { own = k; }
  }
  var gradient = 0.0;
  if (own < p.K) {
    gradient = ${dweights("first_slot + own")};
    if (p.normalise != 0) {
      var sum = 1e-20;
      var difference = 1e-20 * gradient;
      for (var k = 0u; k < p.K; k++) {
        let other = ${indices("first_slot + k")};
        if (other >= p.E) { continue; }
        let score = ${scores("row + other")};
        sum += score;
        difference = fma(score, gradient - ${dweights("first_slot + k")}, difference);
      }
      gradient = difference / sum / sum;
    }
  }
  ${dscores("i")} = p.scale * gradient;`,
    });
}
