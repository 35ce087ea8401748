// Rows of a packed table by id, decoded exactly; no backward pass. embedding calls it when its table is packed.

import { empty, type Tensor, view } from "../tensor/tensor.ts";
import { expectIndices, expectOneDevice, expectPacked, expectRank, sizeOf } from "./check.ts";

/** table [..., V, C] of a packed type, all rows counted on; ids i32 [R] -> [R, C]. Ids outside give zeros. */
export function packedEmbedding(table: Tensor, ids: Tensor): Tensor {
  expectPacked("packedEmbedding", "table", table);
  expectRank("packedEmbedding", "ids", ids, 1, "R");
  expectIndices("packedEmbedding", "ids", ids, ids.shape);
  expectOneDevice("packedEmbedding", table, ids);
  const width = table.shape.at(-1) as number;
  const vocab = sizeOf(table.shape, 0, table.shape.length - 1);
  const rows = ids.shape[0] as number;
  const { device } = table.storage;
  const out = empty(device, [rows, width]);
  if (rows * width > 0) device.kernels.packedEmbedding({ out: view(out), table: view(table), ids: view(ids), rows, width, vocab });
  return out;
}
