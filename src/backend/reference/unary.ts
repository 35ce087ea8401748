// unary and unaryBackward: functions of one number and their derivatives. Others: sigmoid is used by swiglu.ts.

import type { Kernels, UnaryKind } from "../backend.ts";
import { floats } from "./buffer.ts";

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

const functions: Record<UnaryKind, (x: number) => number> = {
  neg: (x) => -x,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  reciprocal: (x) => 1 / x,
  sigmoid,
  silu: (x) => x * sigmoid(x),
  tanh: Math.tanh,
  square: (x) => x * x,
  abs: Math.abs,
};

const derivatives: Record<UnaryKind, (x: number) => number> = {
  neg: () => -1,
  exp: Math.exp,
  log: (x) => 1 / x,
  sqrt: (x) => 0.5 / Math.sqrt(x),
  reciprocal: (x) => -1 / (x * x),
  sigmoid: (x) => sigmoid(x) * (1 - sigmoid(x)),
  silu: siluDerivative,
  tanh: (x) => 1 - Math.tanh(x) ** 2,
  square: (x) => 2 * x,
  abs: Math.sign,
};

export function siluDerivative(x: number): number {
  const s = sigmoid(x);
  return s * (1 + x * (1 - s));
}

export const unary: Kernels["unary"] = ({ kind, out, x, n }) => {
  const f = functions[kind];
  const to = floats(out, n);
  const from = floats(x, n);
  for (let i = 0; i < n; i++) to[i] = f(from[i]!);
};

export const unaryBackward: Kernels["unaryBackward"] = ({ kind, dx, dy, x, n, accumulate }) => {
  const f = derivatives[kind];
  const to = floats(dx, n);
  const given = floats(dy, n);
  const from = floats(x, n);
  for (let i = 0; i < n; i++) {
    const value = given[i]! * f(from[i]!);
    to[i] = accumulate ? to[i]! + value : value;
  }
};
