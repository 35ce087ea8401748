// Cases of binary, unary, affine, clamp and swiglu with their backward passes. The law pieces are short runs from the middle of a long
// call: a vector loop and its scalar tail must compute the same bits.

import type { BinaryKind, UnaryKind } from "../../../src/backend/backend.ts";
import type { Random } from "../../../src/core/random.ts";
import {
  type Alone,
  type Cases,
  type Closeness,
  input,
  type KernelCase,
  kernelCase,
  normals,
  output,
  part,
  result,
} from "../kernel-case.ts";

const sizes = [0, 1, 3, 17, 129, 4099];
const { POSITIVE_INFINITY: infinity, NaN: nan } = Number;
const special = [0, -0, 1, -1, infinity, -infinity, nan, 0.5, -2];

const binaryKinds: readonly BinaryKind[] = ["add", "sub", "mul", "div", "min", "max", "lessEqual", "less"];
const unaryKinds: readonly UnaryKind[] = ["neg", "exp", "log", "sqrt", "reciprocal", "sigmoid", "silu", "tanh", "square", "abs"];

/** Away from zero, so that quotients and logarithms have no huge element that hides the others. */
function awayFromZero(random: Random, length: number, positive: boolean): Float32Array {
  return normals(random, length).map((x) => (positive || x > 0 ? 1 : -1) * (Math.abs(x) + 0.3));
}

export const binaryCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const kind of binaryKinds) {
    const exact = ["min", "max", "lessEqual", "less"].includes(kind) ? { bound: 0 } : {};
    const add = (n: number, bRepeat: number, bPeriod: number, label: string) => {
      for (const accumulate of [false, true]) {
        const a = normals(random, n);
        // A third of the pairs is equal, for the comparisons.
        const b =
          kind === "div"
            ? awayFromZero(random, bPeriod, false)
            : normals(random, bPeriod).map((x, i) => (i % 3 === 0 && i < n ? a[i]! : x));
        const out = result(random, n, accumulate, accumulate ? {} : exact);
        cases.push(kernelCase("binary", { out, a: input(a), b: input(b) }, { kind, n, bRepeat, bPeriod, accumulate }, { label }));
      }
      const a = normals(random, n);
      const b = awayFromZero(random, bPeriod, false);
      const operands = { out: output(n), a: input(a), b: input(b) };
      cases.push(kernelCase("binary", operands, { kind, n, bRepeat, bPeriod }, { label: `${label}, in place`, sharing: { out: "a" } }));
    };
    for (const n of sizes) add(n, 1, Math.max(n, 1), "same shape");
    add(7 * 17, 1, 17, "row vector");
    add(5 * 128, 1, 128, "row vector");
    add(7 * 17, 17, 7, "column");
    add(129 * 3, 3, 129, "column");
    add(4 * 64, 64, 4, "column");
    add(130, 1, 1, "scalar");
    add(2 * 3 * 5, 5, 3, "middle axis");
    const pairs = special.flatMap((x) => special.map((y) => [x, y] as const));
    const a = Float32Array.from(pairs, ([x]) => x);
    const b = Float32Array.from(pairs, ([, y]) => y);
    const n = pairs.length;
    cases.push(
      kernelCase("binary", { out: output(n), a: input(a), b: input(b) }, { kind, n, bRepeat: 1, bPeriod: n }, { label: "special values" }),
    );
  }
  return cases;
};

function unaryInput(random: Random, kind: UnaryKind, n: number): Float32Array {
  if (kind === "log" || kind === "sqrt") return awayFromZero(random, n, true);
  return kind === "reciprocal" ? awayFromZero(random, n, false) : normals(random, n, 2);
}

/** Runs of 1 and 5 elements out of n. */
function runs(n: number): { start: number; length: number }[] {
  const found = [0, 2, 16, 126, 4093, n - 5].map((start) => ({ start, length: 5 }));
  return [...found, { start: n - 1, length: 1 }, { start: 8, length: 1 }].filter(({ start, length }) => start >= 0 && start + length <= n);
}

export const unaryCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const kind of unaryKinds) {
    const one = (x: Float32Array, closeness: Closeness = {}, label = "", alone: Alone[] = []) =>
      kernelCase("unary", { out: output(x.length, closeness), x: input(x) }, { kind, n: x.length }, { label, alone });
    for (const n of sizes) {
      const x = unaryInput(random, kind, n);
      const alone = runs(n).map(({ start, length }) => ({
        piece: one(part(x, start, length), {}, "piece"),
        same: [{ operand: "out", start, length }],
      }));
      cases.push(one(x, {}, "", alone));
      const operands = { out: output(n), x: input(x) };
      cases.push(kernelCase("unary", operands, { kind, n }, { label: "in place", sharing: { out: "x" } }));
    }
    // silu at the infinities is left open by the contract.
    const values = special.filter((x) => kind !== "silu" || Math.abs(x) !== infinity);
    cases.push(one(Float32Array.from(values), {}, "special values"));
  }
  // Every element close, over the whole range in which the result is a normal number.
  const grid = (low: number, high: number) => Float32Array.from({ length: 2001 }, (_, i) => low + ((high - low) * i) / 2000);
  const wide: [UnaryKind, number, number][] = [
    ["exp", -86, 88],
    ["sigmoid", -80, 30],
    ["silu", -80, 80],
    ["tanh", -12, 12],
    ["log", 1e-3, 0.9],
    ["log", 1.1, 1e6],
    ["sqrt", 1e-6, 1e6],
    ["reciprocal", 1e-6, 100],
  ];
  for (const [kind, low, high] of wide) {
    const x = grid(low, high);
    const label = `every element close from ${low} to ${high}`;
    cases.push(kernelCase("unary", { out: output(x.length, { relative: 2e-6 }), x: input(x) }, { kind, n: x.length }, { label }));
  }
  const far = Float32Array.of(-200, -104, 89, 200, -1e30, 1e30, -infinity, infinity);
  for (const kind of ["exp", "sigmoid", "tanh"] as const) {
    cases.push(kernelCase("unary", { out: output(far.length), x: input(far) }, { kind, n: far.length }, { label: "far values" }));
  }
  return cases;
};

export const unaryBackwardCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const kind of unaryKinds) {
    for (const n of sizes) {
      for (const accumulate of [false, true]) {
        const operands = { dx: result(random, n, accumulate), dy: input(normals(random, n)), x: input(unaryInput(random, kind, n)) };
        cases.push(kernelCase("unaryBackward", operands, { kind, n, accumulate }));
      }
    }
  }
  const x = Float32Array.of(-100, -30, 0, 30, 100);
  for (const kind of ["sigmoid", "silu", "tanh", "abs", "square"] as const) {
    const operands = { dx: output(5), dy: input(Float32Array.of(1, 2, 3, 4, 5)), x: input(x) };
    cases.push(kernelCase("unaryBackward", operands, { kind, n: 5 }, { label: "far values" }));
  }
  return cases;
};

export const affineCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const n of sizes) {
    for (const [scale, shift] of [
      [1, 0],
      [-0.5, 0],
      [3, 1.25],
      [0, 2],
    ] as const) {
      for (const accumulate of [false, true]) {
        cases.push(
          kernelCase("affine", { out: result(random, n, accumulate), x: input(normals(random, n)) }, { n, scale, shift, accumulate }),
        );
      }
      const operands = { out: output(n), x: input(normals(random, n)) };
      cases.push(kernelCase("affine", operands, { n, scale, shift }, { sharing: { out: "x" } }));
    }
  }
  const x = Float32Array.from(special);
  return [
    ...cases,
    kernelCase("affine", { out: output(x.length), x: input(x) }, { n: x.length, scale: 2, shift: 1 }, { label: "special values" }),
  ];
};

const clampRanges: [number, number][] = [
  [-0.5, 0.75],
  [0, infinity],
  [-infinity, 0],
  [-infinity, infinity],
  [0.25, 0.25],
];

export const clampCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const [low, high] of clampRanges) {
    for (const n of sizes)
      cases.push(kernelCase("clamp", { out: output(n, { bound: 0 }), x: input(normals(random, n)) }, { n, low, high }));
    const x = Float32Array.from(special);
    cases.push(
      kernelCase("clamp", { out: output(x.length, { bound: 0 }), x: input(x) }, { n: x.length, low, high }, { label: "special values" }),
    );
  }
  return cases.map(withRange);
};

export const clampBackwardCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const [low, high] of clampRanges) {
    for (const n of sizes) {
      for (const accumulate of [false, true]) {
        const x = normals(random, n).map((v, i) => (i % 5 === 0 ? [low, high][(i / 5) % 2]! : v));
        const operands = { dx: result(random, n, accumulate), dy: input(normals(random, n)), x: input(x) };
        cases.push(kernelCase("clampBackward", operands, { n, low, high, accumulate }));
      }
    }
    const x = Float32Array.from(special);
    const operands = { dx: output(x.length, { bound: 0 }), dy: input(normals(random, x.length)), x: input(x) };
    cases.push(kernelCase("clampBackward", operands, { n: x.length, low, high }, { label: "special values" }));
  }
  return cases.map(withRange);
};

/** JSON writes infinities as null; the label should tell them apart. */
function withRange(c: KernelCase): KernelCase {
  return { ...c, label: `${c.label} in ${c.scalars.low}..${c.scalars.high}` };
}

export const swigluCases: Cases = (random) => {
  const make = (gate: Float32Array, up: Float32Array, label = "", alone: Alone[] = []): KernelCase =>
    kernelCase("swiglu", { out: output(gate.length), gate: input(gate), up: input(up) }, { n: gate.length }, { label, alone });
  const cases = sizes.map((n) => {
    const gate = normals(random, n, 2);
    const up = normals(random, n);
    const alone = runs(n).map(({ start, length }) => ({
      piece: make(part(gate, start, length), part(up, start, length), "piece"),
      same: [{ operand: "out", start, length }],
    }));
    return make(gate, up, "", alone);
  });
  const far = Float32Array.of(-200, -100, -88, -30, 0, 30, 88, 100, 200);
  return [
    ...cases,
    make(
      far,
      far.map(() => 1.5),
      "far values",
    ),
    make(Float32Array.of(nan, 1), Float32Array.of(1, nan), "NaN"),
  ];
};

export const swigluBackwardCases: Cases = (random) => {
  const make = (gate: Float32Array, label = "") => {
    const n = gate.length;
    const inputs = { dOut: input(normals(random, n)), gate: input(gate), up: input(normals(random, n)) };
    return kernelCase("swigluBackward", { dGate: output(n), dUp: output(n), ...inputs }, { n }, { label });
  };
  return [...sizes.map((n) => make(normals(random, n, 2))), make(Float32Array.of(-200, -100, -88, -30, 0, 30, 88, 100, 200), "far values")];
};
