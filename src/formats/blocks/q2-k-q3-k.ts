// q2_k and q3_k: 256 weights in 16 groups of 16.
// q2_k: weight = scale * groupScale * code - minimum * groupMinimum; group scale and minimum are 4 bits each of one byte, codes 2 bits.
//   Layout: 16 bytes of group scales (low half) and minimums (high half), 64 bytes of codes, scale, minimum.
// q3_k: weight = scale * (groupScale - 32) * (code - 4); group scales 6 bits, codes 3 bits.
//   Layout: 32 bytes of third bits (bit g of byte i: weight 32 * g + i), 64 bytes of low bits, 12 bytes of group scales, scale.
// In both, of each 128 weights, weight 32 * k + i has its two low bits at bit 2 * k of byte i.

import { type BlockCodec, readHalf, writeHalf } from "./codec.ts";
import { type Affine, clamp, descendSymmetric, nearest, searchAffine } from "./scale-search.ts";

const weights = 256;
const groups = 16;
const round = Math.fround;

const q2Bytes = 84;
const q2CodesAt = 16;
const q2UnitAt = 80;

function decodeQ2(from: Uint8Array, out: Float32Array, offset: number): void {
  for (let at = 0, o = offset; at < from.length; at += q2Bytes, o += weights) {
    const unitScale = readHalf(from, at + q2UnitAt);
    const unitMinimum = readHalf(from, at + q2UnitAt + 2);
    for (let group = 0; group < groups; group++) {
      const packed = from[at + group] as number;
      const scale = unitScale * (packed & 15);
      const minimum = unitMinimum * (packed >> 4);
      const codes = at + q2CodesAt + codeByte(group);
      const shift = codeShift(group);
      for (let i = 0; i < 16; i++) out[o + 16 * group + i] = scale * (((from[codes + i] as number) >> shift) & 3) - minimum;
    }
  }
}

/** Where the two low bits of a group's first weight lie: byte among the 64, and bit. */
function codeByte(group: number): number {
  return 32 * (group >> 3) + 16 * (group & 1);
}

function codeShift(group: number): number {
  return 2 * ((group >> 1) & 3);
}

const codesOfBlock = new Uint8Array(weights);
const scales = new Float32Array(groups);
const minimums = new Float32Array(groups);
const block = new Float32Array(weights);
const importance = new Float32Array(16);
const found: Affine = { scale: 0, minimum: 0 };
const q2Search = { top: 3, first: -0.5, steps: 15, absolute: true };

function packLowBits(out: Uint8Array, at: number): void {
  for (let i = 0; i < 64; i++) {
    const first = 128 * (i >> 5) + (i & 31);
    let byte = 0;
    for (let k = 0; k < 4; k++) byte |= ((codesOfBlock[first + 32 * k] as number) & 3) << (2 * k);
    out[at + i] = byte;
  }
}

function encodeQ2(values: Float32Array, out: Uint8Array): void {
  for (let at = 0, v = 0; v < values.length; at += q2Bytes, v += weights) {
    block.set(values.subarray(v, v + weights));
    let topScale = 0;
    let topMinimum = 0;
    for (let group = 0; group < groups; group++) {
      for (let i = 0; i < 16; i++) importance[i] = Math.abs(block[16 * group + i] as number);
      searchAffine(block, 16 * group, 16, importance, q2Search, codesOfBlock, found);
      scales[group] = found.scale;
      minimums[group] = found.minimum;
      topScale = Math.max(topScale, found.scale);
      topMinimum = Math.max(topMinimum, found.minimum);
    }
    const inverseScale = topScale > 0 ? round(15 / topScale) : 0;
    const inverseMinimum = topMinimum > 0 ? round(15 / topMinimum) : 0;
    const unitScale = writeHalf(out, at + q2UnitAt, topScale / 15);
    const unitMinimum = writeHalf(out, at + q2UnitAt + 2, topMinimum / 15);
    for (let group = 0; group < groups; group++) {
      const scaleCode = clamp(nearest(round(inverseScale * (scales[group] as number))), 0, 15);
      const minimumCode = clamp(nearest(round(inverseMinimum * (minimums[group] as number))), 0, 15);
      out[at + group] = scaleCode | (minimumCode << 4);
      const scale = unitScale * scaleCode;
      if (scale === 0) continue;
      const minimum = unitMinimum * minimumCode;
      for (let i = 16 * group; i < 16 * group + 16; i++) {
        codesOfBlock[i] = clamp(nearest(round(round((block[i] as number) + minimum) / scale)), 0, 3);
      }
    }
    packLowBits(out, at + q2CodesAt);
  }
}

const q3Bytes = 110;
const q3CodesAt = 32;
const q3ScalesAt = 96;
const q3UnitAt = 108;

/** The 6-bit scale of `group`: low 4 bits in the halves of bytes 0 to 7, high 2 bits in bytes 8 to 11. */
function q3Scale(from: Uint8Array, at: number, group: number): number {
  const low = ((from[at + (group & 7)] as number) >> (4 * (group >> 3))) & 15;
  return low | ((((from[at + 8 + (group & 3)] as number) >> (2 * (group >> 2))) & 3) << 4);
}

function decodeQ3(from: Uint8Array, out: Float32Array, offset: number): void {
  for (let at = 0, o = offset; at < from.length; at += q3Bytes, o += weights) {
    const unit = readHalf(from, at + q3UnitAt);
    for (let group = 0; group < groups; group++) {
      const scale = unit * (q3Scale(from, at + q3ScalesAt, group) - 32);
      const codes = at + q3CodesAt + codeByte(group);
      const shift = codeShift(group);
      const thirds = at + 16 * (group & 1);
      for (let i = 0; i < 16; i++) {
        const third = ((from[thirds + i] as number) >> (group >> 1)) & 1;
        const code = (((from[codes + i] as number) >> shift) & 3) | (third << 2);
        out[o + 16 * group + i] = scale * (code - 4);
      }
    }
  }
}

function encodeQ3(values: Float32Array, out: Uint8Array): void {
  for (let at = 0, v = 0; v < values.length; at += q3Bytes, v += weights) {
    block.set(values.subarray(v, v + weights));
    let most = 0;
    for (let group = 0; group < groups; group++) {
      const scale = descendSymmetric(block, 16 * group, 16, 4, codesOfBlock);
      scales[group] = scale;
      if (Math.abs(scale) > Math.abs(most)) most = scale;
    }
    const inverse = most === 0 ? 0 : round(-32 / most);
    const unit = writeHalf(out, at + q3UnitAt, inverse === 0 ? 0 : 1 / inverse);
    out.fill(0, at, at + 32);
    out.fill(0, at + q3ScalesAt, at + q3UnitAt);
    for (let group = 0; group < groups; group++) {
      const level = clamp(nearest(round(inverse * (scales[group] as number))), -32, 31);
      // A block of zeros keeps its scale bytes at zero.
      if (inverse !== 0) {
        const low = at + q3ScalesAt + (group & 7);
        const high = at + q3ScalesAt + 8 + (group & 3);
        out[low] = (out[low] as number) | (((level + 32) & 15) << (4 * (group >> 3)));
        out[high] = (out[high] as number) | (((level + 32) >> 4) << (2 * (group >> 2)));
      }
      const scale = unit * level;
      if (scale === 0) continue;
      for (let i = 16 * group; i < 16 * group + 16; i++) {
        codesOfBlock[i] = clamp(nearest(round((block[i] as number) / scale)), -4, 3) + 4;
      }
    }
    for (let i = 0; i < weights; i++) {
      const third = at + (i & 31);
      out[third] = (out[third] as number) | (((codesOfBlock[i] as number) >> 2) << (i >> 5));
    }
    packLowBits(out, at + q3CodesAt);
  }
}

export const q2_k: BlockCodec = { ggmlType: 10, weights, bytes: q2Bytes, decode: decodeQ2, encode: encodeQ2 };
export const q3_k: BlockCodec = { ggmlType: 11, weights, bytes: q3Bytes, decode: decodeQ3, encode: encodeQ3 };
