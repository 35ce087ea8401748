// Opening the WebGPU device: what is missing is told, with the cure; a software adapter is named as such. No GPU is needed.

import { describe, expect, test } from "vitest";
import { gpuFacts, openDevice } from "../../src/backend/open.ts";
import { DeviceError } from "../../src/core/errors.ts";
import type { Host } from "../../src/core/host.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { findGpu } from "../../src/platform/node-gpu.ts";
import { madeUpGpu } from "./tapped-gpu.ts";

function hostWith(gpu: Host["gpu"]): Host {
  return { ...nodeHost(), gpu };
}

const absent = "no-such-package-as-this";

test.each<[string, Host["gpu"], RegExp]>([
  ["a host without WebGPU", undefined, /a node host without WebGPU; .*use the cpu/],
  ["a package that is not installed", () => findGpu(() => import(absent)), /no package webgpu; .*npm install webgpu, or use the cpu/],
  [
    "a package that does not load",
    () => findGpu(() => Promise.reject(new Error("libvulkan.so.1: cannot open shared object file"))),
    /cannot be loaded: libvulkan.so.1: cannot open.*on Linux it needs libvulkan.so.1/,
  ],
  [
    "a package that makes no GPU object",
    () =>
      findGpu(async () => ({
        create: () => {
          throw new Error("unknown option");
        },
      })),
    /cannot be loaded: unknown option/,
  ],
  ["no adapter", async () => ({ requestAdapter: async () => null }) as unknown as GPU, /no adapter; .*install the GPU's driver/],
  ["an adapter that lends no device", async () => madeUpGpu({}), /lends no device: Error: the driver is busy/],
])("%s is a DeviceError with the cure", async (_, gpu, message) => {
  const opening = openDevice(hostWith(gpu), { device: "webgpu" });
  await expect(opening).rejects.toThrow(DeviceError);
  await expect(opening).rejects.toThrow(message);
});

describe("an adapter", () => {
  const factsOf = (info: Partial<GPUAdapterInfo>) => gpuFacts(hostWith(async () => madeUpGpu(info)));

  test.each<[Partial<GPUAdapterInfo>, string, boolean]>([
    [{ vendor: "nvidia", architecture: "hopper" }, "nvidia hopper", false],
    [{ vendor: "apple" }, "apple", false],
    [{ description: "AMD Radeon" }, "AMD Radeon", false],
    [{}, "unknown GPU", false],
    [{ vendor: "google", architecture: "swiftshader" }, "google swiftshader (software)", true],
    [{ vendor: "mesa", description: "llvmpipe (LLVM 15.0.6, 256 bits)" }, "mesa (software)", true],
    [{ vendor: "other", isFallbackAdapter: true }, "other (software)", true],
  ])("%o is called %s", async (info, name, isSoftware) => {
    expect(await factsOf(info)).toMatchObject({ name, isSoftware });
  });

  test("has its limits told", async () => {
    const { limits } = await factsOf({});
    expect(limits).toMatchObject({ maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27, maxComputeWorkgroupStorageSize: 16384 });
  });
});
