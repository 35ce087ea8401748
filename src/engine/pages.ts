// The pool of key pages. A page is `pageSize` consecutive rows of the cache, in every layer alike; who uses a page holds it, and it is free again
// when the last holder lets go. In: take, hold, release. Out: page numbers. It knows neither ids nor sequences, only counts.

export class PagePool {
  readonly pageSize: number;
  readonly count: number;
  readonly #holders: Int32Array;
  /** Numbers of the free pages, a stack: the page given back last is taken next, while it is still in the processor's cache. */
  readonly #free: Int32Array;
  #freeCount: number;

  constructor(count: number, pageSize: number) {
    this.count = count;
    this.pageSize = pageSize;
    this.#holders = new Int32Array(count);
    this.#free = Int32Array.from({ length: count }, (_, i) => count - 1 - i);
    this.#freeCount = count;
  }

  get free(): number {
    return this.#freeCount;
  }

  /** Pages for `rows` keys. */
  pagesFor(rows: number): number {
    return Math.ceil(rows / this.pageSize);
  }

  /** A free page with one holder, or undefined. What its rows hold is left over from others: nobody may read a row before it is written. */
  take(): number | undefined {
    if (this.#freeCount === 0) return undefined;
    const page = this.#free[--this.#freeCount] as number;
    this.#holders[page] = 1;
    return page;
  }

  /** One more holder of a page that has some. */
  hold(page: number): void {
    (this.#holders[page] as number)++;
  }

  /** One holder less; returns how many are left. */
  release(page: number): number {
    const left = (this.#holders[page] as number) - 1;
    this.#holders[page] = left;
    if (left === 0) this.#free[this.#freeCount++] = page;
    return left;
  }

  holders(page: number): number {
    return this.#holders[page] as number;
  }
}
