// The threads and their queue. Lists of commands go in; `settle` waits until all are done. With one thread the lists run at once
// on the caller, without workers. A worker that dies or falls silent turns into a DeviceError of whoever waits.

import { DeviceError } from "../../core/errors.ts";
import type { Host, WorkerHandle } from "../../core/host.ts";
import { done, queue, queueSlots, stop, submitted } from "./control.ts";
import type { SharedHeap } from "./memory.ts";
import { instantiate, type KernelExports, type WorkerStart } from "./worker.ts";

export class Pool {
  readonly threads: number;
  readonly #heap: SharedHeap;
  readonly #workers: WorkerHandle[];
  readonly #alone: KernelExports | undefined;
  #submitted = 0;
  #failure: Error | undefined;
  readonly #onFailure = new Set<() => void>();

  private constructor(heap: SharedHeap, workers: WorkerHandle[], alone: KernelExports | undefined) {
    this.#heap = heap;
    this.#workers = workers;
    this.#alone = alone;
    this.threads = alone ? 1 : workers.length;
  }

  /** `far`: memories of weights beyond the first 4 GiB. */
  static async start(
    host: Host,
    module: WebAssembly.Module,
    heap: SharedHeap,
    threads: number,
    far: readonly WebAssembly.Memory[] = [],
  ): Promise<Pool> {
    if (threads === 1 || !host.spawnWasmWorker) return new Pool(heap, [], instantiate(module, heap.memory, far));
    const workers: WorkerHandle[] = [];
    const starting: Promise<void>[] = [];
    for (let thread = 0; thread < threads; thread++) {
      const worker = host.spawnWasmWorker();
      workers.push(worker);
      starting.push(
        new Promise((resolve, reject) => {
          worker.onMessage(() => resolve());
          worker.onError(reject);
        }),
      );
      worker.post({ module, memory: heap.memory, far, thread, threads } satisfies WorkerStart);
      worker.keepAlive?.(true);
    }
    try {
      await Promise.all(starting);
    } catch (cause) {
      await Promise.all(workers.map((worker) => worker.terminate()));
      throw new DeviceError(
        { operation: "start threads", got: String(cause), expected: `${threads} running workers`, cure: "use --threads 1" },
        { cause },
      );
    }
    for (const worker of workers) worker.keepAlive?.(false);
    const pool = new Pool(heap, workers, undefined);
    for (const worker of workers) worker.onError((error) => pool.#fail(error));
    return pool;
  }

  /** Number of the list, counted from 1: `settle(n)` waits for it. */
  submit(list: number, end: number): number {
    this.#throwIfFailed();
    this.#submitted++;
    if (this.#alone) {
      this.#alone.runAlone(list, end);
      return this.#submitted;
    }
    const words = this.#heap.words;
    // A full queue is rare (64 lists of 16,384 words): wait for a place.
    while (this.#submitted - Atomics.load(words, done >> 2) > queueSlots) this.#throwIfFailed();
    const slot = (queue >> 2) + ((this.#submitted - 1) % queueSlots) * 2;
    words[slot] = list;
    words[slot + 1] = end;
    Atomics.add(words, submitted >> 2, 1);
    Atomics.notify(words, submitted >> 2);
    return this.#submitted;
  }

  /** Lists so far, whoever recorded them. */
  get submitted(): number {
    return this.#submitted;
  }

  isDone(list: number): boolean {
    if (this.#alone) return list <= this.#submitted;
    return Atomics.load(this.#heap.words, done >> 2) >= list;
  }

  /** Blocks until the list is done: for the rare places where the host must wait without giving way. */
  block(list: number): void {
    const words = this.#heap.words;
    while (!this.isDone(list)) {
      this.#throwIfFailed();
      const seen = Atomics.load(words, done >> 2);
      if (seen >= list) return;
      try {
        // The threads may need this core.
        Atomics.wait(words, done >> 2, seen, 20);
      } catch {
        // The main thread of a page may not wait; it spins.
      }
    }
  }

  async settle(list: number): Promise<void> {
    if (this.isDone(list)) return;
    for (const worker of this.#workers) worker.keepAlive?.(true);
    let failed: (() => void) | undefined;
    const failure = new Promise<void>((resolve) => {
      failed = resolve;
      this.#onFailure.add(resolve);
    });
    try {
      while (!this.isDone(list)) {
        this.#throwIfFailed();
        const words = this.#heap.words;
        const wait = Atomics.waitAsync(words, done >> 2, Atomics.load(words, done >> 2));
        if (this.isDone(list)) break;
        if (wait.async) await Promise.race([wait.value, failure]);
      }
    } finally {
      if (failed) this.#onFailure.delete(failed);
      for (const worker of this.#workers) worker.keepAlive?.(false);
    }
  }

  async close(): Promise<void> {
    if (this.#alone) return;
    const words = this.#heap.words;
    Atomics.store(words, stop >> 2, 1);
    Atomics.add(words, submitted >> 2, 1);
    Atomics.notify(words, submitted >> 2);
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const wake of this.#onFailure) wake();
  }

  #throwIfFailed(): void {
    if (!this.#failure) return;
    throw new DeviceError(
      {
        operation: "run on the wasm device",
        got: `a thread that died: ${this.#failure.message}`,
        expected: "all threads running",
        cure: "open the device again; report what was running",
      },
      { cause: this.#failure },
    );
  }
}
