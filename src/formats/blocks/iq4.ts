// iq4_nl and iq4_xs: codes of 4 bits that choose from 16 values spaced unevenly, denser around zero.
// iq4_nl: blocks of 32, one half-precision scale. iq4_xs: blocks of 256, a half-precision scale times a 6-bit scale (minus 32)
// for each 32. Read only.

import { type BlockCodec, readHalf } from "./codec.ts";

/** The 16 values, from ggml's definition of the type. */
const values = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);

/** 16 bytes at `at`: the code of weight i in the low half of byte i, that of weight 16 + i in its high half. */
function decode32(from: Uint8Array, at: number, scale: number, out: Float32Array, o: number): void {
  for (let i = 0; i < 16; i++) {
    const byte = from[at + i] as number;
    out[o + i] = scale * (values[byte & 15] as number);
    out[o + 16 + i] = scale * (values[byte >> 4] as number);
  }
}

function decodeNl(from: Uint8Array, out: Float32Array, offset: number): void {
  for (let at = 0, o = offset; at < from.length; at += 18, o += 32) decode32(from, at + 2, readHalf(from, at), out, o);
}

function decodeXs(from: Uint8Array, out: Float32Array, offset: number): void {
  for (let at = 0, o = offset; at < from.length; at += 136, o += 256) {
    const scale = readHalf(from, at);
    const high = (from[at + 2] as number) | ((from[at + 3] as number) << 8);
    for (let j = 0; j < 8; j++) {
      const low = ((from[at + 4 + (j >> 1)] as number) >> (4 * (j & 1))) & 15;
      const code = low | (((high >> (2 * j)) & 3) << 4);
      decode32(from, at + 8 + 16 * j, scale * (code - 32), out, o + 32 * j);
    }
  }
}

export const iq4_nl: BlockCodec = { ggmlType: 20, weights: 32, bytes: 18, decode: decodeNl };
export const iq4_xs: BlockCodec = { ggmlType: 23, weights: 256, bytes: 136, decode: decodeXs };
