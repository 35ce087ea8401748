// q8_0: 32 weights as one half-precision scale and 32 signed bytes. weight = scale * code.

import { type BlockCodec, readHalf, writeHalf } from "./codec.ts";

const weights = 32;
const bytes = 34;

function decode(from: Uint8Array, out: Float32Array, offset: number): void {
  for (let at = 0, o = offset; at < from.length; at += bytes, o += weights) {
    const scale = readHalf(from, at);
    for (let i = 0; i < weights; i++) out[o + i] = scale * (((from[at + 2 + i] as number) << 24) >> 24);
  }
}

/** Codes are rounded with the unrounded f32 scale, halves away from zero, as ggml does. */
function encode(values: Float32Array, out: Uint8Array): void {
  for (let at = 0, v = 0; v < values.length; at += bytes, v += weights) {
    let most = 0;
    for (let i = 0; i < weights; i++) most = Math.max(most, Math.abs(values[v + i] as number));
    const scale = Math.fround(most / 127);
    const inverse = inverseOf(scale);
    writeHalf(out, at, scale);
    for (let i = 0; i < weights; i++) {
      const scaled = Math.fround((values[v + i] as number) * inverse);
      const whole = Math.trunc(scaled);
      // The test of the exact remainder: adding 0.5 would round up the f32 just below one half.
      const rest = scaled - whole;
      out[at + 2 + i] = rest >= 0.5 ? whole + 1 : rest <= -0.5 ? whole - 1 : whole;
    }
  }
}

/** 1 / scale in f32; 0 for a scale of zero or so small that its inverse is infinite (it is zero in half precision too). */
export function inverseOf(scale: number): number {
  const inverse = Math.fround(1 / scale);
  return scale === 0 || !Number.isFinite(inverse) ? 0 : inverse;
}

export const q8_0: BlockCodec = { ggmlType: 8, weights, bytes, decode, encode };
