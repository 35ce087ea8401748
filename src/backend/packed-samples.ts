// Random packed weights, for trials and tests of the packed kernels: every code, scale and minimum that a type can hold, with numbers of moderate
// size. In: the type and how many weights. Out: their bytes in the file's layout.

import { type PackedType, packedTypes } from "../core/dtype.ts";
import type { Random } from "../core/random.ts";

/** Where 16-bit floats lie in a block. */
const halves: Readonly<Record<PackedType, readonly number[]>> = {
  f16: [0],
  bf16: [],
  q8_0: [0],
  q4_0: [0],
  q4_1: [0, 2],
  q5_0: [0],
  q5_1: [0, 2],
  q2_k: [80, 82],
  q3_k: [108],
  q4_k: [0, 2],
  q5_k: [0, 2],
  q6_k: [208],
  iq4_nl: [0],
  iq4_xs: [0],
  mxfp4: [],
};

/** `weights` is a multiple of the type's block. */
export function packedSamples(random: Random, type: PackedType, weights: number): Uint8Array {
  const { weights: perBlock, bytes: blockBytes } = packedTypes[type];
  const length = (weights / perBlock) * blockBytes;
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = random.uint32();
  const bytes = new Uint8Array(words.buffer, 0, length);
  for (let block = 0; block < bytes.length; block += blockBytes) {
    // The exponent decides the size: 2^-6 to 2^-3 for scales, 2^-2 to 2 where the weights are the floats themselves.
    const size = type === "f16" ? 0x34 : 0x24;
    for (const at of halves[type]) bytes[block + at + 1] = (random.integer(2) << 7) | (size + random.integer(12));
    if (type === "bf16") bytes[block + 1] = (random.integer(2) << 7) | 0x3f;
    if (type === "mxfp4") bytes[block] = 118 + random.integer(6);
  }
  return bytes;
}
