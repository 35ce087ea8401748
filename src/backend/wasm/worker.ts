// What a thread runs: instantiate the module on the shared memory, then wait inside WebAssembly for command lists until told to stop.
// The platform's worker file passes the first message here (platform/node-worker.ts).

import { at, dead, generation } from "./control.ts";
import { farCalls } from "./far-calls.ts";

export type WorkerStart = {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Memories of weights beyond the first 4 GiB. */
  readonly far: readonly WebAssembly.Memory[];
  readonly thread: number;
  readonly threads: number;
};

export type KernelExports = {
  /** Writes the constants of the kernels into the memory. */
  readonly prepare: () => void;
  /** Executes lists until stopped; blocks the calling thread. */
  readonly work: (thread: number, threads: number) => void;
  /** Executes one list with all threads, which call it together. */
  readonly runShared: (list: number, end: number, thread: number, threads: number) => void;
  /** Executes one list as the last thread, with the others, which take it from the queue. Traps when they have not come for `patience` tenths of a second. */
  readonly runJoined: (list: number, end: number, threads: number, patience: number) => void;
  /** Executes the rest of the list that the others have begun, as runJoined does; 0 when they have ended it. */
  readonly runRest: (end: number, threads: number, patience: number) => number;
  /** Executes one list alone. */
  readonly runAlone: (list: number, end: number) => void;
};

export function instantiate(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  far: readonly WebAssembly.Memory[] = [],
): KernelExports {
  const others = far.map((other) => instance(module, other, () => {}));
  return instance(module, memory, farCalls(memory, far, others));
}

function instance(module: WebAssembly.Module, memory: WebAssembly.Memory, far: (p: number, thread: number, threads: number) => void) {
  const exports = new WebAssembly.Instance(module, { env: { memory, far } }).exports as KernelExports;
  exports.prepare();
  return exports;
}

export function runWorker({ module, memory, far, thread, threads }: WorkerStart, ready: () => void): void {
  const exports = instantiate(module, memory, far);
  ready();
  try {
    exports.work(thread, threads);
  } catch (trap) {
    // A caller that has joined hears no message.
    const words = new Int32Array(memory.buffer);
    Atomics.store(words, dead >> 2, 1);
    for (const word of [generation, at]) Atomics.notify(words, word >> 2);
    throw trap;
  }
}
