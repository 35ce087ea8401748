// Rows of a table by token id. Its gradient adds the rows of equal ids in ascending order.

import { isPackedType } from "../core/dtype.ts";
import { attach, gradToAddTo } from "../tensor/autograd.ts";
import { empty, type Tensor, view } from "../tensor/tensor.ts";
import { expectIndices, expectNumbers, expectOneDevice, expectRank } from "./check.ts";
import { fillWith } from "./fill.ts";
import { packedEmbedding } from "./packed-embedding.ts";

/** table [V, C], ids i32 [R] -> [R, C]. Ids outside 0..V-1 give zeros. A packed table is decoded exactly and has no gradient. */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  if (isPackedType(table.dtype)) return packedEmbedding(table, ids);
  expectNumbers("embedding", "table", table);
  expectRank("embedding", "table", table, 2, "V, C");
  expectRank("embedding", "ids", ids, 1, "R");
  expectIndices("embedding", "ids", ids, ids.shape);
  expectOneDevice("embedding", table, ids);
  const [vocab, width] = table.shape as [number, number];
  const rows = ids.shape[0] as number;
  const { device } = table.storage;
  const out = empty(device, [rows, width]);
  if (vocab === 0) fillWith(out, 0);
  else if (rows * width > 0) device.kernels.embedding({ out: view(out), table: view(table), ids: view(ids), rows, width, vocab });
  return attach("embedding", out, [table], (dy) => {
    const dtable = gradToAddTo(table);
    if (dtable) device.kernels.embeddingBackward({ dtable: view(dtable), dy: view(dy), ids: view(ids), rows, width, vocab });
  });
}
