// cacheWrite: rounds rows of keys or values to fewer bits where an index says. f16: a group for each row, which finds the row's largest magnitude first. q8_0: an
// invocation for each stored word; it looks through the block of 32 numbers that the word belongs to. The layouts are backend.ts's.

import { cacheRowWords } from "../../core/dtype.ts";
import type { Kernels } from "../backend.ts";
import { blockRoundingText } from "./block-rounding.ts";
import { defaultGroupSize, read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function cacheWrite(recorder: Recorder): Kernels["cacheWrite"] {
  return ({ cache, x, index, rows, width, cacheRows, type }) => {
    const words = cacheRowWords(type, width);
    const operands = { cache: write(cache, "u32"), x: read(x), index: read(index, "u32") };
    const integers = { width, cacheRows, words };
    if (type === "q8_0") {
      recorder.run({
        kernel: "cacheWrite",
        variant: type,
        operands,
        integers,
        invocations: rows * words,
        work: rows * words * 32,
        text: ({ cache, x, index }) => ({
          declarations: blockRoundingText,
          body: `
  let row = i / p.words;
  let place = ${index("row")};
  if (place >= p.cacheRows) { return; }
  let word = i % p.words;
  let begin = word / 9u * 32u;
  let end = min(begin + 32u, p.width);
  var top = 0u;
  for (var k = begin; k < end; k++) { top = max(top, magnitude(${x("row * p.width + k")})); }
  var stored = bitcast<u32>(block_scale(top));
  if (word % 9u > 0u) {
    let inverse = block_inverse(top);
    stored = 0u;
    for (var b = 0u; b < 4u; b++) {
      let k = begin + (word % 9u - 1u) * 4u + b;
      var integer = 0;
      if (k < end) { integer = block_integer(${x("row * p.width + k")}, inverse); }
      stored |= u32(integer + 128) << (8u * b);
    }
  }
  ${cache("place * p.words + word")} = stored;`,
        }),
      });
      return;
    }
    recorder.run({
      kernel: "cacheWrite",
      variant: type,
      operands,
      integers,
      workgroups: rows,
      work: rows * width,
      text: ({ cache, x, index }) => ({
        declarations: `${blockRoundingText}
var<workgroup> tops: array<u32, ${defaultGroupSize}>;
/** The nearest 16-bit float to x·up, a number below 2^15; 0 with x's sign below 2^-14. */
fn half_bits(x: f32, up: f32) -> u32 {
  let m = magnitude(x * up);
  let sign = (bitcast<u32>(x) >> 16u) & 0x8000u;
  return sign | select(((m + 0xfffu + ((m >> 13u) & 1u)) >> 13u) - ${112 << 10}u, 0u, m < ${113 * 2 ** 23}u);
}`,
        body: `
  let place = ${index("block")};
  if (place >= p.cacheRows) { return; }
  let row = block * p.width;
  var own = 0u;
  for (var k = local; k < p.width; k += ${defaultGroupSize}) { own = max(own, magnitude(${x("row + k")})); }
  tops[local] = own;
  workgroupBarrier();
  var top = 0u;
  for (var t = 0u; t < ${defaultGroupSize}; t++) { top = max(top, tops[t]); }
  // Beyond 2^30 the factor would not be a float: such rows, and those with NaN or an infinity, are NaN.
  let isBroken = top >= ${(30 + 127) * 2 ** 23}u;
  let isZero = isBroken || is_tiny(top);
  let exponent = i32(top >> 23u) - 127;
  let begin = place * p.words;
  if (local == 0u) {
    var factor = select(0.0, nan(), isBroken);
    if (!isZero) { factor = power2(exponent + ${112 - 14}); }
    ${cache("begin")} = bitcast<u32>(factor);
  }
  let up = power2(select(14 - exponent, 0, isZero));
  for (var word = local; word < p.words - 1u; word += ${defaultGroupSize}) {
    let k = 2u * word;
    var low = 0u;
    // Behind a row of odd width lies half a word that belongs to nobody.
    var high = ${cache("begin + 1u + word")} >> 16u;
    if (!isZero) { low = half_bits(${x("row + k")}, up); }
    if (k + 1u < p.width) {
      high = 0u;
      if (!isZero) { high = half_bits(${x("row + k + 1u")}, up); }
    }
    ${cache("begin + 1u + word")} = low | (high << 16u);
  }`,
      }),
    });
  };
}
