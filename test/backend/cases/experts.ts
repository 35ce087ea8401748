// Cases of the mixture-of-experts kernels. Scores and biases are multiples of 1/64, so sums are exact, ties are real ties and the chosen
// indices must agree exactly.

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
  outputIntegers,
  part,
  referenceResult,
  result,
  sum,
  summed,
} from "../kernel-case.ts";

type Gate = {
  E: number;
  K: number;
  groups: number;
  topkGroups: number;
  groupTop: number;
  masked: number;
  normalise: boolean;
  scale: number;
};

const plain: Gate = { E: 8, K: 2, groups: 1, topkGroups: 1, groupTop: 1, masked: Number.NEGATIVE_INFINITY, normalise: true, scale: 1 };

function quantised(random: Random, length: number, low: number, high: number): Float32Array {
  return Float32Array.from({ length }, () => (low + random.integer(high - low + 1)) / 64);
}

const gates: readonly Gate[] = [
  plain,
  { ...plain, E: 1, K: 1 },
  { ...plain, E: 3, K: 3, scale: 2.5 },
  { ...plain, E: 17, K: 4, normalise: false, scale: 16 },
  { ...plain, E: 16, K: 4, groups: 4, topkGroups: 2, groupTop: 2 },
  { ...plain, E: 12, K: 3, groups: 4, topkGroups: 1, groupTop: 1 },
  { ...plain, E: 12, K: 5, groups: 6, topkGroups: 2, groupTop: 2 },
  { ...plain, E: 12, K: 4, groups: 3, topkGroups: 2, groupTop: 2, masked: 0 },
  { ...plain, E: 4, K: 2, groups: 4, topkGroups: 2, groupTop: 2 },
  { ...plain, E: 160, K: 6, groups: 8, topkGroups: 3, groupTop: 1, normalise: false, scale: 16 },
  { ...plain, E: 256, K: 8, groups: 8, topkGroups: 4, groupTop: 2, scale: 2.5 },
];

export const routeCases: Cases = (random) => {
  const make = (gate: Gate, scores: Float32Array, bias: Float32Array, label = "", alone: Alone[] = []) => {
    const { E, K } = gate;
    const T = scores.length / E;
    const operands = { indices: outputIntegers(T * K), weights: output(T * K), scores: input(scores), bias: input(bias) };
    return kernelCase("route", operands, { T, ...gate }, { label: `${label} masked ${gate.masked}`, alone });
  };
  const cases: KernelCase[] = [];
  for (const gate of gates) {
    const { E, K } = gate;
    for (const T of [0, 1, 3, 33]) {
      const scores = quantised(random, T * E, 1, 64);
      const bias = quantised(random, E, -40, 40);
      const alone = [...new Set([0, T >> 1, T - 1])]
        .filter((t) => t >= 0 && t < T)
        .map((t) => ({
          piece: make(gate, part(scores, t * E, E), bias, "alone"),
          same: ["indices", "weights"].map((operand) => ({ operand, start: t * K, length: K })),
        }));
      cases.push(make(gate, scores, bias, "", alone), make(gate, scores, new Float32Array(E), "no bias"));
    }
    cases.push(make(gate, new Float32Array(2 * E).fill(0.5), new Float32Array(E), "all equal"));
    cases.push(make(gate, quantised(random, 5 * E, 1, 4), quantised(random, E, -200, -100), "negative choices"));
    const broken = quantised(random, 3 * E, 1, 64).map((x, i) => (i % 4 === 1 ? Number.NaN : x));
    cases.push(make({ ...gate, normalise: false }, broken, new Float32Array(E), "NaN scores"));
    cases.push(make({ ...gate, normalise: false }, new Float32Array(E).fill(Number.NaN), new Float32Array(E), "only NaN scores"));
    cases.push(make(gate, new Float32Array(E), quantised(random, E, -40, 40), "zero scores"));
  }
  return cases;
};

export const routeBackwardCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const { E, K, normalise, scale } of gates) {
    for (const T of [0, 1, 3, 33]) {
      const scores = Float32Array.from({ length: T * E }, () => 0.1 + random.uniform());
      const chosen = Array.from({ length: T }, () => random.shuffle(Array.from({ length: E }, (_, e) => e)).slice(0, K)).flat();
      const make = (given: readonly number[], label: string) => {
        const inputs = { dweights: input(normals(random, T * K)), scores: input(scores), indices: integers(...given) };
        const operands = { dscores: output(T * E, { scale: 0.01 * scale }), ...inputs };
        return kernelCase("routeBackward", operands, { T, E, K, normalise, scale }, { label });
      };
      cases.push(
        make(chosen, ""),
        make(
          chosen.map((e, i) => (i % 3 === 1 ? [-1, E, 2147483647][Math.floor(i / 3) % 3]! : e)),
          "indices outside",
        ),
      );
    }
  }
  return cases;
};

const slotShapes = [
  [0, 1, 4],
  [1, 1, 1],
  [3, 1, 4],
  [17, 2, 8],
  [129, 6, 64],
  [33, 8, 256],
  [700, 2, 3],
] as const;

function someExperts(random: Random, slots: number, E: number): number[] {
  return Array.from({ length: slots }, () => Math.floor(random.uniform() ** 2 * E));
}

function withOutsiders(random: Random, indices: readonly number[], E: number): number[] {
  return indices.map((e, i) => (i % 5 === 2 ? random.pick([-1, E, 2147483647, -2147483648]) : e));
}

export const dispatchCases: Cases = (random) =>
  slotShapes.flatMap(([T, K, E]) => {
    const slots = T * K;
    const indices = someExperts(random, slots, E);
    return [indices, withOutsiders(random, indices, E), indices.map(() => E - 1)].map((given, i) => {
      const operands = {
        offsets: outputIntegers(E + 1),
        sorted: outputIntegers(slots),
        place: outputIntegers(slots),
        indices: integers(...given),
      };
      return kernelCase("dispatch", operands, { slots, E }, { label: ["", "indices outside", "one expert"][i] });
    });
  });

/** The permutations that dispatch makes, some entries replaced by places outside. */
function permutations(random: Random, slots: number, E: number, outsiders: boolean): { sorted: number[]; place: number[] } {
  const operands = {
    offsets: outputIntegers(E + 1),
    sorted: outputIntegers(slots),
    place: outputIntegers(slots),
    indices: integers(...someExperts(random, slots, E)),
  };
  const { sorted = [], place = [] } = referenceResult(kernelCase("dispatch", operands, { slots, E }));
  const spoil = (list: Iterable<number>) =>
    Array.from(list, (p, i) => (outsiders && i % 7 === 3 ? random.pick([-1, slots, 2147483647, -2147483648]) : p));
  return { sorted: spoil(sorted), place: spoil(place) };
}

/** All combinations of shapes, widths, outsiders. */
function eachPermutation(
  random: Random,
  visit: (T: number, K: number, width: number, p: { sorted: number[]; place: number[] }, label: string) => KernelCase[],
): KernelCase[] {
  return slotShapes.flatMap(([T, K, E]) =>
    [1, 3, 17, 130].flatMap((width) =>
      [false, true].flatMap((outsiders) =>
        visit(T, K, width, permutations(random, T * K, E, outsiders), outsiders ? "places outside" : ""),
      ),
    ),
  );
}

export const expertGatherCases: Cases = (random) =>
  eachPermutation(random, (T, K, width, { sorted }, label) => {
    const slots = T * K;
    return [false, true].map((weighted) => {
      const weights = weighted ? input(normals(random, slots)) : undefined;
      const operands = { out: output(slots * width), x: input(normals(random, T * width)), sorted: integers(...sorted), weights };
      return kernelCase("expertGather", operands, { slots, K, width }, { label: `${label} ${weighted ? "weighted" : ""}` });
    });
  });

export const expertCombineCases: Cases = (random) =>
  eachPermutation(random, (T, K, width, { place }, label) =>
    [false, true].flatMap((weighted) =>
      [false, true].map((accumulate) => {
        const weights = weighted ? input(normals(random, T * K)) : undefined;
        const out = result(random, T * width, accumulate, { bound: summed });
        const operands = { out, y: input(normals(random, T * K * width)), place: integers(...place), weights };
        return kernelCase("expertCombine", operands, { T, K, width, accumulate }, { label: `${label} ${weighted ? "weighted" : ""}` });
      }),
    ),
  );

export const expertCombineWeightGradCases: Cases = (random) =>
  eachPermutation(random, (T, K, width, { place }, label) => {
    const operands = {
      dweights: output(T * K, { bound: summed, scale: Math.sqrt(width) }),
      y: input(normals(random, T * K * width)),
      dOut: input(normals(random, T * width)),
      place: integers(...place),
    };
    return [kernelCase("expertCombineWeightGrad", operands, { T, K, width }, { label })];
  });

export const expertLoadCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const [slots, parts, E] of [
    [0, 1, 4],
    [1, 1, 1],
    [6, 3, 5],
    [340, 1, 64],
    [1032, 4, 17],
    [48, 1, 256],
  ] as const) {
    const indices = someExperts(random, slots, E);
    for (const given of [indices, withOutsiders(random, indices, E)]) {
      for (const accumulate of [false, true]) {
        const counts = accumulate ? sum(quantised(random, parts * E, 0, 640), { bound: 0 }) : output(parts * E, { bound: 0 });
        const label = given === indices ? "" : "indices outside";
        cases.push(kernelCase("expertLoad", { counts, indices: integers(...given) }, { slots, parts, E, accumulate }, { label }));
      }
    }
  }
  return cases;
};

export const balanceBiasCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const E of [1, 3, 7, 17, 64, 256]) {
    for (const gamma of [0.001, 0.5]) {
      // The mean is often one of the counts exactly: that expert's bias must stay.
      const counts = Float32Array.from({ length: E }, (_, e) => 10 + (e % 3) - 1);
      for (const given of [counts, Float32Array.from({ length: E }, () => random.integer(500)), new Float32Array(E)]) {
        cases.push(kernelCase("balanceBias", { bias: sum(normals(random, E)), counts: input(given) }, { E, gamma }));
      }
      cases.push(
        kernelCase(
          "balanceBias",
          { bias: sum(new Float32Array(E), { scale: 0 }), counts: input(counts) },
          { E, gamma },
          { label: "from zero" },
        ),
      );
    }
  }
  return cases;
};
