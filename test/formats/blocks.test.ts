// Block types against what the gguf package and ggml make of the same bytes and numbers (tools/reference/make_block_fixtures.py), bit for bit;
// rows Q01 to Q07 and Q12 of hazards.md; and what encoding loses.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FormatError, ShapeError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import {
  type BlockType,
  blockBytes,
  blockLayout,
  blockTypeOf,
  blockTypes,
  canEncode,
  decodeBlocks,
  encodeBlocks,
  isBlockType,
} from "../../src/formats/blocks/index.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { memorySource } from "./memory-source.ts";

const fixture = (name: string) => openSafetensors(memorySource(readFileSync(new URL(`../fixtures/blocks/${name}`, import.meta.url))));
const decoded = await fixture("decode.safetensors");
const encoded = await fixture("encode.safetensors");
const toEncode = await encoded.readF32("values");
const encodable = blockTypes.filter(canEncode);

/** The bits of each number, all NaN alike: a NaN's payload is not promised. */
function bitsOf(values: Float32Array): Uint32Array {
  const bits = new Uint32Array(values.slice().buffer);
  return bits.map((word) => ((word & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : word));
}

function decode(type: BlockType, bytes: Uint8Array): Float32Array {
  const { weights, bytes: size } = blockLayout(type);
  const out = new Float32Array((bytes.length / size) * weights);
  decodeBlocks(type, bytes, out);
  return out;
}

function firstDifference(a: ArrayLike<number>, b: ArrayLike<number>): string {
  if (a.length !== b.length) return `lengths ${a.length} and ${b.length}`;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return `at ${i}: ${a[i]} and ${b[i]}`;
  return "none";
}

describe("decoding equals the gguf package bit for bit: random, zero, denormal, extreme, infinite and NaN scales", () => {
  test.each(blockTypes)("%s", async (type) => {
    const bytes = await decoded.read(`${type}.bytes`);
    const expected = await decoded.readF32(`${type}.values`);
    expect(firstDifference(bitsOf(decode(type, bytes)), bitsOf(expected))).toBe("none");
    // At any alignment and into the middle of an array, touching nothing else.
    const { weights, bytes: size } = blockLayout(type);
    const shifted = new Uint8Array(size + 1);
    shifted.set(bytes.subarray(0, size), 1);
    const out = new Float32Array(weights + 8).fill(7);
    decodeBlocks(type, shifted.subarray(1), out, 3);
    expect(firstDifference(bitsOf(out.slice(3, 3 + weights)), bitsOf(expected.slice(0, weights)))).toBe("none");
    expect([...out.slice(0, 3), ...out.slice(3 + weights)]).toEqual([7, 7, 7, 7, 7, 7, 7, 7]);
  });
});

describe("encoding equals the gguf package, and ggml for the K types, byte for byte", () => {
  test.each(encodable)("%s", async (type) => {
    expect(firstDifference(encodeBlocks(type, toEncode), await encoded.read(`${type}.bytes`))).toBe("none");
  });
});

test("numbers, block lengths and bytes are those of the format", () => {
  const rows = blockTypes.map((type) => {
    const { ggmlType, weights, bytes } = blockLayout(type);
    return [type, [ggmlType, weights, bytes]];
  });
  expect(Object.fromEntries(rows)).toEqual({
    f32: [0, 1, 4],
    f16: [1, 1, 2],
    q4_0: [2, 32, 18],
    q4_1: [3, 32, 20],
    q5_0: [6, 32, 22],
    q5_1: [7, 32, 24],
    q8_0: [8, 32, 34],
    q2_k: [10, 256, 84],
    q3_k: [11, 256, 110],
    q4_k: [12, 256, 144],
    q5_k: [13, 256, 176],
    q6_k: [14, 256, 210],
    iq4_nl: [20, 32, 18],
    iq4_xs: [23, 256, 136],
    bf16: [30, 1, 2],
    mxfp4: [39, 32, 17],
  });
  for (const type of blockTypes) expect(blockTypeOf(blockLayout(type).ggmlType)).toBe(type);
  expect([4, 5, 9, 24, -1, 1000, Number.NaN].map(blockTypeOf)).toEqual(new Array(7).fill(undefined));
  expect(["q4_k", "Q4_K", "toString", "__proto__"].map(isBlockType)).toEqual([true, false, false, false]);
});

test("bytes of a tensor: whole blocks along the rows, no overflow, no division", () => {
  expect(blockBytes("q4_k", [3, 512])).toBe(3 * 2 * 144);
  expect(blockBytes("q4_k", [512, 3])).toBeUndefined();
  expect(blockBytes("q8_0", [0, 64])).toBe(0);
  expect(blockBytes("q8_0", [64, 0])).toBe(0);
  expect(blockBytes("f32", [])).toBe(4);
  expect(blockBytes("f32", [2 ** 27, 2 ** 27])).toBeUndefined();
  expect(blockBytes("f32", [2 ** 51])).toBeUndefined();
  expect(blockBytes("f32", [-1])).toBeUndefined();
  expect(blockBytes("f32", [1.5])).toBeUndefined();
});

const scaleAt: Partial<Record<BlockType, number>> = {
  q8_0: 0,
  q4_0: 0,
  q4_1: 0,
  q5_0: 0,
  q5_1: 0,
  q2_k: 80,
  q3_k: 108,
  q4_k: 0,
  q5_k: 0,
  q6_k: 208,
  iq4_nl: 0,
  iq4_xs: 0,
};

/** A block whose codes are the given bytes and whose scale is `half`, decoded. */
function blockWith(type: BlockType, half: number, byte = 0x5a): Float32Array {
  const bytes = new Uint8Array(blockLayout(type).bytes).fill(byte);
  new DataView(bytes.buffer).setUint16(scaleAt[type] as number, half, true);
  return decode(type, bytes);
}

describe.each(Object.keys(scaleAt) as BlockType[])("%s accepts every scale", (type) => {
  test("Q01 NaN, Q06 NaN of a super-block: all weights NaN", () => expect(blockWith(type, 0x7e00).every(Number.isNaN)).toBe(true));
  test("Q02 infinite: no finite weight", () => {
    for (const half of [0x7c00, 0xfc00]) expect(blockWith(type, half).some(Number.isFinite)).toBe(false);
  });
  test("Q03 minus zero: weights of zero, or minus the minimum, as with zero", () => {
    const [minus, plus] = [blockWith(type, 0x8000), blockWith(type, 0)];
    expect([...minus].map((x) => x + 0)).toEqual([...plus].map((x) => x + 0));
  });
  test("Q04 denormal and Q05 65,504: finite", () => {
    for (const half of [1, 0x83ff, 0x7bff, 0xfbff]) expect(blockWith(type, half).every(Number.isFinite)).toBe(true);
  });
});

test("Q07: no code of the 4-bit tables leads outside them", () => {
  for (const type of ["iq4_nl", "iq4_xs", "mxfp4"] as const) {
    for (let byte = 0; byte < 256; byte++) {
      const bytes = new Uint8Array(blockLayout(type).bytes).fill(byte);
      if (type === "mxfp4") bytes[0] = 127;
      else new DataView(bytes.buffer).setUint16(0, 0x3c00, true);
      const largest = decode(type, bytes).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      expect(largest).toBeLessThanOrEqual(type === "mxfp4" ? 6 : type === "iq4_nl" ? 127 : 127 * 32);
    }
  }
});

test("Q08 f16 NaN and Q09 bf16 infinity: as they are", () => {
  expect(decode("f16", Uint8Array.of(0, 0x7e, 1, 0x7c))).toEqual(Float32Array.of(Number.NaN, Number.NaN));
  expect(decode("bf16", Uint8Array.of(0x80, 0x7f, 0x80, 0xff, 0xc0, 0x7f))).toEqual(Float32Array.of(Infinity, -Infinity, Number.NaN));
});

test("Q12: the exponent byte 255 of mxfp4 is 2^128, as in the gguf package, not NaN; large codes overflow to infinity", () => {
  const values = decode("mxfp4", new Uint8Array(17).fill(0x21).fill(255, 0, 1));
  expect([values[0], values[16]]).toEqual([2 ** 127, Infinity]);
});

describe("encoding", () => {
  /** Root mean square error, as a part of the values' own root mean square. */
  function loss(type: BlockType, values: Float32Array): number {
    const again = decode(type, encodeBlocks(type, values));
    let error = 0;
    let size = 0;
    for (const [i, x] of values.entries()) {
      error += ((again[i] as number) - x) ** 2;
      size += x ** 2;
    }
    return Math.sqrt(error / size);
  }
  const random = new Random(11);
  const normal = Float32Array.from({ length: 256 * 64 }, () => random.normal() * 0.02);

  test.each([
    ["q8_0", 0.0056],
    ["q6_k", 0.018],
    ["q5_k", 0.037],
    ["q5_1", 0.039],
    ["q5_0", 0.044],
    ["q4_k", 0.073],
    ["q4_1", 0.08],
    ["q4_0", 0.088],
    ["q3_k", 0.155],
    ["q2_k", 0.3],
  ] as const)("%s loses at most %d of normal weights", (type, bound) => {
    expect(loss(type, normal)).toBeLessThan(bound);
    expect(loss(type, normal)).toBeGreaterThan(bound * 0.9);
  });

  test.each(encodable)("%s: any finite numbers come back within a step of their block, zeros as zeros", (type) => {
    const { weights } = blockLayout(type);
    const count = weights === 1 ? 8 : weights;
    const number = fc.float({ min: -Math.fround(1e4), max: Math.fround(1e4), noNaN: true, noDefaultInfinity: true });
    const steps: Partial<Record<BlockType, number>> = {
      f32: 0,
      f16: 2 ** -11,
      bf16: 2 ** -8,
      q8_0: 2 ** -7,
      q6_k: 2 ** -4,
      q5_k: 2 ** -3,
      q5_0: 2 ** -3,
      q5_1: 2 ** -3,
    };
    fc.assert(
      fc.property(fc.array(number, { minLength: count, maxLength: count }), (list) => {
        const values = Float32Array.from(list);
        const largest = values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        const again = decode(type, encodeBlocks(type, values));
        for (const [i, x] of values.entries()) {
          const bound = (steps[type] ?? 0.75) * largest + 2 ** -20;
          if (!(Math.abs((again[i] as number) - x) <= bound)) expect([x, again[i], bound]).toEqual([]);
        }
      }),
      { numRuns: 60, seed: 5 },
    );
    expect(decode(type, encodeBlocks(type, new Float32Array(count))).every((x) => x === 0)).toBe(true);
  });

  test.each(encodable.filter((type) => blockLayout(type).weights > 1))(
    "%s: numbers too small for a half-precision scale become zeros",
    (type) => {
      const { weights } = blockLayout(type);
      for (const size of [1e-44, 1e-40, 1e-37, 1e-30, 1e-16]) {
        const values = Float32Array.from({ length: weights }, (_, i) => (i % 5) * size - size);
        const again = decode(type, encodeBlocks(type, values));
        for (const x of again) if (!(Math.abs(x) <= 1e-7)) expect([size, x]).toEqual([]);
      }
    },
  );

  test("refused: NaN and infinity, but not in the plain float types", () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      for (const type of encodable) {
        const { weights } = blockLayout(type);
        const values = new Float32Array(weights).fill(value, weights - 1);
        if (weights === 1) expect(decode(type, encodeBlocks(type, values))).toEqual(values);
        else expect(() => encodeBlocks(type, values)).toThrow(new RegExp(`encode ${type}: got ${value} at index ${weights - 1}`));
      }
    }
  });

  test("refused: ragged lengths, types that are only read, room that is too small", () => {
    expect(() => encodeBlocks("q8_0", new Float32Array(33))).toThrow(ShapeError);
    expect(() => encodeBlocks("iq4_xs", new Float32Array(256))).toThrow(FormatError);
    expect(() => encodeBlocks("mxfp4", new Float32Array(32))).toThrow(/only read; expected f32, f16, bf16, q8_0/);
    expect(() => decodeBlocks("q8_0", new Uint8Array(33), new Float32Array(64))).toThrow(ShapeError);
    expect(() => decodeBlocks("q8_0", new Uint8Array(68), new Float32Array(63))).toThrow(ShapeError);
    expect(() => decodeBlocks("q8_0", new Uint8Array(34), new Float32Array(64), 33)).toThrow(ShapeError);
    expect(() => decodeBlocks("q8_0", new Uint8Array(34), new Float32Array(64), -1)).toThrow(ShapeError);
    expect(() => decodeBlocks("q8_0", new Uint8Array(34), new Float32Array(64), 0.5)).toThrow(ShapeError);
  });
});
