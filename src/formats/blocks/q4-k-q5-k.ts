// q4_k and q5_k: 256 weights in 8 groups of 32, each with a 6-bit scale and a 6-bit minimum in units of two half-precision numbers:
// weight = scale * groupScale * code - minimum * groupMinimum, codes of 4 or 5 bits.
// Layout: scale, minimum, 12 bytes of group scales and minimums, for q5_k 32 bytes of fifth bits (bit g of byte i: weight i of group g),
// then 128 bytes: of each 64 weights the first 32 in low halves, the others in high halves.

import { type BlockCodec, readHalf, writeHalf } from "./codec.ts";
import { type Affine, type AffineSearch, clamp, nearest, searchAffine } from "./scale-search.ts";

const weights = 256;
const groups = 8;
const scalesAt = 4;
const scaleBytes = 12;
const round = Math.fround;

type Layout = { readonly bytes: number; readonly search: AffineSearch; readonly fifthBits: boolean };

/** The 6-bit scale of `group`: four in the low bits of bytes 0 to 3; the others' low 4 bits in bytes 8 to 11, high 2 bits above the first four. */
function groupScale(from: Uint8Array, at: number, group: number): number {
  if (group < 4) return (from[at + group] as number) & 63;
  return ((from[at + group + 4] as number) & 15) | (((from[at + group - 4] as number) >> 6) << 4);
}

/** The same for minimums: bytes 4 to 7, and the high halves of bytes 8 to 11. */
function groupMinimum(from: Uint8Array, at: number, group: number): number {
  if (group < 4) return (from[at + group + 4] as number) & 63;
  return ((from[at + group + 4] as number) >> 4) | (((from[at + group] as number) >> 6) << 4);
}

function decode({ bytes, fifthBits }: Layout, from: Uint8Array, out: Float32Array, offset: number): void {
  const codesAt = bytes - 128;
  for (let at = 0, o = offset; at < from.length; at += bytes, o += weights) {
    const scale = readHalf(from, at);
    const minimum = readHalf(from, at + 2);
    for (let group = 0; group < groups; group += 2) {
      const lowScale = scale * groupScale(from, at + scalesAt, group);
      const lowMinimum = minimum * groupMinimum(from, at + scalesAt, group);
      const highScale = scale * groupScale(from, at + scalesAt, group + 1);
      const highMinimum = minimum * groupMinimum(from, at + scalesAt, group + 1);
      const codes = at + codesAt + 16 * group;
      const first = o + 32 * group;
      // Products of a half and small integers are exact in f32: one rounding, at the store, as in the reference.
      if (fifthBits) {
        const fifth = at + scalesAt + scaleBytes;
        for (let i = 0; i < 32; i++) {
          const byte = from[codes + i] as number;
          const fifths = (from[fifth + i] as number) >> group;
          out[first + i] = lowScale * ((byte & 15) | ((fifths & 1) << 4)) - lowMinimum;
          out[first + 32 + i] = highScale * ((byte >> 4) | ((fifths & 2) << 3)) - highMinimum;
        }
      } else {
        for (let i = 0; i < 32; i++) {
          const byte = from[codes + i] as number;
          out[first + i] = lowScale * (byte & 15) - lowMinimum;
          out[first + 32 + i] = highScale * (byte >> 4) - highMinimum;
        }
      }
    }
  }
}

const block = new Float32Array(weights);
const codesOfBlock = new Uint8Array(weights);
const scales = new Float32Array(groups);
const minimums = new Float32Array(groups);
const importance = new Float32Array(32);
const found: Affine = { scale: 0, minimum: 0 };

/** Large values count more: a value weighs its magnitude plus the group's root mean square. */
function weigh(at: number): void {
  let squares = 0;
  for (let i = 0; i < 32; i++) squares = round(squares + round((block[at + i] as number) ** 2));
  const typical = round(Math.sqrt(round(squares / 32)));
  for (let i = 0; i < 32; i++) importance[i] = typical + Math.abs(block[at + i] as number);
}

function packScale(out: Uint8Array, at: number, group: number, scale: number, minimum: number): void {
  if (group < 4) {
    out[at + group] = scale;
    out[at + group + 4] = minimum;
    return;
  }
  out[at + group + 4] = (scale & 15) | ((minimum & 15) << 4);
  out[at + group - 4] = (out[at + group - 4] as number) | ((scale >> 4) << 6);
  out[at + group] = (out[at + group] as number) | ((minimum >> 4) << 6);
}

/** Writes scales and minimums of `block` and leaves its codes in `codesOfBlock`. */
function encodeScales({ search }: Layout, out: Uint8Array, at: number): void {
  let topScale = 0;
  let topMinimum = 0;
  for (let group = 0; group < groups; group++) {
    weigh(32 * group);
    searchAffine(block, 32 * group, 32, importance, search, codesOfBlock, found);
    scales[group] = found.scale;
    minimums[group] = found.minimum;
    topScale = Math.max(topScale, found.scale);
    topMinimum = Math.max(topMinimum, found.minimum);
  }
  const inverseScale = topScale > 0 ? round(63 / topScale) : 0;
  const inverseMinimum = topMinimum > 0 ? round(63 / topMinimum) : 0;
  for (let group = 0; group < groups; group++) {
    const scale = clamp(nearest(round(inverseScale * (scales[group] as number))), 0, 63);
    const minimum = clamp(nearest(round(inverseMinimum * (minimums[group] as number))), 0, 63);
    packScale(out, at + scalesAt, group, scale, minimum);
  }
  const unitScale = writeHalf(out, at, topScale / 63);
  const unitMinimum = writeHalf(out, at + 2, topMinimum / 63);
  // The codes once more, for the scales as they were rounded.
  for (let group = 0; group < groups; group++) {
    const scale = unitScale * groupScale(out, at + scalesAt, group);
    if (scale === 0) continue;
    const minimum = unitMinimum * groupMinimum(out, at + scalesAt, group);
    for (let i = 32 * group; i < 32 * group + 32; i++) {
      codesOfBlock[i] = clamp(nearest(round(round((block[i] as number) + minimum) / scale)), 0, search.top);
    }
  }
}

function encode(layout: Layout, values: Float32Array, out: Uint8Array): void {
  const { bytes, fifthBits } = layout;
  const fifth = scalesAt + scaleBytes;
  for (let at = 0, v = 0; v < values.length; at += bytes, v += weights) {
    block.set(values.subarray(v, v + weights));
    encodeScales(layout, out, at);
    if (fifthBits) out.fill(0, at + fifth, at + fifth + 32);
    for (let group = 0; group < groups; group += 2) {
      for (let i = 0; i < 32; i++) {
        const low = codesOfBlock[32 * group + i] as number;
        const high = codesOfBlock[32 * group + 32 + i] as number;
        out[at + bytes - 128 + 16 * group + i] = (low & 15) | ((high & 15) << 4);
        if (fifthBits) out[at + fifth + i] = (out[at + fifth + i] as number) | ((low >> 4) << group) | ((high >> 4) << (group + 1));
      }
    }
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

export const q4_k = codec(12, { bytes: 144, search: { top: 15, first: -1, steps: 20, absolute: false }, fifthBits: false });
export const q5_k = codec(13, { bytes: 176, search: { top: 31, first: -0.5, steps: 15, absolute: false }, fifthBits: true });
