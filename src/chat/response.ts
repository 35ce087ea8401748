// What `respond` returns: parts as they come, and the whole answers when they are done. Work begins at once, whether or not anybody listens; who
// leaves the loop early, or aborts the signal, stops it.

import { RequestError } from "../core/errors.ts";
import type { Alternative } from "../engine/request.ts";

export type StopReason = "stop" | "length";

export type Statistics = {
  readonly promptTokens: number;
  /** Of these, found in the cache. */
  readonly cachedTokens: number;
  /** All emitted tokens, those of thinking and forced ones included. */
  readonly completionTokens: number;
  readonly thinkingTokens: number;
  readonly forcedTokens: number;
  /** Tokens that speculation proposed, and of these the ones that came true. */
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
  /** "stop": the model ended, or a stop string was met (then stopText); "length": maxTokens or the context. */
  readonly stop: StopReason;
  readonly stopText?: string;
  /** Computed prompt tokens per second; 0 when all were cached. */
  readonly promptPerSecond: number;
  /** Tokens per second after the first, which comes with the prompt's pass. */
  readonly generatedPerSecond: number;
  /** Seconds. */
  readonly timeToFirstToken: number;
  readonly seconds: number;
  /** Replays the answer. */
  readonly seed: number;
};

export type Answer = {
  readonly reasoning: string;
  readonly content: string;
  readonly ids: readonly number[];
  readonly logprobs?: readonly number[];
  readonly topLogprobs?: readonly (readonly Alternative[])[];
  readonly statistics: Statistics;
};

/** A piece of one of the n answers; one of the texts is empty, or both in the last part, which has the statistics. */
export type Part = {
  /** 0..n-1. */
  readonly index: number;
  readonly reasoning: string;
  readonly content: string;
  readonly statistics?: Statistics;
};

export class ChatResponse implements AsyncIterable<Part> {
  readonly #parts: Part[] = [];
  readonly #abort: (reason: unknown) => void;
  readonly #answers: Promise<Answer[]>;
  #wake: (() => void) | undefined;
  #state: "running" | "done" | "failed" = "running";
  #error: unknown;
  #isRead = false;

  /** `work` emits parts and resolves to the answers; `abort` makes it reject. */
  constructor(work: (emit: (part: Part) => void) => Promise<Answer[]>, abort: (reason: unknown) => void) {
    this.#abort = abort;
    this.#answers = work((part) => {
      this.#parts.push(part);
      this.#wake?.();
    }).then(
      (answers) => {
        this.#state = "done";
        this.#wake?.();
        return answers;
      },
      (error) => {
        this.#state = "failed";
        this.#error = error;
        this.#wake?.();
        throw error;
      },
    );
    // Whoever reads parts learns of the failure there.
    this.#answers.catch(() => {});
  }

  /** All n answers, when they are done. */
  answers(): Promise<Answer[]> {
    return this.#answers;
  }

  /** The first answer. */
  async answer(): Promise<Answer> {
    return (await this.#answers)[0] as Answer;
  }

  /** Parts in the order in which they were made. One reader; leaving the loop stops the work. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Part> {
    if (this.#isRead) {
      throw new RequestError({
        operation: "read a response",
        got: "a second reader",
        expected: "one",
        cure: "keep the parts, or await answers()",
      });
    }
    this.#isRead = true;
    try {
      for (;;) {
        const parts = this.#parts.splice(0);
        yield* parts;
        if (this.#parts.length > 0) continue;
        if (this.#state === "failed") throw this.#error;
        if (this.#state === "done") return;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      if (this.#state === "running") {
        this.#abort(new DOMException("the reader left", "AbortError"));
        await this.#answers.catch(() => {});
      }
    }
  }
}
