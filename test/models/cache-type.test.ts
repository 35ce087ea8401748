import { expect, test } from "vitest";
import { defaultCacheType } from "../../src/models/cache-type.ts";
import type { CheckpointTensor } from "../../src/models/weights.ts";

function tensors(...types: readonly (readonly [string | undefined, readonly number[]])[]): CheckpointTensor[] {
  return types.map(([type, shape]) => ({ shape, ...(type && { packed: { type } }) }) as CheckpointTensor);
}

test("the cache is as exact as the weights: blocks before 16 bits before f32; vectors do not count", () => {
  expect(defaultCacheType([])).toBe("f32");
  expect(defaultCacheType(tensors([undefined, [8, 8]], ["f16", [8]]))).toBe("f32");
  expect(defaultCacheType(tensors(["bf16", [8, 8]], [undefined, [8]]))).toBe("f16");
  expect(defaultCacheType(tensors(["f16", [8, 8]], ["q4_0", [8, 32]]))).toBe("q8_0");
});
