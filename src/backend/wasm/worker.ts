// What a thread runs: instantiate the module on the shared memory, then wait inside WebAssembly for command lists until told to stop.
// The platform's worker file passes the first message here (platform/node-worker.ts).

export type WorkerStart = {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly thread: number;
  readonly threads: number;
};

export type KernelExports = {
  /** Writes the constants of the kernels into the memory. */
  readonly prepare: () => void;
  /** Executes lists until stopped; blocks the calling thread. */
  readonly work: (thread: number, threads: number) => void;
  /** Executes one list alone. */
  readonly runAlone: (list: number, end: number) => void;
};

export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): KernelExports {
  const exports = new WebAssembly.Instance(module, { env: { memory } }).exports as KernelExports;
  exports.prepare();
  return exports;
}

export function runWorker(start: WorkerStart, ready: () => void): void {
  const exports = instantiate(start.module, start.memory);
  ready();
  exports.work(start.thread, start.threads);
}
