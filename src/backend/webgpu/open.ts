// Opens the WebGPU device on a GPU object that the caller found (navigator.gpu, or a binding for Node), and says what adapter it is. It asks for the largest limits
// that the adapter has: the default ones end a buffer at 128 MiB.

import { DeviceError } from "../../core/errors.ts";
import { WebGpuDevice } from "./device.ts";

export type WebGpuOptions = {
  readonly powerPreference?: GPUPowerPreference;
  /** Bytes that the device may reserve in all; what the GPU gives when absent. */
  readonly memoryLimit?: number;
  /** Bytes that programs may take on this machine: the limit where the GPU is software, which lives there. */
  readonly hostMemory?: number;
  /** Limits below the adapter's, for tests; what is absent is as large as the adapter has it. */
  readonly limits?: Readonly<Partial<Record<WebGpuLimit, number>>>;
  /** False: do without the language's sums of products of bytes, for tests. */
  readonly dot?: boolean;
};

const limitNames = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
] as const;
export type WebGpuLimit = (typeof limitNames)[number];

export type GpuFacts = {
  /** As the adapter calls itself; a software one is named as such. */
  readonly name: string;
  /** It computes on the CPU, slower than the cpu device. */
  readonly isSoftware: boolean;
  /** Of the adapter, in bytes and invocations. */
  readonly limits: Readonly<Record<WebGpuLimit, number>>;
};

/** Throws DeviceError where there is no adapter, or none that lends a device. */
export async function openWebGpu(gpu: GPU, options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  const adapter = await findAdapter(gpu, options);
  const { name, isSoftware, limits } = factsOf(adapter);
  const unlimited = Number.POSITIVE_INFINITY;
  const memoryLimit = Math.min(options.memoryLimit ?? unlimited, isSoftware ? (options.hostMemory ?? unlimited) : unlimited);
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ requiredLimits: { ...limits, ...options.limits } });
  } catch (error) {
    throw refusal(`an adapter that lends no device: ${String(error)}`, error);
  }
  // Older browsers have no list of features.
  const hasDot = options.dot !== false && gpu.wgslLanguageFeatures?.has("packed_4x8_integer_dot_product") === true;
  return new WebGpuDevice(device, name, memoryLimit, hasDot);
}

/** What the adapter says of itself that openWebGpu would take. Throws DeviceError where there is none. */
export async function describeGpu(gpu: GPU): Promise<GpuFacts> {
  return factsOf(await findAdapter(gpu, {}));
}

async function findAdapter(gpu: GPU, { powerPreference = "high-performance" }: WebGpuOptions): Promise<GPUAdapter> {
  const adapter = await gpu.requestAdapter({ powerPreference });
  if (!adapter) throw refusal("no adapter");
  return adapter;
}

function refusal(got: string, cause?: unknown): DeviceError {
  const expected = "a GPU with WebGPU and its driver";
  const cure = "install the GPU's driver (on Linux for Vulkan; in a browser allow hardware acceleration), or use the cpu";
  return new DeviceError({ operation: "open the webgpu device", got, expected, cure }, { cause });
}

/** Mesa's, Chromium's and Microsoft's. Some of them do not say that they are a fallback. */
const softwareNames = /swiftshader|llvmpipe|lavapipe|basic render/i;

/** Browsers hide some of it. */
function factsOf({ info, limits }: GPUAdapter): GpuFacts {
  const { vendor, architecture, description, isFallbackAdapter } = info;
  const plain = [vendor, architecture].filter(Boolean).join(" ") || description || "unknown GPU";
  const isSoftware = isFallbackAdapter || softwareNames.test(`${vendor} ${architecture} ${info.device} ${description}`);
  const named: Partial<Record<WebGpuLimit, number>> = {};
  for (const name of limitNames) named[name] = limits[name];
  return { name: isSoftware ? `${plain} (software)` : plain, isSoftware, limits: named as Record<WebGpuLimit, number> };
}
