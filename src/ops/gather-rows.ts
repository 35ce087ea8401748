// Rows chosen by index: gatherRows reads them, scatterRows writes them in place (the cache of attention). Devices bound every index.

import { showShape } from "../core/shape.ts";
import { attach, gradToAddTo } from "../tensor/autograd.ts";
import { empty, type Tensor, view } from "../tensor/tensor.ts";
import { expectAny, expectIndices, expectOneDevice, sizeOf, wrong } from "./check.ts";
import { fillWith } from "./fill.ts";

/** out[r] = x[index[r]]: x [N, ...], index i32 [R] -> [R, ...]. An index outside 0..N-1 gives zeros. Differentiable in x. */
export function gatherRows(x: Tensor, index: Tensor): Tensor {
  expectAny("gatherRows", "x", x);
  if (x.shape.length === 0) throw wrong("gatherRows", "x []", "x [N, ...]", "reshape x to have rows");
  const rows = rowsOfIndex("gatherRows", index);
  expectOneDevice("gatherRows", x, index);
  const xRows = x.shape[0] as number;
  const width = sizeOf(x.shape, 1, x.shape.length);
  const out = empty(x.storage.device, x.shape.with(0, rows), x.dtype);
  if (rows * width > 0) {
    if (xRows === 0) fillWith(out, 0);
    else x.storage.device.kernels.gatherRows({ out: view(out), x: view(x), index: view(index), rows, width, xRows });
  }
  return attach("gatherRows", out, [x], (dy) => {
    const dx = gradToAddTo(x); // the gradient of an embedding is the same sum over equal indices
    if (dx) dx.storage.device.kernels.embeddingBackward({ dtable: view(dx), dy: view(dy), ids: view(index), rows, width, vocab: xRows });
  });
}

/** out[index[r]] = x[r] in place: out [N, ...], x [R, ...], index i32 [R] with distinct values; those outside 0..N-1 are skipped. No gradient. */
export function scatterRows(out: Tensor, x: Tensor, index: Tensor): void {
  expectAny("scatterRows", "out", out);
  expectAny("scatterRows", "x", x);
  const rows = rowsOfIndex("scatterRows", index);
  expectOneDevice("scatterRows", out, x);
  expectOneDevice("scatterRows", out, index);
  if (out.dtype !== x.dtype) throw wrong("scatterRows", `x of ${x.dtype}`, `${out.dtype}, as out`, "pass rows of the same dtype");
  const fits = out.shape.length > 0 && out.shape.length === x.shape.length && x.shape[0] === rows;
  if (!fits || x.shape.some((n, i) => i > 0 && n !== out.shape[i])) {
    const expected = [rows, ...out.shape.slice(1)];
    throw wrong(
      "scatterRows",
      `x ${showShape(x.shape)} into ${showShape(out.shape)} by ${rows} indices`,
      `x ${showShape(expected)}`,
      "give one index for each row and rows of the same width",
    );
  }
  const width = sizeOf(x.shape, 1, x.shape.length);
  const outRows = out.shape[0] as number;
  if (rows * width * outRows === 0) return;
  out.storage.device.kernels.scatterRows({ out: view(out), x: view(x), index: view(index), rows, width, outRows });
}

function rowsOfIndex(operation: string, index: Tensor): number {
  if (index.shape.length !== 1) throw wrong(operation, `index ${showShape(index.shape)}`, "index [R]", "reshape index to one axis");
  expectIndices(operation, "index", index, index.shape);
  return index.shape[0] as number;
}
