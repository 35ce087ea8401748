// Structured output: a GrammarEngine whose work is done by a thread, of Node or of a browser. Masks are asked for as soon as an id is known, so they are made
// while the device computes the next step. A compilation that takes longer than `compileMilliseconds`, or a crash, costs the thread, not the
// process: a new one is started, and the constraints that were under way begin again there from the ids that they had accepted.

import type { GrammarConstraint, GrammarEngine, Structure } from "../chat/grammar.ts";
import { checkStructure, type GrammarSource } from "../chat/structure-check.ts";
import type { HostArray } from "../core/dtype.ts";
import { DeviceError, quote, RequestError } from "../core/errors.ts";
import type { WorkerHandle } from "../core/host.ts";
import { byteToChar } from "../text/byte-alphabet.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { GrammarAnswer, GrammarCall, Vocabulary } from "./grammar-messages.ts";

/** Starts a thread that runs grammar-service.ts. */
export type GrammarSpawn = () => GrammarHandle;

export type GrammarHandle = WorkerHandle & {
  /** What the thread has used of the processor; NaN where nobody tells. */
  processorMilliseconds?(): Promise<number>;
};

/** An eighth of the longest wait for a mask or for the start of the thread; only a broken library takes that long. */
const patience = 10_000;

/** `stopIds` end an answer where the grammar may end. `compileMilliseconds`: the longest compilation, in time of the processor where the thread tells it. */
export async function openGrammarEngine(
  spawn: GrammarSpawn,
  tokenizer: Tokenizer,
  vocabSize: number,
  stopIds: readonly number[],
  compileMilliseconds: number,
): Promise<GrammarEngine> {
  const engine = new GrammarThreads(spawn, vocabularyOf(tokenizer, vocabSize, stopIds), compileMilliseconds);
  await engine.open();
  return engine;
}

function vocabularyOf(tokenizer: Tokenizer, vocabSize: number, stopIds: readonly number[]): Vocabulary {
  const count = Math.min(tokenizer.vocabSize, vocabSize);
  const tokens = Array.from({ length: count }, (_, id) => {
    if (tokenizer.isSpecial(id)) return "";
    let text = "";
    for (const byte of tokenizer.pieceBytes(id, false)) text += byteToChar[byte];
    return text;
  });
  return { tokens, vocabSize, stopIds };
}

type Pending = {
  readonly resolve: (answer: GrammarAnswer) => void;
  readonly reject: (error: Error) => void;
  readonly timer: ReturnType<typeof setTimeout>;
  stop?: () => void;
};

class GrammarThreads implements GrammarEngine {
  readonly vocabulary: Vocabulary;
  readonly #spawn: GrammarSpawn;
  readonly #compileMilliseconds: number;
  readonly #live = new Map<number, Constraint>();
  readonly #pending = new Map<number, Pending>();
  #worker: GrammarHandle | undefined;
  #ready: Promise<void> | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #serial = 0;
  #ids = 0;
  #isClosed = false;

  constructor(spawn: GrammarSpawn, vocabulary: Vocabulary, compileMilliseconds: number) {
    this.#spawn = spawn;
    this.vocabulary = vocabulary;
    this.#compileMilliseconds = compileMilliseconds;
  }

  open(): Promise<void> {
    this.#ready ??= this.#start();
    return this.#ready;
  }

  async constrain(structure: Structure): Promise<GrammarConstraint> {
    const source = checkStructure(structure);
    const constraint = new Constraint(this, ++this.#ids, source);
    this.#live.set(constraint.id, constraint);
    try {
      await constraint.begin(this.#compileMilliseconds);
      return constraint;
    } catch (error) {
      constraint.dispose();
      throw error;
    }
  }

  /** Sends one message and waits. Rejects with RequestError what the library refuses; on a crash or a timeout the thread is replaced. */
  async ask(call: DistributiveOmit<GrammarCall, "serial">, milliseconds = patience): Promise<GrammarAnswer> {
    await this.open();
    const worker = this.#worker;
    if (!worker || this.#isClosed) throw closed();
    const answer = await this.#post(worker, call, milliseconds);
    if (answer.isTrap) this.#replace(answer.serial, new Error(answer.error));
    if (answer.error !== undefined) throw new Refusal(answer.error);
    return answer;
  }

  /** One compilation at a time, so that each has its own time limit. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  forget(id: number): void {
    if (this.#live.delete(id) && this.#worker && !this.#isClosed) this.ask({ kind: "drop", id }).catch(() => {});
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const worker = this.#worker;
    this.#fail(closed());
    await worker?.terminate();
  }

  async #start(): Promise<void> {
    const worker = this.#spawn();
    this.#worker = worker;
    worker.onMessage((message) => {
      const answer = message as GrammarAnswer;
      const pending = this.#pending.get(answer.serial);
      this.#pending.delete(answer.serial);
      clearTimeout(pending?.timer);
      pending?.stop?.();
      pending?.resolve(answer);
    });
    worker.onError((error) => this.#replace(-1, error));
    try {
      await this.#post(worker, { kind: "open", vocabulary: this.vocabulary }, patience);
    } catch (cause) {
      if (cause instanceof RequestError) throw cause;
      const got = cause instanceof Error && cause.message ? quote(cause.message, 200) : "a thread that ended";
      throw new DeviceError(
        { operation: "start the compiler of grammars", got, expected: "a thread that works", cure: "leave the structure out; report it" },
        { cause },
      );
    }
  }

  #post(worker: GrammarHandle, call: DistributiveOmit<GrammarCall, "serial">, milliseconds: number): Promise<GrammarAnswer> {
    const serial = ++this.#serial;
    return new Promise<GrammarAnswer>((resolve, reject) => {
      const giveUp = () => this.#replace(serial, new TimeoutError());
      const pending: Pending = { resolve, reject, timer: setTimeout(giveUp, 8 * milliseconds) };
      if (milliseconds < patience) {
        const measure = async () => (await worker.processorMilliseconds?.()) ?? Number.NaN;
        const began = measure();
        const look = async () => {
          const used = (await measure()) - (await began);
          if (!this.#pending.has(serial)) return;
          if (!(used < milliseconds)) giveUp();
          else first = setTimeout(look, milliseconds - used);
        };
        let first = setTimeout(look, milliseconds);
        pending.stop = () => clearTimeout(first);
      }
      this.#pending.set(serial, pending);
      worker.post({ serial, ...call });
    });
  }

  /** The thread is lost through the call `guilty`; what else was under way begins again in a new one. */
  #replace(guilty: number, error: Error): void {
    const worker = this.#worker;
    if (!worker) return;
    this.#worker = undefined;
    this.#ready = undefined;
    void worker.terminate();
    const pending = [...this.#pending];
    this.#pending.clear();
    for (const [serial, { reject, timer, stop }] of pending) {
      clearTimeout(timer);
      stop?.();
      reject(serial === guilty ? error : new Lost(error.message));
    }
    for (const constraint of this.#live.values()) constraint.isLost = true;
  }

  #fail(error: Error): void {
    for (const { reject, timer, stop } of this.#pending.values()) {
      clearTimeout(timer);
      stop?.();
      reject(error);
    }
    this.#pending.clear();
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

class TimeoutError extends Error {}
/** The thread went down through somebody else. */
class Lost extends Error {}
class Refusal extends Error {}

function closed(): Error {
  return new RequestError({
    operation: "generate: structure",
    got: "a model that was closed",
    expected: "an open one",
    cure: "load it again",
  });
}

class Constraint implements GrammarConstraint {
  readonly id: number;
  isLost = false;
  readonly #threads: GrammarThreads;
  readonly #source: GrammarSource;
  readonly #accepted: number[] = [];
  #next: Promise<Int32Array>;

  constructor(threads: GrammarThreads, id: number, source: GrammarSource) {
    this.#threads = threads;
    this.id = id;
    this.#source = source;
    this.#next = Promise.resolve(new Int32Array(0));
  }

  async begin(milliseconds: number): Promise<void> {
    this.#next = this.#begin(milliseconds);
    this.#next.catch(() => {});
    const mask = await this.#next;
    if (isEmpty(mask)) {
      throw new RequestError({
        operation: "generate: structure",
        got: "a structure that nothing satisfies",
        expected: "one with at least one answer",
        cure: "check it for contradictions",
      });
    }
    this.#mask = mask;
  }

  #mask: Int32Array | undefined;

  async prepare(): Promise<void> {
    const mask = await this.#next;
    const isOver = mask.length === 0;
    if (!isOver && isEmpty(mask)) {
      throw new RequestError({
        operation: "generate: structure",
        got: "an answer that cannot be continued to fit the structure",
        expected: "a structure that tokens can spell",
        cure: "check it for contradictions",
      });
    }
    this.#mask = mask;
  }

  mask(logits: HostArray, start: number, width: number): boolean {
    const mask = this.#mask;
    if (!mask || mask.length === 0) return false;
    for (let id = 0; id < width; id++) {
      if ((((mask[id >> 5] as number) >>> (id & 31)) & 1) === 0) logits[start + id] = Number.NEGATIVE_INFINITY;
    }
    return true;
  }

  accept(id: number): void {
    this.#accepted.push(id);
    this.#mask = undefined;
    this.#next = this.#ask(id);
    this.#next.catch(() => {}); // told by prepare
  }

  dispose(): void {
    this.#threads.forget(this.id);
  }

  async #ask(id: number): Promise<Int32Array> {
    if (!this.isLost) {
      try {
        return (await this.#threads.ask({ kind: "next", id: this.id, accepted: [id] })).mask ?? new Int32Array(0);
      } catch (error) {
        if (!(error instanceof Lost)) throw translate(error, this.#source);
      }
    }
    return await this.#begin(patience);
  }

  /** From the source and all accepted ids; tried again when the thread goes down through somebody else. */
  async #begin(milliseconds: number): Promise<Int32Array> {
    for (let attempt = 0; ; attempt++) {
      this.isLost = false;
      const accepted = [...this.#accepted];
      try {
        return (
          (await this.#threads.ask({ kind: "begin", id: this.id, source: this.#source, accepted }, milliseconds)).mask ?? new Int32Array(0)
        );
      } catch (error) {
        if (!(error instanceof Lost) || attempt === 3) throw translate(error, this.#source);
      }
    }
  }
}

function isEmpty(mask: Int32Array): boolean {
  return mask.length > 0 && mask.every((word) => word === 0);
}

function translate(error: unknown, { kind, text }: GrammarSource): Error {
  if (error instanceof RequestError || error instanceof DeviceError) return error;
  const operation = `generate: structure (${kind})`;
  if (error instanceof TimeoutError) {
    return new RequestError({
      operation,
      got: "one that takes too long to compile",
      expected: "one that compiles within its time limit",
      cure: "make it smaller or simpler",
    });
  }
  if (error instanceof Refusal) {
    const got = quote(error.message.replaceAll(/\s+/g, " ").trim(), 200);
    return new RequestError(
      { operation, got, expected: "one that the grammar compiler accepts", cure: `check ${quote(text, 60)}` },
      { cause: error },
    );
  }
  const got = error instanceof Error ? quote(error.message, 200) : "a failure";
  return new DeviceError(
    { operation, got, expected: "a grammar thread that works", cure: "ask again; report it if it comes back" },
    { cause: error },
  );
}
