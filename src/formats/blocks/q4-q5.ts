// q4_0, q4_1, q5_0, q5_1: blocks of 32 weights with codes of 4 or 5 bits. The "_0" types have a scale and codes around a middle
// (weight = scale * (code - 8 or 16)); the "_1" types a scale and a minimum (weight = scale * code + minimum).
// Layout: scale, minimum (both half precision), for 5 bits the 32 fifth bits as one word, then 16 bytes: code i in the low half of
// byte i, code 16 + i in its high half.

import { type BlockCodec, readHalf, writeHalf } from "./codec.ts";
import { inverseOf } from "./q8.ts";

const weights = 32;

type Layout = {
  readonly bytes: number;
  /** Codes are 0 to 2 * middle - 1. */
  readonly middle: number;
  readonly hasMinimum: boolean;
  readonly fifthBits: boolean;
};

function readWord(from: Uint8Array, at: number): number {
  return (from[at] as number) | ((from[at + 1] as number) << 8) | ((from[at + 2] as number) << 16) | ((from[at + 3] as number) << 24);
}

function decode(layout: Layout, from: Uint8Array, out: Float32Array, offset: number): void {
  const { bytes, middle, hasMinimum, fifthBits } = layout;
  const codes = bytes - 16;
  const shift = hasMinimum ? 0 : middle;
  for (let at = 0, o = offset; at < from.length; at += bytes, o += weights) {
    const scale = readHalf(from, at);
    // Adding -0 changes no number, not even the sign of zero.
    const minimum = hasMinimum ? readHalf(from, at + 2) : -0;
    const fifth = fifthBits ? readWord(from, at + codes - 4) : 0;
    for (let i = 0; i < 16; i++) {
      const byte = from[at + codes + i] as number;
      const low = (byte & 15) | (((fifth >>> i) & 1) << 4);
      const high = (byte >> 4) | (((fifth >>> (i + 16)) & 1) << 4);
      out[o + i] = scale * (low - shift) + minimum;
      out[o + 16 + i] = scale * (high - shift) + minimum;
    }
  }
}

const codesOfBlock = new Uint8Array(weights);

/** Writes the scale (and minimum) of 32 values and leaves their codes in `codesOfBlock`. */
function encodeBlock(layout: Layout, values: Float32Array, v: number, out: Uint8Array, at: number): void {
  const { middle, hasMinimum } = layout;
  let low = values[v] as number;
  let high = low;
  let farthest = low;
  for (let i = 1; i < weights; i++) {
    const value = values[v + i] as number;
    if (value < low) low = value;
    if (value > high) high = value;
    if (Math.abs(value) > Math.abs(farthest)) farthest = value;
  }
  // Around a middle, the code 0 (the only one without a positive twin) goes to the largest magnitude, whatever its sign.
  const scale = hasMinimum ? Math.fround(Math.fround(high - low) / (2 * middle - 1)) : Math.fround(farthest / -middle);
  const inverse = inverseOf(scale);
  const base = hasMinimum ? low : 0;
  const rounding = hasMinimum ? 0.5 : middle + 0.5;
  writeHalf(out, at, scale);
  if (hasMinimum) writeHalf(out, at + 2, low);
  for (let i = 0; i < weights; i++) {
    const scaled = Math.fround(Math.fround((values[v + i] as number) - base) * inverse);
    const code = Math.trunc(Math.fround(scaled + rounding));
    codesOfBlock[i] = Math.min(code, 2 * middle - 1);
  }
}

function encode(layout: Layout, values: Float32Array, out: Uint8Array): void {
  const { bytes, fifthBits } = layout;
  const codes = bytes - 16;
  for (let at = 0, v = 0; v < values.length; at += bytes, v += weights) {
    encodeBlock(layout, values, v, out, at);
    let fifth = 0;
    for (let i = 0; i < 16; i++) {
      const low = codesOfBlock[i] as number;
      const high = codesOfBlock[i + 16] as number;
      out[at + codes + i] = (low & 15) | ((high & 15) << 4);
      fifth |= ((low >> 4) << i) | ((high >> 4) << (i + 16));
    }
    if (fifthBits) for (let i = 0; i < 4; i++) out[at + codes - 4 + i] = fifth >>> (8 * i);
  }
}

function codec(ggmlType: number, layout: Layout): BlockCodec {
  return {
    ggmlType,
    weights,
    bytes: layout.bytes,
    decode: (from, out, offset) => decode(layout, from, out, offset),
    encode: (values, out) => encode(layout, values, out),
  };
}

export const q4_0 = codec(2, { bytes: 18, middle: 8, hasMinimum: false, fifthBits: false });
export const q4_1 = codec(3, { bytes: 20, middle: 8, hasMinimum: true, fifthBits: false });
export const q5_0 = codec(6, { bytes: 22, middle: 16, hasMinimum: false, fifthBits: true });
export const q5_1 = codec(7, { bytes: 24, middle: 16, hasMinimum: true, fifthBits: true });
