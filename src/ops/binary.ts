// Elementwise ops of two tensors. The result has a's shape; b has it too, or is a suffix of it (row vector, scalar []), or has
// trailing axes of size 1 (a column, e.g. [R, 1]), or both. Element i of a meets element ⌊i / repeat⌋ mod size(b) of b, where `repeat` is the
// product of a's sizes over b's trailing ones; the gradient of b is the sum over all that it met.

import type { BinaryKind } from "../backend/backend.ts";
import { type Shape, showShape } from "../core/shape.ts";
import { addGrad, attach, giveGrad } from "../tensor/autograd.ts";
import { alias, empty, size, type Tensor, view } from "../tensor/tensor.ts";
import { expectNumbers, expectOneDevice, wrong } from "./check.ts";

export function add(a: Tensor, b: Tensor): Tensor {
  const repeat = repeatFor("add", a, b);
  return attach("add", apply("add", a, b, repeat), [a, b], (dy) => {
    addGrad(a, dy);
    if (b.requiresGrad) giveSum(b, dy, repeat);
  });
}

export function sub(a: Tensor, b: Tensor): Tensor {
  const repeat = repeatFor("sub", a, b);
  return attach("sub", apply("sub", a, b, repeat), [a, b], (dy) => {
    addGrad(a, dy);
    if (b.requiresGrad) giveNegative(b, summed(b, dy, repeat));
  });
}

export function mul(a: Tensor, b: Tensor): Tensor {
  const repeat = repeatFor("mul", a, b);
  return attach("mul", apply("mul", a, b, repeat), [a, b], (dy) => {
    giveProduct(a, dy, b, repeat);
    giveProductSum(b, dy, a, repeat);
  });
}

export function div(a: Tensor, b: Tensor): Tensor {
  const repeat = repeatFor("div", a, b);
  const out = apply("div", a, b, repeat);
  return attach("div", out, [a, b], (dy) => {
    giveGrad(a, (da, accumulate) => record("div", da, dy, b, repeat, accumulate));
    if (!b.requiresGrad) return;
    const sum = summed(b, apply("mul", dy, out, 1), repeat); // db = -Σ dy·(a/b) / b
    record("div", sum, sum, b, 1, false);
    giveNegative(b, sum);
  });
}

/** The smaller of each pair; where they are equal the gradient goes to a. */
export function minimum(a: Tensor, b: Tensor): Tensor {
  return choose("minimum", "min", "lessEqual", a, b);
}

/** The larger of each pair; where they are equal the gradient goes to a. */
export function maximum(a: Tensor, b: Tensor): Tensor {
  return choose("maximum", "max", "less", a, b);
}

/** 1 where a <= b, else 0. No gradient. */
export function lessEqual(a: Tensor, b: Tensor): Tensor {
  return apply("lessEqual", a, b, repeatFor("lessEqual", a, b));
}

/** 1 where a < b, else 0. No gradient. */
export function less(a: Tensor, b: Tensor): Tensor {
  return apply("less", a, b, repeatFor("less", a, b));
}

/** `test` gives 1 where min takes a, and where max takes b. */
function choose(name: string, kind: "min" | "max", test: "lessEqual" | "less", a: Tensor, b: Tensor): Tensor {
  const repeat = repeatFor(name, a, b);
  return attach(name, apply(kind, a, b, repeat), [a, b], (dy) => {
    const mask = apply(test, a, b, repeat);
    const rest = empty(mask.storage.device, mask.shape); // 1 - mask
    rest.storage.device.kernels.affine({ out: view(rest), x: view(mask), n: size(mask), scale: -1, shift: 1 });
    giveProduct(a, dy, kind === "min" ? mask : rest, 1);
    giveProductSum(b, dy, kind === "min" ? rest : mask, repeat);
  });
}

/** How many neighbouring elements of a meet one element of b. Throws when b does not fit a. */
function repeatFor(operation: string, a: Tensor, b: Tensor): number {
  expectNumbers(operation, "a", a);
  expectNumbers(operation, "b", b);
  expectOneDevice(operation, a, b);
  const repeat = repeatOf(a.shape, b.shape);
  if (repeat === 0) {
    const expected = `b ${showShape(a.shape)}, a suffix of it, or one with trailing axes of size 1`;
    throw wrong(operation, `a ${showShape(a.shape)} with b ${showShape(b.shape)}`, expected, "swap the operands, reshape b, or expand it");
  }
  return repeat;
}

/** 0 when b does not fit. */
function repeatOf(a: Shape, b: Shape): number {
  const skip = a.length - b.length;
  if (skip < 0) return 0;
  let high = b.length;
  while (high > 0 && b[high - 1] === a[skip + high - 1]) high--;
  if (high === 0) return 1; // same shape or suffix
  high = b.length;
  let repeat = 1;
  while (high > 0 && b[high - 1] === 1) repeat *= a[skip + --high] as number;
  let low = 0;
  while (low < high && b[low] === 1) low++;
  for (let i = low; i < high; i++) if (b[i] !== a[skip + i]) return 0;
  return Math.max(repeat, 1); // a may have no elements
}

function apply(kind: BinaryKind, a: Tensor, b: Tensor, repeat: number): Tensor {
  const out = empty(a.storage.device, a.shape);
  record(kind, out, a, b, repeat, false);
  return out;
}

function record(kind: BinaryKind, out: Tensor, a: Tensor, b: Tensor, bRepeat: number, accumulate: boolean): void {
  const n = size(a);
  if (n === 0) return;
  out.storage.device.kernels.binary({ kind, out: view(out), a: view(a), b: view(b), n, bRepeat, bPeriod: size(b), accumulate });
}

/** Gives a, which has the shape of dy, dy·factor. */
function giveProduct(a: Tensor, dy: Tensor, factor: Tensor, repeat: number): void {
  giveGrad(a, (da, accumulate) => record("mul", da, dy, factor, repeat, accumulate));
}

/** Gives b the sum of dy·factor (both of a's shape) over what each element met. */
function giveProductSum(b: Tensor, dy: Tensor, factor: Tensor, repeat: number): void {
  if (!b.requiresGrad) return;
  if (size(b) === size(dy)) giveGrad(b, (db, accumulate) => record("mul", db, dy, factor, 1, accumulate));
  else giveSum(b, apply("mul", dy, factor, 1), repeat);
}

function giveNegative(b: Tensor, x: Tensor): void {
  giveGrad(b, (db, accumulate) =>
    db.storage.device.kernels.affine({ out: view(db), x: view(x), n: size(b), scale: -1, shift: 0, accumulate }),
  );
}

function giveSum(b: Tensor, full: Tensor, repeat: number): void {
  if (size(b) === size(full)) addGrad(b, alias(full, b.shape));
  else giveGrad(b, (db, accumulate) => sumInto(db, full, repeat, accumulate));
}

/** The sum of `full` over what each element of b met, in b's shape; shares storage with `full` when there is nothing to sum. */
function summed(b: Tensor, full: Tensor, repeat: number): Tensor {
  if (size(b) === size(full)) return alias(full, b.shape);
  const sum = empty(b.storage.device, b.shape);
  sumInto(sum, full, repeat, false);
  return sum;
}

/** full [outer, period, repeat] -> out [period], the inner sum first. */
function sumInto(out: Tensor, full: Tensor, repeat: number, accumulate: boolean): void {
  const { kernels } = out.storage.device;
  const period = size(out);
  const outer = size(full) / (period * repeat);
  if (outer === 1) {
    kernels.sumAxis({ out: view(out), x: view(full), outer: period, axis: repeat, inner: 1, accumulate });
    return;
  }
  let x = full;
  if (repeat > 1) {
    x = empty(out.storage.device, [outer * period]);
    kernels.sumAxis({ out: view(x), x: view(full), outer: outer * period, axis: repeat, inner: 1 });
  }
  kernels.sumAxis({ out: view(out), x: view(x), outer: 1, axis: outer, inner: period, accumulate });
}
