// Who may enter a model's line. In: how many sequences a request wants. Out: a place, given back when its answers are done, or a Refusal 429 that
// says when to come back, by the rate measured so far. The engine orders the line itself; here it is only kept short.

import { Refusal } from "./refusal.ts";

export type Place = { leave(): void };

export class Admission {
  readonly #slots: number;
  readonly #queue: number;
  readonly #now: () => number;
  readonly #places = new Set<{ readonly count: number; readonly since: number }>();
  #sequences = 0;
  /** Mean seconds that a sequence holds a slot, by exponential smoothing. */
  #pace: number | undefined;

  /** `slots` sequences are computed at once, `queue` more may wait. `now` in seconds, monotonic. */
  constructor(slots: number, queue: number, now: () => number) {
    this.#slots = slots;
    this.#queue = queue;
    this.#now = now;
  }

  /** Throws Refusal 429. A request that wants more sequences than there are slots may still come when nobody waits. */
  enter(count: number): Place {
    const most = this.#slots + this.#queue;
    if (this.#sequences + count > most && this.#places.size > 0) {
      throw new Refusal(
        `${this.#sequences} sequences under way or waiting`,
        `at most ${most}`,
        "try again after the seconds of Retry-After",
        { status: 429, code: "queue_full", reason: "queue_full", headers: { "retry-after": String(this.retryAfter()) } },
      );
    }
    const place = { count, since: this.#now() };
    this.#places.add(place);
    this.#sequences += count;
    return {
      leave: () => {
        if (!this.#places.delete(place)) return;
        this.#sequences -= count;
        const seconds = this.#now() - place.since;
        this.#pace = this.#pace === undefined ? seconds : 0.9 * this.#pace + 0.1 * seconds;
      },
    };
  }

  /** Whole seconds, 1 to 60, until a place should be free. */
  retryAfter(): number {
    const perPlace = (this.#pace ?? 1) / Math.max(1, Math.min(this.#places.size, this.#slots + this.#queue));
    return Math.min(60, Math.max(1, Math.ceil(perPlace)));
  }

  /** Requests that compute and requests that wait; the engine serves them in order of arrival. */
  counts(): { running: number; waiting: number } {
    let before = 0;
    let running = 0;
    for (const { count } of this.#places) {
      if (before < this.#slots) running++;
      before += count;
    }
    return { running, waiting: this.#places.size - running };
  }
}
