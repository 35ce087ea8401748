// The trial that decides on the wide build, and on signed products of bytes: it passes on every build, and catches a device with a wrong kernel.

import { expect, test } from "vitest";
import { openTrusted } from "../../src/backend/open.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { selfTest } from "../../src/backend/self-test.ts";
import { readResults, recordResults } from "../../src/backend/self-test-results.ts";
import { availableBuilds, hasRelaxedSimd } from "../../src/backend/wasm/compile.ts";
import { referenceResults } from "../../src/backend/wasm/generated/reference-results.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import { base64Bytes } from "../../src/core/base64.ts";
import { nodeHost } from "../../src/platform/node.ts";

const host = nodeHost();

test.each(availableBuilds(host))("the %s build agrees with the reference", async (build) => {
  const device = await openWasm(host, { build, threads: 2 });
  expect(await selfTest(device)).toEqual([]);
  await device.close();
});

test("a kernel that is wrong by one part in a thousand is named", async () => {
  const honest = openReference({ precision: "f32" });
  const kernels = {
    ...honest.kernels,
    affine: (a: Parameters<typeof honest.kernels.affine>[0]) => honest.kernels.affine({ ...a, scale: a.scale * 1.001 }),
  };
  const device = new Proxy(honest, {
    get: (target, key) => (key === "kernels" ? kernels : (Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key))),
  });
  expect(await selfTest(device)).toEqual(["affine"]);
});

test("what the build stored is what the reference gives today", async () => {
  const stored = readResults(new Int32Array(base64Bytes(referenceResults).buffer));
  const today = readResults(new Int32Array(await recordResults(openReference({ precision: "f32" }))));
  expect(today.size).toBeGreaterThan(80);
  expect([...stored.keys()]).toEqual([...today.keys()]);
  for (const [trial, operands] of today) {
    const kept = stored.get(trial) as typeof operands;
    expect(kept.length).toBe(operands.length);
    expect(operands.some((values) => values?.some((value) => value !== 0))).toBe(true);
    for (const [i, values] of operands.entries()) {
      // Functions like exp may differ in the last bit between engines.
      const [want, got] = [[...(values ?? [])], [...(kept[i] ?? [])]];
      expect(got.length).toBe(want.length);
      expect(got.every((value, at) => Math.abs(value - (want[at] as number)) <= 1e-6 * (1 + Math.abs(want[at] as number)))).toBe(true);
    }
  }
});

/** What an engine's dot product gives, taken for the opposite: as wrong as kernels that were never run on such a processor could be. */
test.skipIf(!hasRelaxedSimd())("products of bytes that are wrong here are found, and a device without them is opened", async () => {
  const honest = await openWasm(host, { build: "relaxed", threads: 1 });
  const found = honest.isUnproven ? "unsigned" : "signed";
  await honest.close();
  const wrong = await openWasm(host, { build: "relaxed", threads: 1, dots: found });
  expect(await selfTest(wrong)).toEqual(expect.arrayContaining(["packedMatmul", "attention"]));
  await wrong.close();
  if (found === "unsigned") return; // the trial is for signed ones
  const device = await openTrusted(host, { build: "relaxed", threads: 1, dots: found });
  expect(device.info.build).toBe("relaxed");
  expect(await selfTest(device)).toEqual([]);
  await device.close();
});
