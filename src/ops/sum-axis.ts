// Sums: over one axis, over everything, and the mean. The sum over everything goes over the last axis first and then over its results,
// which is more exact than one long chain and can run on several threads.

import { attach, giveGrad } from "../tensor/autograd.ts";
import { empty, size, type Tensor, view } from "../tensor/tensor.ts";
import { expectAxis, expectNumbers, sizeOf, wrong } from "./check.ts";
import { fillWith } from "./fill.ts";

/** x [..., N, ...] -> [..., ...] without that axis. -1 is the last axis. The sum of nothing is 0. */
export function sumAxis(x: Tensor, axis: number): Tensor {
  expectNumbers("sumAxis", "x", x);
  const at = expectAxis("sumAxis", x, axis);
  const outer = sizeOf(x.shape, 0, at);
  const length = x.shape[at] as number;
  const inner = sizeOf(x.shape, at + 1, x.shape.length);
  const out = empty(x.storage.device, x.shape.toSpliced(at, 1));
  recordSum(out, x, outer, length, inner);
  return attach("sumAxis", out, [x], (dy) => spread(x, dy, outer, length, inner));
}

/** x of any shape -> []. */
export function sum(x: Tensor): Tensor {
  const out = total("sum", x);
  return attach("sum", out, [x], (dy) => spread(x, dy, 1, size(x), 1));
}

/** x of any shape with at least one element -> []. */
export function mean(x: Tensor): Tensor {
  const n = size(x);
  if (n === 0) throw wrong("mean", `x [${x.shape.join(", ")}]`, "at least one element", "leave out the mean of nothing");
  const out = total("mean", x);
  const { device } = x.storage;
  device.kernels.affine({ out: view(out), x: view(out), n: 1, scale: 1 / n, shift: 0 });
  return attach("mean", out, [x], (dy) => {
    const share = empty(device, []);
    device.kernels.affine({ out: view(share), x: view(dy), n: 1, scale: 1 / n, shift: 0 });
    spread(x, share, 1, n, 1);
  });
}

function total(operation: string, x: Tensor): Tensor {
  expectNumbers(operation, "x", x);
  const { device } = x.storage;
  const n = size(x);
  const width = x.shape.at(-1) ?? 1;
  const rows = width > 0 ? n / width : 0;
  const out = empty(device, []);
  if (rows <= 1 || width <= 1) {
    recordSum(out, x, 1, n, 1);
  } else {
    const sums = empty(device, [rows]);
    recordSum(sums, x, rows, width, 1);
    recordSum(out, sums, 1, rows, 1);
    sums.storage.free(); // no one else has seen it; recorded commands still read it
  }
  return out;
}

function recordSum(out: Tensor, x: Tensor, outer: number, axis: number, inner: number): void {
  if (outer * inner === 0) return;
  if (axis === 0) fillWith(out, 0);
  else x.storage.device.kernels.sumAxis({ out: view(out), x: view(x), outer, axis, inner });
}

/** The backward of a sum: every element of x gets the gradient of the sum that it went into. */
function spread(x: Tensor, dy: Tensor, outer: number, axis: number, inner: number): void {
  giveGrad(x, (dx, accumulate) =>
    dx.storage.device.kernels.copy({
      out: view(dx),
      x: view(dy),
      shape: [outer, axis, inner],
      outStrides: [axis * inner, inner, 1],
      xStrides: [inner, 0, 1],
      accumulate,
    }),
  );
}
