// The engine: a model with many sequences at once, ids in, ids out. It knows no text. A sequence may join or leave at any step: while
// there is work, a loop admits who fits and repeats step = schedule -> forward -> choose -> settle, with one read of logits per step
// (and one of losses, when somebody wants log-probabilities). A request's answer depends on its ids, settings and seed alone: rows do
// not see their neighbours in the batch, so alone or in a crowd, in one chunk or many, it is bit for bit the same.

import { RequestError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { Cache, Model } from "../models/model.ts";
import { crossEntropy } from "../ops/cross-entropy.ts";
import { alias, dispose, empty, fromArray, keep, read, scope, type Tensor } from "../tensor/tensor.ts";
import { noGradients } from "../tensor/tracking.ts";
import { type Choice, chooseId, ended, isConstrained } from "./choose.ts";
import { checkOptions, type EngineOptions } from "./options.ts";
import { type Alternative, checkRequest, type GenerationRequest, type GenerationResult } from "./request.ts";
import { makeSampler, type Sampler } from "./sampler.ts";
import { admit, forget, leave, packedLength, type Slot, type StepPlan, schedule } from "./scheduler.ts";
import { randomOf, resultOf, type Sequence, startSequence, type Timeline } from "./sequence.ts";
import { settle } from "./settle.ts";

export type TokenInfo = {
  readonly logprob?: number;
  /** The likeliest ids at this place, when the request wants topLogprobs. */
  readonly alternatives?: readonly Alternative[];
  readonly isForced: boolean;
};

export type SubmitOptions = {
  /**
   * Called for every emitted id (not for the stop id) in the step in which it was chosen. What it throws fails this request alone; when it
   * returns "stop" the request ends with this id.
   */
  readonly onToken?: (id: number, info: TokenInfo) => unknown;
  /** Frees the slot at once, at any moment; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** See session.ts. */
  readonly timeline?: Timeline;
};

export type GenerateProgress = { readonly finished: number; readonly total: number; readonly tokens: number };

export type EngineCounts = {
  readonly steps: number;
  readonly rows: number;
  readonly emitted: number;
  readonly running: number;
  readonly waiting: number;
};

type Handlers = {
  readonly onToken: SubmitOptions["onToken"];
  readonly resolve: (result: GenerationResult) => void;
  readonly reject: (reason: unknown) => void;
};

/** The event loop gets a turn at least this often (milliseconds), so that signals and sockets are heard. */
const turnEvery = 8;

export class Engine {
  readonly model: Model;
  readonly contextLength: number;
  readonly absorbed: boolean;
  readonly #prefillTokens: number;
  readonly #width: number;
  readonly #bannedIds: readonly number[];
  readonly #seeds: Random;
  readonly #cache: Cache;
  readonly #input: Tensor;
  readonly #packed: Int32Array;
  readonly #sample: Sampler;
  readonly #slots: Slot[];
  readonly #waiting = new Set<Sequence>();
  #running: Sequence[] = [];
  readonly #handlers = new Map<Sequence, Handlers>();
  #loop: Promise<void> | undefined;
  #isDisposed = false;
  #submitted = 0;
  #steps = 0;
  #rows = 0;
  #emitted = 0;

  /** Allocates the cache. Throws ConfigError for absurd options, DeviceError when the cache does not fit. */
  constructor(model: Model, options: EngineOptions = {}) {
    this.model = model;
    const { slots, contextLength, absorbed, prefillTokens, vocabLimit, bannedIds, seed } = checkOptions(options, model);
    this.contextLength = contextLength;
    this.absorbed = absorbed;
    this.#prefillTokens = prefillTokens;
    this.#width = vocabLimit;
    this.#bannedIds = bannedIds;
    this.#seeds = randomOf(seed);
    this.#slots = Array.from({ length: slots }, () => ({ sequence: undefined, timeline: undefined }));
    this.#packed = new Int32Array(packedLength(slots, prefillTokens));
    this.#sample = makeSampler(model.vocabSize);
    this.#cache = keep(() => model.makeCache(slots, this.contextLength, { expanded: !this.absorbed }));
    try {
      this.#input = keep(() => empty(model.device, [this.#packed.length], "i32"));
    } catch (error) {
      this.#cache.dispose();
      throw error;
    }
  }

  /** Rows are what the model computed: prompt ids and decoded ids; the count that a cost is made of. */
  get counts(): EngineCounts {
    return { steps: this.#steps, rows: this.#rows, emitted: this.#emitted, running: this.#running.length, waiting: this.#waiting.size };
  }

  /**
   * Rejects with RequestError (before anything is computed), DeviceError (this request's logits were not finite, or the device
   * failed), or the signal's reason.
   */
  submit(request: GenerationRequest, options: SubmitOptions = {}): Promise<GenerationResult> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      signal?.throwIfAborted();
      const cancel = () => this.#fail(sequence, signal?.reason);
      const done = () => signal?.removeEventListener("abort", cancel);
      const sequence = this.#join(request, options.timeline, {
        onToken: options.onToken,
        resolve: (result) => {
          done();
          resolve(result);
        },
        reject: (reason) => {
          done();
          reject(reason);
        },
      });
      signal?.addEventListener("abort", cancel, { once: true });
    });
  }

  /**
   * All requests, answers in their order. All are checked before the first is begun; when one fails the others are cancelled and
   * its error is thrown.
   */
  async generate(
    requests: readonly GenerationRequest[],
    options: { readonly onProgress?: (progress: GenerateProgress) => void; readonly signal?: AbortSignal } = {},
  ): Promise<GenerationResult[]> {
    const { onProgress, signal } = options;
    signal?.throwIfAborted();
    for (const request of requests) checkRequest(request, this.#limits());
    const total = requests.length;
    const sequences: Sequence[] = [];
    const cancelAll = (reason: unknown) => {
      for (const sequence of sequences) this.#fail(sequence, reason);
    };
    const onAbort = () => cancelAll(signal?.reason);
    let finished = 0;
    let tokens = 0;
    const answers = requests.map(
      (request) =>
        new Promise<GenerationResult>((resolve, reject) => {
          const finish = (result: GenerationResult) => {
            finished++;
            tokens += result.ids.length;
            try {
              onProgress?.({ finished, total, tokens });
              resolve(result);
            } catch (error) {
              reject(error);
            }
          };
          sequences.push(this.#join(request, undefined, { onToken: undefined, resolve: finish, reject }));
        }),
    );
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.all(answers);
    } catch (error) {
      cancelAll(error);
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Frees the slot that a timeline holds. */
  release(timeline: Timeline): void {
    const slot = this.#slots[timeline.slot];
    if (slot?.timeline === timeline) slot.timeline = undefined;
    forget(timeline);
  }

  /** Frees the cache and rejects what is still under way. Resolves when the step being computed, if any, has let go of its memory. */
  async dispose(): Promise<void> {
    if (!this.#isDisposed) {
      this.#isDisposed = true;
      const reason = new RequestError({
        operation: "generate",
        got: "an engine that was disposed",
        expected: "a live one",
        cure: "wait for the answers before dispose()",
      });
      for (const sequence of [...this.#handlers.keys()]) this.#fail(sequence, reason);
      this.#cache.dispose();
      dispose(this.#input);
    }
    await this.#loop;
  }

  #limits(): { vocabSize: number; contextLength: number } {
    return { vocabSize: this.model.vocabSize, contextLength: this.contextLength };
  }

  #join(request: GenerationRequest, timeline: Timeline | undefined, handlers: Handlers): Sequence {
    if (this.#isDisposed)
      throw new RequestError({
        operation: "generate",
        got: "an engine that was disposed",
        expected: "a live one",
        cure: "make a new Engine",
      });
    const checked = checkRequest(request, this.#limits());
    const seed = checked.seed ?? this.#seeds.uint32();
    const sequence = startSequence(++this.#submitted, checked, seed, timeline);
    this.#waiting.add(sequence);
    this.#handlers.set(sequence, handlers);
    this.#loop ??= this.#work();
    return sequence;
  }

  /** Runs until there is nothing left to do. Never rejects. */
  async #work(): Promise<void> {
    await nextTask(); // requests made in the same turn share their first step
    let lastTurn = performance.now();
    while (this.#waiting.size + this.#running.length > 0) {
      this.#running.push(...admit(this.#waiting, this.#slots));
      try {
        await this.#step();
      } catch (error) {
        this.#failStep(error);
      }
      if (performance.now() - lastTurn > turnEvery) {
        await nextTask();
        lastTurn = performance.now();
      }
    }
    this.#loop = undefined;
  }

  async #step(): Promise<void> {
    const { device, vocabSize } = this.model;
    const plan = schedule(this.#running, this.#prefillTokens, this.contextLength, this.#packed);
    const logits = this.#forward(plan); // [M, V]
    try {
      this.#steps++;
      this.#rows += plan.rows;
      for (const sequence of this.#running) sequence.cached += sequence.feed;
      if (plan.choosing.length === 0) {
        await device.finish();
        return;
      }
      const host = await read(logits);
      await this.#prepareConstraints(plan);
      const choices = plan.choosing.map((sequence, m) => this.#choose(sequence, host, m * vocabSize));
      const losses = await this.#losses(plan, choices, logits);
      for (const [m, sequence] of plan.choosing.entries()) {
        const choice = choices[m];
        if (choice && !sequence.isDone)
          this.#settle(sequence, choice, losses && sequence.request.logprobs ? 0 - (losses[m] as number) : undefined);
      }
    } finally {
      dispose(logits);
    }
  }

  /** Uploads the step's numbers in one piece and records the pass. */
  #forward({ rows: R, choosing }: StepPlan): Tensor {
    const { model } = this;
    const M = Math.max(1, choosing.length);
    const part = (index: number, length = R) => alias(this.#input, [length], index * R);
    return noGradients(() =>
      scope(() => {
        model.device.write(this.#input.storage.buffer, 0, this.#packed.subarray(0, 5 * R + M));
        return model.forward({
          ids: part(0),
          positions: part(1),
          first: part(2),
          last: part(3),
          cache: { cache: this.#cache, rows: part(4) },
          outputRows: part(5, M),
          absorbed: this.absorbed,
        }).logits;
      }),
    );
  }

  /** Masks are made while the device computes; whoever's cannot be made leaves. */
  async #prepareConstraints({ choosing }: StepPlan): Promise<void> {
    for (const sequence of choosing) {
      if (sequence.isDone || !isConstrained(sequence)) continue;
      try {
        await sequence.request.constraint?.prepare();
      } catch (error) {
        this.#fail(sequence, error);
      }
    }
  }

  /** Undefined when the sequence left meanwhile, or failed just now. */
  #choose(sequence: Sequence, logits: Parameters<Sampler>[0], start: number): Choice | undefined {
    if (sequence.isDone) return undefined;
    try {
      return chooseId(sequence, logits, start, this.#width, this.#bannedIds, this.#sample);
    } catch (error) {
      if (sequence.timeline) sequence.cached = 0; // keys that led to such logits are not worth keeping
      this.#fail(sequence, error);
      return undefined;
    }
  }

  /** Negative log-probabilities [M] of the chosen ids by the training kernel, when somebody asked. */
  async #losses({ choosing }: StepPlan, choices: readonly (Choice | undefined)[], logits: Tensor): Promise<ArrayLike<number> | undefined> {
    const targets = choices.map((choice, m) => (choice && choosing[m]?.request.logprobs ? choice.id : ended));
    if (targets.every((target) => target < 0)) return undefined;
    const losses = noGradients(() => scope(() => crossEntropy(logits, fromArray(this.model.device, targets, [targets.length], "i32"))));
    try {
      return await read(losses);
    } finally {
      dispose(losses);
    }
  }

  #settle(sequence: Sequence, choice: Choice, logprob: number | undefined): void {
    let state = settle(sequence, choice, logprob);
    const stopId = state === "stop" && choice.id !== ended ? choice.id : undefined;
    const handlers = this.#handlers.get(sequence);
    if (state !== "stop") {
      this.#emitted++;
      try {
        const told = handlers?.onToken?.(choice.id, {
          ...(logprob !== undefined && { logprob }),
          ...(choice.ranked && { alternatives: sequence.alternatives.at(-1) }),
          isForced: choice.isForced,
        });
        if (told === "stop") state = "stop";
      } catch (error) {
        this.#fail(sequence, error);
      }
    }
    if (state === "go" || sequence.isDone) return;
    this.#remove(sequence);
    handlers?.resolve(resultOf(sequence, state, stopId));
  }

  /** The device failed: whoever was in the step is lost with what the cache holds of it; the others go on. */
  #failStep(error: unknown): void {
    for (const sequence of [...this.#running]) {
      if (sequence.feed === 0) continue;
      sequence.cached = 0;
      this.#fail(sequence, error);
    }
  }

  #fail(sequence: Sequence, reason: unknown): void {
    const handlers = this.#handlers.get(sequence);
    if (sequence.isDone || !handlers) return;
    this.#remove(sequence);
    handlers.reject(reason);
  }

  #remove(sequence: Sequence): void {
    sequence.isDone = true;
    this.#handlers.delete(sequence);
    this.#waiting.delete(sequence);
    const index = this.#running.indexOf(sequence);
    if (index >= 0) this.#running.splice(index, 1);
    leave(this.#slots, sequence, this.#steps);
  }
}

/** Lets timers, sockets and signals have their turn. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === "function") setImmediate(resolve);
    else setTimeout(resolve, 0);
  });
}
