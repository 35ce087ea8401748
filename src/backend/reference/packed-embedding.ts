// packedEmbedding: rows of a packed table by id, decoded. Ids outside the table give zeros.

import type { Kernels } from "../backend.ts";
import { floats, ints, packedFloats } from "./buffer.ts";

export const packedEmbedding: Kernels["packedEmbedding"] = ({ out, table, ids, rows, width, vocab }) => {
  const to = floats(out, rows * width);
  const from = packedFloats(table, vocab * width);
  const id = ints(ids, rows);
  for (let r = 0; r < rows; r++) {
    const inside = id[r]! >= 0 && id[r]! < vocab;
    for (let c = 0; c < width; c++) to[r * width + c] = inside ? from[id[r]! * width + c]! : 0;
  }
};
