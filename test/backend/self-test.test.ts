// The trial that decides on the wide build: it passes on every build, and catches a device with a wrong kernel.

import { expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { selfTest } from "../../src/backend/self-test.ts";
import { availableBuilds, openWasm } from "../../src/backend/wasm/open.ts";
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
