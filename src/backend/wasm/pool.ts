// The threads and their queue. Lists of commands go in; `settle` waits until all are done. A small list runs at once on the caller: to wake threads and
// to let them meet after every command would take longer than the work. So threads start with the first list that is worth it; one that dies turns into
// a DeviceError of whoever waits.

import { DeviceError } from "../../core/errors.ts";
import type { Host, WorkerHandle } from "../../core/host.ts";
import { done, queue, queueSlots, stop, submitted } from "./control.ts";
import type { SharedHeap } from "./memory.ts";
import { instantiate, type KernelExports, type WorkerStart } from "./worker.ts";

export class Pool {
  readonly threads: number;
  readonly #heap: SharedHeap;
  /** The kernels on this thread. */
  readonly #here: KernelExports;
  readonly #spawn: () => WorkerHandle[];
  #workers: WorkerHandle[] = [];
  /** All lists, those among them that ran here, and the number of the last of these. */
  #submitted = 0;
  #ranHere = 0;
  #lastHere = 0;
  #failure: Error | undefined;
  readonly #onFailure = new Set<() => void>();

  /** `far`: memories of weights beyond the first 4 GiB. */
  constructor(host: Host, module: WebAssembly.Module, heap: SharedHeap, threads: number, far: readonly WebAssembly.Memory[] = []) {
    this.#heap = heap;
    this.#here = instantiate(module, heap.memory, far);
    this.threads = host.spawnWasmWorker ? threads : 1;
    this.#spawn = () =>
      Array.from({ length: this.threads }, (_, thread) => {
        const worker = host.spawnWasmWorker?.() as WorkerHandle;
        worker.onError((error) => this.#fail(error));
        worker.post({ module, memory: heap.memory, far, thread, threads: this.threads } satisfies WorkerStart);
        worker.keepAlive?.(false);
        return worker;
      });
  }

  /** Starts the threads now and waits until they run. Rejects with DeviceError when one does not. */
  async start(): Promise<void> {
    if (this.threads === 1 || this.#workers.length > 0) return;
    const failure = new Promise<void>((resolve) => this.#onFailure.add(resolve));
    this.#workers = this.#spawn();
    const running = this.#workers.map((worker) => new Promise<void>((resolve) => worker.onMessage(() => resolve())));
    await Promise.race([Promise.all(running), failure]);
    this.#onFailure.clear();
    if (!this.#failure) return;
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
    this.#throwIfFailed();
  }

  /** Number of the list, counted from 1: `settle(n)` waits for it. */
  submit(list: number, end: number, isSmall: boolean): number {
    this.#throwIfFailed();
    const isAlone = this.threads === 1 || (isSmall && this.isDone(this.#submitted));
    this.#submitted++;
    if (isAlone) {
      this.#here.runAlone(list, end);
      this.#ranHere++;
      this.#lastHere = this.#submitted;
      return this.#submitted;
    }
    if (this.#workers.length === 0) this.#workers = this.#spawn();
    const words = this.#heap.words;
    const queued = this.#submitted - this.#ranHere;
    // A full queue is rare (64 lists of 16,384 words): wait for a place.
    while (queued - Atomics.load(words, done >> 2) > queueSlots) this.#throwIfFailed();
    const slot = (queue >> 2) + ((queued - 1) % queueSlots) * 2;
    words[slot] = list;
    words[slot + 1] = end;
    Atomics.add(words, submitted >> 2, 1);
    Atomics.notify(words, submitted >> 2);
    return this.#submitted;
  }

  isDone(list: number): boolean {
    // What ran here ran after all before it was done, so every list after it counts those among the queued ones.
    return list <= this.#lastHere || Atomics.load(this.#heap.words, done >> 2) >= list - this.#ranHere;
  }

  /** Blocks until the list is done: for the rare places where the host must wait without giving way. */
  block(list: number): void {
    const words = this.#heap.words;
    while (!this.isDone(list)) {
      this.#throwIfFailed();
      const seen = Atomics.load(words, done >> 2);
      if (this.isDone(list)) return;
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
        if (typeof Atomics.waitAsync !== "function") {
          // Browsers before 2025: look in short waits, and let messages through between them.
          Atomics.wait(words, done >> 2, Atomics.load(words, done >> 2), 1);
          if (!this.isDone(list)) await new Promise((resolve) => setTimeout(resolve, 0));
          continue;
        }
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
    if (this.#workers.length === 0) return;
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
        cure: "open the device again, with one thread where threads cannot start; report what was running",
      },
      { cause: this.#failure },
    );
  }
}
