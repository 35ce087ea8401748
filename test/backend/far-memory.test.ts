// Packed weights in far memories: the same bits as in the first memory, with one thread and two, spread over several memories when one is full.

import { afterAll, describe, expect, test } from "vitest";
import type { Device, DeviceBuffer } from "../../src/backend/backend.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import type { PackedType } from "../../src/core/dtype.ts";
import { Random } from "../../src/core/random.ts";
import { encodeBlocks } from "../../src/formats/blocks/index.ts";
import { nodeHost } from "../../src/platform/node.ts";

const [E, N, K, V] = [3, 37, 256, 50];

function normals(random: Random, length: number): Float32Array {
  return Float32Array.from({ length }, () => random.normal());
}

/** Every packed kernel once for each type; what it computed. */
async function results(device: Device): Promise<number[][]> {
  const random = new Random(5);
  const at = (buffer: DeviceBuffer) => ({ buffer, offset: 0 });
  const floats = (data: Float32Array) => {
    const buffer = device.allocate("f32", data.length);
    device.write(buffer, 0, data);
    return buffer;
  };
  const integers = (...data: number[]) => {
    const buffer = device.allocate("i32", data.length);
    device.write(buffer, 0, data);
    return buffer;
  };
  const all: number[][] = [];
  for (const type of ["q4_0", "q8_0", "q4_k", "q6_k", "bf16"] satisfies PackedType[]) {
    const matrix = device.allocatePacked(type, 1, N, K);
    device.writePacked(matrix, 0, encodeBlocks(type, normals(random, N * K)));
    const stack = device.allocatePacked(type, E, N, K);
    device.writePacked(stack, 0, encodeBlocks(type, normals(random, N * K)));
    device.writePacked(stack, N, encodeBlocks(type, normals(random, 2 * N * K)));
    const table = device.allocatePacked(type, 1, V, K);
    device.writePacked(table, 0, encodeBlocks(type, normals(random, V * K)));
    for (const M of [1, 9]) {
      const [out, grouped, rows] = [
        floats(new Float32Array(M * N)),
        floats(new Float32Array(M * N).fill(7)),
        floats(new Float32Array(3 * K)),
      ];
      const x = floats(normals(random, M * K));
      device.kernels.packedMatmul({ out: at(out), x: at(x), w: at(matrix), M, N, K });
      // The last row belongs to no expert and keeps what it holds.
      const offsets = integers(0, M >> 1, M >> 1, M - 1);
      device.kernels.packedGroupedMatmul({ out: at(grouped), x: at(x), w: at(stack), offsets: at(offsets), S: M, E, N, K });
      device.kernels.packedEmbedding({ out: at(rows), table: at(table), ids: at(integers(49, 0, 50)), rows: 3, width: K, vocab: V });
      for (const buffer of [out, grouped, rows]) all.push(Array.from(await device.read(buffer, 0, buffer.length)));
    }
    for (const weight of [matrix, stack, table]) device.release(weight);
  }
  return all;
}

describe("far memories", async () => {
  const near = await openWasm(nodeHost(), { threads: 2 });
  const expected = await results(near);
  afterAll(() => near.close());

  for (const threads of [1, 2]) {
    for (const [memories, capacity] of [
      [1, 2 ** 28],
      [3, 60_000],
    ] as const) {
      test(`${memories} of ${capacity} bytes, ${threads} threads: the bits of the first memory`, async () => {
        const device = await openWasm(nodeHost(), { threads, farMemories: memories, farCapacity: capacity });
        const before = device.memory().used;
        const probe = device.allocatePacked("q4_0", 1, 8, 32);
        expect(device.memory().used).toBeGreaterThan(before);
        expect((probe as { far?: number }).far).toBe(0);
        device.release(probe);
        expect(device.memory().used).toBe(before);
        expect(await results(device)).toEqual(expected);
        expect(expected[1]?.slice(-N)).toEqual(new Array(N).fill(7));
        await device.close();
      });
    }
  }
});
