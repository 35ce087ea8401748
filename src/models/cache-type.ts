// Which type a model's cache has where nobody says: as exact as the weights are, no more. Block weights have errors of 0.5 to 9 % (LOG.md); q8_0 rounds keys and values by less
// than 0.4 % and the query as the products with such weights round their input; 16-bit weights get a 16-bit cache; f32 weights, which may be training, keep the training
// pass's bits.

import type { CacheType } from "../core/dtype.ts";
import type { CheckpointTensor } from "./weights.ts";

export function defaultCacheType(tensors: Iterable<CheckpointTensor>): CacheType {
  let type: CacheType = "f32";
  for (const { packed, shape } of tensors) {
    if (!packed || shape.length < 2) continue;
    if (packed.type !== "f16" && packed.type !== "bf16") return "q8_0";
    type = "f16";
  }
  return type;
}
