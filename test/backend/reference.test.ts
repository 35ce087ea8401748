// The reference device against values worked out by hand or by another formulation in the test; never against itself. Its gradients are
// checked by finite differences in test/backend/reference/gradients.test.ts.

import { describe, expect, test } from "vitest";
import type { BinaryKind, UnaryKind } from "../../src/backend/backend.ts";
import { contents } from "../../src/backend/reference/buffer.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { ConfigError, DeviceError, ShapeError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { desk, distance, zeros } from "./reference/on-device.ts";

const { device, floats, ints, numbers } = desk(openReference({ precision: "f32" }));
const kernels = device.kernels;
const random = new Random(7);
const normals = (n: number) => Array.from({ length: n }, () => Math.fround(random.normal()));

describe("memory", () => {
  test("fill leaves what lies beyond n", () => {
    const out = floats([1, 2, 3, 4]);
    kernels.fill({ out: { buffer: out.buffer, offset: 1 }, n: 2, value: 9 });
    expect(numbers(out)).toEqual([1, 9, 9, 4]);
  });

  test("copy transposes, broadcasts, slices and adds", () => {
    const x = floats([1, 2, 3, 4, 5, 6]);
    const out = floats(zeros(6));
    kernels.copy({ out, x, shape: [3, 2], outStrides: [2, 1], xStrides: [1, 3] });
    expect(numbers(out)).toEqual([1, 4, 2, 5, 3, 6]);
    kernels.copy({ out, x: { buffer: x.buffer, offset: 4 }, shape: [3, 2], outStrides: [2, 1], xStrides: [0, 1], accumulate: true });
    expect(numbers(out)).toEqual([6, 10, 7, 11, 8, 12]);
    kernels.copy({ out, x, shape: [2], outStrides: [3], xStrides: [1] });
    expect(numbers(out)).toEqual([1, 10, 7, 2, 8, 12]);
    const integers = ints([7, 8]);
    kernels.copy({ out: integers, x: ints([16777217, -5]), shape: [2], outStrides: [1], xStrides: [1] });
    expect(numbers(integers)).toEqual([16777217, -5]);
  });

  test("gatherRows gives zeros outside, scatterRows skips", () => {
    const out = floats(zeros(8));
    kernels.gatherRows({ out, x: floats([1, 2, 3, 4, 5, 6]), index: ints([2, -1, 0, 3]), rows: 4, width: 2, xRows: 3 });
    expect(numbers(out)).toEqual([5, 6, 0, 0, 1, 2, 0, 0]);
    kernels.scatterRows({ out, x: floats([10, 20, 30, 40, 50, 60]), index: ints([3, 4, 1]), rows: 3, width: 2, outRows: 4 });
    expect(numbers(out)).toEqual([5, 6, 50, 60, 1, 2, 10, 20]);
  });
});

describe("elementwise", () => {
  test.each<[BinaryKind, number[]]>([
    ["add", [3, 6, 2, 3]],
    ["sub", [-1, 2, 4, -5]],
    ["mul", [2, 8, -3, -4]],
    ["div", [0.5, 2, -3, -0.25]],
    ["min", [1, 2, -1, -1]],
    ["max", [2, 4, 3, 4]],
    ["lessEqual", [1, 0, 0, 1]],
    ["less", [1, 0, 0, 1]],
  ])("binary %s", (kind, expected) => {
    const out = floats(zeros(4));
    kernels.binary({ kind, out, a: floats([1, 4, 3, -1]), b: floats([2, 2, -1, 4]), n: 4, bRepeat: 1, bPeriod: 4 });
    expect(numbers(out)).toEqual(expected);
  });

  test("binary repeats b by rows and by columns", () => {
    const a = floats([1, 2, 3, 4, 5, 6]);
    const out = floats(zeros(6));
    kernels.binary({ kind: "add", out, a, b: floats([10, 20, 30]), n: 6, bRepeat: 1, bPeriod: 3 });
    expect(numbers(out)).toEqual([11, 22, 33, 14, 25, 36]);
    kernels.binary({ kind: "mul", out, a, b: floats([10, 100]), n: 6, bRepeat: 3, bPeriod: 2 });
    expect(numbers(out)).toEqual([10, 20, 30, 400, 500, 600]);
    kernels.binary({ kind: "sub", out, a, b: floats([1]), n: 6, bRepeat: 1, bPeriod: 1, accumulate: true });
    expect(numbers(out)).toEqual([10, 21, 32, 403, 504, 605]);
  });

  test("binary treats equal numbers and NaN as IEEE 754 does", () => {
    const out = floats(zeros(3));
    const a = floats([2, Number.NaN, 1]);
    const b = floats([2, 1, Number.NaN]);
    for (const [kind, expected] of [
      ["lessEqual", [1, 0, 0]],
      ["less", [0, 0, 0]],
      ["max", [2, Number.NaN, Number.NaN]],
    ] as const) {
      kernels.binary({ kind, out, a, b, n: 3, bRepeat: 1, bPeriod: 3 });
      expect(numbers(out)).toEqual(expected);
    }
  });

  test.each<[UnaryKind, number, number]>([
    ["neg", 2.5, -2.5],
    ["exp", 1, Math.E],
    ["log", 10, Math.LN10],
    ["sqrt", 2, Math.SQRT2],
    ["reciprocal", -4, -0.25],
    ["sigmoid", Math.log(3), 0.75],
    ["silu", Math.log(3), 0.75 * Math.log(3)],
    ["tanh", Math.log(2), 0.6],
    ["square", -3, 9],
    ["abs", -7, 7],
  ])("unary %s(%d)", (kind, x, expected) => {
    const out = floats([0]);
    kernels.unary({ kind, out, x: floats([x]), n: 1 });
    expect(numbers(out)[0]).toBeCloseTo(expected, 6);
  });

  test("affine, clamp, swiglu", () => {
    const out = floats(zeros(3));
    kernels.affine({ out, x: floats([1, 2, 3]), n: 3, scale: 2, shift: -1 });
    expect(numbers(out)).toEqual([1, 3, 5]);
    kernels.affine({ out, x: floats([1, 1, 1]), n: 3, scale: 1, shift: 0, accumulate: true });
    expect(numbers(out)).toEqual([2, 4, 6]);
    kernels.clamp({ out, x: floats([-9, 0.5, Number.POSITIVE_INFINITY]), n: 3, low: -1, high: 2 });
    expect(numbers(out)).toEqual([-1, 0.5, 2]);
    kernels.swiglu({ out, gate: floats([0, Math.log(3), -Math.log(3)]), up: floats([5, 2, 4]), n: 3 });
    expect(distance(numbers(out), [0, 1.5 * Math.log(3), -Math.log(3)])).toBeLessThan(1e-6);
  });
});

describe("reductions", () => {
  test("sumAxis over a middle axis; sumSquares", () => {
    const out = floats(zeros(4));
    kernels.sumAxis({ out, x: floats([1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60]), outer: 2, axis: 3, inner: 2 });
    expect(numbers(out)).toEqual([9, 12, 90, 120]);
    kernels.sumSquares({ out, x: floats([3, -4, 12]), n: 3 });
    kernels.sumSquares({ out, x: floats([1]), n: 1, accumulate: true });
    expect(numbers(out)).toEqual([170, 12, 90, 120]);
  });
});

describe("matrix products", () => {
  test("matmul with every transposition, batched, accumulated", () => {
    const [batch, M, N, K] = [3, 5, 7, 4];
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const [a, b, out] = [normals(batch * M * K), normals(batch * K * N), normals(batch * M * N)];
        const expected = [...out];
        for (let n = 0; n < batch; n++)
          for (let i = 0; i < M; i++)
            for (let j = 0; j < N; j++)
              for (let k = 0; k < K; k++) {
                const left = a[n * M * K + (transposeA ? k * M + i : i * K + k)]!;
                expected[(n * M + i) * N + j]! += left * b[n * K * N + (transposeB ? j * K + k : k * N + j)]!;
              }
        const target = floats(out);
        kernels.matmul({ out: target, a: floats(a), b: floats(b), M, N, K, transposeA, transposeB, batch, accumulate: true });
        expect(distance(numbers(target), expected)).toBeLessThan(1e-5);
      }
    }
  });

  test("matmul by hand, with a shared operand and padded batches", () => {
    const out = floats(zeros(7));
    kernels.matmul({
      out,
      a: floats([1, 2, 3, 4, 99, 5, 6, 7, 8]),
      b: floats([1, 10]),
      M: 2,
      N: 1,
      K: 2,
      batch: 2,
      aBatchStride: 5,
      bBatchStride: 0,
      outBatchStride: 4,
    });
    expect(numbers(out)).toEqual([21, 43, 0, 0, 65, 87, 0]);
    kernels.matmul({ out, a: floats([]), b: floats([]), M: 1, N: 2, K: 0 });
    expect(numbers(out).slice(0, 3)).toEqual([0, 0, 0]);
  });

  test("groupedMatmul: each row by its expert's matrix, rows outside the offsets left alone", () => {
    const out = floats([-1, -1, -1, -1, -1]);
    const x = floats([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]); // [S 5, K 2]
    const w = floats([1, 0, 0, 1, 1, 1]); // three experts, [1, 2] each
    kernels.groupedMatmul({ out, x, w, offsets: ints([1, 2, 2, 4]), S: 5, E: 3, N: 1, K: 2, transposeW: true });
    expect(numbers(out)).toEqual([-1, 3, 11, 15, -1]);
    const wide = floats(zeros(4));
    kernels.groupedMatmul({
      out: wide,
      x: floats([1, 2]),
      w: floats([1, 2, 3, 4, 5, 6, 7, 8]),
      offsets: ints([-5, 1, 99]),
      S: 2,
      E: 2,
      N: 2,
      K: 1,
      transposeW: false,
    });
    expect(numbers(wide)).toEqual([1, 2, 6, 8]);
  });
});

describe("network", () => {
  test("rmsNorm by hand", () => {
    const out = floats(zeros(4));
    kernels.rmsNorm({ out, x: floats([3, 4, 0, 0]), weight: floats([2, 1]), rows: 2, width: 2, eps: 0.5 });
    expect(distance(numbers(out), [6 / Math.sqrt(13), 4 / Math.sqrt(13), 0, 0])).toBeLessThan(1e-6);
  });

  test("rope turns pairs as complex numbers; both layouts; the rest is copied", () => {
    const angle = 0.7;
    const cos = floats([1, 1, Math.cos(angle), Math.cos(2 * angle)]); // [P 2, dims/2 2]
    const sin = floats([0, 0, Math.sin(angle), Math.sin(2 * angle)]);
    const turn = (re: number, im: number, by: number) =>
      [re * Math.cos(by) - im * Math.sin(by), re * Math.sin(by) + im * Math.cos(by)] as const;
    const x = [9, 1, 2, 3, 4, 8];
    const shape = { tableRows: 2, rows: 1, heads: 1, width: 6, offset: 1, dims: 4, xRowStride: 6, outRowStride: 6 };
    const out = floats(zeros(6));
    kernels.rope({ out, x: floats(x), positions: ints([1]), cos, sin, ...shape, interleaved: true });
    expect(distance(numbers(out), [9, ...turn(1, 2, angle), ...turn(3, 4, 2 * angle), 8])).toBeLessThan(1e-6);
    kernels.rope({ out, x: floats(x), positions: ints([50]), cos, sin, ...shape, interleaved: false });
    const [a, c] = turn(1, 3, angle);
    const [b, d] = turn(2, 4, 2 * angle);
    expect(distance(numbers(out), [9, a, b, c, d, 8])).toBeLessThan(1e-6);
    kernels.rope({ out, x: out, positions: ints([1]), cos, sin, ...shape, interleaved: false, inverse: true });
    expect(distance(numbers(out), x)).toBeLessThan(1e-6);
    kernels.rope({ out, x: floats(x), positions: ints([-3]), cos, sin, ...shape, interleaved: true });
    expect(numbers(out)).toEqual(x);
  });

  test("embedding and its scattered gradient", () => {
    const out = floats(zeros(6));
    kernels.embedding({ out, table: floats([1, 2, 3, 4]), ids: ints([1, 2, 0]), rows: 3, width: 2, vocab: 2 });
    expect(numbers(out)).toEqual([3, 4, 0, 0, 1, 2]);
    const dtable = floats([100, 100, 100, 100]);
    kernels.embeddingBackward({ dtable, dy: floats([1, 2, 3, 4, 5, 6]), ids: ints([1, -1, 1]), rows: 3, width: 2, vocab: 2 });
    expect(numbers(dtable)).toEqual([100, 100, 106, 108]);
  });

  test("softmax sums to 1 and keeps ratios, however large the logits", () => {
    const out = floats(zeros(6));
    kernels.softmax({ out, x: floats([1000, 1000 + Math.log(3), Number.NEGATIVE_INFINITY, -5, -5, -5]), rows: 2, width: 3 });
    expect(distance(numbers(out), [0.25, 0.75, 0, 1 / 3, 1 / 3, 1 / 3])).toBeLessThan(1e-4);
  });

  test("crossEntropy and entropy of known distributions", () => {
    const logits = [0.5, 0.25, 0.25].map((p) => Math.log(p) + 3);
    const [loss, lse, entropy] = [floats(zeros(3)), floats(zeros(3)), floats([0])];
    kernels.crossEntropy({ loss, lse, logits: floats([...logits, ...logits, ...logits]), targets: ints([0, 2, -1]), rows: 3, vocab: 3 });
    expect(distance(numbers(loss), [Math.log(2), Math.log(4), 0])).toBeLessThan(1e-6);
    expect(distance(numbers(lse), [3, 3, 3])).toBeLessThan(1e-6);
    kernels.entropy({ out: entropy, logits: floats(logits), rows: 1, vocab: 3 });
    expect(numbers(entropy)[0]).toBeCloseTo(1.5 * Math.log(2), 6);
  });

  test("attention equals its composition from matmul and softmax", () => {
    const [R, S, H, G, D, Dv, scale] = [4, 6, 4, 2, 3, 2, 0.6];
    const [first, last] = [
      [0, 1, 2, 5],
      [2, 5, 2, 4],
    ]; // the last range is empty
    const [q, k, v] = [normals(R * H * D), normals(S * G * D), normals(S * G * Dv)];
    const expected: number[] = [];
    const expectedLse: number[] = [];
    for (let r = 0; r < R; r++) {
      for (let h = 0; h < H; h++) {
        const g = [0, 0, 1, 1][h]!;
        const query = q.slice((r * H + h) * D, (r * H + h + 1) * D);
        const seen = Array.from({ length: S }, (_, j) => j).filter((j) => j >= first[r]! && j <= last[r]!);
        const weights = seen.map((j) => Math.exp(scale * query.reduce((sum, x, d) => sum + x * k[(j * G + g) * D + d]!, 0)));
        const total = weights.reduce((a, b) => a + b, 0);
        for (let d = 0; d < Dv; d++) expected.push(seen.reduce((sum, j, i) => sum + (weights[i]! / total) * v[(j * G + g) * Dv + d]!, 0));
        expectedLse.push(Math.log(total));
      }
    }
    const [out, lse] = [floats(zeros(R * H * Dv)), floats(zeros(R * H))];
    const strides = { kRowStride: G * D, kHeadStride: D, vRowStride: G * Dv, vHeadStride: Dv };
    kernels.attention({
      out,
      lse,
      q: floats(q),
      k: floats(k),
      v: floats(v),
      first: ints(first),
      last: ints(last),
      R,
      S,
      H,
      G,
      D,
      Dv,
      scale,
      ...strides,
    });
    expect(distance(numbers(out), expected)).toBeLessThan(1e-6);
    expect(distance(numbers(lse).slice(0, 12), expectedLse.slice(0, 12))).toBeLessThan(1e-6);
    expect(numbers(lse).slice(12)).toEqual(new Array(4).fill(Number.NEGATIVE_INFINITY));
  });
});

describe("mixture of experts", () => {
  /** Sorts where the kernel searches; a stable sort keeps the lower index first. */
  function routeBySorting(
    scores: number[],
    bias: number[],
    a: { K: number; groups: number; topkGroups: number; groupTop: number; masked: number; normalise: boolean; scale: number },
  ) {
    const order = (values: number[]) =>
      values.map((value, i) => ({ value, i })).sort((x, y) => (x.value === y.value ? 0 : y.value - x.value));
    const choice = scores.map((s, e) => s + bias[e]!);
    const size = scores.length / a.groups;
    const strength = Array.from({ length: a.groups }, (_, g) =>
      order(choice.slice(g * size, (g + 1) * size))
        .slice(0, a.groupTop)
        .reduce((sum, x) => sum + x.value, 0),
    );
    const kept = new Set(
      order(strength)
        .slice(0, a.topkGroups)
        .map((x) => x.i),
    );
    const limited = a.groups === 1 ? choice : choice.map((c, e) => (kept.has(Math.floor(e / size)) ? c : a.masked));
    const indices = order(limited)
      .slice(0, a.K)
      .map((x) => x.i);
    const total = indices.reduce((sum, e) => sum + scores[e]!, 0) + 1e-20;
    return { indices, weights: indices.map((e) => (a.scale * scores[e]!) / (a.normalise ? total : 1)) };
  }

  test("route equals a formulation by sorting, ties and group limits included", () => {
    const E = 12;
    for (let round = 0; round < 300; round++) {
      const groups = random.pick([1, 2, 3, 4, 6]);
      const topkGroups = 1 + random.integer(groups);
      const masked = random.pick([Number.NEGATIVE_INFINITY, 0]);
      const K = 1 + random.integer(masked === 0 ? E : (topkGroups * E) / groups);
      const a = {
        K,
        groups,
        topkGroups,
        groupTop: 1 + random.integer(2),
        masked,
        normalise: random.uniform() < 0.5,
        scale: random.pick([1, 2.5]),
      };
      const scores = Array.from({ length: E }, () => (1 + random.integer(8)) / 8);
      const bias = Array.from({ length: E }, () => random.integer(9) / 8 - 1);
      const [indices, weights] = [ints(zeros(K)), floats(zeros(K))];
      kernels.route({ indices, weights, scores: floats(scores), bias: floats(bias), T: 1, E, ...a });
      const expected = routeBySorting(scores, bias, a);
      expect(numbers(indices)).toEqual(expected.indices);
      expect(distance(numbers(weights), expected.weights)).toBeLessThan(1e-6);
    }
  });

  test("route by hand: the bias chooses, the score weighs; a masked group loses its best expert", () => {
    const [indices, weights] = [ints(zeros(2)), floats(zeros(2))];
    const scores = floats([0.9, 0.0, 0.5, 0.5]);
    const common = { indices, weights, scores, T: 1, E: 4, K: 2, masked: Number.NEGATIVE_INFINITY, normalise: true, scale: 2 };
    kernels.route({ ...common, bias: floats([0, 0, 0, 1]), groups: 1, topkGroups: 1, groupTop: 1 });
    expect(numbers(indices)).toEqual([3, 0]);
    expect(distance(numbers(weights), [(2 * 0.5) / 1.4, (2 * 0.9) / 1.4])).toBeLessThan(1e-6);
    kernels.route({ ...common, bias: floats(zeros(4)), groups: 2, topkGroups: 1, groupTop: 2 });
    expect(numbers(indices)).toEqual([2, 3]);
    kernels.route({ ...common, bias: floats(zeros(4)), groups: 2, topkGroups: 1, groupTop: 1 });
    expect(numbers(indices)).toEqual([0, 1]);
  });

  test("dispatch is a stable sort with its inverse; gather and combine follow it", () => {
    const indices = [2, 0, 2, 7, 0, 1]; // three tokens, K 2; 7 is clamped to 2
    const [offsets, sorted, place] = [ints(zeros(4)), ints(zeros(6)), ints(zeros(6))];
    kernels.dispatch({ offsets, sorted, place, indices: ints(indices), slots: 6, E: 3 });
    expect(numbers(offsets)).toEqual([0, 2, 3, 6]);
    expect(numbers(sorted)).toEqual([1, 4, 5, 0, 2, 3]);
    expect(numbers(place)).toEqual([3, 0, 4, 5, 1, 2]);
    const gathered = floats(zeros(6));
    kernels.expertGather({ out: gathered, x: floats([10, 20, 30]), sorted, slots: 6, K: 2, width: 1 });
    expect(numbers(gathered)).toEqual([10, 30, 30, 10, 20, 20]);
    kernels.expertGather({ out: gathered, x: floats([10, 20, 30]), sorted, weights: floats([1, 2, 3, 4, 5, 6]), slots: 6, K: 2, width: 1 });
    expect(numbers(gathered)).toEqual([20, 150, 180, 10, 60, 80]);
    const y = floats([1, 2, 4, 8, 16, 32]);
    const combined = floats(zeros(3));
    kernels.expertCombine({ out: combined, y, place, T: 3, K: 2, width: 1 });
    expect(numbers(combined)).toEqual([9, 48, 6]);
    kernels.expertCombine({ out: combined, y, place, weights: floats([1, 10, 1, 10, 1, 10]), T: 3, K: 2, width: 1, accumulate: true });
    expect(numbers(combined)).toEqual([9 + 18, 48 + 336, 6 + 42]);
    const dweights = floats(zeros(6));
    kernels.expertCombineWeightGrad({ dweights, y, dOut: floats([1, 2, 3]), place, T: 3, K: 2, width: 1 });
    expect(numbers(dweights)).toEqual([8, 1, 32, 64, 6, 12]);
  });

  test("expertLoad counts by part; balanceBias moves towards the mean", () => {
    const counts = floats(zeros(6));
    kernels.expertLoad({ counts, indices: ints([0, 0, 2, 2, 9, 1]), slots: 6, parts: 2, E: 3 });
    expect(numbers(counts)).toEqual([2, 0, 1, 0, 1, 1]);
    const bias = floats([1, 1, 1]);
    kernels.balanceBias({ bias, counts: floats([5, 3, 1]), E: 3, gamma: 0.25 });
    expect(numbers(bias)).toEqual([0.75, 1, 1.25]);
  });
});

describe("optimiser", () => {
  test("clipFactor", () => {
    const factor = (sumSquares: number, maxNorm: number, guard?: number) => {
      const out = floats([0]);
      kernels.clipFactor({ out, sumSquares: floats([sumSquares]), maxNorm, guard: guard === undefined ? undefined : floats([guard]) });
      return numbers(out)[0];
    };
    expect(factor(16, 1)).toBeCloseTo(0.25, 6);
    expect(factor(16, 100)).toBe(1);
    expect(factor(16, Number.POSITIVE_INFINITY, 3)).toBe(1);
    expect(factor(Number.NaN, 1)).toBe(-1);
    expect(factor(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)).toBe(-1);
    expect(factor(1, 1, Number.NaN)).toBe(-1);
  });

  test("adamw follows the textbook for three steps", () => {
    const [lr, beta1, beta2, eps, weightDecay, factor] = [0.1, 0.9, 0.99, 1e-8, 0.2, 0.5];
    let [theta, mean, square] = [1, 0, 0];
    const [param, m, v] = [floats([1]), floats([0]), floats([0])];
    for (const [i, gradient] of [3, -1, 0.5].entries()) {
      const t = i + 1;
      const g = gradient * factor;
      mean = beta1 * mean + (1 - beta1) * g;
      square = beta2 * square + (1 - beta2) * g ** 2;
      const correctedMean = mean / (1 - beta1 ** t);
      const correctedSquare = square / (1 - beta2 ** t);
      theta = theta - lr * weightDecay * theta - (lr * correctedMean) / (Math.sqrt(correctedSquare) + eps);
      const scalars = { n: 1, lr, beta1, beta2, eps, weightDecay, c1: 1 - beta1 ** t, c2: 1 - beta2 ** t };
      kernels.adamw({ param, grad: floats([gradient]), m, v, factor: floats([factor]), ...scalars });
    }
    expect(distance([...numbers(param), ...numbers(m), ...numbers(v)], [theta, mean, square])).toBeLessThan(1e-6);
    kernels.adamw({
      param,
      grad: floats([Number.NaN]),
      m,
      v,
      factor: floats([-1]),
      n: 1,
      lr,
      beta1,
      beta2,
      eps,
      weightDecay,
      c1: 1,
      c2: 1,
    });
    expect(distance([...numbers(param), ...numbers(m), ...numbers(v)], [theta, mean, square])).toBeLessThan(1e-6);
  });
});

describe("the device", () => {
  test("fresh memory is poisoned, so nothing passes by luck", () => {
    expect(Array.from(contents(device.allocate("f32", 2)))).toEqual([Number.NaN, Number.NaN]);
    expect(contents(device.allocate("i32", 1))[0]).toBeLessThan(-1e9);
  });

  test("f64 keeps what f32 rounds", async () => {
    for (const [precision, expected] of [
      ["f32", Math.fround(0.1)],
      ["f64", 0.1],
    ] as const) {
      const one = openReference({ precision });
      const buffer = one.allocate("f32", 1);
      one.write(buffer, 0, [0.1]);
      expect((await one.read(buffer, 0, 1))[0]).toBe(expected);
      expect(one.info).toEqual({ name: "reference", build: precision, threads: 1 });
    }
  });

  test("refuses windows outside a buffer, the wrong dtype, released buffers, unknown precisions", async () => {
    const x = floats([1, 2, 3]);
    expect(() => kernels.fill({ out: { buffer: x.buffer, offset: 2 }, n: 2, value: 0 })).toThrow(ShapeError);
    expect(() => kernels.fill({ out: { buffer: x.buffer, offset: -1 }, n: 1, value: 0 })).toThrow(ShapeError);
    expect(() => kernels.affine({ out: x, x: ints([1, 2, 3]), n: 3, scale: 1, shift: 0 })).toThrow(ShapeError);
    expect(() => kernels.embedding({ out: x, table: x, ids: x, rows: 1, width: 1, vocab: 1 })).toThrow(ShapeError);
    expect(() => device.allocate("f32", -1)).toThrow(ShapeError);
    device.release(x.buffer);
    device.release(x.buffer);
    expect(() => kernels.fill({ out: x, n: 1, value: 0 })).toThrow(DeviceError);
    await expect(device.read(x.buffer, 0, 1)).rejects.toThrow(DeviceError);
    expect(() => openReference({ precision: "f16" as "f32" })).toThrow(ConfigError);
  });
});
