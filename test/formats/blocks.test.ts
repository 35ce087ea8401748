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
