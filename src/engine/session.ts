// A session is one timeline, e.g. one chat. Hand it the full prefix each time; the engine's prefix cache decides what need not be computed again.
// Keys stay while nobody needs their room; a session that lost them computes them again. Either way the answer has the same bits.

import { RequestError } from "../core/errors.ts";
import type { Engine, SubmitOptions } from "./engine.ts";
import type { GenerationRequest, GenerationResult } from "./request.ts";

export type SessionOptions = {
  /** As GenerationRequest.cacheSalt, for all its requests. */
  readonly cacheSalt?: string;
};

export class Session {
  readonly #engine: Engine;
  readonly #salt: string;
  /** The last request's ids with what was emitted. */
  #ids: readonly number[] = [];
  #isBusy = false;
  #isDisposed = false;

  constructor(engine: Engine, { cacheSalt = "" }: SessionOptions = {}) {
    this.#engine = engine;
    this.#salt = cacheSalt;
  }

  /** How many of these ids would not have to be computed now. */
  reusable(ids: readonly number[]): number {
    return this.#engine.reusable(ids, this.#salt);
  }

  /** As Engine.submit; `result.cachedTokens` tells what was reused. One call at a time. */
  async generate(request: Omit<GenerationRequest, "cacheSalt">, options: SubmitOptions = {}): Promise<GenerationResult> {
    if (this.#isDisposed) throw refusal("a session that was disposed", "make a new Session");
    if (this.#isBusy) throw refusal("a second request while the first is under way", "wait for the first, or use another Session");
    this.#isBusy = true;
    const emitted: number[] = [];
    const onToken: SubmitOptions["onToken"] = (id, info) => {
      emitted.push(id);
      options.onToken?.(id, info);
    };
    try {
      return await this.#engine.submit({ ...request, cacheSalt: this.#salt }, { ...options, onToken });
    } finally {
      this.#ids = Array.isArray(request.ids) ? [...request.ids, ...emitted] : [];
      this.#isBusy = false;
    }
  }

  /** Gives the keys of the timeline back. What other conversations share with it stays. */
  reset(): void {
    if (this.#isBusy) throw refusal("a reset while a request is under way", "wait for the request or abort it");
    this.#engine.forget(this.#ids, this.#salt);
    this.#ids = [];
  }

  dispose(): void {
    this.reset();
    this.#isDisposed = true;
  }
}

function refusal(got: string, cure: string): RequestError {
  return new RequestError({ operation: "session", got, expected: "one request at a time on a live session", cure });
}
