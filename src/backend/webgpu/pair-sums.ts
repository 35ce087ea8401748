// Sums of rows in pairs of floats (math.ts), however long: fixed chunks of 4,096 terms for a group each, whose sums are summed in the same way. A sum is
// within u of its size and 2^-34·Σ|t| beside. Squares of small numbers are summed apart, as multiples of 2^-128: where a product is nearly as small as numbers get,
// its rounding error is no number any more.

import type { View } from "../backend.ts";
import { defaultGroupSize, read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

const chunk = 4096;
/** Numbers below it are squared as multiples of 2^-64, which brings no error. */
const small = 2 ** -40;

type Sums = {
  readonly kernel: string;
  /** [rows] */
  readonly out: View;
  /** [rows, width] */
  readonly x: View;
  readonly rows: number;
  readonly width: number;
  readonly accumulate: boolean;
};

/** out[r] (+)= Σ x[r], or Σ x[r]². */
export function sumRows(recorder: Recorder, sums: Sums, terms: "values" | "squares"): void {
  level(recorder, sums, terms, terms === "squares" ? 2 : 1, sums.x, sums.width);
}

/** `from` holds `width` terms for each row: numbers, or `parts` pairs in a row. */
function level(recorder: Recorder, sums: Sums, terms: "values" | "squares" | "pairs", parts: number, from: View, width: number): void {
  const { kernel, out, rows, accumulate } = sums;
  const chunks = Math.max(Math.ceil(width / chunk), 1);
  const isLast = chunks === 1;
  const run = (to: View) =>
    recorder.run({
      kernel,
      variant: `sum of ${parts} ${terms}${isLast ? `, the last${accumulate ? " added" : ""}` : ""}`,
      operands: { to: write(to), from: read(from) },
      integers: { width, chunks },
      workgroups: rows * chunks,
      work: rows * width * 32,
      text: ({ to, from }) => {
        const all = (line: (part: number) => string) => Array.from({ length: parts }, (_, part) => line(part)).join("\n");
        const term = {
          values: `sum_0 = add_term(sum_0, ${from("at")}, 0.0);`,
          squares: `let x = ${from("at")};
    if (abs(x) < ${small}) {
      let multiple = x * ${2 ** 64}.0;
      let square = two_product(multiple, multiple);
      sum_1 = add_term(sum_1, square.x, square.y);
    } else {
      let square = two_product(x, x);
      sum_0 = add_term(sum_0, square.x, square.y);
    }`,
          pairs: all(
            (part) =>
              `sum_${part} = add_term(sum_${part}, ${from(`at * ${2 * parts} + ${2 * part}`)}, ${from(`at * ${2 * parts} + ${2 * part + 1}`)});`,
          ),
        }[terms];
        return {
          declarations: `${all((part) => `var<workgroup> sums_${part}: array<vec2f, ${defaultGroupSize}>;`)}
/** What is left over is summed plainly: it is small. */
fn add_term(sum: vec2f, value: f32, rest: f32) -> vec2f {
  let s = two_sum(sum.x, value);
  return vec2f(s.x, sum.y + (s.y + rest));
}
fn finished(sum: vec2f) -> vec2f { return add_pairs(vec2f(sum.x, 0.0), vec2f(select(0.0, sum.y, is_finite(sum.x)), 0.0)); }`,
          body: `
  let row = block / p.chunks;
  let first = block % p.chunks * ${chunk};
  let end = min(first + ${chunk}, p.width);
${all((part) => `  var sum_${part} = vec2f(0.0);`)}
  for (var c = first + local; c < end; c += ${defaultGroupSize}) {
    let at = row * p.width + c;
    ${term}
  }
${all((part) => `  sums_${part}[local] = finished(sum_${part});`)}
  workgroupBarrier();
  for (var n = ${defaultGroupSize / 2}u; n > 0; n /= 2) {
    if (local < n) {
${all((part) => `      sums_${part}[local] = add_pairs(sums_${part}[local], sums_${part}[local + n]);`)}
    }
    workgroupBarrier();
  }
  if (local > 0) { return; }
${isLast ? last(parts, accumulate, to("row")) : all((part) => `  ${to(`block * ${2 * parts} + ${2 * part}`)} = sums_${part}[0].x;\n  ${to(`block * ${2 * parts} + ${2 * part + 1}`)} = sums_${part}[0].y;`)}`,
        };
      },
    });
  if (isLast) run(out);
  else {
    recorder.withScratch(rows * chunks * parts * 2, (partial) => {
      run(partial);
      level(recorder, sums, "pairs", parts, partial, chunks);
    });
  }
}

function last(parts: number, accumulate: boolean, out: string): string {
  return `  var sum = sums_0[0];
${parts === 2 ? `  sum = add_pairs(sum, vec2f(opaque(sums_1[0].x * ${2 ** -64}), opaque(sums_1[0].y * ${2 ** -64})) * ${2 ** -64});` : ""}
${accumulate ? `  sum = add_pairs(sum, vec2f(${out}, 0.0));` : ""}
  ${out} = sum.x;`;
}
