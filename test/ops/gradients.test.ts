// Every differentiable op against central finite differences in float64, on odd shapes; and that no op was forgotten.

import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Shape } from "../../src/core/shape.ts";
import { affine } from "../../src/ops/affine.ts";
import { attention } from "../../src/ops/attention.ts";
import { add, div, maximum, minimum, mul, sub } from "../../src/ops/binary.ts";
import { clamp } from "../../src/ops/clamp.ts";
import { concat, expand, slice, transpose } from "../../src/ops/copy.ts";
import { crossEntropy } from "../../src/ops/cross-entropy.ts";
import { dispatch, expertCombine, expertGather } from "../../src/ops/dispatch.ts";
import { embedding } from "../../src/ops/embedding.ts";
import { gatherRows } from "../../src/ops/gather-rows.ts";
import { groupedLinear } from "../../src/ops/grouped-matmul.ts";
import { linear, matmul } from "../../src/ops/matmul.ts";
import { reshape } from "../../src/ops/reshape.ts";
import { rmsNorm } from "../../src/ops/rms-norm.ts";
import { rope } from "../../src/ops/rope.ts";
import { route } from "../../src/ops/route.ts";
import { softmax } from "../../src/ops/softmax.ts";
import { mean, sum, sumAxis } from "../../src/ops/sum-axis.ts";
import { swiglu } from "../../src/ops/swiglu.ts";
import { abs, exp, log, neg, reciprocal, sigmoid, silu, sqrt, square, tanh } from "../../src/ops/unary.ts";
import { fromArray, type Tensor } from "../../src/tensor/tensor.ts";
import { awayFrom, checkGradients, device, ints, normals, type Op } from "./finite-differences.ts";

const positive = (shape: Shape, seed: number): Float64Array => normals(shape, seed).map((x) => Math.abs(x) + 0.3);

type Case = readonly [what: string, f: Op, shapes: readonly Shape[], data?: readonly Float64Array[]];
const cases: Record<string, readonly Case[]> = {};

// ---- elementwise ------------------------------------------------------------------------------------------------
const pairs: readonly (readonly [string, Shape, Shape])[] = [
  ["same shape", [3, 5], [3, 5]],
  ["scalars", [], []],
  ["row vector", [3, 5], [5]],
  ["suffix", [2, 3, 4], [3, 4]],
  ["scalar", [3, 5], []],
  ["one element", [3, 5], [1]],
  ["column", [3, 5], [3, 1]],
  ["column over two axes", [3, 2, 5], [3, 1, 1]],
  ["suffix column", [2, 3, 5], [3, 1]],
  ["leading size 1", [4, 3], [1, 3]],
  ["both ends of size 1", [2, 3, 4], [1, 3, 1]],
  ["one row", [1, 7], [7]],
  ["one column", [7, 1], [7, 1]],
];
const binary = (f: Op, data?: (shape: Shape, seed: number) => Float64Array): readonly Case[] =>
  pairs.map(([what, a, b]) => [what, f, [a, b], [normals(a, 3), (data ?? normals)(b, 4)]]);
cases.add = binary(add);
cases.sub = binary(sub);
cases.mul = binary(mul);
cases.div = binary(div, (shape, seed) => positive(shape, seed).map((x, i) => (i % 2 ? x : -x)));
// a lies on a grid of 0.5, b a quarter beside it: no ties, so no kinks.
const grid = (shape: Shape, seed: number, shift: number): Float64Array => normals(shape, seed).map((x) => Math.round(2 * x) / 2 + shift);
const chosen = (f: Op): readonly Case[] => pairs.map(([what, a, b]) => [what, f, [a, b], [grid(a, 5, 0), grid(b, 6, 0.25)]]);
cases.minimum = chosen(minimum);
cases.maximum = chosen(maximum);

const plain: readonly Shape[] = [[], [1], [3, 5], [2, 1, 7]];
const unary = (f: Op, data: (shape: Shape, seed: number) => Float64Array = normals): readonly Case[] =>
  plain.map((shape) => [`[${shape}]`, f, [shape], [data(shape, 7)]]);
cases.neg = unary(neg);
cases.exp = unary(exp);
cases.log = unary(log, positive);
cases.sqrt = unary(sqrt, positive);
cases.reciprocal = unary(reciprocal, (shape, seed) => awayFrom(shape, seed, [0]).map((x) => x + Math.sign(x) * 0.3));
cases.sigmoid = unary(sigmoid);
cases.silu = unary(silu);
cases.tanh = unary(tanh);
cases.square = unary(square);
cases.abs = unary(abs, (shape, seed) => awayFrom(shape, seed, [0]));
cases.affine = [
  ...unary((x) => affine(x as Tensor, -1.7, 0.3)),
  ...unary((x) => affine(x as Tensor, 1, 2)),
  ...unary((x) => affine(x as Tensor, 0, 2)),
];
cases.clamp = [
  ...unary(
    (x) => clamp(x as Tensor, -0.5, 0.8),
    (shape, seed) => awayFrom(shape, seed, [-0.5, 0.8]),
  ),
  ...unary(
    (x) => clamp(x as Tensor, Number.NEGATIVE_INFINITY, 0.1),
    (shape, seed) => awayFrom(shape, seed, [0.1]),
  ),
];
cases.swiglu = plain.map((shape) => [`[${shape}]`, swiglu, [shape, shape]]);

// ---- moving elements --------------------------------------------------------------------------------------------
cases.reshape = [
  ["[3, 4] to [2, 6]", (x) => reshape(x as Tensor, [2, 6]), [[3, 4]]],
  ["[1] to []", (x) => reshape(x as Tensor, []), [[1]]],
];
cases.slice = [
  ["first axis", (x) => slice(x as Tensor, 0, 1, 3), [[5, 3]]],
  ["middle axis", (x) => slice(x as Tensor, 1, 2, 3), [[2, 3, 4]]],
  ["last axis", (x) => slice(x as Tensor, -1, 0, 2), [[3, 5]]],
  ["all", (x) => slice(x as Tensor, 0, 0, 3), [[3]]],
  ["two slices of one tensor", (x) => add(slice(x as Tensor, 1, 0, 3), slice(x as Tensor, 1, 2, 5)), [[3, 5]]],
];
cases.concat = [
  [
    "first axis",
    (a, b) => concat([a as Tensor, b as Tensor], 0),
    [
      [2, 3],
      [1, 3],
    ],
  ],
  [
    "middle axis",
    (a, b, c) => concat([a as Tensor, b as Tensor, c as Tensor], 1),
    [
      [2, 1, 3],
      [2, 4, 3],
      [2, 2, 3],
    ],
  ],
  [
    "last axis",
    (a, b) => concat([a as Tensor, b as Tensor], -1),
    [
      [3, 2],
      [3, 5],
    ],
  ],
  [
    "one tensor twice",
    (a, b) => concat([a as Tensor, b as Tensor, a as Tensor], 1),
    [
      [3, 2],
      [3, 1],
    ],
  ],
  ["one part", (a) => concat([a as Tensor], 0), [[3]]],
  ["an empty slice", (a) => concat([a as Tensor, slice(a as Tensor, 0, 1, 1)], 0), [[3, 2]]],
];
cases.expand = [
  ["first", (x) => expand(x as Tensor, [4, 3]), [[1, 3]]],
  ["last", (x) => expand(x as Tensor, [3, 4]), [[3, 1]]],
  ["middle", (x) => expand(x as Tensor, [2, 5, 3]), [[2, 1, 3]]],
  ["two apart", (x) => expand(x as Tensor, [2, 3, 4]), [[1, 3, 1]]],
  ["three of five", (x) => expand(x as Tensor, [2, 3, 2, 2, 3]), [[1, 3, 1, 2, 1]]],
  ["six axes", (x) => expand(x as Tensor, [2, 2, 2, 2, 2, 2]), [[1, 2, 1, 2, 1, 2]]],
  ["nothing", (x) => expand(x as Tensor, [3, 2]), [[3, 2]]],
];
cases.transpose = [
  ["[3, 5]", (x) => transpose(x as Tensor, 0, 1), [[3, 5]]],
  ["first and last of 3", (x) => transpose(x as Tensor, 0, -1), [[2, 3, 4]]],
  ["middle of 4", (x) => transpose(x as Tensor, 1, 2), [[2, 3, 2, 3]]],
  ["apart among 5", (x) => transpose(x as Tensor, 1, 3), [[2, 3, 2, 3, 2]]],
  ["the same axis", (x) => transpose(x as Tensor, 1, 1), [[2, 3]]],
];
cases.gatherRows = [
  ["repeated and outside", (x) => gatherRows(x as Tensor, ints([2, 0, 2, -1, 5, 1])), [[3, 4]]],
  ["one element each", (x) => gatherRows(x as Tensor, ints([4, 4, 0])), [[5]]],
  ["rows of matrices", (x) => gatherRows(x as Tensor, ints([1, 0, 1])), [[2, 3, 2]]],
];

// ---- reductions -------------------------------------------------------------------------------------------------
cases.sumAxis = [
  ["first", (x) => sumAxis(x as Tensor, 0), [[3, 5]]],
  ["middle", (x) => sumAxis(x as Tensor, 1), [[2, 3, 4]]],
  ["last", (x) => sumAxis(x as Tensor, -1), [[3, 5]]],
  ["to a scalar", (x) => sumAxis(x as Tensor, 0), [[7]]],
];
cases.sum = plain.map((shape) => [`[${shape}]`, (x) => sum(x as Tensor), [shape]]);
cases.mean = plain.map((shape) => [`[${shape}]`, (x) => mean(x as Tensor), [shape]]);

// ---- matrix products --------------------------------------------------------------------------------------------
const flags = [false, true].flatMap((transposeA) => [false, true].map((transposeB) => ({ transposeA, transposeB })));
cases.matmul = flags.flatMap(({ transposeA, transposeB }) => {
  const options = { transposeA, transposeB };
  const what = `${transposeA ? "aᵀ" : "a"}·${transposeB ? "bᵀ" : "b"}`;
  const shapes = (M: number, K: number, N: number): Shape[] => [transposeA ? [K, M] : [M, K], transposeB ? [N, K] : [K, N]];
  const f: Op = (a, b) => matmul(a as Tensor, b as Tensor, options);
  const batched = shapes(3, 2, 5).map((shape) => [2, ...shape]);
  return [
    [`${what} 3 by 5 by 2`, f, shapes(3, 5, 2)],
    [`${what} 1 by 7 by 1`, f, shapes(1, 7, 1)],
    [`${what} batched`, f, batched],
  ] as Case[];
});
cases.linear = [
  [
    "rows",
    linear,
    [
      [3, 5],
      [2, 5],
    ],
  ],
  ["bias", linear, [[3, 5], [2, 5], [2]]],
  ["one vector", linear, [[5], [3, 5], [3]]],
  [
    "three axes",
    linear,
    [
      [2, 3, 1],
      [4, 1],
    ],
  ],
  [
    "computed weight",
    (x, w) => linear(x as Tensor, affine(w as Tensor, 2)),
    [
      [3, 5],
      [2, 5],
    ],
  ],
];
cases.groupedLinear = [
  [
    "three experts, one idle",
    (x, w) => groupedLinear(x as Tensor, w as Tensor, ints([0, 2, 2, 5])),
    [
      [5, 3],
      [3, 2, 3],
    ],
  ],
  [
    "one expert",
    (x, w) => groupedLinear(x as Tensor, w as Tensor, ints([0, 3])),
    [
      [3, 4],
      [1, 5, 4],
    ],
  ],
];

// ---- network ----------------------------------------------------------------------------------------------------
const eps6 = 1e-6;
cases.rmsNorm = [
  ["rows", (x, w) => rmsNorm(x as Tensor, w as Tensor, eps6), [[3, 5], [5]]],
  ["one vector", (x, w) => rmsNorm(x as Tensor, w as Tensor, 0.1), [[7], [7]]],
  ["three axes", (x, w) => rmsNorm(x as Tensor, w as Tensor, eps6), [[2, 3, 4], [4]]],
  ["more rows than a chunk", (x, w) => rmsNorm(x as Tensor, w as Tensor, eps6), [[67, 3], [3]]],
];
const angles = (f: (x: number) => number, rows: number, half: number): Tensor =>
  fromArray(
    device,
    Float64Array.from({ length: rows * half }, (_, i) => f(0.7 * i + 0.1)),
    [rows, half],
  );
const rotated = (positions: number[], offset: number, dims: number, interleaved: boolean): Op => {
  return (x) => {
    const tables = { cos: angles(Math.cos, 4, dims / 2), sin: angles(Math.sin, 4, dims / 2) };
    return rope(x as Tensor, ints(positions), tables, { offset, dims, interleaved });
  };
};
cases.rope = [
  ["halves", rotated([0, 3, 1], 0, 4, false), [[3, 2, 4]]],
  ["interleaved", rotated([0, 3, 1], 0, 4, true), [[3, 2, 4]]],
  ["a part, interleaved", rotated([2, 9, -1], 3, 2, true), [[3, 1, 7]]],
  ["a part, halves", rotated([2], 1, 4, false), [[1, 3, 5]]],
];
cases.embedding = [
  ["repeated and outside", (table) => embedding(table as Tensor, ints([1, 1, 4, -1, 0, 5])), [[5, 3]]],
  ["one id", (table) => embedding(table as Tensor, ints([0])), [[1, 7]]],
];
cases.crossEntropy = [
  ["rows, one ignored", (x) => crossEntropy(x as Tensor, ints([2, -1, 0])), [[3, 5]]],
  ["large logits", (x) => crossEntropy(x as Tensor, ints([0, 6])), [[2, 7]], [normals([2, 7], 8, 5)]],
];
cases.softmax = [
  ["rows", (x) => softmax(x as Tensor), [[3, 5]]],
  ["one vector", (x) => softmax(x as Tensor), [[7]]],
  ["three axes", (x) => softmax(x as Tensor), [[2, 3, 3]]],
];

// ---- attention --------------------------------------------------------------------------------------------------
const attend = (first: number[], last: number[], scale: number, parts?: number): Op => {
  return (q, k, v) => attention(q as Tensor, k as Tensor, v as Tensor, { first: ints(first), last: ints(last), scale, parts });
};
const causal = [0, 1, 2, 3, 4];
cases.attention = [
  [
    "causal",
    attend([0, 0, 0, 0, 0], causal, 0.7),
    [
      [5, 2, 3],
      [5, 2, 3],
      [5, 2, 3],
    ],
  ],
  [
    "packed, grouped heads, Dv differs",
    attend([0, 0, 2, 2, 2], causal, 0.5),
    [
      [5, 4, 3],
      [5, 2, 3],
      [5, 2, 1],
    ],
  ],
  [
    "one key head, ragged, one row sees nothing",
    attend([1, 3, 0], [2, 2, 6], 1.1),
    [
      [3, 3, 2],
      [7, 1, 2],
      [7, 1, 5],
    ],
  ],
  [
    "two parts",
    attend([0, 0, 2, 2], [0, 1, 2, 3], 0.6, 2),
    [
      [4, 2, 2],
      [4, 1, 2],
      [4, 1, 3],
    ],
  ],
  ["q, k and v are one tensor", (x) => attend([0, 0, 0], [0, 1, 2], 0.8)(x as Tensor, x as Tensor, x as Tensor), [[3, 2, 3]]],
  [
    "k and v are one tensor",
    (q, x) => attend([0, 0, 0], [0, 1, 2], 0.8)(q as Tensor, x as Tensor, x as Tensor),
    [
      [3, 2, 3],
      [3, 2, 3],
    ],
  ],
];

// ---- mixture of experts -----------------------------------------------------------------------------------------
const bias = (E: number): Tensor =>
  fromArray(
    device,
    Float64Array.from({ length: E }, (_, e) => 0.3 * Math.sin(e)),
    [E],
  );
const gate = (options: Partial<Parameters<typeof route>[2]>): Op => {
  const all = { K: 2, groups: 1, topkGroups: 1, groupTop: 1, masked: Number.NEGATIVE_INFINITY, normalise: true, scale: 2.5, ...options };
  return (scores) => route(scores as Tensor, bias((scores as Tensor).shape[1] as number), all).weights;
};
/** Scores far enough apart that no choice changes within eps. */
const apart = (shape: Shape, seed: number): Float64Array => {
  const order = [...normals(shape, seed).entries()].sort((a, b) => a[1] - b[1]).map(([i]) => i);
  const result = new Float64Array(order.length);
  for (const [rank, i] of order.entries()) result[i] = 0.05 + (0.9 * rank) / order.length;
  return result;
};
cases.route = [
  ["normalised", gate({}), [[3, 5]], [apart([3, 5], 9)]],
  ["as they are", gate({ normalise: false }), [[3, 5]], [apart([3, 5], 10)]],
  ["groups", gate({ K: 3, groups: 3, topkGroups: 2, groupTop: 2 }), [[4, 9]], [apart([4, 9], 11)]],
  ["one of one", gate({ K: 1 }), [[1, 1]], [apart([1, 1], 12)]],
];
const slots = [2, 0, 0, 1, 2, 1]; // three rows, two experts each, of four
cases.expertGather = [["three rows, K 2", (x) => expertGather(x as Tensor, dispatch(ints(slots, [3, 2]), 4), 2), [[3, 5]]]];
cases.expertCombine = [
  [
    "three rows, K 2",
    (y, w) => expertCombine(y as Tensor, dispatch(ints(slots, [3, 2]), 4), w as Tensor),
    [
      [6, 5],
      [3, 2],
    ],
  ],
  [
    "K 1",
    (y, w) => expertCombine(y as Tensor, dispatch(ints([1, 0], [2, 1]), 2), w as Tensor),
    [
      [2, 1],
      [2, 1],
    ],
  ],
];

for (const [name, list] of Object.entries(cases)) {
  describe(name, () => {
    for (const [what, f, shapes, data] of list) test(what, () => checkGradients(f, shapes, data));
  });
}

describe("shared use", () => {
  const t = (x: Tensor | undefined): Tensor => x as Tensor;
  const shared: readonly Case[] = [
    ["x + x", (x) => add(t(x), t(x)), [[3, 5]]],
    ["x - x·x", (x) => sub(t(x), mul(t(x), t(x))), [[3, 5]]],
    ["min(x, x)", (x) => minimum(t(x), t(x)), [[3]]],
    ["swiglu(x, x)", (x) => swiglu(t(x), t(x)), [[3, 5]]],
    ["x·xᵀ", (x) => matmul(t(x), t(x), { transposeB: true }), [[3, 2]]],
    ["linear(x, x)", (x) => linear(t(x), t(x)), [[3, 2]]],
    ["residual around a norm", (x, w) => add(t(x), rmsNorm(t(x), t(w), 1e-6)), [[3, 5], [5]]],
    // The gradient of an intermediate is shared with its neighbours and then added to.
    [
      "dy shared by two intermediates",
      (x) => {
        const a = square(t(x));
        const b = tanh(t(x));
        return add(mul(add(a, b), a), b);
      },
      [[3, 2]],
    ],
    // b, c and z all get the same dy; z then adds to b's before c has used its own.
    [
      "dy shared by two intermediates, one added to while the other waits",
      (x) => {
        const c = square(t(x));
        const b = tanh(t(x));
        const z = exp(b);
        return add(add(b, c), z);
      },
      [[3, 2]],
    ],
    [
      "dy shared through a reshape, one added to while the other waits",
      (x) => {
        const c = square(t(x));
        const b = reshape(tanh(t(x)), [6]);
        const z = exp(b);
        return add(reshape(add(b, reshape(c, [6])), [3, 2]), reshape(z, [3, 2]));
      },
      [[3, 2]],
    ],
    [
      "through reshape, both shapes used",
      (x) => {
        const y = square(t(x));
        const flat = reshape(y, [6]);
        return add(mul(reshape(flat, [2, 3]), y), reshape(tanh(flat), [2, 3]));
      },
      [[2, 3]],
    ],
    ["reshape of a parameter, twice", (x) => add(reshape(t(x), [6]), square(reshape(t(x), [6]))), [[2, 3]]],
    [
      "a chain of additions",
      (x) => {
        let y = square(t(x));
        for (let i = 0; i < 5; i++) y = add(y, i % 2 ? tanh(y) : y);
        return y;
      },
      [[3]],
    ],
    [
      "one branch unused",
      (x) => {
        const y = square(t(x));
        tanh(y);
        return add(y, slice(y, 0, 0, 3));
      },
      [[3]],
    ],
    ["cross-entropy of tied weights", (w) => crossEntropy(linear(embedding(t(w), ints([1, 3, 0])), t(w)), ints([3, 0, 2])), [[4, 3]]],
    [
      "mixture of experts",
      (x, g, w) => {
        const { indices, weights } = route(sigmoid(linear(t(x), t(g))), bias(4), {
          K: 2,
          groups: 2,
          topkGroups: 2,
          groupTop: 2,
          masked: Number.NEGATIVE_INFINITY,
          normalise: true,
          scale: 2,
        });
        const d = dispatch(indices, 4);
        return add(t(x), expertCombine(silu(groupedLinear(expertGather(t(x), d, 2), t(w), d.offsets)), d, weights));
      },
      [
        [3, 2],
        [4, 2],
        [4, 2, 2],
      ],
    ],
    [
      "attention from one projection",
      (x, w) => {
        const qkv = linear(t(x), t(w)); // [3, 6]
        const part = (i: number): Tensor => reshape(slice(qkv, 1, 2 * i, 2 * i + 2), [3, 1, 2]);
        return attend([0, 0, 0], [0, 1, 2], 0.7)(part(0), part(1), part(2));
      },
      [
        [3, 4],
        [6, 4],
      ],
    ],
  ];
  for (const [what, f, shapes, data] of shared) test(what, () => checkGradients(f, shapes, data));
});

test("every differentiable op is in the table", async () => {
  const noGradient = [
    "zeros ones full fillWith scatterRows cacheWrite lessEqual less sumSquares entropy attentionStrided headMatmul dispatch expertLoad",
    "packedLinear packedGroupedLinear packedEmbedding",
  ].flatMap((names) => names.split(" "));
  const folder = new URL("../../src/ops/", import.meta.url);
  const files = readdirSync(folder).filter((file) => file.endsWith(".ts") && file !== "check.ts");
  expect(files.length).toBeGreaterThan(15);
  const missing: string[] = [];
  for (const file of files) {
    const exported = (await import(new URL(file, folder).href)) as Record<string, unknown>;
    for (const [name, value] of Object.entries(exported)) {
      if (typeof value === "function" && !noGradient.includes(name) && !cases[name]) missing.push(`${file}: ${name}`);
    }
  }
  expect(missing).toEqual([]);
});
