// binary: two operands by elements; the second is repeated and cycled, which covers equal shapes, row vectors, columns and scalars.

import type { BinaryKind, Kernels } from "../backend.ts";
import { floats } from "./buffer.ts";

const functions: Record<BinaryKind, (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  min: (a, b) => Math.min(a, b),
  max: (a, b) => Math.max(a, b),
  lessEqual: (a, b) => (a <= b ? 1 : 0),
  less: (a, b) => (a < b ? 1 : 0),
};

export const binary: Kernels["binary"] = ({ kind, out, a, b, n, bRepeat, bPeriod, accumulate }) => {
  const f = functions[kind];
  const to = floats(out, n);
  const left = floats(a, n);
  const right = floats(b, n === 0 ? 0 : Math.min(bPeriod, Math.floor((n - 1) / bRepeat) + 1));
  for (let i = 0; i < n; i++) {
    const value = f(left[i]!, right[Math.floor(i / bRepeat) % bPeriod]!);
    to[i] = accumulate ? to[i]! + value : value;
  }
};
