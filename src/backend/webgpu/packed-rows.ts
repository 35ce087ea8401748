// Rows of x made ready for packed products: rounded to 8 bits in blocks of 32 along k (the rounding is in backend.ts). In: x [S, K]. Out: for each block 12 words:
// the integers, four a word, then scale (f32), sum of the integers of either half (i32), 0. Eight invocations share a block, four numbers each. Largest magnitudes are found as
// integers, so that NaN is the largest.

import type { View } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

/** Words of a block: three times four. */
export const rowBlockWords = 12;
const groupSize = 64;

export function roundRows(recorder: Recorder, x: View, S: number, K: number, ready: View): void {
  const blocks = (S * K) / 32;
  recorder.run({
    kernel: "packedRows",
    operands: { ready: write(ready, "u32"), x: read(x) },
    integers: { blocks },
    workgroups: Math.ceil((blocks * 8) / groupSize),
    groupSize,
    text: ({ ready, x }) => ({
      declarations: `
var<workgroup> tops: array<u32, ${groupSize}>;
var<workgroup> sums: array<i32, ${groupSize}>;`,
      body: `
  let first = local & ~7u;
  let row_block = block * ${groupSize / 8} + local / 8u;
  let is_there = row_block < p.blocks;
  let at = row_block * 32u + (local & 7u) * 4u;
  var numbers = vec4f(0.0);
  if (is_there) { numbers = vec4f(${x("at")}, ${x("at + 1u")}, ${x("at + 2u")}, ${x("at + 3u")}); }
  let magnitudes = bitcast<vec4u>(numbers) & vec4u(0x7fffffffu);
  tops[local] = max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w));
  workgroupBarrier();
  var top = 0u;
  for (var lane = first; lane < first + 8u; lane++) { top = max(top, tops[lane]); }
  let largest = bitcast<f32>(top);
  let is_number = top < 0x7f800000u;
  // Below 1e-30, as bits: positive numbers are ordered as integers are.
  let is_tiny = top < bitcast<u32>(1e-30);
  var q = vec4i(0);
  if (is_number && !is_tiny) { q = vec4i(round(numbers * (127.0 / largest))); }
  sums[local] = q.x + q.y + q.z + q.w;
  workgroupBarrier();
  if (is_there) {
    let to = row_block * ${rowBlockWords}u;
    let bytes = bitcast<vec4u>(q) & vec4u(255u);
    ${ready("to + (local & 7u)")} = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
    if (local == first) {
      var scale = select(largest / 127.0, 0.0, is_tiny);
      if (!is_number) { scale = nan(); }
      ${ready("to + 8u")} = bitcast<u32>(scale);
      ${ready("to + 9u")} = bitcast<u32>(sums[first] + sums[first + 1u] + sums[first + 2u] + sums[first + 3u]);
      ${ready("to + 10u")} = bitcast<u32>(sums[first + 4u] + sums[first + 5u] + sums[first + 6u] + sums[first + 7u]);
      ${ready("to + 11u")} = 0u;
    }
  }`,
    }),
  });
}
