// Packed products for many rows: a group of 64 invocations makes a tile of 32 rows of x by 32 weight rows, 4 by 4 for each invocation. Weights become codes of a byte, or
// f32, once for the tile, in workgroup memory. A tile holds rows of one expert; groups beyond the last tile of an expert find no rows and end.

import { type BlockType, codesOf, type HalfType, weightText } from "./packed-codes.ts";
import { dotText, expertText, joinChain, type Ready, runSum } from "./packed-sums.ts";
import type { Accessor } from "./program.ts";
import type { Recorder } from "./recorder.ts";

const groupSize = 64;
const side = 32;
/** Rows, and columns, of an invocation: a row's neighbours, and every eighth column. */
const each = 4;
const across = side / each;

const four = [0, 1, 2, 3];
const lines = (line: (i: number) => string) => four.map(line).join("\n");
const cells = (line: (r: number, c: number) => string) => lines((r) => lines((c) => line(r, c)));

export function tiledBlocks(recorder: Recorder, ready: Ready<BlockType>): void {
  const { type } = ready;
  const codes = codesOf(type);
  const { halves, minimum } = codes;
  record(recorder, ready, ({ rows, w, w4, offsets }) => ({
    declarations: `${weightText(type, { w, w4 })}${dotText(recorder.hasDot)}${expertText(offsets, side)}
// [word of four numbers][row]; scales, minimums and sums [run][row].
var<workgroup> x_words: array<u32, ${8 * side}>;
var<workgroup> w_words: array<u32, ${8 * side}>;
var<workgroup> x_scales: array<f32, ${side}>;
var<workgroup> x_sums: array<i32, ${halves * side}>;
var<workgroup> w_scales: array<f32, ${halves * side}>;
${minimum ? `var<workgroup> w_minimums: array<f32, ${halves * side}>;` : ""}`,
    loop: `
  // Two invocations bring a row's block of x and of weights, half each.
  let row = local / 2u;
  let half = local % 2u;
  let x_row = min(row0 + row, end_row - 1u);
  let w_row = e * p.N + min(column0 + row, p.N - 1u);
  for (var b = 0u; b < p.blocks; b++) {
    let x = (x_row * p.blocks + b) * 3u;
    let x_part = ${rows("x + half")};
    let w_part = codes_of(w_row, b, half);
    for (var i = 0u; i < 4u; i++) {
      x_words[(half * 4u + i) * ${side} + row] = x_part[i];
      w_words[(half * 4u + i) * ${side} + row] = w_part[i];
    }
    if (half == 0u) {
      let last = ${rows("x + 2u")};
      x_scales[row] = bitcast<f32>(last.x);
${
  halves === 2
    ? `      x_sums[row] = bitcast<i32>(last.y);
      x_sums[${side}u + row] = bitcast<i32>(last.z);`
    : "      x_sums[row] = bitcast<i32>(last.y) + bitcast<i32>(last.z);"
}
    } else {
      let scales = scales_of(w_row, b);
${[...Array(halves).keys()]
  .map(
    (run) => `      w_scales[${run * side}u + row] = scales[${run}];
${minimum ? `      w_minimums[${run * side}u + row] = scales[${2 + run}];` : ""}`,
  )
  .join("\n")}
    }
    workgroupBarrier();
    for (var run = 0u; run < ${halves}u; run++) {
${cells((r, c) => `      var products_${r}_${c} = 0;`)}
      for (var i = run * ${8 / halves}u; i < (run + 1u) * ${8 / halves}u; i++) {
${lines((r) => `        let a_${r} = x_words[i * ${side} + y * ${each} + ${r}];`)}
${lines((c) => `        let b_${c} = w_words[i * ${side} + column + ${c * across}];`)}
${cells((r, c) => `        products_${r}_${c} += dot4(a_${r}, b_${c});`)}
      }
${lines(
  (r) => `      let sum_of_${r} = x_sums[run * ${side} + y * ${each} + ${r}];
      let scale_of_${r} = x_scales[y * ${each} + ${r}];`,
)}
${lines(
  (c) => `      let w_scale_${c} = w_scales[run * ${side} + column + ${c * across}];
${minimum ? `      let minimum_${c} = w_minimums[run * ${side} + column + ${c * across}];` : ""}`,
)}
${cells((r, c) => {
  const integers = `f32(${runSum(codes, `products_${r}_${c}`, `sum_of_${r}`)})`;
  const join = { integers, scale: `w_scale_${c} * scale_of_${r}`, minimum: `minimum_${c}`, rowSum: `scale_of_${r} * f32(sum_of_${r})` };
  return `      ${joinChain(codes, `sum_${r}_${c}`, join)}`;
})}
    }
    workgroupBarrier();
  }`,
  }));
}

/** Numbers along k of a tile of f32. */
const depth = 16;

export function tiledHalves(recorder: Recorder, ready: Ready<HalfType>): void {
  record(recorder, ready, ({ rows, w, w4, offsets }) => ({
    declarations: `${weightText(ready.type, { w, w4 })}${expertText(offsets, side)}
// [k][row].
var<workgroup> x_part: array<f32, ${depth * side}>;
var<workgroup> w_part: array<f32, ${depth * side}>;`,
    loop: `
  for (var k0 = 0u; k0 < p.K; k0 += ${depth}u) {
    for (var i = local; i < ${depth * side}u; i += ${groupSize}u) {
      let k = k0 + i % ${depth}u;
      let row = i / ${depth}u;
      if (k < p.K) {
        x_part[i % ${depth}u * ${side}u + row] = ${rows("min(row0 + row, end_row - 1u) * p.K + k")};
        w_part[i % ${depth}u * ${side}u + row] = bitcast<f32>(half_bits(e * p.N + min(column0 + row, p.N - 1u), k));
      }
    }
    workgroupBarrier();
    let end = min(${depth}u, p.K - k0);
    for (var k = 0u; k < end; k++) {
${lines((r) => `      let a_${r} = x_part[k * ${side} + y * ${each} + ${r}];`)}
${lines((c) => `      let b_${c} = w_part[k * ${side} + column + ${c * across}];`)}
${cells((r, c) => `      sum_${r}_${c} = fma(a_${r}, b_${c}, sum_${r}_${c});`)}
    }
    workgroupBarrier();
  }`,
  }));
}

type Access = { readonly rows: Accessor; readonly w: Accessor; readonly w4: Accessor; readonly offsets: Accessor | undefined };

/** The tile around a loop over k: where it lies, and what is written. The loop adds to sum_R_C, and knows e, row0, end_row, column0, y, column. */
function record(
  recorder: Recorder,
  { kernel, type, S, E, N, K, operands, integers }: Ready,
  text: (access: Access) => { readonly declarations: string; readonly loop: string },
): void {
  const tileColumns = Math.ceil(N / side);
  const tiles = operands.offsets ? Math.floor(S / side) + E : Math.ceil(S / side);
  recorder.run({
    kernel,
    variant: `tiled ${type}`,
    operands,
    integers: { ...integers, tileColumns },
    workgroups: tiles * tileColumns,
    groupSize,
    work: S * N * K,
    text: ({ out, ...access }) => {
      const { declarations, loop } = text(access);
      return {
        declarations: `${declarations}
/** Expert, first row, end of its rows. */
var<workgroup> found: vec3u;`,
        body: `
  if (local == 0u) {
    let tile = block / p.tileColumns;
    let expert = expert_of(tile);
    let first = first_row(expert);
    let tile0 = ${access.offsets ? `first / ${side}u + expert` : "0u"};
    let end = first_row(expert + 1u);
    found = vec3u(expert, select(end, first + (tile - tile0) * ${side}u, tile >= tile0), end);
  }
  let place = workgroupUniformLoad(&found);
  let e = place.x;
  let row0 = place.y;
  let end_row = place.z;
  if (row0 >= end_row) { return; }
  let column0 = block % p.tileColumns * ${side}u;
  let y = local / ${across}u;
  let column = local % ${across}u;
${cells((r, c) => `  var sum_${r}_${c} = 0.0;`)}
${loop}
${cells(
  (r, c) => `  {
    let s = row0 + y * ${each}u + ${r}u;
    let n = column0 + column + ${c * across}u;
    if (s < end_row && n < p.N) { ${out("s * p.N + n")} = sum_${r}_${c}; }
  }`,
)}`,
      };
    },
  });
}
