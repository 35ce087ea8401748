// The index of ggml's block types that we decode (and, most of them, encode), by the lower-case names of llama.cpp's --type.
// In: bytes or numbers of whole blocks. Out: the other. Decoding gives the bits that the `gguf` Python package gives; encoding gives the bytes
// that ggml gives without an importance matrix. NaN and infinite scales decode to NaN and infinity, as the format allows; encoding
// refuses numbers that are not finite, except in the plain float types.

import { FormatError, ShapeError } from "../../core/errors.ts";
import { type Shape, showShape } from "../../core/shape.ts";
import type { BlockCodec } from "./codec.ts";
import { iq4_nl, iq4_xs } from "./iq4.ts";
import { mxfp4 } from "./mxfp4.ts";
import { bf16, f16, f32 } from "./plain.ts";
import { q2_k, q3_k } from "./q2-k-q3-k.ts";
import { q4_k, q5_k } from "./q4-k-q5-k.ts";
import { q4_0, q4_1, q5_0, q5_1 } from "./q4-q5.ts";
import { q6_k } from "./q6-k.ts";
import { q8_0 } from "./q8.ts";

const codecs = { f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, mxfp4 };

export type BlockType = keyof typeof codecs;

export const blockTypes = Object.keys(codecs) as readonly BlockType[];

const byNumber = new Map(blockTypes.map((type) => [codecs[type].ggmlType, type]));

export function isBlockType(name: string): name is BlockType {
  return Object.hasOwn(codecs, name);
}

/** The type with this number in GGUF files, or undefined when we have none. */
export function blockTypeOf(ggmlType: number): BlockType | undefined {
  return byNumber.get(ggmlType);
}

/** Number, block length and block bytes of a type. */
export function blockLayout(type: BlockType): Pick<BlockCodec, "ggmlType" | "weights" | "bytes"> {
  return codecs[type];
}

/** True when `encodeBlocks` knows the type. */
export function canEncode(type: BlockType): boolean {
  return (codecs[type] as BlockCodec).encode !== undefined;
}

/**
 * Bytes of a tensor, or undefined when its rows (last size) are no whole blocks, or a size is no safe integer of 0 or more, or the bytes
 * exceed 2^53.
 */
export function blockBytes(type: BlockType, shape: Shape): number | undefined {
  const { weights, bytes } = codecs[type];
  const row = shape.at(-1) ?? 1;
  if (row % weights !== 0) return undefined;
  let total = bytes;
  for (const [i, size] of shape.entries()) {
    if (!Number.isSafeInteger(size) || size < 0) return undefined;
    total *= i === shape.length - 1 ? size / weights : size;
    if (!Number.isSafeInteger(total)) return undefined;
  }
  return total;
}

/** Decodes `bytes`, whole blocks at any alignment, into `out` from index `offset` on. Throws ShapeError when either does not fit. */
export function decodeBlocks(type: BlockType, bytes: Uint8Array, out: Float32Array, offset = 0): void {
  const codec: BlockCodec = codecs[type];
  const count = (bytes.length / codec.bytes) * codec.weights;
  if (!Number.isInteger(count / codec.weights) || !Number.isSafeInteger(offset) || offset < 0 || offset + count > out.length) {
    throw new ShapeError({
      operation: `decode ${type}`,
      got: `${bytes.length} bytes into ${out.length} numbers from index ${offset} on`,
      expected: `whole blocks of ${codec.bytes} bytes and room for ${codec.weights} numbers each`,
      cure: "check the tensor's shape",
    });
  }
  codec.decode(bytes, out, offset);
}

/** Encodes `values`, whole blocks in row-major order. Throws ShapeError for a ragged length, FormatError for values that are not finite. */
export function encodeBlocks(type: BlockType, values: Float32Array): Uint8Array {
  const codec: BlockCodec = codecs[type];
  if (!codec.encode) {
    const encodable = blockTypes.filter(canEncode).join(", ");
    throw new FormatError({
      operation: `encode ${type}`,
      got: "a type that is only read",
      expected: encodable,
      cure: "choose one of these",
    });
  }
  if (values.length % codec.weights !== 0) {
    throw new ShapeError({
      operation: `encode ${type}`,
      got: `${values.length} numbers (shape ${showShape([values.length])})`,
      expected: `a multiple of ${codec.weights}`,
      cure: "choose another type for this tensor",
    });
  }
  if (codec.weights > 1) checkFinite(type, values);
  const out = new Uint8Array((values.length / codec.weights) * codec.bytes);
  codec.encode(values, out);
  return out;
}

function checkFinite(type: BlockType, values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (value - value === 0) continue;
    throw new FormatError({
      operation: `encode ${type}`,
      got: `${value} at index ${i}`,
      expected: "finite numbers",
      cure: "the weights are damaged; fetch or train them again",
    });
  }
}
