// Opens the WebGPU device on a GPU object that the caller found (navigator.gpu, or a binding for Node). It asks for the largest limits that the adapter has:
// the default ones end a buffer at 128 MiB.

import { DeviceError } from "../../core/errors.ts";
import { WebGpuDevice } from "./device.ts";

export type WebGpuOptions = {
  readonly powerPreference?: GPUPowerPreference;
  /** Bytes that the device may reserve in all; what the GPU gives when absent. */
  readonly memoryLimit?: number;
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
type WebGpuLimit = (typeof limitNames)[number];

/** Throws DeviceError where there is no adapter, or none that lends a device. */
export async function openWebGpu(gpu: GPU, options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  const { powerPreference = "high-performance", memoryLimit = Number.POSITIVE_INFINITY, limits, dot = true } = options;
  const adapter = await gpu.requestAdapter({ powerPreference });
  if (!adapter) throw refusal("no adapter");
  const requiredLimits: Record<string, number> = {};
  for (const name of limitNames) requiredLimits[name] = limits?.[name] ?? adapter.limits[name];
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ requiredLimits });
  } catch (error) {
    throw refusal(`an adapter that lends no device: ${String(error)}`, error);
  }
  // Older browsers have no list of features.
  const hasDot = dot && gpu.wgslLanguageFeatures?.has("packed_4x8_integer_dot_product") === true;
  return new WebGpuDevice(device, describe(adapter.info), memoryLimit, hasDot);
}

function refusal(got: string, cause?: unknown): DeviceError {
  const expected = "a GPU with WebGPU and its driver";
  return new DeviceError({ operation: "open the webgpu device", got, expected, cure: "use the cpu" }, { cause });
}

/** Browsers hide some of it. */
function describe({ vendor, architecture, description }: GPUAdapterInfo): string {
  return [vendor, architecture].filter(Boolean).join(" ") || description || "unknown GPU";
}
