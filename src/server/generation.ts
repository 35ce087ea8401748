// One answer on its way. In: a prompt in ids and what the request wants. Out: batches of deltas, each with all that came since the last was taken,
// so that a slow reader gets fewer and larger ones and nothing grows without bound; then how it ended. Work begins at once. Tokens are
// counted where they are emitted, so the numbers hold for answers that were cut off too.

import { type Delta, type DeltaOptions, type DeltaWriter, deltaWriter } from "../chat/delta-writer.ts";
import type { GrammarConstraint } from "../chat/grammar.ts";
import { DeviceError } from "../core/errors.ts";
import type { TokenInfo } from "../engine/engine.ts";
import type { GenerationRequest, GenerationResult } from "../engine/request.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { Pacer } from "./pacer.ts";
import { Refusal } from "./refusal.ts";
import type { ServedModel } from "./shelf.ts";

export type TokenLogprob = {
  readonly token: string;
  readonly bytes: readonly number[];
  readonly logprob: number;
  readonly top: readonly Omit<TokenLogprob, "top">[];
};

export type Batch = {
  readonly deltas: readonly Delta[];
  /** Of the tokens of content and of reasoning, where they were asked for. */
  readonly logprobs: readonly TokenLogprob[];
  readonly reasoningLogprobs: readonly TokenLogprob[];
};

export type Finish = {
  readonly reason: "stop" | "length" | "tool_calls";
  readonly stopText?: string;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
  readonly reasoningTokens: number;
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
  readonly seed: number;
  /** Seconds to the first token, and from it to the last. */
  readonly promptSeconds: number;
  readonly decodeSeconds: number;
};

export type GenerationInput = DeltaOptions & {
  readonly request: GenerationRequest;
  readonly constrain?: (model: Served) => Promise<GrammarConstraint>;
  /** After a failure: the model to begin anew with; undefined when the failure was not its device's end. */
  readonly renew?: (broken: Served) => Promise<Served | undefined>;
  readonly signal: AbortSignal;
  /** Bytes that may gather unread. */
  readonly bufferBytes: number;
  /** Seconds, monotonic. */
  readonly now: () => number;
  /** Says when a new batch may be taken; without it, at once. */
  readonly pacer?: Pacer;
  readonly onToken?: (secondsSinceLast: number, isFirst: boolean) => void;
};

export type Served = ServedModel;

/** How often an answer is begun anew before its failure is told: what kills a device again and again must end. */
const mostRenewals = 2;
/** Ids that may wait to be written: what they come to counts as gathered. */
const mostUnwritten = 64;

export class Generation {
  /** Rejects with what stopped the answer. */
  readonly finish: Promise<Finish>;
  /** Settles with the compiling of its structure, if it has one; what cannot be compiled is a Refusal. */
  compiled: Promise<unknown> | undefined;
  #served: Served;
  readonly #input: GenerationInput;
  readonly #writer: DeltaWriter;
  #deltas: Delta[] = [];
  #logprobs: TokenLogprob[] = [];
  #reasoningLogprobs: TokenLogprob[] = [];
  #bytes = 0;
  #isDone = false;
  #wake: (() => void) | undefined;
  #isCalled = false;
  /** When the last batch was taken. */
  #taken = Number.NEGATIVE_INFINITY;
  #leave: (() => void) | undefined;
  /** Ids that were told. */
  readonly #ids: number[] = [];
  /** How many of them the writer has had: they are written when somebody takes them, at little more cost for many than for one. */
  #written = 0;
  /** Of them, those that an answer begun anew has given again. */
  #again = 0;
  #reasoning = 0;
  /** A stop text ends the answer with the token that completes it, and a token has its log-probability beside it. */
  readonly #isEager: boolean;
  readonly #began: number;
  #first: number | undefined;
  #last: number;

  constructor(served: Served, input: GenerationInput) {
    this.#served = served;
    this.#input = input;
    this.#writer = deltaWriter(served.tokenizer, input);
    this.#isEager = input.stops.length > 0 || input.request.logprobs === true;
    this.#began = input.now();
    this.#last = this.#began;
    this.finish = this.#run();
    this.finish.catch(() => {}); // whoever iterates hears of it
  }

  get completionTokens(): number {
    return this.#ids.length;
  }

  /** What came since the last call, when there is something and it is time for it; undefined at the end. Rejects with what stopped the answer. */
  async next(): Promise<Batch | undefined> {
    for (;;) {
      if (!this.#isDone) await this.#turn();
      const batch = this.#take();
      if (batch) return batch;
      if (this.#isDone) break;
    }
    await this.finish;
    return undefined;
  }

  /** Resolves when there is something to take and it is time for it, or when the answer has ended. */
  #turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (!this.#isEmpty) this.#call();
    });
  }

  /** Something new is there: whoever waits for it gets his turn. */
  #call(): void {
    if (!this.#wake || this.#isCalled) return;
    this.#isCalled = true;
    const { pacer } = this.#input;
    if (pacer) pacer.turn(this.#taken, this.#open);
    else this.#open();
  }

  readonly #open = (): void => {
    this.#isCalled = false;
    this.#wake?.();
    this.#wake = undefined;
  };

  async #run(): Promise<Finish> {
    const { signal, now } = this.#input;
    try {
      signal.throwIfAborted();
      const result = await this.#answer();
      this.#write();
      this.#push(this.#writer.end());
      const { stopText, calls } = this.#writer;
      return {
        reason: calls > 0 && result.stop === "stop" ? "tool_calls" : result.stop,
        ...(stopText !== undefined && { stopText }),
        promptTokens: result.promptTokens,
        cachedTokens: result.cachedTokens,
        completionTokens: this.#ids.length,
        reasoningTokens: this.#reasoning,
        draftedTokens: result.drafted ?? 0,
        acceptedTokens: result.accepted ?? 0,
        seed: result.seed,
        promptSeconds: (this.#first ?? now()) - this.#began,
        decodeSeconds: this.#last - (this.#first ?? this.#last),
      };
    } finally {
      this.#isDone = true;
      this.#leave?.();
      this.#open();
    }
  }

  /** An answer depends on its request alone, so one whose device broke down is computed again from its start, and goes on where it was. */
  async #answer(): Promise<GenerationResult> {
    const { request, signal, renew } = this.#input;
    const { seed = randomSeed() } = request.sampling ?? {};
    for (let renewals = 0; ; renewals++) {
      this.#again = 0;
      try {
        return await this.#submit({ ...request, sampling: { ...request.sampling, seed } });
      } catch (error) {
        if (signal.aborted || error instanceof Refusal || renewals === mostRenewals) throw error;
        const renewed = await renew?.(this.#served);
        if (!renewed) throw error;
        this.#served = renewed;
      }
    }
  }

  async #submit(request: GenerationRequest): Promise<GenerationResult> {
    const { constrain, signal } = this.#input;
    const compiling = constrain?.(this.#served);
    this.compiled ??= compiling;
    const constraint = await compiling;
    try {
      const onToken = (id: number, info: TokenInfo) => this.#onToken(id, info);
      return await this.#served.engine.submit({ ...request, ...(constraint && { constraint }) }, { onToken, signal });
    } finally {
      constraint?.dispose();
    }
  }

  #onToken(id: number, info: TokenInfo): unknown {
    if (this.#again < this.#ids.length) return this.#hearAgain(id);
    const now = this.#input.now();
    const isFirst = this.#first === undefined;
    if (isFirst) this.#leave = this.#input.pacer?.join();
    this.#first ??= now;
    this.#input.onToken?.(now - this.#last, isFirst);
    this.#last = now;
    this.#ids.push(id);
    this.#again++;
    if (this.#isEager) {
      const wasThinking = this.#writer.isThinking;
      this.#write();
      if (info.logprob !== undefined) this.#note(id, info, wasThinking);
    } else if (this.#ids.length - this.#written >= mostUnwritten) this.#write();
    else this.#call();
    if (this.#bytes > this.#input.bufferBytes) {
      throw new Refusal(`${this.#bytes} bytes that nobody read`, "a client that reads its stream", "read faster, or ask for less", {
        status: 408,
        reason: "slow_reader",
      });
    }
    return this.#isEager && this.#writer.stopText !== undefined ? "stop" : undefined;
  }

  /** The client has this id already. */
  #hearAgain(id: number): unknown {
    if (id !== this.#ids[this.#again]) {
      throw new DeviceError({
        operation: "generate: an answer begun anew",
        got: `the id ${id} where ${this.#ids[this.#again]} stood`,
        expected: "the same answer",
        cure: "send the request again",
      });
    }
    this.#again++;
    return this.#writer.stopText === undefined || this.#again < this.#ids.length ? undefined : "stop";
  }

  #write(): void {
    if (this.#written === this.#ids.length) return;
    const { deltas, thoughts } = this.#writer.pushAll(this.#ids, this.#written);
    this.#written = this.#ids.length;
    this.#reasoning += thoughts;
    this.#push(deltas);
  }

  #note(id: number, { logprob = 0, alternatives = [] }: TokenInfo, isReasoning: boolean): void {
    const { tokenizer } = this.#served;
    const entry = {
      ...spell(tokenizer, id),
      logprob: finite(logprob),
      top: alternatives.map((other) => ({ ...spell(tokenizer, other.id), logprob: finite(other.logprob) })),
    };
    (isReasoning ? this.#reasoningLogprobs : this.#logprobs).push(entry);
    this.#bytes += 64 * (1 + entry.top.length);
    this.#call();
  }

  #push(deltas: readonly Delta[]): void {
    for (const delta of deltas) {
      const last = this.#deltas.at(-1);
      if (delta.kind === "call") {
        this.#deltas.push(delta);
        this.#bytes += delta.name.length;
      } else {
        this.#bytes += delta.text.length;
        const isSame = last && last.kind === delta.kind && (delta.kind !== "arguments" || (last as typeof delta).index === delta.index);
        if (isSame) this.#deltas[this.#deltas.length - 1] = { ...delta, text: (last as typeof delta).text + delta.text };
        else this.#deltas.push(delta);
      }
    }
    if (deltas.length > 0) this.#call();
  }

  get #isEmpty(): boolean {
    return this.#written === this.#ids.length && this.#deltas.length + this.#logprobs.length + this.#reasoningLogprobs.length === 0;
  }

  #take(): Batch | undefined {
    this.#write();
    if (this.#isEmpty) return undefined;
    this.#taken = this.#input.now();
    const batch = { deltas: this.#deltas, logprobs: this.#logprobs, reasoningLogprobs: this.#reasoningLogprobs };
    this.#deltas = [];
    this.#logprobs = [];
    this.#reasoningLogprobs = [];
    this.#bytes = 0;
    return batch;
  }
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] as number;
}

/** JSON has no infinity; OpenAI writes -9999. */
function finite(logprob: number): number {
  return Number.isFinite(logprob) ? logprob : -9999;
}

function spell(tokenizer: Tokenizer, id: number): { token: string; bytes: number[] } {
  const bytes = tokenizer.pieceBytes(id, false);
  return { token: new TextDecoder().decode(bytes), bytes: [...bytes] };
}
