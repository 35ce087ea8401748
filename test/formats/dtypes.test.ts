// The codecs of the storage types, exhaustively over all codes, and rounding against a search for the nearest value.

import fc from "fast-check";
import { expect, test } from "vitest";
import { FormatError } from "../../src/core/errors.ts";
import { bytesOf, decodeInto, encode, type FileDType, fileDTypes, type WritableDType } from "../../src/formats/dtypes.ts";

function decode(dtype: FileDType, bytes: Uint8Array): number[] {
  const out = new Float64Array(bytes.length / bytesOf(dtype));
  decodeInto(dtype, bytes, out);
  return [...out];
}

const codesOf = { F8_E4M3: Uint8Array.from({ length: 256 }, (_, i) => i), F16: Uint16Array.from({ length: 65536 }, (_, i) => i) };
const all8 = decode("F8_E4M3", codesOf.F8_E4M3);
const all16 = decode("F16", new Uint8Array(codesOf.F16.buffer));
const allBf16 = decode("BF16", new Uint8Array(codesOf.F16.buffer));

test("F8_E4M3 values: no infinities, two NaN, 448 at most, 2^-9 at least", () => {
  expect(all8.filter(Number.isNaN)).toHaveLength(2);
  expect(Math.max(...all8.filter((x) => !Number.isNaN(x)))).toBe(448);
  expect(Math.min(...all8.filter((x) => x > 0))).toBe(2 ** -9);
  expect([0x38, 0x39, 0xb8, 0x7e, 0x08, 0x07].map((code) => all8[code])).toEqual([1, 1.125, -1, 448, 2 ** -6, 7 * 2 ** -9]);
  expect(Object.is(all8[0x80], -0)).toBe(true);
});

test("F16, F8_E5M2 and BF16 values", () => {
  expect([0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00, 0x3555].map((code) => all16[code])).toEqual([
    1,
    -2,
    65504,
    2 ** -24,
    Infinity,
    0.333251953125,
  ]);
  expect(decode("F8_E5M2", Uint8Array.from([0x3c, 0xc0, 0x7b, 0x01, 0x7c, 0xfc]))).toEqual([1, -2, 57344, 2 ** -16, Infinity, -Infinity]);
  expect([0x3f80, 0xc040, 0x7f80].map((code) => allBf16[code])).toEqual([1, -3, Infinity]);
});

test("F8_E8M0 values: 2^(code - 127), the last code NaN", () => {
  const values = decode("F8_E8M0", codesOf.F8_E4M3);
  expect(values.slice(0, 255)).toEqual(Array.from({ length: 255 }, (_, code) => 2 ** (code - 127)));
  expect(values[255]).toBeNaN();
  expect([values[127], values[0]]).toEqual([1, 2 ** -127]);
});

test.each(["F8_E4M3", "F16", "BF16"] as const)("%s: every code survives decoding and encoding; NaN stays NaN", (dtype) => {
  const values = { F8_E4M3: all8, F16: all16, BF16: allBf16 }[dtype];
  const codes = encode(dtype, Float32Array.from(values));
  const again = decode(dtype, codes);
  for (const [i, value] of values.entries()) expect(Object.is(again[i], value), `code ${i}`).toBe(true);
});

/** Nearest of the sorted non-negative `grid`, ties to the even index (index = code, so an even code). */
function nearest(grid: readonly number[], x: number): number {
  let low = 0;
  let high = grid.length - 1;
  if (x >= (grid[high] as number)) return grid[high] as number;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((grid[middle] as number) <= x) low = middle;
    else high = middle;
  }
  const below = x - (grid[low] as number);
  const above = (grid[high] as number) - x;
  return grid[below < above || (below === above && low % 2 === 0) ? low : high] as number;
}

const grids: [dtype: "F8_E4M3" | "F16" | "BF16", grid: number[], largest: number][] = [
  ["F8_E4M3", all8.slice(0, 0x7f), 448],
  ["F16", all16.slice(0, 0x7c00), 65519.99],
  ["BF16", allBf16.slice(0, 0x7f80), 3.3895e38],
];

test.each(grids)("%s: rounds to the nearest value, ties to even", (dtype, grid, largest) => {
  const inputs: number[] = [];
  // Every midpoint between neighbours, and a step of f32 to either side of it.
  for (let i = 0; i + 1 < grid.length; i += dtype === "F8_E4M3" ? 1 : 7) {
    const middle = ((grid[i] as number) + (grid[i + 1] as number)) / 2;
    inputs.push(middle, middle * (1 - 2 ** -22), middle * (1 + 2 ** -22));
  }
  fc.sample(fc.float({ min: 0, max: Math.fround(largest), noNaN: true }), 20_000).forEach((x) => void inputs.push(x));
  const floats = Float32Array.from(inputs).filter((x) => x <= largest);
  const positive = decode(dtype, encode(dtype, floats));
  const negative = decode(
    dtype,
    encode(
      dtype,
      floats.map((x) => -x),
    ),
  );
  for (const [i, x] of floats.entries()) {
    const expected = nearest(grid, x);
    if (positive[i] !== expected || negative[i] !== -expected) expect([x, positive[i], negative[i]]).toEqual([x, expected, -expected]);
  }
});

test("overflow: F8_E4M3 saturates, F16 and BF16 become infinite", () => {
  const large = Float32Array.from([449, 464, 1e30, Infinity, -Infinity]);
  expect(decode("F8_E4M3", encode("F8_E4M3", large))).toEqual([448, 448, 448, 448, -448]);
  expect(decode("F16", encode("F16", Float32Array.from([65519, 65520, -1e9, Infinity])))).toEqual([65504, Infinity, -Infinity, Infinity]);
  expect(decode("BF16", encode("BF16", Float32Array.from([3.4e38, -Infinity])))).toEqual([Infinity, -Infinity]);
});

test("a NaN whose payload lies in the low bits stays NaN in BF16", () => {
  const nan = new Float32Array(Uint32Array.from([0x7f800001, 0xff800001]).buffer);
  expect(decode("BF16", encode("BF16", nan)).every(Number.isNaN)).toBe(true);
});

test("integers: exact, at any alignment, refused out of range", () => {
  for (const dtype of ["F64", "I32", "I64"] as WritableDType[]) {
    const values = Int32Array.from([0, -1, 2 ** 31 - 1, -(2 ** 31)]);
    const shifted = new Uint8Array(encode(dtype, values).length + 3);
    shifted.set(encode(dtype, values), 3);
    expect(decode(dtype, shifted.subarray(3))).toEqual([...values]);
  }
  expect(decode("U8", encode("U8", Float64Array.from([0, 255])))).toEqual([0, 255]);
  expect(decode("I64", encode("I64", Float64Array.from([2 ** 53, -5])))).toEqual([2 ** 53, -5]);
  for (const [dtype, value] of [
    ["U8", 256],
    ["U8", -1],
    ["I32", 2 ** 31],
    ["I32", 0.5],
    ["I64", Number.NaN],
    ["I64", 2 ** 54],
  ] as const) {
    expect(() => encode(dtype, Float64Array.from([value]))).toThrow(FormatError);
  }
  expect(decode("I8", Uint8Array.from([255, 127]))).toEqual([-1, 127]);
  expect(decode("I16", Uint8Array.from([0, 128]))).toEqual([-32768]);
  expect(decode("U16", Uint8Array.from([0, 128]))).toEqual([32768]);
  expect(decode("U32", Uint8Array.from([0, 0, 0, 128]))).toEqual([2 ** 31]);
  expect(decode("U64", Uint8Array.from([1, 0, 0, 0, 1, 0, 0, 0]))).toEqual([2 ** 32 + 1]);
  expect(decode("BOOL", Uint8Array.from([0, 1]))).toEqual([0, 1]);
  expect(fileDTypes).toHaveLength(16);
});
