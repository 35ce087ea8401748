// Choosing a device by name, and what is refused.

import { describe, expect, test } from "vitest";
import { type DeviceOptions, openDevice } from "../../src/backend/open.ts";
import { openWasm } from "../../src/backend/wasm/open.ts";
import { ConfigError } from "../../src/core/errors.ts";
import type { Host } from "../../src/core/host.ts";
import { nodeHost } from "../../src/platform/node.ts";

function hostWith(variables: Record<string, string>): Host {
  return { ...nodeHost(), env: (name) => variables[name] };
}

describe("openDevice", () => {
  test("opens the reference device by name", async () => {
    const device = await openDevice(hostWith({}), { device: "reference" });
    expect(device.info).toEqual({ name: "reference", build: "f32", threads: 1 });
    await device.close();
  });

  test("opens WebAssembly by default, with the build and threads that were asked for", async () => {
    const device = await openDevice(hostWith({}), { threads: 1, build: "simd128" });
    expect(device.info).toEqual({ name: "wasm", build: "simd128", threads: 1 });
    await device.close();
  });

  test("vectors are fused for the wide build alone, whose code is not mistaken for the relaxed build's", async () => {
    const asked: [fused: boolean, marks: number][] = [];
    const host: Host = {
      ...hostWith({}),
      canFuseSimd: true,
      compileFast: async (fused, compile) => {
        const module = await compile();
        asked.push([fused, WebAssembly.Module.customSections(module, "wide").length]);
        return module;
      },
    };
    for (const build of ["wide", "relaxed", "simd128"] as const) await (await openWasm(host, { threads: 1, build })).close();
    expect(asked).toEqual([
      [true, 1],
      [false, 0],
      [false, 0],
    ]);
  });

  test("GRADUALLY_WASM names the build unless the caller does", async () => {
    const device = await openDevice(hostWith({ GRADUALLY_WASM: "simd128" }), { threads: 1 });
    expect(device.info.build).toBe("simd128");
    await device.close();
    const other = await openDevice(hostWith({ GRADUALLY_WASM: "nonsense" }), { threads: 1, build: "simd128" });
    expect(other.info.build).toBe("simd128");
    await other.close();
  });

  test.each<[string, DeviceOptions, Record<string, string>, RegExp]>([
    ["an unknown device", { device: "tpu" as "cpu" }, {}, /device "tpu"; expected cpu, webgpu, reference/],
    ["no threads", { threads: 0 }, {}, /0 threads/],
    ["half a thread", { threads: 1.5 }, {}, /1.5 threads/],
    ["an unknown build", { build: "avx" as "wide" }, {}, /build "avx"; expected wide, relaxed, simd128/],
    ["an unknown build in the environment", {}, { GRADUALLY_WASM: "avx" }, /GRADUALLY_WASM/],
  ])("refuses %s", async (_, options, variables, message) => {
    const opening = openDevice(hostWith(variables), options);
    await expect(opening).rejects.toThrow(ConfigError);
    await expect(opening).rejects.toThrow(message);
  });
});
