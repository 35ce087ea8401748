// What a shader reads of packed weights (packed-layout.ts): WGSL functions for one type, the same names for all. For the block types, of 32 weights number b of row `row`:
//   codes_of(row, b, half) -> vec4u: 16 codes as bytes, four a word, ascending; signed only where the type's own are. Weight = code·scale + minimum, after `offset` is taken off the code.
//   scales_of(row, b) -> vec4f: the scales of both halves, then their minimums; the second halves' only where `halves` is 2. Exact, as f32.
// For the 16-bit floats: half_bits(row, k) -> u32, the weight as the bits of an f32, exact too.
// The text reads the parameters p.blocks, p.scales, p.pairs, p.bits, p.codeWords (packed-weights.ts).

import type { PackedType } from "../../core/dtype.ts";
import type { Accessor } from "./program.ts";

export type Codes = {
  /** Scales for each 32 weights. */
  readonly halves: 1 | 2;
  readonly minimum: boolean;
  readonly offset: number;
};

/** The weight's buffer, as single words and as four at a time. */
export type WeightAccess = { readonly w: Accessor; readonly w4: Accessor };

type Text = Codes & {
  /** Bodies of codes_of and scales_of, with `place` = row·p.blocks + b. */
  readonly codes: (access: WeightAccess) => string;
  readonly scales: (access: WeightAccess) => string;
};

export type HalfType = "f16" | "bf16";
export type BlockType = Exclude<PackedType, HalfType>;

export function isHalf(type: PackedType): type is HalfType {
  return type === "f16" || type === "bf16";
}

const nibbles = ({ w4 }: WeightAccess) => `((${w4("place")} >> vec4u(half * 4u)) & vec4u(0x0f0f0f0fu))`;
const fifth = ({ w }: WeightAccess) => `((vec4u(${w("p.bits + place")}) >> (vec4u(0u, 1u, 2u, 3u) + half * 4u)) & vec4u(0x01010101u))`;
const pairs = ({ w }: WeightAccess) => `((vec4u(${w("p.pairs + place * 2u + half")}) >> vec4u(0u, 2u, 4u, 6u)) & vec4u(0x03030303u))`;
const four = (access: WeightAccess) => `return ${nibbles(access)};`;
const five = (access: WeightAccess) => `return ${nibbles(access)} | (${fifth(access)} << vec4u(4u));`;

/** Four bits choose from 16 bytes, given as words. */
const chosen = (words: readonly [string, string, string, string]) => (access: WeightAccess) =>
  `
  let places = ${nibbles(access)};
  var bytes = vec4u(0u);
  for (var byte = 0u; byte < 32u; byte += 8u) {
    let place = (places >> vec4u(byte)) & vec4u(15u);
    let low = select(vec4u(${words[0]}), vec4u(${words[1]}), (place & vec4u(4u)) != vec4u(0u));
    let high = select(vec4u(${words[2]}), vec4u(${words[3]}), (place & vec4u(4u)) != vec4u(0u));
    let word = select(low, high, (place & vec4u(8u)) != vec4u(0u));
    bytes = bytes | (((word >> ((place & vec4u(3u)) * 8u)) & vec4u(255u)) << vec4u(byte));
  }
  return bytes;`;

/** -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113 */
const uneven = chosen(["0xbfad9881u", "0xf6eaddcfu", "0x26190d01u", "0x71594535u"]);
/** 0 1 2 3 4 6 8 12 and their negatives: twice the values, so that they are integers. */
const doubled = chosen(["0x03020100u", "0x0c080604u", "0xfdfeff00u", "0xf4f8fafcu"]);

/** A 16-bit scale for each 32 weights. */
const oneHalf = ({ w }: WeightAccess) => `
  let word = ${w("p.scales + row * ((p.blocks + 1u) / 2u) + b / 2u")};
  return vec4f(half_value(word >> ((b & 1u) * 16u)), 0.0, 0.0, 0.0);`;
const twoHalves = ({ w }: WeightAccess) => `
  let word = ${w("p.scales + place")};
  return vec4f(half_value(word), 0.0, half_value(word >> 16u), 0.0);`;
/** Six bits of scale and minimum for each 32 of 256; the upper four share bytes with the lower four's top bits. */
const sixBits = ({ w4 }: WeightAccess) => `
  let head = ${w4("p.scales / 4u + place / 8u")};
  let bytes = (head.yzw >> vec3u((b & 3u) * 8u)) & vec3u(255u);
  let isUpper = (b & 4u) != 0u;
  let scale = select(bytes.x & 63u, (bytes.z & 15u) | ((bytes.x >> 6u) << 4u), isUpper);
  let minimum = select(bytes.y & 63u, (bytes.z >> 4u) | ((bytes.y >> 6u) << 4u), isUpper);
  return vec4f(half_value(head.x) * f32(scale), 0.0, -(half_value(head.x >> 16u) * f32(minimum)), 0.0);`;

const plain = { halves: 1, minimum: false, offset: 0 } as const;
const affine = { halves: 1, minimum: true, offset: 0 } as const;

const texts: Readonly<Record<BlockType, Text>> = {
  q8_0: { ...plain, codes: ({ w4 }) => `return ${w4("place * 2u + half")};`, scales: oneHalf },
  q4_0: { ...plain, offset: 8, codes: four, scales: oneHalf },
  q4_1: { ...affine, codes: four, scales: twoHalves },
  q5_0: { ...plain, offset: 16, codes: five, scales: oneHalf },
  q5_1: { ...affine, codes: five, scales: twoHalves },
  q2_k: {
    halves: 2,
    minimum: true,
    offset: 0,
    codes: (access) => `return ${pairs(access)};`,
    scales: ({ w }) => `
  let super_block = p.scales + place / 8u * 5u;
  let units = ${w("super_block + 4u")};
  let numbers = ${w("super_block + (b & 7u) / 2u")} >> ((b & 1u) * 16u);
  let scale = half_value(units);
  let minimum = -half_value(units >> 16u);
  return vec4f(scale * f32(numbers & 15u), scale * f32((numbers >> 8u) & 15u), minimum * f32((numbers >> 4u) & 15u), minimum * f32((numbers >> 12u) & 15u));`,
  },
  q3_k: {
    halves: 2,
    minimum: false,
    offset: 4,
    codes: (access) => `return ${pairs(access)} | (${fifth(access)} << vec4u(2u));`,
    scales: ({ w }) => `
  let super_block = p.scales + place / 8u * 4u;
  let unit = half_value(${w("super_block + 3u")});
  let group = (b & 7u) * 2u + vec2u(0u, 1u);
  // Low bits in the halves of 8 bytes, high bits in the quarters of 4.
  let low_word = ${w("super_block + ((b >> 1u) & 1u)")};
  let high_word = ${w("super_block + 2u")};
  let low = (vec2u(low_word) >> ((group & vec2u(3u)) * 8u + (group >> vec2u(3u)) * 4u)) & vec2u(15u);
  let high = (vec2u(high_word) >> ((group & vec2u(3u)) * 8u + (group >> vec2u(2u)) * 2u)) & vec2u(3u);
  let scale = vec2i(low | (high << vec2u(4u))) - vec2i(32);
  return vec4f(unit * f32(scale.x), unit * f32(scale.y), 0.0, 0.0);`,
  },
  q4_k: { ...affine, codes: four, scales: sixBits },
  q5_k: { ...affine, codes: five, scales: sixBits },
  q6_k: {
    halves: 2,
    minimum: false,
    offset: 32,
    codes: (access) => `return ${nibbles(access)} | (${pairs(access)} << vec4u(4u));`,
    scales: ({ w }) => `
  let super_block = p.scales + place / 8u * 5u;
  let unit = half_value(${w("super_block + 4u")});
  let numbers = bitcast<i32>(${w("super_block + (b & 7u) / 2u")} << (16u - (b & 1u) * 16u));
  return vec4f(unit * f32((numbers << 8u) >> 24u), unit * f32(numbers >> 24u), 0.0, 0.0);`,
  },
  iq4_nl: { ...plain, codes: uneven, scales: oneHalf },
  iq4_xs: {
    ...plain,
    codes: uneven,
    scales: ({ w }) => `
  let head = ${w("p.scales + place / 8u * 2u")};
  let low = (${w("p.scales + place / 8u * 2u + 1u")} >> ((b & 7u) * 4u)) & 15u;
  let high = (head >> (16u + (b & 7u) * 2u)) & 3u;
  return vec4f(half_value(head) * f32(i32(low | (high << 4u)) - 32), 0.0, 0.0, 0.0);`,
  },
  mxfp4: {
    ...plain,
    codes: doubled,
    scales: ({ w }) => `
  let word = ${w("p.scales + row * ((p.blocks + 3u) / 4u) + b / 4u")};
  let exponent = (word >> ((b & 3u) * 8u)) & 255u;
  // 2^(exponent - 128).
  return vec4f(bitcast<f32>(select((exponent - 1u) << 23u, 0x200000u << exponent, exponent < 2u)), 0.0, 0.0, 0.0);`,
  },
};

/** How a block type's codes become weights. */
export function codesOf(type: BlockType): Codes {
  return texts[type];
}

/** The number of 16 bits, exact: whatever the GPU does with subnormal numbers, none is made. */
const halfValue = `
fn half_value(word: u32) -> f32 {
  let bits = word & 0x7fffu;
  let normal = (bits << 13u) + 0x38000000u;
  let tiny = bitcast<u32>(f32(bits) * 5.9604644775390625e-8);
  let magnitude = select(select(normal, (bits << 13u) | 0x7f800000u, bits >= 0x7c00u), tiny, bits < 0x0400u);
  return bitcast<f32>(magnitude | ((word & 0x8000u) << 16u));
}`;

/** codes_of and scales_of, or half_bits. */
export function weightText(type: PackedType, access: WeightAccess): string {
  if (isHalf(type)) {
    const bits = type === "f16" ? "bitcast<u32>(half_value(bits))" : "(bits << 16u)";
    return `${halfValue}
fn half_bits(row: u32, k: u32) -> u32 {
  let bits = (${access.w("row * p.codeWords + k / 2u")} >> ((k & 1u) * 16u)) & 0xffffu;
  return ${bits};
}`;
  }
  const { codes, scales } = texts[type];
  return `${halfValue}
fn codes_of(row: u32, b: u32, half: u32) -> vec4u {
  let place = row * p.blocks + b;
  ${codes(access)}
}
fn scales_of(row: u32, b: u32) -> vec4f {
  let place = row * p.blocks + b;
  ${scales(access)}
}`;
}
