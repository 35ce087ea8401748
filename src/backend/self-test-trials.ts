// What the self-test tries: every kernel once, on sizes that reach the fused paths and their ragged ends; small, because it happens at every start. A table; self-test.ts
// runs it.

import { cacheRowWords, type PackedType } from "../core/dtype.ts";
import type { KernelName, Kernels, View } from "./backend.ts";

type Operands = { readonly [name: string]: View };
export type Trial = {
  readonly floats: Readonly<Record<string, number>>;
  readonly indices?: Readonly<Record<string, readonly number[]>>;
  /** Packed weights: [type, matrices, rows, width]. */
  readonly weights?: Readonly<Record<string, readonly [PackedType, number, number, number]>>;
  readonly run: (k: Kernels, o: Operands) => void;
};

const range = (n: number, f: (i: number) => number) => Array.from({ length: n }, (_, i) => f(i));
const [M, N, K] = [19, 37, 45];
const [R, H, D] = [21, 2, 20];
const strides = { kRowStride: H * D, kHeadStride: D, vRowStride: H * D, vHeadStride: D };
const heads = { R, S: R, H, G: H, D, Dv: D, scale: 0.3, ...strides };
const causal = { first: range(R, () => 0), last: range(R, (r) => r) };
const [T, E, C] = [9, 4, 21];
const chosen = range(T * 2, (i) => (i * 7 + (i % 2)) % E);
const sortedSlots = range(T * 2, (i) => i).sort((a, b) => (chosen[a] as number) - (chosen[b] as number));
const place = range(T * 2, (i) => sortedSlots.indexOf(i));
const offsets = range(E + 1, (e) => chosen.filter((x) => x < e).length);
const v = (o: Operands, name: string): View => o[name] as View;

/** One panel of rows and a ragged one; the block of every type divides 256. */
const [packedN, packedK] = [9, 256];

/** Eight heads over one key head in a narrow cache, written and read: the fused blocks of attention and the ways from and to fewer bits. */
function sharedKeys(type: "f16" | "q8_0"): Trial {
  const [S, width] = [19, 64];
  const rowWords = cacheRowWords(type, width);
  return {
    floats: { out: 2 * 8 * width, lse: 2 * 8, q: 2 * 8 * width, x: S * width },
    indices: { cache: range(S * rowWords, () => 0), index: range(S, (i) => i), first: [0, 0], last: [17, 18] },
    run: (k, o) => {
      const cache = v(o, "cache");
      k.cacheWrite({ cache, x: v(o, "x"), index: v(o, "index"), rows: S, width, cacheRows: S, type });
      const sizes = { R: 2, S, H: 8, G: 1, D: width, Dv: width, scale: 0.3, cacheType: type };
      const at = { kRowStride: rowWords, kHeadStride: 0, vRowStride: rowWords, vHeadStride: 0, first: v(o, "first"), last: v(o, "last") };
      k.attention({ out: v(o, "out"), lse: v(o, "lse"), q: v(o, "q"), k: cache, v: cache, ...sizes, ...at });
    },
  };
}

/** Floats are named with their sizes; what a kernel leaves in any of them is compared. */
export const trials: Readonly<Record<KernelName, Trial | readonly Trial[]>> = {
  fill: { floats: { out: 21 }, run: (k, o) => k.fill({ out: v(o, "out"), n: 19, value: 2.5 }) },
  copy: {
    floats: { out: 40, x: 40 },
    run: (k, o) => k.copy({ out: v(o, "out"), x: v(o, "x"), shape: [3, 5], outStrides: [1, 4], xStrides: [8, 1] }),
  },
  gatherRows: {
    floats: { out: 60, x: 60 },
    indices: { index: [2, 0, 9] },
    run: (k, o) => k.gatherRows({ out: v(o, "out"), x: v(o, "x"), index: v(o, "index"), rows: 3, width: 13, xRows: 4 }),
  },
  scatterRows: {
    floats: { out: 60, x: 60 },
    indices: { index: [2, 0, 9] },
    run: (k, o) => k.scatterRows({ out: v(o, "out"), x: v(o, "x"), index: v(o, "index"), rows: 3, width: 13, outRows: 4 }),
  },
  cacheWrite: {
    floats: { x: 3 * 37 },
    indices: { cache: range(4 * cacheRowWords("f16", 37), () => 0), index: [2, 0, 9] },
    run: (k, o) =>
      k.cacheWrite({ cache: v(o, "cache"), x: v(o, "x"), index: v(o, "index"), rows: 3, width: 37, cacheRows: 4, type: "f16" }),
  },
  binary: {
    floats: { out: 70, a: 70, b: 70 },
    run: (k, o) => k.binary({ kind: "mul", out: v(o, "out"), a: v(o, "a"), b: v(o, "b"), n: 67, bRepeat: 1, bPeriod: 67 }),
  },
  unary: { floats: { out: 70, x: 70 }, run: (k, o) => k.unary({ kind: "silu", out: v(o, "out"), x: v(o, "x"), n: 67 }) },
  unaryBackward: {
    floats: { dx: 70, dy: 70, x: 70 },
    run: (k, o) => k.unaryBackward({ kind: "tanh", dx: v(o, "dx"), dy: v(o, "dy"), x: v(o, "x"), n: 67 }),
  },
  affine: {
    floats: { out: 70, x: 70 },
    run: (k, o) => k.affine({ out: v(o, "out"), x: v(o, "x"), n: 67, scale: 1.5, shift: -1, accumulate: true }),
  },
  clamp: { floats: { out: 70, x: 70 }, run: (k, o) => k.clamp({ out: v(o, "out"), x: v(o, "x"), n: 67, low: -0.2, high: 0.4 }) },
  clampBackward: {
    floats: { dx: 70, dy: 70, x: 70 },
    run: (k, o) => k.clampBackward({ dx: v(o, "dx"), dy: v(o, "dy"), x: v(o, "x"), n: 67, low: -0.2, high: 0.4 }),
  },
  swiglu: {
    floats: { out: 70, gate: 70, up: 70 },
    run: (k, o) => k.swiglu({ out: v(o, "out"), gate: v(o, "gate"), up: v(o, "up"), n: 67 }),
  },
  swigluBackward: {
    floats: { dGate: 70, dUp: 70, dOut: 70, gate: 70, up: 70 },
    run: (k, o) =>
      k.swigluBackward({ dGate: v(o, "dGate"), dUp: v(o, "dUp"), dOut: v(o, "dOut"), gate: v(o, "gate"), up: v(o, "up"), n: 67 }),
  },
  sumAxis: { floats: { out: 70, x: 400 }, run: (k, o) => k.sumAxis({ out: v(o, "out"), x: v(o, "x"), outer: 3, axis: 7, inner: 17 }) },
  sumSquares: { floats: { out: 1, x: 9000 }, run: (k, o) => k.sumSquares({ out: v(o, "out"), x: v(o, "x"), n: 8999 }) },
  matmul: {
    floats: { out: M * N, a: M * K, b: N * K },
    run: (k, o) => k.matmul({ out: v(o, "out"), a: v(o, "a"), b: v(o, "b"), M, N, K, transposeB: true, accumulate: true }),
  },
  groupedMatmul: {
    floats: { out: T * 2 * N, x: T * 2 * K, w: E * N * K },
    indices: { offsets },
    run: (k, o) =>
      k.groupedMatmul({ out: v(o, "out"), x: v(o, "x"), w: v(o, "w"), offsets: v(o, "offsets"), S: T * 2, E, N, K, transposeW: true }),
  },
  groupedMatmulWeightGrad: {
    floats: { dw: E * N * K, dy: T * 2 * N, x: T * 2 * K },
    indices: { offsets },
    run: (k, o) => k.groupedMatmulWeightGrad({ dw: v(o, "dw"), dy: v(o, "dy"), x: v(o, "x"), offsets: v(o, "offsets"), S: T * 2, E, N, K }),
  },
  // One row and several are different code; the types that are left out run the code of others.
  packedMatmul: (
    ["f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs"] as const
  ).flatMap((type) =>
    [1, 3, 6].map((rows) => ({
      floats: { out: rows * packedN, x: rows * packedK },
      weights: { w: [type, 1, packedN, packedK] as const },
      run: (k: Kernels, o: Operands) => k.packedMatmul({ out: v(o, "out"), x: v(o, "x"), w: v(o, "w"), M: rows, N: packedN, K: packedK }),
    })),
  ),
  packedGroupedMatmul: (["f16", "q4_k"] as const).map((type) => ({
    floats: { out: T * 2 * packedN, x: T * 2 * packedK },
    indices: { offsets },
    weights: { w: [type, E, packedN, packedK] },
    run: (k, o) =>
      k.packedGroupedMatmul({
        out: v(o, "out"),
        x: v(o, "x"),
        w: v(o, "w"),
        offsets: v(o, "offsets"),
        S: T * 2,
        E,
        N: packedN,
        K: packedK,
      }),
  })),
  packedEmbedding: (["f16", "bf16", "q8_0", "q4_1", "q5_k", "q6_k", "q2_k"] as const).map((type) => ({
    floats: { out: 4 * packedK },
    indices: { ids: [2, 0, -1, packedN - 1] },
    weights: { table: [type, 1, packedN, packedK] },
    run: (k, o) => k.packedEmbedding({ out: v(o, "out"), table: v(o, "table"), ids: v(o, "ids"), rows: 4, width: packedK, vocab: packedN }),
  })),
  rmsNorm: {
    floats: { out: 5 * C, x: 5 * C, weight: C },
    run: (k, o) => k.rmsNorm({ out: v(o, "out"), x: v(o, "x"), weight: v(o, "weight"), rows: 5, width: C, eps: 1e-5 }),
  },
  rmsNormBackward: {
    floats: { dx: 5 * C, dweight: C, dy: 5 * C, x: 5 * C, weight: C },
    run: (k, o) =>
      k.rmsNormBackward({
        dx: v(o, "dx"),
        dweight: v(o, "dweight"),
        dy: v(o, "dy"),
        x: v(o, "x"),
        weight: v(o, "weight"),
        rows: 5,
        width: C,
        eps: 1e-5,
      }),
  },
  rope: {
    floats: { out: 120, x: 120, cos: 40, sin: 40 },
    indices: { positions: [0, 3, 9] },
    run: (k, o) =>
      k.rope({
        out: v(o, "out"),
        x: v(o, "x"),
        positions: v(o, "positions"),
        cos: v(o, "cos"),
        sin: v(o, "sin"),
        tableRows: 10,
        rows: 3,
        heads: 2,
        width: 20,
        offset: 4,
        dims: 8,
        interleaved: true,
        xRowStride: 40,
        outRowStride: 40,
      }),
  },
  embedding: {
    floats: { out: 60, table: 60 },
    indices: { ids: [2, 0, -1] },
    run: (k, o) => k.embedding({ out: v(o, "out"), table: v(o, "table"), ids: v(o, "ids"), rows: 3, width: 13, vocab: 4 }),
  },
  embeddingBackward: {
    floats: { dtable: 60, dy: 60 },
    indices: { ids: [2, 2, 7] },
    run: (k, o) => k.embeddingBackward({ dtable: v(o, "dtable"), dy: v(o, "dy"), ids: v(o, "ids"), rows: 3, width: 13, vocab: 4 }),
  },
  crossEntropy: {
    floats: { loss: 5, lse: 5, logits: 5 * C },
    indices: { targets: [0, 20, 3, -1, 9] },
    run: (k, o) =>
      k.crossEntropy({ loss: v(o, "loss"), lse: v(o, "lse"), logits: v(o, "logits"), targets: v(o, "targets"), rows: 5, vocab: C }),
  },
  crossEntropyBackward: {
    floats: { dlogits: 5 * C, logits: 5 * C, lse: 5, dloss: 5 },
    indices: { targets: [0, 20, 3, -1, 9] },
    run: (k, o) =>
      k.crossEntropyBackward({
        dlogits: v(o, "dlogits"),
        logits: v(o, "logits"),
        lse: v(o, "lse"),
        targets: v(o, "targets"),
        dloss: v(o, "dloss"),
        rows: 5,
        vocab: C,
      }),
  },
  entropy: { floats: { out: 5, logits: 5 * C }, run: (k, o) => k.entropy({ out: v(o, "out"), logits: v(o, "logits"), rows: 5, vocab: C }) },
  softmax: { floats: { out: 5 * C, x: 5 * C }, run: (k, o) => k.softmax({ out: v(o, "out"), x: v(o, "x"), rows: 5, width: C }) },
  softmaxBackward: {
    floats: { dx: 5 * C, dy: 5 * C, y: 5 * C },
    run: (k, o) => k.softmaxBackward({ dx: v(o, "dx"), dy: v(o, "dy"), y: v(o, "y"), rows: 5, width: C }),
  },
  attention: [
    {
      floats: { out: R * H * D, lse: R * H, q: R * H * D, k: R * H * D, v: R * H * D },
      indices: causal,
      run: (k, o) =>
        k.attention({
          out: v(o, "out"),
          lse: v(o, "lse"),
          q: v(o, "q"),
          k: v(o, "k"),
          v: v(o, "v"),
          first: v(o, "first"),
          last: v(o, "last"),
          ...heads,
        }),
    },
    sharedKeys("f16"),
    sharedKeys("q8_0"),
  ],
  attentionBackward: {
    floats: {
      out: R * H * D,
      lse: R * H,
      q: R * H * D,
      k: R * H * D,
      v: R * H * D,
      dq: R * H * D,
      dk: R * H * D,
      dv: R * H * D,
      dOut: R * H * D,
    },
    indices: causal,
    run: (k, o) => {
      const common = {
        out: v(o, "out"),
        lse: v(o, "lse"),
        q: v(o, "q"),
        k: v(o, "k"),
        v: v(o, "v"),
        first: v(o, "first"),
        last: v(o, "last"),
        ...heads,
      };
      k.attention(common);
      k.attentionBackward({
        ...common,
        dq: v(o, "dq"),
        dk: v(o, "dk"),
        dv: v(o, "dv"),
        dOut: v(o, "dOut"),
        batch: 1,
        dkRowStride: H * D,
        dkHeadStride: D,
        dvRowStride: H * D,
        dvHeadStride: D,
      });
    },
  },
  route: {
    floats: { weights: T * 2, scores: T * E, bias: E },
    indices: { indices: range(T * 2, () => 0) },
    run: (k, o) =>
      k.route({
        indices: v(o, "indices"),
        weights: v(o, "weights"),
        scores: v(o, "scores"),
        bias: v(o, "bias"),
        T,
        E,
        K: 2,
        groups: 2,
        topkGroups: 1,
        groupTop: 2,
        masked: Number.NEGATIVE_INFINITY,
        normalise: false,
        scale: 2,
      }),
  },
  routeBackward: {
    floats: { dscores: T * E, dweights: T * 2, scores: T * E },
    indices: { indices: range(T * 2, (i) => (i % 2) * 2) },
    run: (k, o) =>
      k.routeBackward({
        dscores: v(o, "dscores"),
        dweights: v(o, "dweights"),
        scores: v(o, "scores"),
        indices: v(o, "indices"),
        T,
        E,
        K: 2,
        normalise: false,
        scale: 2,
      }),
  },
  dispatch: {
    floats: { none: 1 },
    indices: { offsets: range(E + 1, () => 0), sorted: range(T * 2, () => 0), place: range(T * 2, () => 0), indices: chosen },
    run: (k, o) =>
      k.dispatch({ offsets: v(o, "offsets"), sorted: v(o, "sorted"), place: v(o, "place"), indices: v(o, "indices"), slots: T * 2, E }),
  },
  expertGather: {
    floats: { out: T * 2 * C, x: T * C, weights: T * 2 },
    indices: { sorted: sortedSlots },
    run: (k, o) =>
      k.expertGather({ out: v(o, "out"), x: v(o, "x"), sorted: v(o, "sorted"), weights: v(o, "weights"), slots: T * 2, K: 2, width: C }),
  },
  expertCombine: {
    floats: { out: T * C, y: T * 2 * C, weights: T * 2 },
    indices: { place },
    run: (k, o) => k.expertCombine({ out: v(o, "out"), y: v(o, "y"), place: v(o, "place"), weights: v(o, "weights"), T, K: 2, width: C }),
  },
  expertCombineWeightGrad: {
    floats: { dweights: T * 2, y: T * 2 * C, dOut: T * C },
    indices: { place },
    run: (k, o) =>
      k.expertCombineWeightGrad({ dweights: v(o, "dweights"), y: v(o, "y"), dOut: v(o, "dOut"), place: v(o, "place"), T, K: 2, width: C }),
  },
  expertLoad: {
    floats: { counts: 3 * E },
    indices: { indices: chosen },
    run: (k, o) => k.expertLoad({ counts: v(o, "counts"), indices: v(o, "indices"), slots: T * 2, parts: 3, E }),
  },
  balanceBias: {
    floats: { bias: E, counts: E },
    run: (k, o) => k.balanceBias({ bias: v(o, "bias"), counts: v(o, "counts"), E, gamma: 0.5 }),
  },
  clipFactor: {
    floats: { out: 1, sumSquares: 1 },
    run: (k, o) => k.clipFactor({ out: v(o, "out"), sumSquares: v(o, "sumSquares"), maxNorm: 0.1 }),
  },
  adamw: {
    floats: { param: 70, grad: 70, m: 70, v: 70, factor: 1 },
    run: (k, o) => {
      // The second moment and the factor must not be negative.
      k.fill({ out: v(o, "v"), n: 70, value: 0.3 });
      k.fill({ out: v(o, "factor"), n: 1, value: 0.5 });
      k.adamw({
        param: v(o, "param"),
        grad: v(o, "grad"),
        m: v(o, "m"),
        v: v(o, "v"),
        n: 67,
        factor: v(o, "factor"),
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weightDecay: 0.1,
        c1: 0.1,
        c2: 0.01,
      });
    },
  },
};
