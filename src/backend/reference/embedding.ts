// embedding and embeddingBackward: rows of a table by id. Ids outside the table give zeros and no gradient.

import type { Kernels } from "../backend.ts";
import { floats, ints } from "./buffer.ts";

export const embedding: Kernels["embedding"] = ({ out, table, ids, rows, width, vocab }) => {
  const to = floats(out, rows * width);
  const from = floats(table, vocab * width);
  const id = ints(ids, rows);
  for (let r = 0; r < rows; r++) {
    const inside = id[r]! >= 0 && id[r]! < vocab;
    for (let c = 0; c < width; c++) to[r * width + c] = inside ? from[id[r]! * width + c]! : 0;
  }
};

export const embeddingBackward: Kernels["embeddingBackward"] = ({ dtable, dy, ids, rows, width, vocab }) => {
  const to = floats(dtable, vocab * width);
  const given = floats(dy, rows * width);
  const id = ints(ids, rows);
  for (let r = 0; r < rows; r++) {
    if (id[r]! < 0 || id[r]! >= vocab) continue;
    for (let c = 0; c < width; c++) to[id[r]! * width + c]! += given[r * width + c]!;
  }
};
