// route and routeBackward: the gate of a mixture of experts (DeepSeek-V3 section 2.1.2; V2 with groupTop 1).

import type { Kernels } from "../backend.ts";
import { floats, ints } from "./buffer.ts";

/** The `count` largest of `values` as indices, largest first; ties to the lower index, NaN counts as -Infinity. */
function largest(values: readonly number[], count: number): number[] {
  const chosen: number[] = [];
  while (chosen.length < count) {
    let best = -1;
    let bestValue = Number.NEGATIVE_INFINITY;
    for (const [i, value] of values.entries()) {
      if (chosen.includes(i)) continue;
      if (best < 0 || value > bestValue) {
        best = i;
        bestValue = Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value;
      }
    }
    chosen.push(best);
  }
  return chosen;
}

export const route: Kernels["route"] = (args) => {
  const { T, E, K, groups, topkGroups, groupTop, masked, normalise, scale } = args;
  const indices = ints(args.indices, T * K);
  const weights = floats(args.weights, T * K);
  const scores = floats(args.scores, T * E);
  const bias = floats(args.bias, E);
  const groupSize = E / groups;
  for (let t = 0; t < T; t++) {
    const choice = Array.from({ length: E }, (_, e) => {
      const value = scores[t * E + e]! + bias[e]!;
      return Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value;
    });
    if (groups > 1) {
      const groupScores = Array.from({ length: groups }, (_, g) => {
        const members = choice.slice(g * groupSize, (g + 1) * groupSize);
        return largest(members, Math.min(groupTop, groupSize)).reduce((sum, e) => sum + members[e]!, 0);
      });
      const kept = largest(groupScores, topkGroups);
      for (let e = 0; e < E; e++) {
        if (!kept.includes(Math.floor(e / groupSize))) choice[e] = masked;
      }
    }
    const chosen = largest(choice, K);
    let sum = 1e-20;
    for (const e of chosen) sum += scores[t * E + e]!;
    for (const [k, e] of chosen.entries()) {
      indices[t * K + k] = e;
      weights[t * K + k] = (scores[t * E + e]! / (normalise ? sum : 1)) * scale;
    }
  }
};

export const routeBackward: Kernels["routeBackward"] = (args) => {
  const { T, E, K, normalise, scale } = args;
  const dscores = floats(args.dscores, T * E);
  const dweights = floats(args.dweights, T * K);
  const scores = floats(args.scores, T * E);
  const indices = ints(args.indices, T * K);
  dscores.fill(0);
  for (let t = 0; t < T; t++) {
    let sum = 1e-20;
    let dot = 0; // Σ_k dweights·score
    for (let k = 0; k < K; k++) {
      const e = indices[t * K + k]!;
      if (e < 0 || e >= E) continue;
      sum += scores[t * E + e]!;
      dot += dweights[t * K + k]! * scores[t * E + e]!;
    }
    for (let k = 0; k < K; k++) {
      const e = indices[t * K + k]!;
      if (e < 0 || e >= E) continue;
      const dw = dweights[t * K + k]!;
      dscores[t * E + e] = scale * (normalise ? dw / sum - dot / (sum * sum) : dw);
    }
  }
};
