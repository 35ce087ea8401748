// Cases of rmsNorm, rope, embedding, crossEntropy, entropy and softmax with their backward passes. The law pieces are single rows.

import type { Random } from "../../../src/core/random.ts";
import {
  type Alone,
  type Cases,
  input,
  integers,
  type KernelCase,
  kernelCase,
  normals,
  type Operand,
  output,
  part,
  referenceFloats,
  sum,
  summed,
} from "../kernel-case.ts";

const rowCounts = [0, 1, 3, 17, 129];
const widths = [1, 3, 17, 129, 1024, 2051];
const { NEGATIVE_INFINITY: minusInfinity, NaN: nan } = Number;

/** A few rows of a call: the first, one in the middle, the last. */
function someRows(rows: number): number[] {
  return [...new Set([0, Math.floor(rows / 2), rows - 1])].filter((r) => r >= 0 && r < rows);
}

export const rmsNormCases: Cases = (random) => {
  const make = (x: Float32Array, weight: Float32Array, eps: number, label = "", alone: Alone[] = []) => {
    const rows = x.length / weight.length;
    return kernelCase(
      "rmsNorm",
      { out: output(x.length), x: input(x), weight: input(weight) },
      { rows, width: weight.length, eps },
      { label, alone },
    );
  };
  const cases: KernelCase[] = [];
  for (const rows of rowCounts) {
    for (const width of widths) {
      const x = normals(random, rows * width, 3);
      const weight = normals(random, width);
      const alone = someRows(rows).map((r) => ({
        piece: make(part(x, r * width, width), weight, 1e-6, "alone"),
        same: [{ operand: "out", start: r * width, length: width }],
      }));
      cases.push(make(x, weight, 1e-6, "", alone));
    }
  }
  const bad = normals(random, 3 * 19);
  bad[20] = nan;
  cases.push(
    make(normals(random, 51, 1e-4), normals(random, 17), 1e-5, "eps matters"),
    make(new Float32Array(34), normals(random, 17), 1e-6, "zeros"),
  );
  return [...cases, make(bad, normals(random, 19), 1e-6, "NaN in row 1")];
};

export const rmsNormBackwardCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const rows of [0, 1, 3, 63, 64, 65, 200]) {
    for (const width of rows === 3 ? [1, 3, 17, 129, 2051] : [1, 3, 7, 8, 17, 129]) {
      for (const weighted of [true, false]) {
        const operands = {
          dx: output(rows * width, { bound: summed }),
          dweight: weighted ? sum(normals(random, width), { bound: summed, scale: Math.sqrt(rows) }) : undefined,
          dy: input(normals(random, rows * width)),
          x: input(normals(random, rows * width)),
          weight: input(normals(random, width)),
        };
        cases.push(kernelCase("rmsNormBackward", operands, { rows, width, eps: 1e-5 }, { label: weighted ? "with dweight" : "dx only" }));
      }
    }
  }
  return cases;
};

type RopeShape = { heads: number; width: number; offset: number; dims: number; interleaved: boolean; inverse?: boolean };

export const ropeCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  const tableRows = 37;
  const shapes = [
    [1, 2, 0, 2],
    [3, 6, 2, 4],
    [2, 64, 0, 64],
    [4, 24, 16, 8],
    [5, 11, 3, 6],
    [1, 32, 0, 16],
    [2, 5, 1, 0],
  ] as const;
  for (const [heads, width, offset, dims] of shapes) {
    const angles = Float64Array.from({ length: (tableRows * dims) / 2 }, () => random.normal() * 5);
    const tables = { cos: input(Float32Array.from(angles, Math.cos)), sin: input(Float32Array.from(angles, Math.sin)) };
    for (const interleaved of [true, false]) {
      for (const inverse of [true, false]) {
        const shape: RopeShape = { heads, width, offset, dims, interleaved, inverse };
        for (const rows of [0, 1, 3, 17]) cases.push(...ropeRows(random, shape, rows, tables, tableRows));
      }
    }
  }
  return cases;
};

function ropeRows(random: Random, shape: RopeShape, rows: number, tables: { cos: Operand; sin: Operand }, tableRows: number): KernelCase[] {
  const size = shape.heads * shape.width;
  const positions = Array.from({ length: rows }, (_, r) =>
    r % 5 === 4 ? random.pick([-1, tableRows, 2147483647, -2147483648]) : random.integer(tableRows),
  );
  const make = (
    at: readonly number[],
    x: Float32Array,
    xRowStride: number,
    outRowStride: number,
    more: Parameters<typeof kernelCase<"rope">>[3],
  ) => {
    const length = at.length === 0 ? 0 : (at.length - 1) * outRowStride + size;
    const operands = { out: output(length), x: input(x), positions: integers(...at), ...tables };
    return kernelCase("rope", operands, { tableRows, rows: at.length, ...shape, xRowStride, outRowStride }, more);
  };
  const x = normals(random, rows * size);
  const alone = someRows(rows).map((r) => ({
    piece: make(positions.slice(r, r + 1), part(x, r * size, size), size, size, { label: "alone" }),
    same: [{ operand: "out", start: r * size, length: size }],
  }));
  // In place must give the same bits, too.
  if (rows > 0)
    alone.push({
      piece: make(positions, x, size, size, { sharing: { out: "x" } }),
      same: [{ operand: "out", start: 0, length: rows * size }],
    });
  const wide = normals(random, rows === 0 ? 0 : (rows - 1) * (size + 7) + size);
  return [
    make(positions, x, size, size, { alone }),
    make(positions, x, size, size, { sharing: { out: "x" } }),
    make(positions, wide, size + 7, size + 3, { label: "strided" }),
    make(positions, wide, size + 7, size + 7, { label: "strided", sharing: { out: "x" } }),
  ];
}

/** Ids with repetitions, a few of them outside. */
function someIds(random: Random, rows: number, vocab: number): number[] {
  return Array.from({ length: rows }, (_, r) => (r % 7 === 5 ? random.pick([-1, vocab, 2147483647, -2147483648]) : random.integer(vocab)));
}

export const embeddingCases: Cases = (random) =>
  rowCounts.flatMap((rows) =>
    [1, 3, 17, 130].map((width) => {
      const vocab = 23;
      const operands = {
        out: output(rows * width, { bound: 0 }),
        table: input(normals(random, vocab * width)),
        ids: integers(...someIds(random, rows, vocab)),
      };
      return kernelCase("embedding", operands, { rows, width, vocab });
    }),
  );

export const embeddingBackwardCases: Cases = (random) =>
  rowCounts.flatMap((rows) =>
    [1, 3, 17, 130].map((width) => {
      const vocab = 9;
      const operands = {
        dtable: sum(normals(random, vocab * width), { bound: summed }),
        dy: input(normals(random, rows * width)),
        ids: integers(...someIds(random, rows, vocab)),
      };
      return kernelCase("embeddingBackward", operands, { rows, width, vocab });
    }),
  );

/** Logits by rows; some rows with -Infinity, some shifted far from zero. */
function someLogits(random: Random, rows: number, width: number): Float32Array {
  const logits = normals(random, rows * width, 3);
  for (let r = 0; r < rows; r++) {
    const shift = [0, 100, -120][r % 3] as number;
    for (let v = 0; v < width; v++) {
      const hidden = r % 4 === 1 && v % 3 === 1;
      logits[r * width + v] = hidden ? minusInfinity : logits[r * width + v]! + shift;
    }
  }
  return logits;
}

const vocabs = [1, 3, 17, 129, 4099];

export const crossEntropyCases: Cases = (random) => {
  const make = (logits: Float32Array, targets: readonly number[], vocab: number, label = "", alone: Alone[] = []) => {
    const rows = targets.length;
    const operands = {
      loss: output(rows, { bound: summed, scale: 1 }),
      lse: output(rows, { bound: summed, scale: 1 }),
      logits: input(logits),
      targets: integers(...targets),
    };
    return kernelCase("crossEntropy", operands, { rows, vocab }, { label, alone });
  };
  const cases: KernelCase[] = [];
  for (const rows of [0, 1, 3, 17]) {
    for (const vocab of vocabs) {
      // A target whose logit is -Infinity has loss Infinity.
      const logits = someLogits(random, rows, vocab);
      const targets = someIds(random, rows, vocab);
      const alone = someRows(rows).map((r) => ({
        piece: make(part(logits, r * vocab, vocab), targets.slice(r, r + 1), vocab, "alone"),
        same: ["loss", "lse"].map((operand) => ({ operand, start: r, length: 1 })),
      }));
      cases.push(make(logits, targets, vocab, "", alone));
    }
  }
  const bad = normals(random, 3 * 5);
  bad[6] = nan;
  const sure = normals(random, 4 * 40).map((x, i) => (i % 40 === 7 ? x + 12 : x));
  cases.push(make(bad, [0, 1, 2], 5, "NaN in row 1"), make(bad, [0, -1, 2], 5, "NaN in an ignored row"));
  cases.push(make(sure, [7, 7, 7, 7], 40, "small losses"), make(Float32Array.of(1e30, -1e30, -1e30, 1e30), [0, 1], 2, "huge logits"));
  return cases;
};

export const crossEntropyBackwardCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const rows of [0, 1, 3, 17]) {
    for (const vocab of vocabs) {
      const logits = input(someLogits(random, rows, vocab));
      const targets = integers(...someIds(random, rows, vocab));
      const forward = kernelCase("crossEntropy", { loss: output(rows), lse: output(rows), logits, targets }, { rows, vocab });
      // lse is an input here, rounded to f32 for every device alike.
      const lse = input(referenceFloats(forward, "lse"));
      const operands = { dlogits: output(rows * vocab, { scale: 1 / vocab }), logits, lse, targets, dloss: input(normals(random, rows)) };
      cases.push(kernelCase("crossEntropyBackward", operands, { rows, vocab }));
      cases.push(kernelCase("crossEntropyBackward", operands, { rows, vocab }, { sharing: { dlogits: "logits" } }));
    }
  }
  const ignored = {
    dlogits: output(3),
    logits: input(Float32Array.of(nan, 1, 2)),
    lse: input(Float32Array.of(nan)),
    targets: integers(-1),
    dloss: input(Float32Array.of(1)),
  };
  return [...cases, kernelCase("crossEntropyBackward", ignored, { rows: 1, vocab: 3 }, { label: "NaN in an ignored row" })];
};

export const entropyCases: Cases = (random) => {
  const make = (logits: Float32Array, vocab: number, label = "", alone: Alone[] = []) => {
    const rows = logits.length / vocab;
    return kernelCase(
      "entropy",
      { out: output(rows, { bound: summed, scale: 1 }), logits: input(logits) },
      { rows, vocab },
      { label, alone },
    );
  };
  const cases: KernelCase[] = [];
  for (const rows of [0, 1, 3, 17]) {
    for (const vocab of vocabs) {
      const logits = someLogits(random, rows, vocab);
      const alone = someRows(rows).map((r) => ({
        piece: make(part(logits, r * vocab, vocab), vocab, "alone"),
        same: [{ operand: "out", start: r, length: 1 }],
      }));
      cases.push(make(logits, vocab, "", alone));
    }
  }
  return [...cases, make(Float32Array.of(0, 1000, -1000, 5, 5, 5), 3, "certain, and uniform")];
};

export const softmaxCases: Cases = (random) => {
  const make = (x: Float32Array, width: number, label = "", alone: Alone[] = []) => {
    const rows = x.length / width;
    return kernelCase("softmax", { out: output(x.length, { scale: 1 / width }), x: input(x) }, { rows, width }, { label, alone });
  };
  const cases: KernelCase[] = [];
  for (const rows of [0, 1, 3, 17]) {
    for (const width of vocabs) {
      const x = someLogits(random, rows, width);
      const alone = someRows(rows).map((r) => ({
        piece: make(part(x, r * width, width), width, "alone"),
        same: [{ operand: "out", start: r * width, length: width }],
      }));
      cases.push(make(x, width, "", alone));
    }
  }
  return [
    ...cases,
    make(Float32Array.of(1, nan, 2, 1, 2, 3), 3, "NaN in row 0"),
    make(Float32Array.of(1e30, -1e30, 0, 1e4), 2, "far apart"),
  ];
};

export const softmaxBackwardCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const rows of [0, 1, 3, 17]) {
    for (const width of vocabs) {
      const x = someLogits(random, rows, width);
      const y = referenceFloats(kernelCase("softmax", { out: output(x.length), x: input(x) }, { rows, width }), "out");
      const operands = { dx: output(x.length, { bound: summed, scale: 0.3 / width }), dy: input(normals(random, x.length)), y: input(y) };
      cases.push(kernelCase("softmaxBackward", operands, { rows, width }));
    }
  }
  return cases;
};
