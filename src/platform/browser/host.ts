// The browser host, inside the engine's worker: core/host.ts over a handful of files. Kernel threads are workers of this worker, on one shared memory, where the
// page is cross-origin isolated; else there is one thread and a memory that is not shared.
// Unusual: the device is opened without backend/open.ts, whose dynamic imports a bundler could not put into one worker file.

import type { Device } from "../../backend/backend.ts";
import { farMemoriesFor, openWasm } from "../../backend/wasm/open.ts";
import { openWebGpu } from "../../backend/webgpu/open.ts";
import { ConfigError, DeviceError } from "../../core/errors.ts";
import type { Files, Host, WorkerHandle } from "../../core/host.ts";
import type { ModelNeeds } from "../open-model.ts";
import type { PlainLoadOptions } from "./options.ts";

/** More threads than that wait for one another more than they compute, and phones have slow cores among theirs. */
const mostThreads = 8;

export function browserHost(files: Files): Host {
  const sharesMemory = crossOriginIsolated && typeof SharedArrayBuffer === "function";
  return {
    name: "browser",
    parallelism: sharesMemory ? Math.min(mostThreads, Math.max(1, navigator.hardwareConcurrency)) : 1,
    files,
    now: () => performance.now() / 1000,
    sharesMemory,
    startsThreadsLate: true,
    ...(sharesMemory && { spawnWasmWorker: () => handleOf(new Worker(new URL("./thread.js", import.meta.url), { type: "module" })) }),
    gpu: browserGpu,
    env: () => undefined,
  };
}

async function browserGpu(): Promise<GPU> {
  // Types take it for granted; many browsers do not have it, and none has it for pages that came over plain http.
  const gpu = navigator.gpu as GPU | undefined;
  if (gpu) return gpu;
  throw new DeviceError({
    operation: "open the webgpu device",
    got: isSecureContext ? "a browser without WebGPU" : "a page that came over plain http",
    expected: "a browser with WebGPU, and a page from https or localhost",
    cure: 'update the browser, or leave device: "webgpu" out',
  });
}

export function handleOf(worker: Worker): WorkerHandle {
  return {
    post: (message) => worker.postMessage(message),
    onMessage: (listener) => worker.addEventListener("message", ({ data }) => listener(data)),
    onError: (listener) =>
      worker.addEventListener("error", (event) => {
        event.preventDefault?.();
        listener(new Error(event.message || "a worker that did not start"));
      }),
    terminate: async () => worker.terminate(),
  };
}

export async function openBrowserDevice(
  host: Host,
  { device = "cpu", threads, build }: PlainLoadOptions,
  packed: ModelNeeds["packed"],
): Promise<Device> {
  if (device === "webgpu") return await openWebGpu(await browserGpu());
  if (device !== "cpu") {
    const got = `device ${JSON.stringify(device)}`;
    throw new ConfigError({ operation: "open device", got, expected: "cpu, webgpu", cure: "name one of them" });
  }
  if (threads !== undefined && (!Number.isSafeInteger(threads) || threads < 1)) {
    const got = `${threads} threads`;
    throw new ConfigError({ operation: "open device", got, expected: "an integer of 1 or more", cure: "leave threads out to use all" });
  }
  return await openWasm(host, { threads, build, farMemories: farMemoriesFor(packed.bytes) });
}
