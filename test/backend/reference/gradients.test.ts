// Every backward kernel of the reference against finite differences of its forward kernel, on the f64 device. The scalar that is
// differentiated is Σ out·g with random g, so g is the incoming gradient.

import { describe, expect, test } from "vitest";
import type { UnaryKind, View } from "../../../src/backend/backend.ts";
import { openReference } from "../../../src/backend/reference/open.ts";
import { Random } from "../../../src/core/random.ts";
import { desk, distance, zeros } from "./on-device.ts";

const { device, floats, ints, numbers } = desk(openReference({ precision: "f64" }));
const kernels = device.kernels;
const random = new Random(11);
const normals = (n: number) => Array.from({ length: n }, () => random.normal());

/** Central differences of Σ forward(x)·g. */
function differences(x: readonly number[], g: readonly number[], forward: (x: View) => View): number[] {
  const step = 1e-5;
  const value = (moved: readonly number[]) => numbers(forward(floats(moved))).reduce((sum, y, i) => sum + y * g[i]!, 0);
  return x.map(
    (_, i) => (value(x.map((v, j) => (i === j ? v + step : v))) - value(x.map((v, j) => (i === j ? v - step : v)))) / (2 * step),
  );
}

/** Asserts that `got` holds the gradient, added to `before` where the kernel accumulates. */
function expectGradient(got: View, expected: readonly number[], before: number = 0): void {
  expect(
    distance(
      numbers(got),
      expected.map((value) => value + before),
    ),
  ).toBeLessThan(1e-7);
}

describe("gradients", () => {
  test.each<UnaryKind>(["neg", "exp", "log", "sqrt", "reciprocal", "sigmoid", "silu", "tanh", "square", "abs"])(
    "unaryBackward %s",
    (kind) => {
      const positive = kind === "log" || kind === "sqrt";
      const x = normals(9).map((v) => (positive || v > 0 ? 1 : -1) * (Math.abs(v) + 0.5));
      const g = normals(9);
      const expected = differences(x, g, (moved) => {
        const out = floats(zeros(9));
        kernels.unary({ kind, out, x: moved, n: 9 });
        return out;
      });
      const dx = floats(zeros(9));
      kernels.unaryBackward({ kind, dx, dy: floats(g), x: floats(x), n: 9 });
      expectGradient(dx, expected);
      kernels.unaryBackward({ kind, dx, dy: floats(g), x: floats(x), n: 9, accumulate: true });
      expectGradient(
        dx,
        expected.map((value) => 2 * value),
      );
    },
  );

  test("clampBackward", () => {
    const [x, g] = [[-2, -0.5, 0.3, 1.9, 2.1], normals(5)];
    const [low, high] = [-1, 2];
    const expected = differences(x, g, (moved) => {
      const out = floats(zeros(5));
      kernels.clamp({ out, x: moved, n: 5, low, high });
      return out;
    });
    const dx = floats(zeros(5));
    kernels.clampBackward({ dx, dy: floats(g), x: floats(x), n: 5, low, high });
    expectGradient(dx, expected);
  });

  test("swigluBackward", () => {
    const [gate, up, g] = [normals(7), normals(7), normals(7)];
    const forward = (a: View, b: View) => {
      const out = floats(zeros(7));
      kernels.swiglu({ out, gate: a, up: b, n: 7 });
      return out;
    };
    const [dGate, dUp] = [floats(zeros(7)), floats(zeros(7))];
    kernels.swigluBackward({ dGate, dUp, dOut: floats(g), gate: floats(gate), up: floats(up), n: 7 });
    expectGradient(
      dGate,
      differences(gate, g, (moved) => forward(moved, floats(up))),
    );
    expectGradient(
      dUp,
      differences(up, g, (moved) => forward(floats(gate), moved)),
    );
  });

  test("groupedMatmul: dx by the other transposition, dw by groupedMatmulWeightGrad", () => {
    const [S, E, N, K] = [6, 3, 2, 4];
    const offsets = ints([0, 2, 2, 5]); // expert 1 and row 5 have nothing
    const [x, w, g] = [normals(S * K), normals(E * N * K), normals(S * N)];
    const forward = (a: View, b: View) => {
      const out = floats(zeros(S * N));
      kernels.groupedMatmul({ out, x: a, w: b, offsets, S, E, N, K, transposeW: true });
      return out;
    };
    const dw = floats(new Array(E * N * K).fill(5));
    kernels.groupedMatmulWeightGrad({ dw, dy: floats(g), x: floats(x), offsets, S, E, N, K });
    expectGradient(
      dw,
      differences(w, g, (moved) => forward(floats(x), moved)),
      5,
    );
    const dx = floats(zeros(S * K));
    kernels.groupedMatmul({ out: dx, x: floats(g), w: floats(w), offsets, S, E, N: K, K: N, transposeW: false });
    expectGradient(
      dx,
      differences(x, g, (moved) => forward(moved, floats(w))),
    );
  });

  test("rmsNormBackward", () => {
    const [rows, width, eps] = [3, 5, 0.1];
    const [x, weight, g] = [normals(rows * width), normals(width), normals(rows * width)];
    const forward = (a: View, w: View) => {
      const out = floats(zeros(rows * width));
      kernels.rmsNorm({ out, x: a, weight: w, rows, width, eps });
      return out;
    };
    const [dx, dweight] = [floats(zeros(rows * width)), floats(new Array(width).fill(3))];
    kernels.rmsNormBackward({ dx, dweight, dy: floats(g), x: floats(x), weight: floats(weight), rows, width, eps });
    expectGradient(
      dx,
      differences(x, g, (moved) => forward(moved, floats(weight))),
    );
    expectGradient(
      dweight,
      differences(weight, g, (moved) => forward(floats(x), moved)),
      3,
    );
  });

  test.each([true, false])("rope: inverse is the gradient, interleaved %s", (interleaved) => {
    const angles = normals(12);
    const tables = { cos: floats(angles.map(Math.cos)), sin: floats(angles.map(Math.sin)), tableRows: 6, positions: ints([5, 2, 0]) };
    const shape = { rows: 3, heads: 2, width: 7, offset: 2, dims: 4, interleaved, xRowStride: 14, outRowStride: 14 };
    const [x, g] = [normals(42), normals(42)];
    const dx = floats(zeros(42));
    kernels.rope({ out: dx, x: floats(g), ...tables, ...shape, inverse: true });
    const expected = differences(x, g, (moved) => {
      const out = floats(zeros(42));
      kernels.rope({ out, x: moved, ...tables, ...shape });
      return out;
    });
    expectGradient(dx, expected);
  });

  test("embeddingBackward", () => {
    const [table, g] = [normals(5 * 3), normals(4 * 3)];
    const ids = ints([4, 0, 4, -1]);
    const dtable = floats(zeros(15));
    kernels.embeddingBackward({ dtable, dy: floats(g), ids, rows: 4, width: 3, vocab: 5 });
    const expected = differences(table, g, (moved) => {
      const out = floats(zeros(12));
      kernels.embedding({ out, table: moved, ids, rows: 4, width: 3, vocab: 5 });
      return out;
    });
    expectGradient(dtable, expected);
  });

  test("crossEntropyBackward", () => {
    const [rows, vocab] = [3, 6];
    const [logits, g] = [normals(rows * vocab), normals(rows)];
    const targets = ints([5, -1, 0]);
    const [loss, lse] = [floats(zeros(rows)), floats(zeros(rows))];
    kernels.crossEntropy({ loss, lse, logits: floats(logits), targets, rows, vocab });
    const dlogits = floats(zeros(rows * vocab));
    kernels.crossEntropyBackward({ dlogits, logits: floats(logits), lse, targets, dloss: floats(g), rows, vocab });
    const expected = differences(logits, g, (moved) => {
      const out = floats(zeros(rows));
      kernels.crossEntropy({ loss: out, lse: floats(zeros(rows)), logits: moved, targets, rows, vocab });
      return out;
    });
    expectGradient(dlogits, expected);
  });

  test("softmaxBackward", () => {
    const [x, g] = [normals(8), normals(8)];
    const forward = (a: View) => {
      const out = floats(zeros(8));
      kernels.softmax({ out, x: a, rows: 2, width: 4 });
      return out;
    };
    const dx = floats(zeros(8));
    kernels.softmaxBackward({ dx, dy: floats(g), y: forward(floats(x)), rows: 2, width: 4 });
    expectGradient(dx, differences(x, g, forward));
  });

  test.each([1, 2])("attentionBackward with %d parts", (batch) => {
    const [R, S, H, G, D, Dv, scale] = [6, 6, 4, 2, 3, 2, 0.7];
    const [first, last] = [ints([0, 0, 0, 3, 3, 5]), ints([0, 1, 2, 3, 4, 4])]; // the last range is empty
    const [q, k, v, g] = [normals(R * H * D), normals(S * G * D), normals(S * G * Dv), normals(R * H * Dv)];
    const strides = { kRowStride: G * D, kHeadStride: D, vRowStride: G * Dv, vHeadStride: Dv };
    const sizes = { R, S, H, G, D, Dv, scale, ...strides };
    const run = (a: View, b: View, c: View) => {
      const [out, lse] = [floats(zeros(R * H * Dv)), floats(zeros(R * H))];
      kernels.attention({ out, lse, q: a, k: b, v: c, first, last, ...sizes });
      return { out, lse };
    };
    const given = { q: floats(q), k: floats(k), v: floats(v) };
    const { out, lse } = run(given.q, given.k, given.v);
    const [dq, dk, dv] = [floats(zeros(R * H * D)), floats(new Array(S * G * D).fill(2)), floats(new Array(S * G * Dv).fill(4))];
    const outStrides = { dkRowStride: G * D, dkHeadStride: D, dvRowStride: G * Dv, dvHeadStride: Dv };
    kernels.attentionBackward({ dq, dk, dv, dOut: floats(g), out, lse, ...given, first, last, batch, ...sizes, ...outStrides });
    expectGradient(
      dq,
      differences(q, g, (moved) => run(moved, given.k, given.v).out),
    );
    expectGradient(
      dk,
      differences(k, g, (moved) => run(given.q, moved, given.v).out),
      2,
    );
    expectGradient(
      dv,
      differences(v, g, (moved) => run(given.q, given.k, moved).out),
      4,
    );
  });

  test.each([true, false])("routeBackward, normalise %s", (normalise) => {
    const [T, E, K] = [2, 6, 3];
    const scores = Array.from({ length: T * E }, () => 0.2 + random.uniform());
    const g = normals(T * K);
    const gate = { T, E, K, groups: 2, topkGroups: 2, groupTop: 2, masked: 0, normalise, scale: 2.5 };
    const indices = ints(zeros(T * K));
    const forward = (s: View) => {
      const weights = floats(zeros(T * K));
      kernels.route({ indices, weights, scores: s, bias: floats(zeros(E)), ...gate });
      return weights;
    };
    const expected = differences(scores, g, forward);
    forward(floats(scores));
    const dscores = floats(zeros(T * E));
    kernels.routeBackward({ dscores, dweights: floats(g), scores: floats(scores), indices, T, E, K, normalise, scale: 2.5 });
    expectGradient(dscores, expected);
  });

  test("expertGather and expertCombine are each other's gradient; expertCombineWeightGrad", () => {
    const [T, K, E, width] = [4, 2, 3, 3];
    const slots = T * K;
    const [offsets, sorted, place] = [ints(zeros(E + 1)), ints(zeros(slots)), ints(zeros(slots))];
    kernels.dispatch({ offsets, sorted, place, indices: ints([2, 0, 1, 2, 0, 1, 2, 1]), slots, E });
    const [x, y, weights, g, gTokens] = [
      normals(T * width),
      normals(slots * width),
      normals(slots),
      normals(slots * width),
      normals(T * width),
    ];
    const dx = floats(zeros(T * width));
    kernels.expertCombine({ out: dx, y: floats(g), place, T, K, width });
    const gathered = (moved: View) => {
      const out = floats(zeros(slots * width));
      kernels.expertGather({ out, x: moved, sorted, slots, K, width });
      return out;
    };
    expectGradient(dx, differences(x, g, gathered));
    const combined = (rows: View, w: View) => {
      const out = floats(zeros(T * width));
      kernels.expertCombine({ out, y: rows, place, weights: w, T, K, width });
      return out;
    };
    const [dy, dweights] = [floats(zeros(slots * width)), floats(zeros(slots))];
    kernels.expertGather({ out: dy, x: floats(gTokens), sorted, weights: floats(weights), slots, K, width });
    kernels.expertCombineWeightGrad({ dweights, y: floats(y), dOut: floats(gTokens), place, T, K, width });
    expectGradient(
      dy,
      differences(y, gTokens, (moved) => combined(moved, floats(weights))),
    );
    expectGradient(
      dweights,
      differences(weights, gTokens, (moved) => combined(floats(y), moved)),
    );
  });
});
