// Ops that only move elements: slice, concat, expand, transpose. Each makes new contiguous storage through the strided `copy` kernel, and
// its backward is the same copy the other way round (expand: a sum). Axes may be negative: -1 is the last. f32 or i32.

import { contiguousStrides, type Shape, showShape } from "../core/shape.ts";
import { addGrad, attach, giveGrad } from "../tensor/autograd.ts";
import { empty, type Tensor, view } from "../tensor/tensor.ts";
import { expectAny, expectAxis, expectOneDevice, expectWhole, sizeOf, wrong } from "./check.ts";
import { fillWith } from "./fill.ts";
import { reshape } from "./reshape.ts";

/** Elements start..end-1 of one axis. x [..., N, ...] -> [..., end - start, ...]. 0 <= start <= end <= N. */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  expectAny("slice", "x", x);
  const at = expectAxis("slice", x, axis);
  const length = x.shape[at] as number;
  expectWhole("slice", "end", end, 0, length);
  expectWhole("slice", "start", start, 0, end);
  const shape = [...x.shape];
  shape[at] = end - start;
  const out = empty(x.storage.device, shape, x.dtype);
  const outer = sizeOf(x.shape, 0, at);
  const inner = sizeOf(x.shape, at + 1, x.shape.length);
  const width = (end - start) * inner;
  copyBlock(out, 0, width, x, start * inner, length * inner, outer, width, false);
  return attach("slice", out, [x], (dy) =>
    giveGrad(x, (dx, accumulate) => {
      if (!accumulate) fillWith(dx, 0);
      copyBlock(dx, start * inner, length * inner, dy, 0, width, outer, width, accumulate);
    }),
  );
}

/** Joins tensors along one axis; all other sizes are the same. */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  const parts = [...tensors]; // the tape keeps it
  const first = parts[0];
  if (!first) throw wrong("concat", "no parts", "at least one tensor", "pass the tensors to join");
  expectAny("concat", "parts[0]", first);
  const at = expectAxis("concat", first, axis);
  let total = 0;
  for (const [i, part] of parts.entries()) {
    expectAny("concat", `parts[${i}]`, part);
    expectOneDevice("concat", first, part);
    if (part.dtype !== first.dtype)
      throw wrong("concat", `parts[${i}] of ${part.dtype}`, `${first.dtype}, as parts[0]`, "join tensors of one dtype");
    if (part.shape.length !== first.shape.length || part.shape.some((n, d) => d !== at && n !== first.shape[d])) {
      const expected = first.shape.map((n, d) => (d === at ? "…" : n)).join(", ");
      throw wrong(
        "concat",
        `parts[${i}] ${showShape(part.shape)}`,
        `[${expected}], as parts[0]`,
        `make all sizes equal but that of axis ${at}`,
      );
    }
    total += part.shape[at] as number;
  }
  const shape = [...first.shape];
  shape[at] = total;
  const out = empty(first.storage.device, shape, first.dtype);
  const outer = sizeOf(shape, 0, at);
  const inner = sizeOf(shape, at + 1, shape.length);
  let start = 0;
  for (const part of parts) {
    const width = (part.shape[at] as number) * inner;
    copyBlock(out, start, total * inner, part, 0, width, outer, width, false);
    start += width;
  }
  return attach("concat", out, parts, (dy) => {
    let from = 0;
    for (const part of parts) {
      const width = (part.shape[at] as number) * inner;
      const offset = from;
      giveGrad(part, (dpart, accumulate) => copyBlock(dpart, 0, width, dy, offset, total * inner, outer, width, accumulate));
      from += width;
    }
  });
}

/** Copies `outer` blocks of `width` elements: from the xStart-th element of each xStride to the outStart-th of each outStride. */
function copyBlock(
  out: Tensor,
  outStart: number,
  outStride: number,
  x: Tensor,
  xStart: number,
  xStride: number,
  outer: number,
  width: number,
  accumulate: boolean,
): void {
  if (outer * width === 0) return;
  out.storage.device.kernels.copy({
    out: { buffer: out.storage.buffer, offset: out.offset + outStart },
    x: { buffer: x.storage.buffer, offset: x.offset + xStart },
    shape: [outer, width],
    outStrides: [outStride, 1],
    xStrides: [xStride, 1],
    accumulate,
  });
}

/** Repeats x along its axes of size 1: x [..., 1, ...] -> shape, which has the same number of axes. */
export function expand(x: Tensor, shape: Shape): Tensor {
  expectAny("expand", "x", x);
  if (shape.length !== x.shape.length || x.shape.some((n, i) => n !== shape[i] && n !== 1)) {
    throw wrong(
      "expand",
      `x ${showShape(x.shape)} to ${showShape(shape)}`,
      "the same sizes, but for axes of x of size 1",
      "reshape x so that the axes to repeat have size 1",
    );
  }
  const out = empty(x.storage.device, shape, x.dtype);
  const strides = contiguousStrides(x.shape);
  copyAxes(
    out,
    contiguousStrides(shape),
    x,
    strides.map((stride, i) => (x.shape[i] === shape[i] ? stride : 0)),
    shape,
    false,
  );
  return attach("expand", out, [x], (dy) => {
    // One axis at a time, the last first; the last sum goes straight into the gradient.
    const axes = shape.flatMap((n, i) => (n === x.shape[i] ? [] : [i]));
    const last = axes.shift();
    if (last === undefined) {
      addGrad(x, dy);
      return;
    }
    let rest = dy;
    for (const axis of axes.reverse()) {
      const reduced = rest.shape.with(axis, 1);
      const sum = empty(x.storage.device, reduced);
      sumOver(rest, axis, sum, false);
      rest = sum;
    }
    giveGrad(x, (dx, accumulate) => sumOver(rest, last, dx, accumulate));
  });
}

function sumOver(x: Tensor, axis: number, out: Tensor, accumulate: boolean): void {
  const outer = sizeOf(x.shape, 0, axis);
  const inner = sizeOf(x.shape, axis + 1, x.shape.length);
  x.storage.device.kernels.sumAxis({ out: view(out), x: view(x), outer, axis: x.shape[axis] as number, inner, accumulate });
}

/** Exchanges two axes. x [..., A, ..., B, ...] -> [..., B, ..., A, ...]. Shares x's storage where no element moves. */
export function transpose(x: Tensor, axisA: number, axisB: number): Tensor {
  expectAny("transpose", "x", x);
  const a = expectAxis("transpose", x, axisA);
  const b = expectAxis("transpose", x, axisB);
  const shape = swapped(x.shape, a, b);
  // Of all axes from one to the other, one alone is longer than 1: a single row, say.
  if (x.shape.slice(Math.min(a, b), Math.max(a, b) + 1).filter((n) => n !== 1).length <= 1) return reshape(x, shape);
  const out = empty(x.storage.device, shape, x.dtype);
  const xStrides = swapped(contiguousStrides(x.shape), a, b);
  const outStrides = contiguousStrides(shape);
  copyAxes(out, outStrides, x, xStrides, shape, false);
  return attach("transpose", out, [x], (dy) => giveGrad(x, (dx, accumulate) => copyAxes(dx, xStrides, dy, outStrides, shape, accumulate)));
}

function swapped(list: Shape, a: number, b: number): number[] {
  const result = [...list];
  result[a] = list[b] as number;
  result[b] = list[a] as number;
  return result;
}

/** Strided copy over any number of axes: axes of size 1 vanish, neighbours that lie contiguously merge, and what is left beyond four is looped over. */
function copyAxes(out: Tensor, outStrides: Shape, x: Tensor, xStrides: Shape, shape: Shape, accumulate: boolean): void {
  if (sizeOf(shape, 0, shape.length) === 0) return;
  const sizes: number[] = [];
  const outs: number[] = [];
  const xs: number[] = [];
  for (let i = 0; i < shape.length; i++) {
    const n = shape[i] as number;
    const outStride = outStrides[i] as number;
    const xStride = xStrides[i] as number;
    const top = sizes.length - 1;
    if (n === 1) continue;
    if (top >= 0 && outs[top] === n * outStride && xs[top] === n * xStride) {
      sizes[top] = (sizes[top] as number) * n;
      outs[top] = outStride;
      xs[top] = xStride;
    } else {
      sizes.push(n);
      outs.push(outStride);
      xs.push(xStride);
    }
  }
  copyFrom(out, out.offset, x, x.offset, sizes, outs, xs, accumulate);
}

function copyFrom(
  out: Tensor,
  outAt: number,
  x: Tensor,
  xAt: number,
  shape: Shape,
  outStrides: Shape,
  xStrides: Shape,
  accumulate: boolean,
): void {
  if (shape.length === 0) {
    copyFrom(out, outAt, x, xAt, [1], [1], [1], accumulate);
  } else if (shape.length <= 4) {
    out.storage.device.kernels.copy({
      out: { buffer: out.storage.buffer, offset: outAt },
      x: { buffer: x.storage.buffer, offset: xAt },
      shape,
      outStrides,
      xStrides,
      accumulate,
    });
  } else {
    for (let i = 0; i < (shape[0] as number); i++) {
      const nextOut = outAt + i * (outStrides[0] as number);
      const nextX = xAt + i * (xStrides[0] as number);
      copyFrom(out, nextOut, x, nextX, shape.slice(1), outStrides.slice(1), xStrides.slice(1), accumulate);
    }
  }
}
