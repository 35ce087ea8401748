// gatherRows: copies the rows that an index names; a row of zeros where the index lies outside.

import type { Kernels } from "../backend.ts";
import { elements, ints } from "./buffer.ts";

export const gatherRows: Kernels["gatherRows"] = ({ out, x, index, rows, width, xRows }) => {
  const to = elements(out, rows * width);
  const from = elements(x, xRows * width);
  const at = ints(index, rows);
  for (let r = 0; r < rows; r++) {
    const row = at[r]!;
    const inside = row >= 0 && row < xRows;
    for (let c = 0; c < width; c++) to[r * width + c] = inside ? from[row * width + c]! : 0;
  }
};
