// A session is one timeline, e.g. one chat. Hand it the full prefix each time; it feeds only what follows the longest common beginning with
// what its slot still holds. The slot is kept between two calls as long as nobody else needs it; a session that lost its slot
// computes everything again. Either way the answer has the same bits. After the model's weights changed, call `reset`.

import { RequestError } from "../core/errors.ts";
import type { Engine, SubmitOptions } from "./engine.ts";
import type { GenerationRequest, GenerationResult } from "./request.ts";
import { commonLength } from "./scheduler.ts";
import type { Timeline } from "./sequence.ts";

export class Session {
  readonly #engine: Engine;
  readonly #timeline: Timeline = { slot: -1, ids: [], lastUse: 0, isBusy: false };
  #isDisposed = false;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** How many of these ids would not have to be computed now. */
  reusable(ids: readonly number[]): number {
    return Math.max(0, Math.min(commonLength(this.#timeline.ids, ids), ids.length - 1));
  }

  /** As Engine.submit; `result.cachedTokens` tells what was reused. One call at a time. */
  async generate(request: GenerationRequest, options: Omit<SubmitOptions, "timeline"> = {}): Promise<GenerationResult> {
    if (this.#isDisposed) throw refusal("a session that was disposed", "make a new Session");
    if (this.#timeline.isBusy) throw refusal("a second request while the first is under way", "wait for the first, or use another Session");
    this.#timeline.isBusy = true;
    try {
      return await this.#engine.submit(request, { ...options, timeline: this.#timeline });
    } finally {
      this.#timeline.isBusy = false;
    }
  }

  /** Forgets what was computed, and gives the slot back. */
  reset(): void {
    if (this.#timeline.isBusy) throw refusal("a reset while a request is under way", "wait for the request or abort it");
    this.#engine.release(this.#timeline);
  }

  dispose(): void {
    this.reset();
    this.#isDisposed = true;
  }
}

function refusal(got: string, cure: string): RequestError {
  return new RequestError({ operation: "session", got, expected: "one request at a time on a live session", cure });
}
