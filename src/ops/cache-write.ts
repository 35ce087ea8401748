// Writes rows of keys or values into a cache, whatever type it holds: f32 rows as they are, narrow ones rounded (backend.ts, cacheWrite). No gradient.

import { type CacheType, cacheRowWords } from "../core/dtype.ts";
import { showShape } from "../core/shape.ts";
import { type Tensor, view } from "../tensor/tensor.ts";
import { expectAny, expectIndices, expectNumbers, expectOneDevice, sizeOf, wrong } from "./check.ts";
import { scatterRows } from "./gather-rows.ts";

/**
 * cache[index[r]] = x[r]: x [R, ...], index i32 [R] with distinct values, those outside are skipped. cache is f32 [S, ...] of x's row shape, or for a narrow type i32
 * [S, cacheRowWords(type, numbers in a row)]. Throws ShapeError.
 */
export function cacheWrite(cache: Tensor, type: CacheType, x: Tensor, index: Tensor): void {
  if (type === "f32") {
    scatterRows(cache, x, index);
    return;
  }
  expectAny("cacheWrite", "cache", cache);
  expectNumbers("cacheWrite", "x", x);
  expectOneDevice("cacheWrite", cache, x);
  expectOneDevice("cacheWrite", cache, index);
  const rows = x.shape[0] ?? 0;
  expectIndices("cacheWrite", "index", index, [rows]);
  const width = sizeOf(x.shape, 1, x.shape.length);
  const words = cacheRowWords(type, width);
  if (cache.dtype !== "i32" || cache.shape.length !== 2 || cache.shape[1] !== words)
    throw wrong(
      "cacheWrite",
      `rows of ${width} numbers into ${cache.dtype} ${showShape(cache.shape)}`,
      `i32 [S, ${words}] for ${type}`,
      "use a cache made by this model's makeCache",
    );
  const cacheRows = cache.shape[0] as number;
  if (rows * width * cacheRows === 0) return;
  cache.storage.device.kernels.cacheWrite({ cache: view(cache), x: view(x), index: view(index), rows, width, cacheRows, type });
}
