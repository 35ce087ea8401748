// W02: the engine refuses to give a WebAssembly memory more pages, at any of the first 20 times that it is asked. What was computed before stays, nothing is
// lost of the memory that there is, and when there is more again the device goes on.

import { afterEach, expect, test } from "vitest";
import type { Device, DeviceBuffer } from "../../src/backend/backend.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import { DeviceError } from "../../src/core/errors.ts";
import { nodeHost } from "../../src/platform/node.ts";

const { grow } = WebAssembly.Memory.prototype;
afterEach(() => {
  WebAssembly.Memory.prototype.grow = grow;
});

/** From the n-th time on no memory grows. */
function refuseFrom(n: number): void {
  let asked = 0;
  WebAssembly.Memory.prototype.grow = function (this: WebAssembly.Memory, pages: number): number {
    if (++asked >= n) throw new RangeError("WebAssembly.Memory.grow(): Maximum memory size exceeded");
    return grow.call(this, pages);
  };
}

const length = 600_000; // 2.4 MB: each block is larger than what a growth leaves over

/** Blocks until one is refused, each filled with its number; then none of them has changed, and after a release there is room again. */
async function fill(device: Device, most: number): Promise<{ blocks: DeviceBuffer[]; refused: unknown }> {
  const blocks: DeviceBuffer[] = [];
  try {
    for (let i = 0; i < most; i++) {
      const block = device.allocate("f32", length);
      device.kernels.fill({ out: { buffer: block, offset: 0 }, n: length, value: i });
      blocks.push(block);
    }
  } catch (thrown) {
    return { blocks, refused: thrown };
  }
  return { blocks, refused: undefined };
}

test("W02: memory that does not grow is a DeviceError, whenever it happens; what there was stays", async () => {
  for (let n = 1; n <= 20; n++) {
    const fresh = await openWasm(nodeHost(), { threads: 1 });
    const start = fresh.memory().used;
    refuseFrom(n);
    const { blocks, refused } = await fill(fresh, 200);
    expect(refused, `growth ${n}`).toBeInstanceOf(DeviceError);
    expect((refused as DeviceError).message).toMatch(/: got .+; expected .+; .+/);
    for (const [i, block] of blocks.entries()) {
      const ends = [await fresh.read(block, 0, 2), await fresh.read(block, length - 2, 2)].flatMap((part) => [...part]);
      expect(ends).toEqual([i, i, i, i]);
    }
    const last = blocks.pop();
    if (last) {
      // What is given back can be had again without growth.
      fresh.release(last);
      blocks.push(fresh.allocate("f32", length));
    }
    WebAssembly.Memory.prototype.grow = grow;
    blocks.push(fresh.allocate("f32", length));
    for (const block of blocks) fresh.release(block);
    expect(fresh.memory().used).toBe(start);
    await fresh.close();
  }
});

test("where an eighth more is refused, what is needed is asked for", async () => {
  const device = await openWasm(nodeHost(), { threads: 1 });
  const most = Math.ceil((length * 4) / 65536) + 1;
  WebAssembly.Memory.prototype.grow = function (this: WebAssembly.Memory, pages: number): number {
    if (pages > most) throw new RangeError("not so much");
    return grow.call(this, pages);
  };
  const { blocks, refused } = await fill(device, 40);
  expect([blocks.length, refused]).toEqual([40, undefined]);
  expect([...(await device.read(blocks[39] as DeviceBuffer, length - 2, 2))]).toEqual([39, 39]);
  await device.close();
});
