// The browser host, inside the engine's worker: core/host.ts over a handful of files. Kernel threads are workers of this worker, on one shared memory, where the
// page is cross-origin isolated; else there is one thread and a memory that is not shared.
// Unusual: the device is opened without backend/open.ts, whose dynamic imports a bundler could not put into one worker file.

import type { Device } from "../../backend/backend.ts";
import { farMemoriesFor, openWasm } from "../../backend/wasm/open.ts";
import { ConfigError } from "../../core/errors.ts";
import type { Files, Host, WorkerHandle } from "../../core/host.ts";
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
    env: () => undefined,
  };
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

export async function openBrowserDevice(host: Host, { threads, build }: PlainLoadOptions, packedBytes: number): Promise<Device> {
  if (threads !== undefined && (!Number.isSafeInteger(threads) || threads < 1)) {
    const got = `${threads} threads`;
    throw new ConfigError({ operation: "open device", got, expected: "an integer of 1 or more", cure: "leave threads out to use all" });
  }
  return await openWasm(host, { threads, build, farMemories: farMemoriesFor(packedBytes) });
}
