// Products of bytes, packed ones and attention's, where devices must agree to the bit: the two relaxed builds, and the ways to sum bytes (an engine whose relaxed dot product is exact for 8 bits,
// for 7 bits, or missing: all sums are exact integers). And against matmul with decoded weights, for x that the rounding leaves as it is.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { packedSamples } from "../../src/backend/packed-samples.ts";
import { availableBuilds, hasRelaxedSimd } from "../../src/backend/wasm/compile.ts";
import type { WasmDevice } from "../../src/backend/wasm/device.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import { type PackedType, packedRowBytes, packedTypes } from "../../src/core/dtype.ts";
import { ShapeError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { narrowAttentionCases } from "./cases/cache.ts";
import { gridCases, packedGroupedMatmulCases, packedMatmulCases } from "./cases/packed.ts";
import { checkCase, referenceFloats } from "./kernel-case.ts";

const host = nodeHost();
const types = Object.keys(packedTypes) as PackedType[];

describe.skipIf(!hasRelaxedSimd())("the bits of packed products, and of attention over q8_0,", () => {
  let device: Device;
  beforeAll(async () => {
    device = await openWasm(host, { build: "relaxed", threads: 1 });
  });
  afterAll(() => device.close());

  for (const build of availableBuilds(host).filter((name) => name !== "simd128")) {
    test(`are those of the ${build} build with a dot product of 7 bits`, async () => {
      const twin = await openWasm(host, { build, threads: 2, dots: "sevenBits" });
      const complaints: string[] = [];
      const attention = (random: Random) => narrowAttentionCases(random).filter(({ scalars }) => scalars.cacheType === "q8_0");
      for (const cases of [packedMatmulCases, packedGroupedMatmulCases, attention]) {
        for (const c of cases(new Random(3))) complaints.push(...(await checkCase(device, { ...c, alone: [] }, twin)));
      }
      await twin.close();
      expect(complaints.slice(0, 10)).toEqual([]);
    }, 60_000);
  }
});

test("for x on the 8-bit grid a packed product is the product with decoded weights", () => {
  for (const [packed, plain, type] of gridCases(new Random(4))) {
    const [got, want] = [referenceFloats(packed, "out"), referenceFloats(plain, "out")];
    const size = Math.sqrt(want.reduce((sum, x) => sum + x * x, 0) / want.length);
    for (const [i, value] of got.entries()) expect(Math.abs(value - (want[i] as number)), `${type} ${i}`).toBeLessThan(1e-6 * size);
  }
});

test("rows made ready for one product serve the next only while they are what x holds", async () => {
  const device = await openWasm(host, { threads: 2 });
  const [rows, N, K] = [3, 9, 256];
  const random = new Random(6);
  const w = { buffer: device.allocatePacked("q4_0", 1, N, K), offset: 0 };
  device.writePacked(w.buffer, 0, packedSamples(random, "q4_0", N * K));
  const draw = () => Float32Array.from({ length: 2 * rows * K }, () => random.uniform() - 0.5);
  const product = async (x: { buffer: ReturnType<Device["allocate"]>; offset: number }) => {
    const out = device.allocate("f32", rows * N);
    device.kernels.packedMatmul({ out: { buffer: out, offset: 0 }, x, w, M: rows, N, K });
    return [...(await device.read(out, 0, rows * N))];
  };
  /** Of a buffer that no product has seen. */
  const fresh = (data: Float32Array) => {
    const buffer = device.allocate("f32", data.length);
    device.write(buffer, 0, data);
    return product({ buffer, offset: 0 });
  };
  const [first, second] = [draw(), draw()];
  const buffer = device.allocate("f32", first.length);
  device.write(buffer, 0, first);
  const before = await product({ buffer, offset: 0 });
  expect(await product({ buffer, offset: 0 })).toEqual(before);
  expect(await product({ buffer, offset: rows * K })).toEqual(await fresh(first.slice(rows * K)));
  expect(await product({ buffer, offset: 0 })).toEqual(before);
  device.write(buffer, 0, second);
  expect(await product({ buffer, offset: 0 })).toEqual(await fresh(second));
  device.kernels.fill({ out: { buffer, offset: 0 }, n: first.length, value: 0.5 });
  expect(await product({ buffer, offset: 0 })).toEqual(await fresh(new Float32Array(first.length).fill(0.5)));
  await device.close();
});

describe("packed memory", () => {
  let device: WasmDevice;
  beforeAll(async () => {
    device = await openWasm(host, { threads: 2 });
  });
  afterAll(() => device.close());

  test("is at most 3 % larger than the file for the types that are multiplied as they lie", async () => {
    for (const type of types.filter((name) => !["q2_k", "q3_k", "iq4_nl", "iq4_xs", "mxfp4"].includes(name))) {
      const before = device.memory().used;
      const buffer = device.allocatePacked(type, 2, 1024, 2048);
      expect((device.memory().used - before) / (2048 * packedRowBytes(type, 2048)), type).toBeLessThan(1.03);
      device.release(buffer);
      expect(device.memory().used).toBe(before);
    }
  });

  test("does not depend on how its rows arrive", async () => {
    const random = new Random(5);
    const [N, K] = [37, 512];
    const ids = device.allocate("i32", N);
    device.write(
      ids,
      0,
      Array.from({ length: N }, (_, i) => i),
    );
    for (const type of types) {
      const bytes = packedSamples(random, type, N * K);
      const decoded: Float32Array[] = [];
      for (const step of [N, 1, 3, 8, 11]) {
        const table = device.allocatePacked(type, 1, N, K);
        const out = device.allocate("f32", N * K);
        const rowBytes = packedRowBytes(type, K);
        for (let row = 0; row < N; row += step) device.writePacked(table, row, bytes.subarray(row * rowBytes, (row + step) * rowBytes));
        const at = (buffer: typeof out) => ({ buffer, offset: 0 });
        device.kernels.packedEmbedding({ out: at(out), table: at(table), ids: at(ids), rows: N, width: K, vocab: N });
        decoded.push(Float32Array.from(await device.read(out, 0, N * K)));
        for (const buffer of [table, out]) device.release(buffer);
      }
      for (const other of decoded) expect(other, type).toEqual(decoded[0]);
    }
  });

  test("is refused with wrong sizes", () => {
    expect(() => device.allocatePacked("q4_k", 1, 3, 128)).toThrow(ShapeError);
    const w = device.allocatePacked("q4_0", 1, 3, 64);
    expect(() => device.writePacked(w, 0, new Uint8Array(35))).toThrow(ShapeError);
    expect(() => device.writePacked(w, 2, new Uint8Array(72))).toThrow(ShapeError);
    expect(() => device.writePacked(w, -1, new Uint8Array(36))).toThrow(ShapeError);
    const f = device.allocate("f32", 192);
    const at = (buffer: typeof f) => ({ buffer, offset: 0 });
    expect(() => device.kernels.packedMatmul({ out: at(f), x: at(f), w: at(w), M: 1, N: 3, K: 32 })).toThrow(ShapeError);
    expect(() => device.kernels.packedMatmul({ out: at(f), x: at(f), w: at(f), M: 1, N: 3, K: 64 })).toThrow(/allocatePacked/);
    device.release(w);
    device.release(f);
  });
});
