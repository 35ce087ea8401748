// The sum of what is known of several files, told at most twenty times a second and at each file's end.

import type { LoadProgress } from "./options.ts";

const everyMs = 50;

export class Progress {
  readonly #step: LoadProgress["step"];
  readonly #tell: (progress: LoadProgress) => void;
  readonly #sizes = new Map<string, number>();
  readonly #reached = new Map<string, number>();
  #fetched = 0;
  #told = 0;

  constructor(step: LoadProgress["step"], tell: (progress: LoadProgress) => void) {
    this.#step = step;
    this.#tell = tell;
  }

  expect(file: string, size: number): void {
    this.#sizes.set(file, size);
  }

  /** `fresh`: bytes that just came over the network. */
  reach(file: string, bytes: number, fresh = 0): void {
    this.#reached.set(file, bytes);
    this.#fetched += fresh;
    if (performance.now() - this.#told < everyMs && bytes !== this.#sizes.get(file)) return;
    this.#say(file);
  }

  /** All is there, also what nobody read. */
  finish(): void {
    for (const [file, size] of this.#sizes) this.#reached.set(file, size);
    const last = [...this.#sizes.keys()].at(-1);
    if (last !== undefined) this.#say(last);
  }

  #say(file: string): void {
    this.#told = performance.now();
    const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);
    this.#tell({ step: this.#step, file, bytes: sum(this.#reached.values()), total: sum(this.#sizes.values()), fetched: this.#fetched });
  }

  /** Counts bytes that were read of a file. */
  add(file: string, bytes: number): void {
    this.reach(file, Math.min((this.#reached.get(file) ?? 0) + bytes, this.#sizes.get(file) ?? Number.POSITIVE_INFINITY));
  }
}
