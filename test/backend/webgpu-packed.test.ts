// Packed weights on the WebGPU device, beside the kernels' own cases: their memory, weights beyond what a shader may bind, and the way without the language's
// sums of products of bytes, which must have the same bits.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packedSamples } from "../../src/backend/packed-samples.ts";
import type { WebGpuDevice } from "../../src/backend/webgpu/device.ts";
import { openWebGpu } from "../../src/backend/webgpu/open.ts";
import { type PackedType, packedRowBytes, packedTypes } from "../../src/core/dtype.ts";
import { DeviceError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { decodeBlocks } from "../../src/formats/blocks/index.ts";
import { packedGroupedMatmulCases, packedMatmulCases } from "./cases/packed.ts";
import { checkCase } from "./kernel-case.ts";
import { packedMemoryTests } from "./packed-memory-cases.ts";
import { testGpu } from "./webgpu-adapter.ts";

const types = Object.keys(packedTypes) as PackedType[];
/** Compiling takes long without a GPU. */
const timeout = 300_000;

describe.skipIf(!testGpu)("packed weights on the webgpu device", () => {
  const gpu = testGpu as GPU;
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openWebGpu(gpu);
  });
  afterAll(() => device?.close());

  packedMemoryTests(() => device, types);

  test("a weight larger than a shader may bind is refused, and says how large one may be", async () => {
    const small = await openWebGpu(gpu, { limits: { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 } });
    const rows = 2 ** 27 / packedRowBytes("q4_k", 4096);
    expect(() => small.allocatePacked("q4_k", 1, Math.ceil(rows) + 1, 4096)).toThrow(DeviceError);
    expect(() => small.allocatePacked("q4_k", 1, Math.ceil(rows) + 1, 4096)).toThrow(/134217728 bytes in one buffer/);
    expect(() => small.allocatePacked("q4_k", 2 ** 30, 2 ** 30, 4096)).toThrow(/sizes|multiple/);
    const fits = small.allocatePacked("q4_k", 1, Math.floor(rows), 4096);
    small.release(fits);
    await small.close();
  });

  test("rows that are written in several pieces by one call are where they belong", async () => {
    const [type, rows, width] = ["q8_0", 1500, 4096] as const;
    const bytes = packedSamples(new Random(2), type, rows * width);
    const table = device.allocatePacked(type, 1, rows, width);
    device.writePacked(table, 0, bytes);
    const wanted = [0, 963, 964, 1498, 1499];
    const ids = device.allocate("i32", wanted.length);
    device.write(ids, 0, wanted);
    const out = device.allocate("f32", wanted.length * width);
    const at = (buffer: typeof out) => ({ buffer, offset: 0 });
    device.kernels.packedEmbedding({ out: at(out), table: at(table), ids: at(ids), rows: wanted.length, width, vocab: rows });
    const got = await device.read(out, 0, out.length);
    const rowBytes = packedRowBytes(type, width);
    for (const [i, row] of wanted.entries()) {
      const expected = new Float32Array(width);
      decodeBlocks(type, bytes.subarray(row * rowBytes, (row + 1) * rowBytes), expected);
      expect(got.slice(i * width, (i + 1) * width), `row ${row}`).toEqual(expected);
    }
    for (const buffer of [table, ids, out]) device.release(buffer);
  });

  test("powers of two at either end of mxfp4 are decoded exactly", async () => {
    const [rows, width] = [6, 32];
    const bytes = new Uint8Array(rows * 17);
    for (const [row, exponent] of [0, 1, 2, 128, 254, 255].entries()) {
      bytes[row * 17] = exponent;
      for (let i = 0; i < 16; i++) bytes[row * 17 + 1 + i] = i | ((15 - i) << 4);
    }
    const expected = new Float32Array(rows * width);
    decodeBlocks("mxfp4", bytes, expected);
    const table = device.allocatePacked("mxfp4", 1, rows, width);
    device.writePacked(table, 0, bytes);
    const ids = device.allocate("i32", rows);
    device.write(ids, 0, [0, 1, 2, 3, 4, 5]);
    const out = device.allocate("f32", rows * width);
    const at = (buffer: typeof out) => ({ buffer, offset: 0 });
    device.kernels.packedEmbedding({ out: at(out), table: at(table), ids: at(ids), rows, width, vocab: rows });
    expect(Array.from(await device.read(out, 0, out.length), (x) => x + 0)).toEqual(Array.from(expected, (x) => x + 0));
    for (const buffer of [table, ids, out]) device.release(buffer);
  });

  test(
    "without the language's sums of products the bits are the same",
    async () => {
      const plain = await openWebGpu(gpu, { dot: false });
      const complaints: string[] = [];
      for (const cases of [packedMatmulCases, packedGroupedMatmulCases]) {
        const chosen = cases(new Random(3)).filter(({ label }) => /\((q4_k|q8_0|mxfp4) /.test(label));
        for (const c of chosen) complaints.push(...(await checkCase(device, { ...c, alone: [] }, plain)));
      }
      await plain.close();
      expect(complaints.slice(0, 10)).toEqual([]);
    },
    timeout,
  );
});
