// unary and unaryBackward: functions of one number and their derivatives.

import type { Kernels, UnaryKind } from "../backend.ts";
import { read, write } from "./program.ts";
import type { Recorder } from "./recorder.ts";

const functions: Record<UnaryKind, string> = {
  neg: "-x",
  exp: "exp_of(x)",
  log: "log_of(x)",
  sqrt: "root_of(x)",
  reciprocal: "1.0 / x",
  sigmoid: "sigmoid_of(x)",
  silu: "x * sigmoid_of(x)",
  tanh: "tanh_of(x)",
  square: "x * x",
  abs: "abs(x)",
};

const derivatives: Record<UnaryKind, string> = {
  neg: "-1.0",
  exp: "exp_of(x)",
  log: "1.0 / x",
  sqrt: "0.5 / root_of(x)",
  reciprocal: "-1.0 / (x * x)",
  sigmoid: "sigmoid_slope(x)",
  silu: "silu_slope(x)",
  tanh: "tanh_slope(x)",
  square: "x + x",
  abs: "select(f32(sign(x)), x, is_nan(x))",
};

export function unary(recorder: Recorder): Kernels["unary"] {
  return ({ kind, out, x, n }) =>
    recorder.run({
      kernel: "unary",
      variant: kind,
      operands: { out: write(out), x: read(x) },
      invocations: n,
      text: ({ out, x }) => `
  let x = ${x("i")};
  ${out("i")} = ${functions[kind]};`,
    });
}

export function unaryBackward(recorder: Recorder): Kernels["unaryBackward"] {
  return ({ kind, dx, dy, x, n, accumulate }) =>
    recorder.run({
      kernel: "unaryBackward",
      variant: `${kind}${accumulate ? " add" : ""}`,
      operands: { dx: write(dx), dy: read(dy), x: read(x) },
      invocations: n,
      text: ({ dx, dy, x }) => `
  let x = ${x("i")};
  ${dx("i")} ${accumulate ? "+=" : "="} ${dy("i")} * (${derivatives[kind]});`,
    });
}
