// The kernels on a memory that is not shared, as in a page that is not cross-origin isolated: the module is patched to import one, every kernel still agrees
// with the reference, and views that a growing memory leaves behind are never used again.

import { expect, test } from "vitest";
import { selfTest } from "../../src/backend/self-test.ts";
import { relaxed, simd128 } from "../../src/backend/wasm/generated/modules.ts";
import { SharedHeap } from "../../src/backend/wasm/memory.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import { withUnsharedMemory } from "../../src/backend/wasm/unshared.ts";
import { nodeHost } from "../../src/platform/node.ts";

const host = { ...nodeHost(), sharesMemory: false };

test.each(["relaxed", "simd128"] as const)("the %s build agrees with the reference, in one thread whatever is asked for", async (build) => {
  const device = await openWasm(host, { build, threads: 4 });
  expect(device.info.threads).toBe(1);
  expect(await selfTest(device)).toEqual([]);
  await device.close();
});

test.each([
  ["relaxed", relaxed],
  ["simd128", simd128],
])("only one bit of the %s module changes", (_, text) => {
  const module = new Uint8Array(Buffer.from(text, "base64"));
  const patched = withUnsharedMemory(module);
  const changed = [...patched.keys()].filter((at) => patched[at] !== module[at]);
  expect(changed).toHaveLength(1);
  expect((module[changed[0] as number] as number) ^ (patched[changed[0] as number] as number)).toBe(2);
});

test("what is written before and after the memory grows is read back", async () => {
  const heap = new SharedHeap(false);
  expect(heap.memory.buffer).toBeInstanceOf(ArrayBuffer);
  const device = await openWasm(host, { build: "relaxed" });
  const first = device.allocate("f32", 1000);
  device.write(first, 0, new Float32Array(1000).fill(3));
  const second = device.allocate("f32", 2 ** 23);
  device.write(second, 0, new Float32Array(2 ** 23).fill(5));
  expect((await device.read(first, 999, 1))[0]).toBe(3);
  expect((await device.read(second, 2 ** 23 - 1, 1))[0]).toBe(5);
  await device.close();
});

test("packed weights beyond the first memory lie in unshared ones too", async () => {
  const device = await openWasm(host, { build: "relaxed", farMemories: 2, farCapacity: 2 ** 28 });
  expect(await selfTest(device)).toEqual([]);
  await device.close();
});
