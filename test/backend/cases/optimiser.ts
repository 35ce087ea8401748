// Cases of clipFactor and adamw.

import { type Cases, input, type KernelCase, kernelCase, normals, output, sum } from "../kernel-case.ts";

const { POSITIVE_INFINITY: infinity, NEGATIVE_INFINITY: minusInfinity, NaN: nan } = Number;

export const clipFactorCases: Cases = () => {
  const cases: KernelCase[] = [];
  for (const sumSquares of [0, 1e-12, 0.25, 4, 1e30, nan, infinity]) {
    for (const maxNorm of [0, 0.5, 1, infinity]) {
      for (const guard of [undefined, 2.5, nan, infinity, minusInfinity]) {
        const operands = {
          out: output(1, { scale: 0 }),
          sumSquares: input(Float32Array.of(sumSquares)),
          guard: guard === undefined ? undefined : input(Float32Array.of(guard)),
        };
        cases.push(kernelCase("clipFactor", operands, { maxNorm }, { label: `Σ ${sumSquares}, maxNorm ${maxNorm}, guard ${guard}` }));
      }
    }
  }
  return cases;
};

export const adamwCases: Cases = (random) => {
  const cases: KernelCase[] = [];
  const usual = { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1 };
  const settings = [
    { ...usual, step: 1 },
    { ...usual, step: 1000 },
    { ...usual, beta2: 0.95, weightDecay: 0, step: 7 },
    { ...usual, lr: 0.5, beta1: 0.8, eps: 1e-3, step: 3 },
  ];
  for (const { step, ...setting } of settings) {
    const scalars = { ...setting, c1: 1 - setting.beta1 ** step, c2: 1 - setting.beta2 ** step };
    for (const n of [0, 1, 3, 17, 129, 4099]) {
      for (const factor of [1, 0.125, 0, -1]) {
        for (const fromZero of [true, false]) {
          // From zero parameters and without a large old value, the size of the update itself is checked.
          const close = { scale: 0 };
          const operands = {
            param: sum(fromZero ? new Float32Array(n) : normals(random, n), close),
            grad: input(normals(random, n)),
            // The old and the new part of m may cancel: the error is held against the size of the parts.
            m: sum(fromZero ? new Float32Array(n) : normals(random, n, 0.1), fromZero ? close : { scale: 0.05 }),
            v: sum(fromZero ? new Float32Array(n) : normals(random, n).map((x) => 0.01 + x * x), close),
            factor: input(Float32Array.of(factor)),
          };
          cases.push(kernelCase("adamw", operands, { n, ...scalars }, { label: `${fromZero ? "from zero" : ""} factor ${factor}` }));
        }
      }
    }
    // A skipped step touches nothing, whatever the gradient.
    const skipped = {
      param: sum(normals(random, 5), { bound: 0 }),
      grad: input(Float32Array.of(nan, infinity, 1, minusInfinity, nan)),
      m: sum(normals(random, 5), { bound: 0 }),
      v: sum(normals(random, 5), { bound: 0 }),
      factor: input(Float32Array.of(-1)),
    };
    cases.push(kernelCase("adamw", skipped, { n: 5, ...scalars }, { label: "bad gradients, skipped" }));
  }
  return cases;
};
