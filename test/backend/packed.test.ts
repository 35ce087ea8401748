// Products of bytes, packed ones and attention's, where devices must agree to the bit: the two relaxed builds, and the ways to sum bytes (an engine whose relaxed dot product is exact for 8 bits,
// for 7 bits, or missing: all sums are exact integers). And against matmul with decoded weights, for x that the rounding leaves as it is.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
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
