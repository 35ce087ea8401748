// Packed products for few rows: a group of 64 invocations makes a few elements of one row of x. All of them read weights, each block by the invocation next to its
// neighbour's; what joins the chain goes into workgroup memory, and one invocation an element adds it up in order. Elements of one weight row lie next to one another among
// the groups, so that rows of x after the first find the weights in a cache.

import { codesOf, isHalf, weightText } from "./packed-codes.ts";
import type { Ready } from "./packed-product.ts";
import { dotText, expertText, joinChain, runSum } from "./packed-sums.ts";
import type { Recorder } from "./recorder.ts";

const groupSize = 64;

/** Weight rows of a group, and blocks of each between two barriers. One more in memory, or the chains would wait for one bank. */
const [blockRows, blocksAtOnce] = [4, 64];
const lanes = groupSize / blockRows;
const blockStride = blocksAtOnce + 1;

export function fewBlocks(recorder: Recorder, { kernel, type, S, N, K, operands, integers }: Ready): void {
  if (isHalf(type)) return;
  const codes = codesOf(type);
  const { halves, minimum } = codes;
  const runs = [...Array(halves).keys()];
  const fields = minimum ? ["integers", "run_scales", "minimums", "row_sums"] : ["integers", "run_scales"];
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
${fields.map((name) => `var<workgroup> ${name}: array<f32, ${blockRows * blockStride * halves}>;`).join("\n")}`,
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
      let first = dot16(codes_of(row, b, 0u), ${rows("x")});
      let second = dot16(codes_of(row, b, 1u), ${rows("x + 1u")});
      let at = (local / ${lanes} * ${blockStride} + t) * ${halves};
${runs
  .map((run) => {
    const [products, rowSum] =
      halves === 2 ? [["first", "second"][run] as string, `x_sums[${run}]`] : ["(first + second)", "(x_sums.x + x_sums.y)"];
    const least = `
      minimums[at + ${run}] = scales[${2 + run}];
      row_sums[at + ${run}] = x_scale * f32(${rowSum});`;
    return `      integers[at + ${run}] = f32(${runSum(codes, products, rowSum)});
      run_scales[at + ${run}] = scales[${run}] * x_scale;${minimum ? least : ""}`;
  })
  .join("\n")}
    }
    workgroupBarrier();
    if (lane == 0u) {
      let first = local / ${lanes} * ${blockStride * halves};
      for (var at = first; at < first + end * ${halves}; at++) {
        ${joinChain(codes, "sum", { integers: "integers[at]", scale: "run_scales[at]", minimum: "minimums[at]", rowSum: "row_sums[at]" })}
      }
    }
    workgroupBarrier();
  }
  if (lane == 0u && n < p.N && s >= first_row(e) && s < first_row(e + 1u)) { ${out("s * p.N + n")} = sum; }`,
    }),
  });
}

/** Weight rows of a group, and numbers of each between two barriers. */
const [halfRows, halfDepth] = [16, 128];
const halfStride = halfDepth + 1;

export function fewHalves(recorder: Recorder, { kernel, type, S, N, K, operands, integers }: Ready): void {
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
    for (var k = local; k < end; k += ${groupSize}u) { x_part[k] = ${rows("s * p.K + k0 + k")}; }
    for (var i = local; i < ${halfRows * halfDepth}u; i += ${groupSize}u) {
      let r = i / ${halfDepth}u;
      let k = i % ${halfDepth}u;
      if (k < end) { w_part[r * ${halfStride}u + k] = bitcast<f32>(half_bits(e * p.N + min(n0 + r, p.N - 1u), k0 + k)); }
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
