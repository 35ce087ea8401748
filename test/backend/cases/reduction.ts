// Cases of sumAxis and sumSquares.

import { type Cases, input, type KernelCase, kernelCase, normals, result, summed } from "../kernel-case.ts";

export const sumAxisCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  const shapes = [
    [1, 1, 1],
    [3, 17, 1],
    [17, 129, 1],
    [1, 4099, 1],
    [1, 129, 3],
    [1, 17, 129],
    [2, 5, 130],
    [129, 3, 4],
    [2, 700, 3],
    [3, 9001, 1],
    [0, 5, 3],
    [3, 0, 4],
    [3, 5, 0],
  ];
  for (const [outer = 0, axis = 0, inner = 0] of shapes) {
    for (const accumulate of [false, true]) {
      const closeness = { bound: summed, scale: Math.sqrt(axis) };
      const operands = { out: result(random, outer * inner, accumulate, closeness), x: input(normals(random, outer * axis * inner)) };
      cases.push(kernelCase("sumAxis", operands, { outer, axis, inner, accumulate }));
    }
  }
  return cases;
};

export const sumSquaresCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  const closeness = { bound: summed };
  for (const n of [0, 1, 3, 17, 4095, 4096, 4097, 12289]) {
    for (const accumulate of [false, true]) {
      cases.push(
        kernelCase("sumSquares", { out: result(random, 1, accumulate, closeness), x: input(normals(random, n)) }, { n, accumulate }),
      );
    }
  }
  for (const bad of [Number.NaN, Number.NEGATIVE_INFINITY, 1e30]) {
    const x = normals(random, 5000);
    x[4500] = bad;
    cases.push(kernelCase("sumSquares", { out: result(random, 1, false, closeness), x: input(x) }, { n: 5000 }, { label: `with ${bad}` }));
  }
  return cases;
};
