// How often streams are written to. A chunk costs the server and its client some tens of microseconds, and a small model makes a token in less: so all
// streams together get so many chunks a second, and what a stream makes meanwhile goes into its next one. In: streams that have something
// new. Out: their turn to send it, at once where the last chunk is long enough ago: a model slower than that is not held back at all.

export class Pacer {
  readonly #seconds: number;
  readonly #now: () => number;
  readonly #due = new Set<() => void>();
  #streams = 0;
  #isTimed = false;

  /** `chunksPerSecond` of all streams together; `now` in seconds, monotonic. */
  constructor(chunksPerSecond: number, now: () => number) {
    this.#seconds = 1 / chunksPerSecond;
    this.#now = now;
  }

  /** Seconds between two chunks of one stream while there are so many of them. */
  get interval(): number {
    return this.#seconds * this.#streams;
  }

  /** A stream begins; call what is returned once, when it has ended. */
  join(): () => void {
    this.#streams++;
    return () => {
      this.#streams--;
    };
  }

  /** Calls `send` now, or together with others when a stream that sent last at `last` may send again. */
  turn(last: number, send: () => void): void {
    const { interval } = this;
    const early = last + interval - this.#now();
    if (early <= 0) {
      send();
      return;
    }
    this.#due.add(send);
    if (this.#isTimed) return;
    this.#isTimed = true;
    setTimeout(() => this.#sendAll(), early * 1000);
  }

  #sendAll(): void {
    this.#isTimed = false;
    const due = [...this.#due];
    this.#due.clear();
    for (const send of due) send();
  }
}
