// One answer on its way. In: a prompt in ids and what the request wants. Out: batches of deltas, each with all that came since the last was taken,
// so that a slow reader gets fewer and larger ones and nothing grows without bound; then how it ended. Work begins at once. Tokens are
// counted where they are emitted, so the numbers hold for answers that were cut off too.

import { type Delta, type DeltaOptions, type DeltaWriter, deltaWriter } from "../chat/delta-writer.ts";
import type { GrammarConstraint } from "../chat/grammar.ts";
import type { Engine, TokenInfo } from "../engine/engine.ts";
import type { GenerationRequest } from "../engine/request.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { Refusal } from "./refusal.ts";

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
  readonly constrain?: () => Promise<GrammarConstraint>;
  readonly signal: AbortSignal;
  /** Bytes that may gather unread. */
  readonly bufferBytes: number;
  /** Seconds, monotonic. */
  readonly now: () => number;
  readonly onToken?: (secondsSinceLast: number, isFirst: boolean) => void;
};

export type Served = { readonly engine: Pick<Engine, "submit">; readonly tokenizer: Tokenizer };

export class Generation implements AsyncIterable<Batch> {
  /** Rejects with what stopped the answer. */
  readonly finish: Promise<Finish>;
  readonly #served: Served;
  readonly #input: GenerationInput;
  readonly #writer: DeltaWriter;
  #deltas: Delta[] = [];
  #logprobs: TokenLogprob[] = [];
  #reasoningLogprobs: TokenLogprob[] = [];
  #bytes = 0;
  #isDone = false;
  #wake: (() => void) | undefined;
  #completion = 0;
  #reasoning = 0;
  readonly #began: number;
  #first: number | undefined;
  #last: number;

  constructor(served: Served, input: GenerationInput) {
    this.#served = served;
    this.#input = input;
    this.#writer = deltaWriter(served.tokenizer, input);
    this.#began = input.now();
    this.#last = this.#began;
    this.finish = this.#run();
    this.finish.catch(() => {}); // whoever iterates hears of it
  }

  get completionTokens(): number {
    return this.#completion;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Batch> {
    for (;;) {
      const batch = this.#take();
      if (batch) yield batch;
      else if (this.#isDone) break;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
    await this.finish;
  }

  async #run(): Promise<Finish> {
    const { request, constrain, signal, now } = this.#input;
    let constraint: GrammarConstraint | undefined;
    try {
      signal.throwIfAborted();
      constraint = await constrain?.();
      const onToken = (id: number, info: TokenInfo) => this.#onToken(id, info);
      const result = await this.#served.engine.submit({ ...request, ...(constraint && { constraint }) }, { onToken, signal });
      this.#push(this.#writer.end());
      const { stopText, calls } = this.#writer;
      return {
        reason: calls > 0 && result.stop === "stop" ? "tool_calls" : result.stop,
        ...(stopText !== undefined && { stopText }),
        promptTokens: result.promptTokens,
        cachedTokens: result.cachedTokens,
        completionTokens: this.#completion,
        reasoningTokens: this.#reasoning,
        draftedTokens: result.drafted ?? 0,
        acceptedTokens: result.accepted ?? 0,
        seed: result.seed,
        promptSeconds: (this.#first ?? now()) - this.#began,
        decodeSeconds: this.#last - (this.#first ?? this.#last),
      };
    } finally {
      constraint?.dispose();
      this.#isDone = true;
      this.#wake?.();
    }
  }

  #onToken(id: number, info: TokenInfo): unknown {
    const now = this.#input.now();
    const isFirst = this.#first === undefined;
    this.#first ??= now;
    this.#input.onToken?.(now - this.#last, isFirst);
    this.#last = now;
    this.#completion++;
    const wasThinking = this.#writer.isThinking;
    const deltas = this.#writer.push(id);
    // The tag that ends thinking is no thought.
    if (wasThinking && this.#writer.isThinking) this.#reasoning++;
    if (info.logprob !== undefined) this.#note(id, info, wasThinking);
    this.#push(deltas);
    if (this.#bytes > this.#input.bufferBytes) {
      throw new Refusal(`${this.#bytes} bytes that nobody read`, "a client that reads its stream", "read faster, or ask for less", {
        status: 408,
        reason: "slow_reader",
      });
    }
    return this.#writer.stopText === undefined ? undefined : "stop";
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
    this.#wake?.();
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
    if (deltas.length > 0) this.#wake?.();
  }

  #take(): Batch | undefined {
    if (this.#deltas.length + this.#logprobs.length + this.#reasoningLogprobs.length === 0) return undefined;
    const batch = { deltas: this.#deltas, logprobs: this.#logprobs, reasoningLogprobs: this.#reasoningLogprobs };
    this.#deltas = [];
    this.#logprobs = [];
    this.#reasoningLogprobs = [];
    this.#bytes = 0;
    return batch;
  }
}

/** JSON has no infinity; OpenAI writes -9999. */
function finite(logprob: number): number {
  return Number.isFinite(logprob) ? logprob : -9999;
}

function spell(tokenizer: Tokenizer, id: number): { token: string; bytes: number[] } {
  const bytes = tokenizer.pieceBytes(id, false);
  return { token: new TextDecoder().decode(bytes), bytes: [...bytes] };
}
