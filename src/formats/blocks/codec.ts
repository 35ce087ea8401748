// The contract of one ggml block type, and the half-precision numbers that nearly all of them use as scales.
// A tensor is a run of blocks along its rows; a block holds a fixed count of weights in a fixed count of bytes, little-endian.
// The loops trust their caller for sizes: index.ts checks them once for all types.

import { decodeInto } from "../dtypes.ts";

export type BlockCodec = {
  /** The type's number in GGUF files (ggml's enum ggml_type). */
  readonly ggmlType: number;
  /** Weights of one block; the length of a row is a multiple of it. */
  readonly weights: number;
  /** Bytes of one block. */
  readonly bytes: number;
  /** Decodes `bytes`, whole blocks, into `out` from index `offset` on. */
  decode(bytes: Uint8Array, out: Float32Array, offset: number): void;
  /** Encodes `values`, whole blocks of finite numbers, into `out` from its first byte on. Absent where we do not write the type. */
  readonly encode?: (values: Float32Array, out: Uint8Array) => void;
};

function makeHalfTable(): Float32Array {
  const values = new Float32Array(65536);
  decodeInto("F16", new Uint8Array(Uint16Array.from({ length: 65536 }, (_, code) => code).buffer), values);
  return values;
}

/** The value of every half-precision code. */
const halfValues = makeHalfTable();

/** The half-precision number at `bytes[at]`. */
export function readHalf(bytes: Uint8Array, at: number): number {
  return halfValues[(bytes[at] as number) | ((bytes[at + 1] as number) << 8)] as number;
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The half-precision code nearest to `value` (rounded to f32 first), ties to even; infinite from 65520 on. */
function halfCode(value: number): number {
  float[0] = value;
  const raw = bits[0] as number;
  const sign = (raw >>> 16) & 0x8000;
  const magnitude = raw & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal: an f32 in [0.5, 1) has steps of 2^-24, as a subnormal half has, so adding 0.5 rounds to one.
    float[0] = Math.abs(float[0] as number) + 0.5;
    return sign | ((bits[0] as number) - 0x3f000000);
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

/** Writes `value` as half precision at `out[at]` and returns what was written, as a number. */
export function writeHalf(out: Uint8Array, at: number, value: number): number {
  const code = halfCode(value);
  out[at] = code;
  out[at + 1] = code >> 8;
  return halfValues[code] as number;
}
