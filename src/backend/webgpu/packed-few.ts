// Packed products for few rows: a group of 64 invocations makes a few elements of one row of x. All of them read weights, each block by the invocation next to its
// neighbour's; what joins the chain goes into workgroup memory, and one invocation an element adds it up in order. Elements of one weight row lie next to one another among
// the groups, so that rows of x after the first find the weights in a cache.

import { type BlockType, codesOf, type HalfType, weightText } from "./packed-codes.ts";
import { dotText, expertText, joinChain, type Ready, runSum } from "./packed-sums.ts";
import type { Recorder } from "./recorder.ts";

const groupSize = 64;

/** Weight rows of a group, invocations for each, and most words of workgroup memory for a row: filling it with zeros takes its time too. */
const blockRows = 4;
const lanes = groupSize / blockRows;
const rowWords = 128;

export function fewBlocks(recorder: Recorder, { kernel, type, S, N, K, operands, integers }: Ready<BlockType>): void {
  const codes = codesOf(type);
  const { halves, minimum } = codes;
  /** Blocks of a row between two barriers; one more in memory, or the chains would wait for one bank. */
  const blocksAtOnce = rowWords / (halves * (minimum ? 4 : 2));
  const blockStride = blocksAtOnce + 1;
  const size = blockRows * blockStride * halves;
  const field = (number: number) => (run: string) => `terms[${number * size}u + at + ${run}]`;
  const term = { integers: field(0), scale: field(1), minimum: field(2), rowSum: field(3) };
  /** What run `run` of a block brings to the chain. The weights' scale is a product itself: no compiler may multiply in another order than in tiles. */
  const store = (run: string, sum: string) => `
        ${term.integers(run)} = f32(${runSum(codes, "products", sum)});
        ${term.scale(run)} = opaque(scales[${run}]) * x_scale;${
          minimum
            ? `
        ${term.minimum(run)} = scales[2u + ${run}];
        ${term.rowSum(run)} = x_scale * f32(${sum});`
            : ""
        }`;
  recorder.run({
    kernel,
    variant: `few ${type}`,
    operands,
    integers,
    workgroups: Math.ceil(N / blockRows) * S,
    groupSize,
    work: S * N * K,
    text: ({ out, rows, w, w4, offsets }) => ({
      declarations: `${weightText(type, { w, w4 })}${dotText(recorder.hasDot)}${expertText(offsets, 1)}

var<workgroup> terms: array<f32, ${size * (minimum ? 4 : 2)}>;`,
      body: `
  let s = block % p.S;
  let n = block / p.S * ${blockRows} + local / ${lanes};
  let lane = local % ${lanes};
  let e = expert_of(s);
  let row = e * p.N + min(n, p.N - 1u);
  var sum = 0.0;
  for (var b0 = 0u; b0 < p.blocks; b0 += ${blocksAtOnce}u) {
    let end = min(${blocksAtOnce}u, p.blocks - b0);
    for (var t = lane; t < end; t += ${lanes}u) {
      let b = b0 + t;
      let x = (s * p.blocks + b) * 3u;
      let last = ${rows("x + 2u")};
      let x_scale = bitcast<f32>(last.x);
      let x_sums = bitcast<vec2i>(last.yz);
      let scales = scales_of(row, b);
      let at = (local / ${lanes} * ${blockStride} + t) * ${halves};
      ${
        halves === 1
          ? `var products = 0;
      for (var half = 0u; half < 2u; half++) { products += dot16(codes_of(row, b, half), ${rows("x + half")}); }
      ${store("0u", "(x_sums.x + x_sums.y)")}`
          : `for (var half = 0u; half < 2u; half++) {
        let products = dot16(codes_of(row, b, half), ${rows("x + half")});
        ${store("half", "x_sums[half]")}
      }`
      }
    }
    workgroupBarrier();
    if (lane == 0u) {
      let first = local / ${lanes} * ${blockStride * halves};
      for (var at = first; at < first + end * ${halves}; at++) {
        ${joinChain(codes, "sum", { integers: term.integers("0u"), scale: term.scale("0u"), minimum: term.minimum("0u"), rowSum: term.rowSum("0u") })}
      }
    }
    workgroupBarrier();
  }
  if (lane == 0u && n < p.N && s >= first_row(e) && s < first_row(e + 1u)) { ${out("s * p.N + n")} = sum; }`,
    }),
  });
}

/** Weight rows of a group, and numbers of each between two barriers. */
const [halfRows, halfDepth] = [16, groupSize];
const halfStride = halfDepth + 1;

export function fewHalves(recorder: Recorder, { kernel, type, S, N, K, operands, integers }: Ready<HalfType>): void {
  recorder.run({
    kernel,
    variant: `few ${type}`,
    operands,
    integers,
    workgroups: Math.ceil(N / halfRows) * S,
    groupSize,
    work: S * N * K,
    text: ({ out, rows, w, w4, offsets }) => ({
      declarations: `${weightText(type, { w, w4 })}${expertText(offsets, 1)}
var<workgroup> x_part: array<f32, ${halfDepth}>;
var<workgroup> w_part: array<f32, ${halfRows * halfStride}>;`,
      body: `
  let s = block % p.S;
  let n0 = block / p.S * ${halfRows};
  let e = expert_of(s);
  var sum = 0.0;
  for (var k0 = 0u; k0 < p.K; k0 += ${halfDepth}u) {
    let end = min(${halfDepth}u, p.K - k0);
    if (local < end) {
      x_part[local] = ${rows("s * p.K + k0 + local")};
      for (var r = 0u; r < ${halfRows}u; r++) {
        w_part[r * ${halfStride}u + local] = bitcast<f32>(half_bits(e * p.N + min(n0 + r, p.N - 1u), k0 + local));
      }
    }
    workgroupBarrier();
    if (local < ${halfRows}u) {
      for (var k = 0u; k < end; k++) { sum = fma(x_part[k], w_part[local * ${halfStride}u + k], sum); }
    }
    workgroupBarrier();
  }
  let n = n0 + local;
  if (local < ${halfRows}u && n < p.N && s >= first_row(e) && s < first_row(e + 1u)) { ${out("s * p.N + n")} = sum; }`,
    }),
  });
}
