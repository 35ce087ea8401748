// The engine: a model with many sequences at once, ids in, ids out. It knows no text. A sequence may join or leave at any step: while
// there is work, a loop repeats step = plan (scheduler.ts) -> forward (step.ts) -> choose -> settle, with one read of logits per step
// (and one of losses, when somebody wants log-probabilities); with speculation the last two may repeat in a step. A request's answer depends
// on its ids, settings and seed alone: alone or in a crowd, in one chunk or many, with its prefix from the cache, preempted on the
// way, with drafts or without, it is bit for bit the same.

import { RequestError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { Model } from "../models/model.ts";
import { dispose, read, type Tensor } from "../tensor/tensor.ts";
import { type GenerateOptions, generateAll } from "./batch.ts";
import { type Choice, ended } from "./choose.ts";
import { PromptLookup } from "./draft-lookup.ts";
import { NextDrafter, type Span } from "./draft-next.ts";
import { checkOptions, type EngineOptions } from "./options.ts";
import { PagePool } from "./pages.ts";
import { PrefixCache } from "./prefix-cache.ts";
import {
  type Alternative,
  type CheckedRequest,
  checkRequest,
  checkSampleCount,
  type EngineLimits,
  type GenerationRequest,
  type GenerationResult,
  sampleSeed,
} from "./request.ts";
import { Scheduler, type StepPlan } from "./scheduler.ts";
import { randomOf, resultOf, type Sequence, startSequence } from "./sequence.ts";
import { settle } from "./settle.ts";
import { Speculation } from "./speculation.ts";
import { StepRunner } from "./step.ts";
import { makeChooser } from "./turns.ts";

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
  /** Frees its pages at once, at any moment; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
};

/** A request on its way. */
export type Running = { readonly answer: Promise<GenerationResult>; cancel(reason: unknown): void };

export type EngineCounts = {
  readonly steps: number;
  readonly rows: number;
  readonly emitted: number;
  readonly running: number;
  readonly waiting: number;
  /** How often a sequence had to give its pages back. */
  readonly preemptions: number;
  /** Of the cache: all, not in use, and of these the ones that still hold a prefix. */
  readonly pages: number;
  readonly freePages: number;
  readonly keptPages: number;
  /** Drafts of speculation that were verified, and of these the ones that came true. */
  readonly drafted: number;
  readonly accepted: number;
};

type Handlers = {
  readonly onToken: SubmitOptions["onToken"];
  readonly resolve: (result: GenerationResult) => void;
  readonly reject: (reason: unknown) => void;
};

/** The event loop gets a turn at least this often (milliseconds), so that signals and sockets are heard: while the device works, where it can begin a step by itself. */
const turnEvery = 2;

export class Engine {
  readonly model: Model;
  /** Ids that one sequence may have, prompt and completion. */
  readonly contextLength: number;
  readonly absorbed: boolean;
  readonly #limits: EngineLimits;
  readonly #width: number;
  readonly #seeds: Random;
  readonly #pool: PagePool;
  readonly #prefixes: PrefixCache | undefined;
  readonly #scheduler: Scheduler;
  readonly #runner: StepRunner;
  readonly #chooseAll: ReturnType<typeof makeChooser>;
  readonly #speculation: Speculation | undefined;
  readonly #next: NextDrafter | undefined;
  readonly #handlers = new Map<Sequence, Handlers>();
  #loop: Promise<void> | undefined;
  #lastTurn = 0;
  /** Milliseconds that the last step took. */
  #took = 0;
  #isDisposed = false;
  #submitted = 0;
  #steps = 0;
  #rows = 0;
  #emitted = 0;

  /** Allocates the cache. Throws ConfigError for absurd options, DeviceError when the cache does not fit. */
  constructor(model: Model, options: EngineOptions = {}) {
    this.model = model;
    const { slots, contextLength, cacheTokens, pageSize, prefixCache, absorbed, speculation, ...rest } = checkOptions(options, model);
    const longest = Math.min(contextLength, cacheTokens);
    this.contextLength = longest;
    this.absorbed = absorbed;
    this.#limits = { vocabSize: model.vocabSize, contextLength, cacheTokens };
    this.#width = rest.vocabLimit;
    this.#seeds = randomOf(rest.seed);
    // Where the cache is to hold all of them, whole pages for every sequence.
    const whole = cacheTokens >= slots * longest ? slots * Math.ceil(longest / pageSize) : 0;
    this.#pool = new PagePool(Math.max(whole, Math.ceil(cacheTokens / pageSize)), pageSize);
    this.#prefixes = prefixCache ? new PrefixCache(this.#pool) : undefined;
    this.#next = speculation.kind === "mtp" ? new NextDrafter(this.#pool) : undefined;
    this.#speculation = speculation.kind === "none" ? undefined : new Speculation(this.#next ?? new PromptLookup(), speculation);
    this.#scheduler = new Scheduler({
      slots,
      prefillTokens: rest.prefillTokens,
      pool: this.#pool,
      prefixes: this.#prefixes,
      ...(this.#speculation && { draft: (decoding) => this.#speculation?.draft(decoding) }),
    });
    this.#runner = new StepRunner(model, this.#pool, absorbed, rest.cacheType, this.#next !== undefined);
    this.#chooseAll = makeChooser({
      vocabSize: model.vocabSize,
      width: this.#width,
      bannedIds: rest.bannedIds,
      scheduler: this.#scheduler,
      runner: this.#runner,
      settle: (...choice) => this.#settle(...choice),
      fail: (...failure) => this.#fail(...failure),
    });
  }

  /** Rows are what the model computed: prompt ids and decoded ids; the count that a cost is made of. */
  get counts(): EngineCounts {
    const kept = this.#prefixes?.idle ?? 0;
    return {
      steps: this.#steps,
      rows: this.#rows,
      emitted: this.#emitted,
      running: this.#scheduler.running.length,
      waiting: this.#scheduler.waiting,
      preemptions: this.#scheduler.preemptions,
      pages: this.#pool.count,
      freePages: this.#pool.free + kept,
      keptPages: kept,
      drafted: this.#scheduler.drafted,
      accepted: this.#scheduler.accepted,
    };
  }

  /**
   * Rejects with RequestError (before anything is computed), DeviceError (this request's logits were not finite, or the device
   * failed), or the signal's reason.
   */
  async submit(request: GenerationRequest, { onToken, signal }: SubmitOptions = {}): Promise<GenerationResult> {
    signal?.throwIfAborted();
    const { answer, cancel } = this.begin(request, onToken);
    if (!signal) return answer;
    const onAbort = () => cancel(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await answer;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** As submit, but throws where the request is refused, and is cancelled by a call: the answer then rejects with the reason. */
  begin(request: GenerationRequest, onToken?: SubmitOptions["onToken"]): Running {
    if (this.#isDisposed)
      throw new RequestError({
        operation: "generate",
        got: "an engine that was disposed",
        expected: "a live one",
        cure: "make a new Engine",
      });
    const checked = this.check(request);
    const sequence = startSequence(++this.#submitted, checked, checked.seed ?? this.#seeds.uint32());
    const answer = new Promise<GenerationResult>((resolve, reject) => this.#handlers.set(sequence, { onToken, resolve, reject }));
    this.#scheduler.join(sequence);
    this.#loop ??= this.#work();
    return { answer, cancel: (reason) => this.#fail(sequence, reason) };
  }

  /** All requests, answers in their order; see batch.ts. Rejects as `submit` does, with the first error. */
  generate(requests: readonly GenerationRequest[], options: GenerateOptions = {}): Promise<GenerationResult[]> {
    return generateAll(this, requests, options);
  }

  /**
   * `n` answers to one request, which share the keys of its prompt; it is computed once. Answer i has the seed of the request plus i (one seed
   * is drawn where the request has none).
   */
  async samples(request: GenerationRequest, n: number, options: GenerateOptions = {}): Promise<GenerationResult[]> {
    checkSampleCount(n);
    const seed = this.check(request).seed ?? this.#seeds.uint32();
    const sampling = (i: number) => ({ ...request.sampling, seed: sampleSeed(seed, i) });
    return this.generate(
      Array.from({ length: n }, (_, i) => ({ ...request, sampling: sampling(i) })),
      options,
    );
  }

  /** Throws RequestError where `submit` would reject with one. */
  check(request: GenerationRequest): CheckedRequest {
    return checkRequest(request, this.#limits);
  }

  /** How many of these ids would not have to be computed now. */
  reusable(ids: readonly number[], cacheSalt = ""): number {
    return this.#prefixes && ids.length > 0 ? this.#prefixes.find(cacheSalt, ids, ids.length - 1).length : 0;
  }

  /** Forgets the keys of these ids and of what follows them, but for what is in use and what other ids begin with too. */
  forget(ids: readonly number[], cacheSalt = ""): void {
    this.#prefixes?.forget(cacheSalt, ids);
  }

  /** Forgets the keys of all that is finished. To be called when the model's weights have changed. */
  clearPrefixes(): void {
    this.#prefixes?.clear();
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
      this.#runner.dispose();
    }
    await this.#loop;
  }

  /** Runs until there is nothing left to do. Never rejects. */
  async #work(): Promise<void> {
    await this.#turn(); // requests made in the same turn share their first step
    while (this.#handlers.size > 0) {
      const began = performance.now();
      const plan = this.#scheduler.plan();
      try {
        await this.#step(plan);
      } catch (error) {
        this.#failStep(plan, error);
      }
      const now = performance.now();
      this.#took = now - began;
      if (this.#lastTurn < began && now - this.#lastTurn > turnEvery) await this.#turn();
    }
    this.#loop = undefined;
  }

  async #turn(): Promise<void> {
    await nextTask();
    this.#lastTurn = performance.now();
  }

  async #step(plan: StepPlan): Promise<void> {
    const began = performance.now();
    const spans = this.#next?.begin(plan);
    const { logits, hidden } = this.#runner.forward(plan, spans !== undefined); // [M, V], [R, C]
    try {
      this.#steps++;
      this.#rows += plan.rows;
      // Sequences may leave meanwhile.
      const isDueByItsEnd = performance.now() - this.#lastTurn + this.#took > turnEvery;
      if (isDueByItsEnd && this.model.device.begin?.()) await this.#turn();
      if (plan.choosing.length > 0) await this.#chooseAll(plan, logits);
      else {
        await this.model.device.finish();
        this.#scheduler.advance(plan);
      }
      const chosen = performance.now();
      this.#speculation?.note(plan, (chosen - began) / 1000);
      this.#scheduler.endStep(plan);
      if (!spans || !hidden) return;
      await this.#draftNext(spans, hidden);
      this.#speculation?.noteDrafting(plan, (performance.now() - chosen) / 1000);
    } finally {
      dispose(logits, ...(hidden ? [hidden] : []));
    }
  }

  /** The next head says what may follow the ids that were chosen, and keeps its keys of all rows. */
  async #draftNext(spans: readonly Span[], hidden: Tensor): Promise<void> {
    const { device, vocabSize } = this.model;
    const { nextIds, first, outputRows, sequences } = (this.#next as NextDrafter).rowsOf(spans);
    const logits = this.#runner.predictNext(hidden, nextIds, first, outputRows.length > 0 ? outputRows : [0]);
    try {
      if (outputRows.length === 0) await device.finish();
      else this.#next?.note(sequences, await read(logits), vocabSize, this.#width);
    } finally {
      dispose(logits);
    }
  }

  #settle(sequence: Sequence, choice: Choice, logprob: number | undefined): void {
    let state = settle(sequence, choice, logprob);
    const stopId = state === "stop" && choice.id !== ended ? choice.id : undefined;
    const handlers = this.#handlers.get(sequence);
    if (state !== "stop") {
      this.#emitted++;
      try {
        const told = handlers?.onToken?.(choice.id, infoOf(sequence, choice, logprob));
        if (told === "stop") state = "stop";
      } catch (error) {
        this.#fail(sequence, error);
      }
    }
    if (state === "go" || sequence.isDone) return;
    this.#remove(sequence);
    handlers?.resolve(resultOf(sequence, state, stopId));
  }

  /** The device failed: whoever was in the step is lost, and all that was kept for later; the others go on. */
  #failStep({ fed }: StepPlan, error: unknown): void {
    for (const sequence of fed) this.#fail(sequence, error, false);
    this.clearPrefixes();
  }

  #fail(sequence: Sequence, reason: unknown, isSound = true): void {
    const handlers = this.#handlers.get(sequence);
    if (!handlers) return;
    this.#remove(sequence, isSound);
    if (!isSound) this.forget(sequence.ids, sequence.request.salt);
    handlers.reject(reason);
  }

  #remove(sequence: Sequence, isSound = true): void {
    sequence.isDone = true;
    this.#handlers.delete(sequence);
    this.#scheduler.leave(sequence, isSound);
  }
}

/** Of most tokens nothing is told but themselves. */
const plainInfo: TokenInfo = { isForced: false };

function infoOf({ alternatives }: Sequence, { isForced, ranked }: Choice, logprob: number | undefined): TokenInfo {
  if (logprob === undefined && !ranked && !isForced) return plainInfo;
  return { ...(logprob !== undefined && { logprob }), ...(ranked && { alternatives: alternatives.at(-1) }), isForced };
}

/** Lets timers, sockets and signals have their turn. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === "function") {
      setImmediate(resolve);
      return;
    }
    // Browsers make timers wait at least 4 ms; messages do not wait.
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
