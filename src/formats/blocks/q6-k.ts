// q6_k: 256 weights in 16 groups of 16, each with a signed 8-bit scale in units of one half-precision number:
// weight = scale * groupScale * (code - 32), codes of 6 bits.
// Layout: 128 bytes of low 4 bits, 64 bytes of high 2 bits, 16 group scales, the scale. Of each 128 weights, weight 32 * k + i has its low
// bits in byte 32 * (k % 2) + i (the high half when k > 1) and its high bits at bit 2 * k of byte i.

import { type BlockCodec, readHalf, writeHalf } from "./codec.ts";
import { clamp, nearest, searchSymmetric } from "./scale-search.ts";

const weights = 256;
const bytes = 210;
const highAt = 128;
const scalesAt = 192;
const unitAt = 208;
const groups = 16;
const round = Math.fround;

function signedByte(from: Uint8Array, at: number): number {
  return ((from[at] as number) << 24) >> 24;
}

function decode(from: Uint8Array, out: Float32Array, offset: number): void {
  for (let at = 0, o = offset; at < from.length; at += bytes, o += weights) {
    const unit = readHalf(from, at + unitAt);
    // `part` is 16 weights: every group scale serves one part of each quarter.
    for (let part = 0; part < 4; part++) {
      const half = part >> 1;
      const within = 16 * (part & 1);
      const scales = at + scalesAt + 8 * half + (part & 1);
      const scale0 = unit * signedByte(from, scales);
      const scale1 = unit * signedByte(from, scales + 2);
      const scale2 = unit * signedByte(from, scales + 4);
      const scale3 = unit * signedByte(from, scales + 6);
      const low = at + 64 * half + within;
      const high = at + highAt + 32 * half + within;
      const first = o + 128 * half + within;
      for (let i = 0; i < 16; i++) {
        const a = from[low + i] as number;
        const b = from[low + 32 + i] as number;
        const tops = from[high + i] as number;
        out[first + i] = scale0 * (((a & 15) | ((tops & 3) << 4)) - 32);
        out[first + 32 + i] = scale1 * (((b & 15) | ((tops & 12) << 2)) - 32);
        out[first + 64 + i] = scale2 * (((a >> 4) | (tops & 48)) - 32);
        out[first + 96 + i] = scale3 * (((b >> 4) | ((tops & 192) >> 2)) - 32);
      }
    }
  }
}

const codesOfBlock = new Uint8Array(weights);
const scales = new Float32Array(groups);
const block = new Float32Array(weights);

function encode(values: Float32Array, out: Uint8Array): void {
  for (let at = 0, v = 0; v < values.length; at += bytes, v += weights) {
    block.set(values.subarray(v, v + weights));
    let most = 0;
    for (let group = 0; group < groups; group++) {
      const scale = searchSymmetric(block, 16 * group, 16, 32, codesOfBlock);
      scales[group] = scale;
      if (Math.abs(scale) > Math.abs(most)) most = scale;
    }
    if (Math.abs(most) < 1e-15) out.fill(0, at, at + bytes);
    else encodeBlock(round(-128 / most), out, at);
  }
}

/** Codes and scales of `block`, whose group scales are `scales`; `inverse` brings the largest of them to -128. */
function encodeBlock(inverse: number, out: Uint8Array, at: number): void {
  const unit = writeHalf(out, at + unitAt, 1 / inverse);
  for (let group = 0; group < groups; group++) {
    const code = Math.min(127, nearest(round(inverse * (scales[group] as number))));
    out[at + scalesAt + group] = code;
    const scale = unit * code;
    if (scale === 0) continue;
    for (let i = 16 * group; i < 16 * group + 16; i++) {
      codesOfBlock[i] = clamp(nearest(round((block[i] as number) / scale)), -32, 31) + 32;
    }
  }
  for (let half = 0; half < 2; half++) {
    for (let i = 0; i < 32; i++) {
      const first = 128 * half + i;
      const a = codesOfBlock[first] as number;
      const b = codesOfBlock[first + 32] as number;
      const c = codesOfBlock[first + 64] as number;
      const d = codesOfBlock[first + 96] as number;
      out[at + 64 * half + i] = (a & 15) | ((c & 15) << 4);
      out[at + 64 * half + 32 + i] = (b & 15) | ((d & 15) << 4);
      out[at + highAt + 32 * half + i] = (a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((d >> 4) << 6);
    }
  }
}

export const q6_k: BlockCodec = { ggmlType: 14, weights, bytes, decode, encode };
