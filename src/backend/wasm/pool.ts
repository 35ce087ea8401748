// The threads and their queue. Lists of commands go in; `settle` waits until all are done. A small list runs at once on the caller: to wake threads and
// to let them meet after every command would take longer than the work. A short one, of some milliseconds, runs on the caller and the other threads, which
// are still looking for it: nobody has to be woken, and a server's own work never competes with a thread for a core. Where the caller has other work to do
// before it waits, the others begin without it, and it joins them when it comes, if they are not done by then. For a long one the caller
// gives way to a thread of its own number. So threads start with the first list that is worth it; one that dies turns into a DeviceError of whoever waits.

import { DeviceError } from "../../core/errors.ts";
import type { Host, WorkerHandle } from "../../core/host.ts";
import { at, called, done, joining, queue, queueSlots, stop, submitted } from "./control.ts";
import type { SharedHeap } from "./memory.ts";
import { instantiate, type KernelExports, type WorkerStart } from "./worker.ts";

/** Seconds that the caller may be away in a list. */
const mostAway = 0.016;
/** Tenths of a second after which a thread that the caller waits for is dead. Its share takes milliseconds. */
const patience = 50;

/** A list that the others have begun: its end, its work, and when it began (milliseconds). */
type Begun = { readonly list: number; readonly end: number; readonly work: number; readonly began: number };

type Thread = { readonly worker: WorkerHandle; readonly running: Promise<void>; isRunning: boolean };

export class Pool {
  readonly threads: number;
  readonly #heap: SharedHeap;
  /** The kernels on this thread. */
  readonly #here: KernelExports;
  readonly #spawn: (thread: number) => WorkerHandle;
  /** By number; the last, which has the caller's, is needed for long lists only. */
  readonly #threads: (Thread | undefined)[] = [];
  readonly #mayJoin: boolean;
  /** All lists, those among them that ran here, and the number of the last of these. */
  #submitted = 0;
  #ranHere = 0;
  #lastHere = 0;
  /** The last list, when the caller has not joined it. */
  #begun: Begun | undefined;
  #failure: Error | undefined;
  readonly #onFailure = new Set<() => void>();
  /** Seconds that a unit of work takes all threads, as measured. */
  #pace: number;

  /** `far`: memories of weights beyond the first 4 GiB. */
  constructor(host: Host, module: WebAssembly.Module, heap: SharedHeap, threads: number, far: readonly WebAssembly.Memory[] = []) {
    this.#heap = heap;
    this.#here = instantiate(module, heap.memory, far);
    this.threads = host.spawnWasmWorker ? threads : 1;
    this.#mayJoin = this.threads > 1 && mayWait(heap.words);
    this.#pace = 1e-10 / this.threads;
    this.#spawn = (thread) => {
      const worker = host.spawnWasmWorker?.() as WorkerHandle;
      worker.onError((error) => this.#fail(error));
      worker.post({ module, memory: heap.memory, far, thread, threads: this.threads } satisfies WorkerStart);
      worker.keepAlive?.(false);
      return worker;
    };
  }

  /** Starts the threads now and waits until they run. Rejects with DeviceError when one does not. */
  async start(): Promise<void> {
    if (this.threads === 1) return;
    const failure = new Promise<void>((resolve) => this.#onFailure.add(resolve));
    this.#startThreads(this.threads);
    await Promise.race([Promise.all(this.#threads.map((thread) => thread?.running)), failure]);
    this.#onFailure.clear();
    if (!this.#failure) return;
    await Promise.all(this.#threads.map((thread) => thread?.worker.terminate()));
    this.#throwIfFailed();
  }

  /**
   * Number of the list, counted from 1: `settle(n)` waits for it. `work`: multiply-adds, about, of a list that the caller is about to wait for; Infinity where it
   * has other things to do. `comesLater`: it has, but it will wait for this list, which `mayBegin`.
   */
  submit(list: number, end: number, isSmall: boolean, work: number, comesLater = false): number {
    this.#throwIfFailed();
    this.#joinBegun(); // whatever follows finds all that came before it done, or queued for threads alone
    if (comesLater) return this.#begin(list, end, work);
    if (this.threads === 1) return this.#runHere(list, end);
    const isNext = this.isDone(this.#submitted);
    if (isNext && isSmall) return this.#runHere(list, end);
    if (isNext && this.#mayJoin && work * this.#pace < mostAway) {
      // Until the others run the caller does it alone: it would hear of nothing while it waited for them.
      return this.#startThreads(this.threads - 1) ? this.#join(list, end, work) : this.#runHere(list, end);
    }
    this.#pace *= 0.99; // one bad measurement is not for ever
    this.#startThreads(this.threads);
    const queued = this.#enqueue(list, end);
    const words = this.#heap.words;
    Atomics.store(words, called >> 2, queued);
    Atomics.notify(words, called >> 2);
    this.#announce();
    return this.#submitted;
  }

  /** Whether the others can begin a list without the caller, so that it has less to do when it comes. */
  mayBegin(isSmall: boolean, work: number): boolean {
    if (!this.#mayJoin || isSmall || this.#failure || work * this.#pace >= mostAway || !this.isDone(this.#submitted)) return false;
    return this.#startThreads(this.threads - 1);
  }

  #begin(list: number, end: number, work: number): number {
    const words = this.#heap.words;
    Atomics.store(words, joining >> 2, 0);
    Atomics.store(words, at >> 2, 0);
    this.#enqueue(list + 1, end);
    this.#announce();
    this.#begun = { list: this.#submitted, end, work, began: performance.now() };
    return this.#submitted;
  }

  /** The caller has come: it takes part in what is left of the list that the others have begun, if anything is. */
  #joinBegun(): void {
    const begun = this.#begun;
    if (!begun) return;
    this.#begun = undefined;
    const came = performance.now();
    let joined = false;
    this.#run(() => {
      joined = this.#here.runRest(begun.end, this.threads, patience) !== 0;
    });
    // The others did alone what takes all threads this part of the time.
    const alone = (came - begun.began) * (1 - 1 / this.threads);
    if (!joined) {
      // They may have been done long ago.
      this.#pace = Math.min(this.#pace, alone / 1000 / begun.work);
      return;
    }
    this.#learn(alone + performance.now() - came, begun.work);
    Atomics.store(this.#heap.words, done >> 2, begun.list - this.#ranHere);
  }

  /** `work` took all threads so many milliseconds. */
  #learn(milliseconds: number, work: number): void {
    const pace = milliseconds / 1000 / work;
    this.#pace += 0.1 * (Math.min(pace, 4 * this.#pace) - this.#pace);
  }

  #runHere(list: number, end: number): number {
    this.#submitted++;
    this.#run(() => this.#here.runAlone(list, end));
    this.#ranHere++;
    this.#lastHere = this.#submitted;
    return this.#submitted;
  }

  #join(list: number, end: number, work: number): number {
    const queued = this.#enqueue(list, end);
    this.#announce();
    const began = performance.now();
    this.#run(() => this.#here.runJoined(list, end, this.threads, patience));
    this.#learn(performance.now() - began, work);
    Atomics.store(this.#heap.words, done >> 2, queued);
    return this.#submitted;
  }

  /** Its number among the lists of the queue. */
  #enqueue(list: number, end: number): number {
    this.#submitted++;
    const words = this.#heap.words;
    const queued = this.#submitted - this.#ranHere;
    // A full queue is rare (64 lists of 16,384 words): wait for a place.
    while (queued - Atomics.load(words, done >> 2) > queueSlots) this.#throwIfFailed();
    const slot = (queue >> 2) + ((queued - 1) % queueSlots) * 2;
    words[slot] = list;
    words[slot + 1] = end;
    return queued;
  }

  #announce(): void {
    const words = this.#heap.words;
    Atomics.add(words, submitted >> 2, 1);
    Atomics.notify(words, submitted >> 2);
  }

  #run(kernels: () => void): void {
    try {
      kernels();
    } catch (trap) {
      this.#fail(trap instanceof Error ? trap : new Error(String(trap)));
      this.#throwIfFailed();
    }
  }

  /** Starts the first so many threads as far as they are not there. Whether they run already. */
  #startThreads(count: number): boolean {
    let areRunning = true;
    for (let number = 0; number < count; number++) {
      const thread = this.#threads[number] ?? this.#start(number);
      this.#threads[number] = thread;
      areRunning &&= thread.isRunning;
    }
    return areRunning;
  }

  #start(number: number): Thread {
    const worker = this.#spawn(number);
    const running = new Promise<void>((resolve) => worker.onMessage(() => resolve()));
    const thread: Thread = { worker, running, isRunning: false };
    void running.then(() => {
      thread.isRunning = true;
    });
    return thread;
  }

  get isLost(): boolean {
    return this.#failure !== undefined;
  }

  /** Lists so far, whoever recorded them. */
  get submitted(): number {
    return this.#submitted;
  }

  isDone(list: number): boolean {
    // What ran here ran after all before it was done, so every list after it counts those among the queued ones.
    return list <= this.#lastHere || Atomics.load(this.#heap.words, done >> 2) >= list - this.#ranHere;
  }

  /** Blocks until the list is done: for the rare places where the host must wait without giving way. */
  block(list: number): void {
    this.#joinBegun();
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
    if (this.#begun?.list === list) this.#joinBegun();
    if (this.isDone(list)) return;
    this.#keepAlive(true);
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
      // Others may wait for their lists at the same time.
      if (this.#onFailure.size === 0) this.#keepAlive(false);
    }
  }

  async close(): Promise<void> {
    const words = this.#heap.words;
    Atomics.store(words, stop >> 2, 1);
    for (const word of [submitted, called]) {
      Atomics.add(words, word >> 2, 1);
      Atomics.notify(words, word >> 2);
    }
    await Promise.all(this.#threads.map((thread) => thread?.worker.terminate()));
  }

  #keepAlive(on: boolean): void {
    for (const thread of this.#threads) thread?.worker.keepAlive?.(on);
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

/** Whether this thread may sleep at a barrier: the main thread of a page may not. */
function mayWait(words: Int32Array): boolean {
  try {
    Atomics.wait(words, 0, -1, 0); // the word is not -1, so this returns at once, or throws
    return true;
  } catch {
    return false;
  }
}
