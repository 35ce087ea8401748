// scatterRows: writes rows to the places that an index names (cache writes); places outside are skipped.

import type { Kernels } from "../backend.ts";
import { elements, ints } from "./buffer.ts";

export const scatterRows: Kernels["scatterRows"] = ({ out, x, index, rows, width, outRows }) => {
  const to = elements(out, outRows * width);
  const from = elements(x, rows * width);
  const at = ints(index, rows);
  for (let r = 0; r < rows; r++) {
    const row = at[r]!;
    if (row < 0 || row >= outRows) continue;
    for (let c = 0; c < width; c++) to[row * width + c] = from[r * width + c]!;
  }
};
