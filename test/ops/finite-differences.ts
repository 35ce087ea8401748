// Checks the gradients of an op against central finite differences in float64 on the reference device. In: a function of tensors and its inputs.
// Unusual: the result is projected on fixed random numbers, so that every output element counts differently.

import { expect } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { Random } from "../../src/core/random.ts";
import { elementCount, type Shape } from "../../src/core/shape.ts";
import { mul } from "../../src/ops/binary.ts";
import { sum } from "../../src/ops/sum-axis.ts";
import { backward } from "../../src/tensor/autograd.ts";
import { dispose, fromArray, liveStorageCount, read, scope, type Tensor, write } from "../../src/tensor/tensor.ts";
import { trackGradients } from "../../src/tensor/tracking.ts";

export const device = openReference({ precision: "f64" });

export type Op = (...inputs: Tensor[]) => Tensor;

export const eps = 1e-6;
export const tolerance = 1e-5;

/** Normal numbers times `spread`, plus `shift`. */
export function normals(shape: Shape, seed: number, spread = 1, shift = 0): Float64Array {
  const random = new Random(seed);
  return Float64Array.from({ length: elementCount(shape) }, () => random.normal() * spread + shift);
}

/** Numbers that keep away from `points` by at least 0.05: for ops with kinks. */
export function awayFrom(shape: Shape, seed: number, points: readonly number[]): Float64Array {
  return normals(shape, seed).map((x) => {
    let moved = x;
    for (const point of points) if (Math.abs(moved - point) < 0.05) moved = point + (moved < point ? -0.1 : 0.1);
    return moved;
  });
}

export function ints(data: readonly number[], shape: Shape = [data.length]): Tensor {
  return fromArray(device, data, shape, "i32");
}

/**
 * Compares d(Σ c·f(inputs))/d(inputs) with finite differences, for all inputs together and for each input alone (then no other one may be
 * touched), and then that a second backward pass doubles it. Nothing may be left behind.
 */
export async function checkGradients(
  f: Op,
  shapes: readonly Shape[],
  data: readonly Float64Array[] = shapes.map((s, i) => normals(s, i + 1)),
): Promise<void> {
  const before = liveStorageCount();
  const inputs = shapes.map((shape, i) => fromArray(device, data[i] as Float64Array, shape));
  // Some results share an input's storage (reshape).
  const free = (out: Tensor): void => {
    if (!inputs.some((input) => input.storage === out.storage)) dispose(out);
  };
  const probe = scope(() => f(...inputs));
  const weights = normals(probe.shape, 99);
  const c = fromArray(device, weights, probe.shape);
  free(probe);

  const lossAt = async (): Promise<number> => {
    const out = scope(() => f(...inputs));
    const values = await read(out);
    free(out);
    let total = 0;
    for (let i = 0; i < values.length; i++) total += (values[i] as number) * (weights[i] as number);
    return total;
  };
  const expected: number[][] = [];
  for (const [i, input] of inputs.entries()) {
    const at = (data[i] as Float64Array).slice();
    const slopes: number[] = [];
    for (let j = 0; j < at.length; j++) {
      const x = at[j] as number;
      at[j] = x + eps;
      write(input, at);
      const above = await lossAt();
      at[j] = x - eps;
      write(input, at);
      const below = await lossAt();
      at[j] = x;
      slopes.push((above - below) / (2 * eps));
    }
    write(input, at);
    expected.push(slopes);
  }

  const run = (): void => scope(() => backward(trackGradients(() => sum(mul(f(...inputs), c)))));
  const compare = async (wanted: readonly Tensor[], factor: number, what: string): Promise<void> => {
    for (const [i, input] of inputs.entries()) {
      if (!wanted.includes(input)) {
        expect(input.grad, `${what}: input ${i} needs no gradient`).toBeUndefined();
        continue;
      }
      expect(input.grad, `${what}: gradient of input ${i}`).toBeDefined();
      const got = await read(input.grad as Tensor);
      const slopes = expected[i] as number[];
      expect(got.length).toBe(slopes.length);
      for (let j = 0; j < slopes.length; j++) {
        const g = (got[j] as number) / factor;
        const e = slopes[j] as number;
        const error = Math.abs(g - e) / Math.max(Math.abs(g), Math.abs(e), 1e-3);
        if (!(error <= tolerance)) expect.fail(`${what}: input ${i} element ${j}: gradient ${g}, finite difference ${e}`);
      }
    }
  };
  const subsets = inputs.length > 1 ? [inputs, ...inputs.map((input) => [input])] : [inputs];
  for (const wanted of subsets) {
    for (const input of inputs) {
      input.requiresGrad = wanted.includes(input);
      if (input.grad) dispose(input.grad);
      input.grad = undefined;
    }
    const what = wanted.length === inputs.length ? "all inputs" : `input ${inputs.indexOf(wanted[0] as Tensor)} alone`;
    run();
    await compare(wanted, 1, what);
    run();
    await compare(wanted, 2, `${what}, second pass`);
  }
  dispose(...inputs, c);
  expect(liveStorageCount(), "storages left behind").toBe(before);
}
