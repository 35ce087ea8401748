// Sums in pairs of floats on the WebGPU device, which has no double precision: two_sum and two_product are exact, add_pairs is within its bound, and long sums
// keep theirs. What is true is computed in whole numbers of 2^-149, or in double precision where that is far finer than the bound.

import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebGpuDevice } from "../../src/backend/webgpu/device.ts";
import { Failure } from "../../src/backend/webgpu/failure.ts";
import { Memory } from "../../src/backend/webgpu/memory.ts";
import { read, write } from "../../src/backend/webgpu/program.ts";
import { Recorder } from "../../src/backend/webgpu/recorder.ts";
import { Random } from "../../src/core/random.ts";
import { normals } from "./kernel-case.ts";
import { testGpu } from "./webgpu-adapter.ts";

/** Half the distance from 1 to the next f32. */
const u = 2 ** -24;

/** Exact for every f32. */
function units(x: number): bigint {
  return BigInt(x * 2 ** 149);
}

function size(x: bigint): bigint {
  return x < 0n ? -x : x;
}

/** Normal numbers; mantissas of few bits, of all bits and around the middle, where 12 bits end, come often. */
function floats(least: number, most: number): fc.Arbitrary<number> {
  const mantissa = fc.oneof(fc.nat(2 ** 23 - 1), fc.constantFrom(0, 1, 2, 2 ** 11, 2 ** 12 - 1, 2 ** 12, 2 ** 22, 2 ** 23 - 1));
  return fc
    .tuple(fc.constantFrom(-1, 1), mantissa, fc.integer({ min: least, max: most }))
    .map(([sign, bits, exponent]) => sign * (1 + bits * 2 ** -23) * 2 ** exponent);
}

/** Two numbers, often of like size, sometimes all but opposite, sometimes 0. */
function couples(least: number, most: number): fc.Arbitrary<[number, number]> {
  const a = floats(least, most);
  const near = fc.tuple(floats(least + 30, most - 30), floats(-30, 30)).map(([x, y]): [number, number] => [x, Math.fround(x * y)]);
  const opposite = fc.tuple(a, fc.integer({ min: -3, max: 3 })).map(([x, steps]): [number, number] => [x, -x * (1 + steps * 2 ** -23)]);
  return fc.oneof(
    fc.tuple(a, a),
    near,
    opposite.filter(([, y]) => Math.fround(y) === y),
    a.map((x): [number, number] => [x, 0]),
    a.map((x): [number, number] => [0, x]),
  );
}

/** (value, rest) with |rest| at most half a unit of the value. */
function pairs(values: fc.Arbitrary<number>): fc.Arbitrary<[number, number]> {
  return fc.tuple(values, fc.double({ min: -1, max: 1, noNaN: true })).map(([x, part]) => {
    const whole = x + x * part * u;
    const value = Math.fround(whole);
    return [value, Math.fround(whole - value)];
  });
}

describe.skipIf(!testGpu)("pairs of floats on webgpu", () => {
  let device: WebGpuDevice;
  let recorder: Recorder;
  beforeAll(async () => {
    const adapter = await (testGpu as GPU).requestAdapter();
    const lent = await (adapter as GPUAdapter).requestDevice();
    device = new WebGpuDevice(lent, "test", Number.POSITIVE_INFINITY, false);
    const failure = new Failure(lent);
    recorder = new Recorder(lent, new Memory(lent, failure, Number.POSITIVE_INFINITY), failure, false);
  });
  afterAll(() => device.close());

  const put = (data: ArrayLike<number>) => {
    const buffer = device.allocate("f32", data.length);
    device.write(buffer, 0, Float32Array.from(data));
    return { buffer, offset: 0 };
  };

  /** The pairs that an expression of the pairs a and b gives. */
  async function computed(expression: string, given: readonly (readonly [readonly number[], readonly number[]])[]): Promise<number[][]> {
    const [a, b] = [put(given.flatMap(([a]) => a)), put(given.flatMap(([, b]) => b))];
    const out = put(new Float32Array(2 * given.length));
    await device.finish();
    recorder.run({
      kernel: expression,
      operands: { out: write(out), a: read(a), b: read(b) },
      invocations: given.length,
      text: ({ out, a, b }) => `
  let a = vec2f(${a("2 * i")}, ${a("2 * i + 1")});
  let b = vec2f(${b("2 * i")}, ${b("2 * i + 1")});
  let result = ${expression};
  ${out("2 * i")} = result.x;
  ${out("2 * i + 1")} = result.y;`,
    });
    recorder.submit();
    const got = Array.from(await device.read(out.buffer, 0, 2 * given.length));
    for (const { buffer } of [a, b, out]) device.release(buffer);
    return given.map((_, i) => got.slice(2 * i, 2 * i + 2));
  }

  /** Runs `check` on what the expression gives for many couples. */
  function forMany<T>(
    couple: fc.Arbitrary<T>,
    pairOf: (couple: T) => readonly [readonly number[], readonly number[]],
    expression: string,
    check: (couple: T, got: readonly number[]) => void,
  ): Promise<void> {
    const property = fc.asyncProperty(fc.array(couple, { minLength: 100, maxLength: 300 }), async (given) => {
      const got = await computed(expression, given.map(pairOf));
      for (const [i, one] of given.entries()) check(one, got[i] as number[]);
    });
    return fc.assert(property, { seed: 7, numRuns: 25 });
  }
  const single = ([a, b]: [number, number]) =>
    [
      [a, 0],
      [b, 0],
    ] as const;

  test("two_sum: the rounded sum, and exactly what it lacks", () =>
    forMany(couples(-95, 100), single, "two_sum(a.x, b.x)", ([a, b], [sum, rest]) => {
      expect(sum).toBe(Math.fround(a + b));
      expect(units(sum as number) + units(rest as number), `${a} + ${b}`).toBe(units(a) + units(b));
    }));

  test("two_product: the rounded product, and exactly what it lacks", () =>
    forMany(couples(-40, 60), single, "two_product(a.x, b.x)", ([a, b], [product, rest]) => {
      expect(product === Math.fround(a * b), `${a} · ${b} gave ${product}`).toBe(true);
      expect(units(product as number) + units(rest as number), `${a} · ${b}`).toBe((units(a) * units(b)) >> 149n);
    }));

  test("add_pairs: within 2^-45 of the sizes, and a pair again", () =>
    forMany(
      couples(-60, 60).chain(([a, b]) => fc.tuple(pairs(fc.constant(a)), pairs(fc.constant(b)))),
      (couple) => couple,
      "add_pairs(a, b)",
      ([a, b], [value, rest]) => {
        const [left, right] = [units(a[0]) + units(a[1]), units(b[0]) + units(b[1])];
        const off = size(units(value as number) + units(rest as number) - left - right);
        expect(off << 45n <= size(left) + size(right), `${a} + ${b} gave ${value}, ${rest}`).toBe(true);
        expect(Math.fround((value as number) + (rest as number))).toBe(value);
      },
    ));

  test("add_pairs: infinities and NaN stay", async () => {
    const { POSITIVE_INFINITY: infinity, NaN: nan } = Number;
    const given = [
      [
        [infinity, 0],
        [1, 0],
      ],
      [
        [1, 0],
        [-infinity, 0],
      ],
      [
        [infinity, 0],
        [infinity, 0],
      ],
      [
        [infinity, 0],
        [-infinity, 0],
      ],
      [
        [nan, 0],
        [1, 0],
      ],
      [
        [3e38, 0],
        [3e38, 0],
      ],
    ] as const;
    const got = await computed("add_pairs(a, b)", given);
    expect(got.map(([value]) => value)).toEqual([infinity, -infinity, infinity, nan, nan, infinity]);
  });

  async function summed(kernel: "sumAxis" | "sumSquares", data: Float32Array, before?: number): Promise<number> {
    const [out, x] = [put([before ?? Number.NaN]), put(data)];
    const accumulate = before !== undefined;
    if (kernel === "sumSquares") device.kernels.sumSquares({ out, x, n: data.length, accumulate });
    else device.kernels.sumAxis({ out, x, outer: 1, axis: data.length, inner: 1, accumulate });
    const [sum] = await device.read(out.buffer, 0, 1);
    for (const { buffer } of [out, x]) device.release(buffer);
    return sum as number;
  }

  const random = new Random(45);
  const squares = (x: Float32Array) => x.reduce((sum, value) => sum + value * value, 0);

  test.each([1, 65, 4097, 70_001])("sumSquares of %d numbers is all but rounded once", async (n) => {
    const bound = u + 2 ** -34; // half of what the contract allows
    // Equal numbers are rounded the same way again and again; the square of 1 + 2^-12 lies in the middle between two numbers.
    for (const x of [normals(random, n), new Float32Array(n).fill(0.1), new Float32Array(n).fill(1 + 2 ** -12)]) {
      const exact = squares(x);
      expect(Math.abs((await summed("sumSquares", x)) / exact - 1)).toBeLessThanOrEqual(bound);
      const all = exact + Math.fround(1.1);
      expect(Math.abs((await summed("sumSquares", x, 1.1)) / all - 1)).toBeLessThanOrEqual(bound);
    }
  });

  test.each([1e-33, 1e-22, 3e-20, 1e-18, 1e-13, 1e-12, 1, 1e12, 1e17])(
    "sumSquares of numbers around %d, and some around 1e-12, is within 2u",
    async (scale) => {
      // Sums below the smallest normal number may be flushed to 0: sums of 1e-33 come to 0.
      const alike = normals(random, 5000, scale);
      const exact = squares(alike);
      expect(Math.abs((await summed("sumSquares", alike)) - exact)).toBeLessThanOrEqual(2 * u * exact + 2 ** -126);
      const mixed = alike.map((x, i) => (i % 3 === 0 ? x * 1e-12 : x));
      const both = squares(mixed);
      expect(Math.abs((await summed("sumSquares", mixed)) - both)).toBeLessThanOrEqual(2 * u * both + 2 ** -126);
    },
  );

  test.each([65, 4097, 70_001])("sumAxis of a row of %d numbers that all but cancel", async (n) => {
    const x = normals(random, n, 1e4);
    for (let i = 1; i < n; i += 2) x[i] = -Math.fround((x[i - 1] as number) * (1 + 1e-6));
    const exact = x.reduce((sum, value) => sum + value, 0);
    const sizes = x.reduce((sum, value) => sum + Math.abs(value), 0);
    expect(Math.abs((await summed("sumAxis", x)) - exact)).toBeLessThanOrEqual(u * Math.abs(exact) + 2 ** -34 * sizes);
  });

  test("sumAxis of a row of three levels of chunks", async () => {
    const n = 2 ** 24 + 1;
    const sum = await summed("sumAxis", new Float32Array(n).fill(0.1));
    expect(Math.abs(sum / (n * Math.fround(0.1)) - 1)).toBeLessThanOrEqual(u + 2 ** -34);
  });
});
