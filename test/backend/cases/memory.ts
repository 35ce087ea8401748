// Cases of fill, copy, gatherRows and scatterRows: elements move unchanged, so everything is compared exactly.

import type { Random } from "../../../src/core/random.ts";
import {
  type Cases,
  input,
  integers,
  type KernelCase,
  kernelCase,
  normals,
  type Operand,
  output,
  outputIntegers,
  sum,
} from "../kernel-case.ts";

const exact = { bound: 0 };
const farOutside = [-1, -2147483648, 2147483647, 1 << 20];

export const fillCases: Cases = () => [
  ...[0, 1, 3, 17, 129, 5000].flatMap((n) => [0, -1.5, 1].map((value) => kernelCase("fill", { out: output(n, exact) }, { n, value }))),
  kernelCase("fill", { out: output(17, exact) }, { n: 17, value: Number.NEGATIVE_INFINITY }, { label: "-Infinity" }),
  ...[0, 7, 130].map((n) => kernelCase("fill", { out: outputIntegers(n) }, { n, value: -3 }, { label: "i32" })),
  // Only the first n elements.
  kernelCase("fill", { out: output(40, exact) }, { n: 33, value: 2 }),
];

export const copyCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  const add = (shape: number[], outStrides: number[], xStrides: number[], label: string) => {
    const outLength = spanned(shape, outStrides);
    const xLength = spanned(shape, xStrides);
    const more = { label };
    const scalars = { shape, outStrides, xStrides };
    cases.push(kernelCase("copy", { out: output(outLength, exact), x: input(normals(random, xLength)) }, scalars, more));
    cases.push(
      kernelCase("copy", { out: outputIntegers(outLength), x: input(randomIntegers(random, xLength)) }, scalars, {
        label: `${label}, i32`,
      }),
    );
    const target = sum(normals(random, outLength));
    cases.push(kernelCase("copy", { out: target, x: input(normals(random, xLength)) }, { ...scalars, accumulate: true }, more));
  };
  for (const n of [0, 1, 3, 17, 129, 4099]) add([n], [1], [1], "contiguous");
  add([], [], [], "one element");
  add([129, 33], [33, 1], [1, 129], "transposed");
  add([33, 129], [1, 33], [129, 1], "transposed out");
  add([3, 5, 17], [85, 17, 1], [17, 51, 1], "axes 0 and 1 swapped");
  add([2, 3, 4, 5], [60, 20, 5, 1], [60, 5, 15, 1], "axes 1 and 2 swapped");
  add([2, 3, 4, 5], [60, 1, 15, 3], [60, 20, 5, 1], "all strided");
  add([3, 17], [40, 1], [17, 1], "into a wider row");
  add([17, 3], [3, 1], [129, 1], "slice of a wider row");
  add([7, 129], [129, 1], [0, 1], "rows broadcast");
  add([7, 129], [129, 1], [1, 0], "columns broadcast");
  add([2, 3, 5, 4], [60, 20, 4, 1], [0, 0, 0, 0], "one element broadcast");
  add([3, 0, 4], [4, 4, 1], [4, 4, 1], "empty");
  add([5, 1, 1, 9], [9, 9, 9, 1], [9, 0, 0, 1], "size-1 axes");
  add([6, 5], [10, 2], [5, 1], "every second element");
  return cases;
};

export const gatherRowsCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const rows of [0, 1, 3, 17, 129]) {
    for (const width of [1, 3, 17, 130]) {
      const xRows = 11;
      const index = Array.from({ length: rows }, () =>
        random.uniform() < 0.2 ? random.pick([...farOutside, xRows]) : random.integer(xRows),
      );
      const scalars = { rows, width, xRows };
      const floats = { out: output(rows * width, exact), x: input(normals(random, xRows * width)), index: integers(...index) };
      const ints = { out: outputIntegers(rows * width), x: input(randomIntegers(random, xRows * width)), index: integers(...index) };
      cases.push(kernelCase("gatherRows", floats, scalars), kernelCase("gatherRows", ints, scalars, { label: "i32" }));
    }
  }
  const none = { out: output(6, exact), x: input(new Float32Array(0)), index: integers(0, -1) };
  return [...cases, kernelCase("gatherRows", none, { rows: 2, width: 3, xRows: 0 }, { label: "from nothing" })];
};

export const scatterRowsCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  for (const rows of [0, 1, 3, 17]) {
    for (const width of [1, 3, 17, 130]) {
      const outRows = 23;
      const places = random.shuffle(Array.from({ length: outRows }, (_, i) => i)).slice(0, rows);
      const index = places.map((place, r) => (r % 4 === 2 ? (farOutside[(r >> 2) % farOutside.length] as number) : place));
      if (rows === 17) index[16] = outRows;
      const scalars = { rows, width, outRows };
      const make = (out: Operand, x: Operand) =>
        kernelCase("scatterRows", { out, x, index: integers(...index) }, scalars, { label: x.dtype });
      cases.push(make(output(outRows * width, exact), input(normals(random, rows * width))));
      cases.push(make(outputIntegers(outRows * width), input(randomIntegers(random, rows * width))));
    }
  }
  return cases;
};

function spanned(shape: readonly number[], strides: readonly number[]): number {
  if (shape.includes(0)) return 0;
  return shape.reduce((last, size, d) => last + (size - 1) * (strides[d] as number), 0) + 1;
}

function randomIntegers(random: Random, length: number): Int32Array {
  return Int32Array.from({ length }, () => random.uint32());
}
