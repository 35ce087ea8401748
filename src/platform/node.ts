// The Node host: files, clock, threads and environment of core/host.ts.
// Unusual: worker threads do not keep the process alive; the worker file is the TypeScript source in a checkout and the
// compiled one in the package, told apart by this file's own extension; in the package this file may also be part of a bundle in dist/cli.

import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";
import type { Worker } from "node:worker_threads";
import type { Host, WorkerHandle } from "../core/host.ts";
import { nodeFiles } from "./node-files.ts";
import { nodeGpu } from "./node-gpu.ts";
import { deviceMemory } from "./node-memory.ts";

function spawnWasmWorker(): WorkerHandle {
  const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
  // Loaded with the first thread: small models start none.
  const threads = process.getBuiltinModule("node:worker_threads");
  return nodeHandle(new threads.Worker(new URL(`../platform/node-worker${extension}`, import.meta.url)));
}

/** A thread that does not keep the process alive. One that ends without being told to has failed, whether or not it could say why. */
export function nodeHandle(worker: Worker): WorkerHandle {
  worker.unref();
  let isEnding = false;
  return {
    post: (message) => worker.postMessage(message),
    onMessage: (listener) => {
      // Adding a listener would make the worker hold the process again.
      worker.on("message", listener);
      worker.unref();
    },
    onError: (listener) => {
      worker.on("error", (thrown) => listener(thrown instanceof Error ? thrown : new Error(String(thrown))));
      worker.on("exit", (code) => {
        if (!isEnding) listener(new Error(`it ended with code ${code}`));
      });
    },
    keepAlive: (on) => {
      if (on) worker.ref();
      else worker.unref();
    },
    terminate: async () => {
      isEnding = true;
      await worker.terminate();
    },
  };
}

/** V8's revectoriser is x64 only, and sound enough for our self-tested kernels from Node 24 on. */
function canFuseSimd(): boolean {
  const build = process.env.GRADUALLY_WASM;
  const major = Number(process.versions.node.split(".")[0]);
  return process.arch === "x64" && major >= 24 && build !== "relaxed" && build !== "simd128";
}

let lastCompilation: Promise<unknown> = Promise.resolve();

/** One module at a time: the engine's flags hold for whatever is compiled while they are set, in all threads. */
function compileFast(fused: boolean, compile: () => Promise<WebAssembly.Module>): Promise<WebAssembly.Module> {
  const compiled = lastCompilation.then(() => compileWithFlags(fused, compile));
  lastCompilation = compiled.catch(() => {});
  return compiled;
}

async function compileWithFlags(fused: boolean, compile: () => Promise<WebAssembly.Module>): Promise<WebAssembly.Module> {
  const set = (on: boolean) => {
    setFlagsFromString(on ? "--no-liftoff" : "--liftoff");
    setFlagsFromString(on ? "--no-wasm-lazy-compilation" : "--wasm-lazy-compilation");
    if (fused) setFlagsFromString(on ? "--experimental-wasm-revectorize" : "--no-experimental-wasm-revectorize");
  };
  set(true);
  // Compiling happens on threads that do not keep the process alive.
  const alive = setInterval(() => {}, 1000);
  try {
    return await compile();
  } finally {
    clearInterval(alive);
    set(false);
  }
}

/** Under `node --permission` threads need a flag; without it one thread computes, as in a page that is not isolated. */
export function mayHaveThreads(): boolean {
  return process.permission === undefined || process.permission.has("worker");
}

export function nodeHost(): Host {
  return {
    name: "node",
    parallelism: Math.max(1, availableParallelism()),
    files: nodeFiles,
    memoryBytes: deviceMemory(),
    now: () => performance.now() / 1000,
    ...(mayHaveThreads() && { spawnWasmWorker }),
    canFuseSimd: canFuseSimd(),
    compileFast,
    gpu: nodeGpu,
    env: (name) => process.env[name],
  };
}
