// binary: two operands by elements; the second is repeated and cycled, which covers equal shapes, row vectors, columns and scalars.

import type { BinaryKind, Kernels } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

const functions: Record<BinaryKind, string> = {
  add: "a + b",
  sub: "a - b",
  mul: "a * b",
  div: "a / b",
  min: "smaller(a, b)",
  max: "larger(a, b)",
  lessEqual: "select(0.0, 1.0, is_at_most(a, b))",
  less: "select(0.0, 1.0, is_less(a, b))",
};

export function binary(recorder: Recorder): Kernels["binary"] {
  return ({ kind, out, a, b, n, bRepeat, bPeriod, accumulate }) => {
    const isSame = bRepeat === 1 && bPeriod >= n;
    recorder.run({
      kernel: "binary",
      variant: `${kind}${isSame ? " same" : ""}${accumulate ? " add" : ""}`,
      operands: { out: write(out), a: read(a), b: read(b) },
      integers: isSame ? {} : { bRepeat, bPeriod },
      invocations: n,
      text: ({ out, a, b }) => `
  let a = ${a("i")};
  let b = ${b(isSame ? "i" : "(i / p.bRepeat) % p.bPeriod")};
  ${out("i")} ${accumulate ? "+=" : "="} ${functions[kind]};`,
    });
  };
}
