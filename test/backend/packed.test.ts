// Products of bytes, packed ones and attention's, where devices must agree to the bit: the two relaxed builds, and the ways to sum bytes (an engine whose relaxed dot product is exact for 8 bits,
// for 7 bits, or missing: all sums are exact integers). And against matmul with decoded weights, for x that the rounding leaves as it is.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { packedSamples } from "../../src/backend/packed-samples.ts";
import { availableBuilds, hasRelaxedSimd } from "../../src/backend/wasm/compile.ts";
import type { WasmDevice } from "../../src/backend/wasm/device.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import { type PackedType, packedTypes } from "../../src/core/dtype.ts";
import { Random } from "../../src/core/random.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { narrowAttentionCases } from "./cases/cache.ts";
import { gridCases, packedGroupedMatmulCases, packedMatmulCases } from "./cases/packed.ts";
import { checkCase, referenceFloats } from "./kernel-case.ts";
import { packedMemoryTests } from "./packed-memory-cases.ts";

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

  // Those that are multiplied as they lie.
  packedMemoryTests(
    () => device,
    types.filter((name) => !["q2_k", "q3_k", "iq4_nl", "iq4_xs", "mxfp4"].includes(name)),
  );
});
