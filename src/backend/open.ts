// Chooses a device. The only file that names concrete backends, by dynamic import, so a program loads no more than it uses.
// "cpu" is WebAssembly; GRADUALLY_WASM names a build where the caller did not. "webgpu" is the GPU that the host finds.

import type { PackedType } from "../core/dtype.ts";
import { ConfigError, DeviceError } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import type { Device } from "./backend.ts";
import type { WasmOptions } from "./wasm/open.ts";
import type { GpuFacts } from "./webgpu/open.ts";

export const deviceNames = ["cpu", "webgpu", "reference"] as const;
export type DeviceName = (typeof deviceNames)[number];

const builds = ["wide", "relaxed", "simd128"] as const;
export type WasmBuild = (typeof builds)[number];

export type DeviceOptions = {
  /** Default "cpu". "webgpu" is a GPU; in Node it needs the package `webgpu`. "reference" is plain loops: slow, for comparison. */
  readonly device?: DeviceName;
  /** Default: host.parallelism. */
  readonly threads?: number;
  /** Default: the fastest build that this engine runs and that passes its self-test. */
  readonly build?: WasmBuild;
  /**
   * The weights that will stay packed. `bytes`: a WebAssembly memory ends at 4 GiB, so more than fits beside the rest takes several. `types`: the self-test
   * tries the products with these; with all when absent.
   */
  readonly packed?: { readonly bytes: number; readonly types: ReadonlySet<PackedType> };
};

/** Throws ConfigError for a name that does not exist, DeviceError when the device cannot be opened. */
export async function openDevice(host: Host, options: DeviceOptions = {}): Promise<Device> {
  const { device = "cpu", threads, packed } = options;
  if (threads !== undefined && (!Number.isSafeInteger(threads) || threads < 1)) {
    throw new ConfigError({
      operation: "open device",
      got: `${threads} threads`,
      expected: "an integer of 1 or more",
      cure: "leave threads out to use all",
    });
  }
  const build = options.build ?? (host.env("GRADUALLY_WASM") || undefined);
  if (build !== undefined && !isBuild(build)) {
    throw new ConfigError({
      operation: "open device",
      got: `build ${JSON.stringify(build)}`,
      expected: builds.join(", "),
      cure: "correct the option or GRADUALLY_WASM",
    });
  }
  switch (device) {
    case "reference":
      return (await import("./reference/open.ts")).openReference({ precision: "f32" });
    case "webgpu": {
      const [gpu, { openWebGpu }] = await findGpu(host);
      return await openWebGpu(gpu, { hostMemory: host.memoryBytes });
    }
    case "cpu":
      return await openTrusted(host, { threads, build, packed });
    default:
      throw new ConfigError({
        operation: "open device",
        got: `device ${JSON.stringify(device)}`,
        expected: deviceNames.join(", "),
        cure: "name one of them",
      });
  }
}

/**
 * The fastest build that can be trusted. The experimental wide one, and products of bytes on an engine whose relaxed dot product takes signed ones (on no
 * processor that the tests run on), only when every kernel agrees with the reference here and now; else the next that is proven.
 */
export async function openTrusted(
  host: Host,
  { packed, ...given }: Pick<WasmOptions, "threads" | "build" | "dots"> & Pick<DeviceOptions, "packed">,
): Promise<Device> {
  const { openWasm, farMemoriesFor } = await import("./wasm/open.ts");
  const options = { ...given, farMemories: farMemoriesFor(packed?.bytes ?? 0) };
  // Loaded while the engine compiles.
  const [device, { selfTest }] = await Promise.all([openWasm(host, options), import("./self-test.ts")]);
  if (!device.isUnproven) return device;
  const failed = await selfTest(device, packed?.types);
  if (failed.length === 0) return device;
  await device.close();
  if (device.info.build !== "wide") return await openWasm(host, { ...options, dots: "sevenBits" });
  if (given.build === "wide") {
    throw new DeviceError({
      operation: "open the wide build",
      got: `other results than the reference in ${failed.join(", ")}`,
      expected: "the same",
      cure: "leave the build out, or choose relaxed",
    });
  }
  return await openTrusted(host, { ...given, build: "relaxed", packed });
}

/** What the GPU says of itself that openDevice would open. Throws DeviceError where there is none, with the cure. */
export async function gpuFacts(host: Host): Promise<GpuFacts> {
  const [gpu, { describeGpu }] = await findGpu(host);
  return await describeGpu(gpu);
}

async function findGpu(host: Host): Promise<[GPU, typeof import("./webgpu/open.ts")]> {
  if (!host.gpu) {
    throw new DeviceError({
      operation: "open the webgpu device",
      got: `a ${host.name} host without WebGPU`,
      expected: "one that has it",
      cure: "use the cpu",
    });
  }
  return await Promise.all([host.gpu(), import("./webgpu/open.ts")]);
}

/** WebAssembly builds that this engine can run, fastest first. */
export async function availableWasmBuilds(host: Host): Promise<readonly WasmBuild[]> {
  return (await import("./wasm/compile.ts")).availableBuilds(host);
}

function isBuild(name: string): name is WasmBuild {
  return builds.some((build) => build === name);
}

/** Begins to compile the kernels that openDevice would choose, while the caller does other things. Says nothing of failures; openDevice will. */
export async function prepareDevice(host: Host): Promise<void> {
  (await import("./wasm/compile.ts")).prepareKernels(host, host.env("GRADUALLY_WASM"));
}
