// Elementwise functions of one tensor. The backward pass computes f'(x) again from x, so nothing but x is kept.

import type { UnaryKind } from "../backend/backend.ts";
import { attach, giveGrad } from "../tensor/autograd.ts";
import { empty, size, type Tensor, view } from "../tensor/tensor.ts";
import { expectNumbers } from "./check.ts";

export function neg(x: Tensor): Tensor {
  return unary("neg", x);
}

export function exp(x: Tensor): Tensor {
  return unary("exp", x);
}

/** Natural logarithm. */
export function log(x: Tensor): Tensor {
  return unary("log", x);
}

export function sqrt(x: Tensor): Tensor {
  return unary("sqrt", x);
}

export function reciprocal(x: Tensor): Tensor {
  return unary("reciprocal", x);
}

export function sigmoid(x: Tensor): Tensor {
  return unary("sigmoid", x);
}

/** x·sigmoid(x). */
export function silu(x: Tensor): Tensor {
  return unary("silu", x);
}

export function tanh(x: Tensor): Tensor {
  return unary("tanh", x);
}

export function square(x: Tensor): Tensor {
  return unary("square", x);
}

export function abs(x: Tensor): Tensor {
  return unary("abs", x);
}

function unary(kind: UnaryKind, x: Tensor): Tensor {
  expectNumbers(kind, "x", x);
  const n = size(x);
  const out = empty(x.storage.device, x.shape);
  if (n > 0) x.storage.device.kernels.unary({ kind, out: view(out), x: view(x), n });
  return attach(kind, out, [x], (dy) =>
    giveGrad(x, (dx, accumulate) =>
      dx.storage.device.kernels.unaryBackward({ kind, dx: view(dx), dy: view(dy), x: view(x), n, accumulate }),
    ),
  );
}
