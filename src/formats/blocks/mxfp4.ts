// mxfp4: 32 weights as one power of two and 4-bit floats (1 sign, 2 exponent, 1 mantissa bit), after the OCP microscaling formats.
// Unusual: the OCP text calls the exponent byte 255 NaN; ggml and the gguf package decode it as 2^128, and so do we.
// Read only.

import type { BlockCodec } from "./codec.ts";

/** Twice the values of the 4-bit codes; the power of two is halved in exchange, so that they are integers. */
const doubled = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

function decode(from: Uint8Array, out: Float32Array, offset: number): void {
  for (let at = 0, o = offset; at < from.length; at += 17, o += 32) {
    const half = 2 ** ((from[at] as number) - 128);
    for (let i = 0; i < 16; i++) {
      const byte = from[at + 1 + i] as number;
      out[o + i] = half * (doubled[byte & 15] as number);
      out[o + 16 + i] = half * (doubled[byte >> 4] as number);
    }
  }
}

export const mxfp4: BlockCodec = { ggmlType: 39, weights: 32, bytes: 17, decode };
