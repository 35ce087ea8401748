// packedEmbedding: rows of a packed table by id, decoded exactly; zeros where the id lies outside. One invocation a number: the 16 that share a vector of codes
// read it together.

import type { Kernels } from "../backend.ts";
import { type BlockType, codesOf, isHalf, weightText } from "./packed-codes.ts";
import { packedMatrices, packedOperand } from "./packed-weights.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

export function packedEmbedding(recorder: Recorder): Kernels["packedEmbedding"] {
  return ({ out, table, ids, rows, width, vocab }) => {
    const matrices = packedMatrices(table, "packedEmbedding");
    const { type, operands, integers } = packedOperand(table, "packedEmbedding", { matrices, rows: vocab / matrices, width });
    recorder.run({
      kernel: "packedEmbedding",
      variant: type,
      operands: { out: write(out, "u32"), ids: read(ids, "u32"), ...operands },
      integers: { width, vocab, ...integers },
      invocations: rows * width,
      // A negative id is a large one.
      text: ({ out, ids, w, w4 }) => ({
        declarations: weightText(type, { w, w4 }),
        body: `
  let row = ${ids("i / p.width")};
  let k = i % p.width;
  var number = 0u;
  if (row < p.vocab) {
    ${isHalf(type) ? "number = half_bits(row, k);" : blockNumber(type)}
  }
  ${out("i")} = number;`,
      }),
    });
  };
}

/** Sets `number` to the bits of weight k. Products of code and scale need at most 24 bits. */
function blockNumber(type: BlockType): string {
  const { halves, minimum, offset } = codesOf(type);
  const run = halves === 2 ? "half" : "0u";
  const code = `
    let half = (k / 16u) & 1u;
    let bytes = codes_of(row, k / 32u, half)[(k / 4u) & 3u];
    let code = (bitcast<i32>(bytes << (24u - (k & 3u) * 8u)) >> 24u) - ${offset};
    let scales = scales_of(row, k / 32u);`;
  // Powers of two that reach beyond what a GPU multiplies: by the exponents, 2^-149 counted in integers.
  if (type === "mxfp4") {
    return `${code}
    let scale = bitcast<u32>(scales.x);
    let size = u32(abs(code));
    let exponent = select(i32(scale >> 23u), select(-1, 0, scale == 0x400000u), scale < 0x800000u);
    let raised = bitcast<i32>(bitcast<u32>(f32(size)) >> 23u) - 127 + exponent;
    if (raised >= 255) { number = 0x7f800000u; }
    else if (raised >= 1) { number = (bitcast<u32>(f32(size)) & 0x7fffffu) | (u32(raised) << 23u); }
    else { number = size << u32(22 + exponent); }
    number = select(number | select(0u, 0x80000000u, code < 0), 0u, size == 0u);`;
  }
  // A minimum of 0 must not turn -0 into 0, so types without one add none.
  return `${code}
    number = bitcast<u32>(f32(code) * scales[${run}]${minimum ? ` + scales[2u + ${run}]` : ""});`;
}
