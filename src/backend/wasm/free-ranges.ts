// Free ranges of a memory by ascending address; no two touch. In: ranges given back. Out: the best fit for a size. Ranges merge with their neighbours, because
// the ragged batches of reinforcement ask for other sizes at every step (size classes without merging grew to 3.6 GB there).

export class FreeRanges {
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  /** Address of `size` bytes of the smallest range that has so many; undefined: none has. */
  take(size: number): number | undefined {
    const starts = this.#starts;
    const ends = this.#ends;
    let best = -1;
    let bestSize = Number.POSITIVE_INFINITY;
    for (let i = 0; i < starts.length; i++) {
      const room = (ends[i] as number) - (starts[i] as number);
      if (room < size || room >= bestSize) continue;
      best = i;
      bestSize = room;
      if (room === size) break;
    }
    if (best < 0) return undefined;
    const address = starts[best] as number;
    if (bestSize === size) {
      starts.splice(best, 1);
      ends.splice(best, 1);
    } else starts[best] = address + size;
    return address;
  }

  /** Where the last range starts, if it ends at `end`; else `end`. */
  startBefore(end: number): number {
    const last = this.#ends.length - 1;
    return last >= 0 && this.#ends[last] === end ? (this.#starts[last] as number) : end;
  }

  dropLast(): void {
    this.#starts.pop();
    this.#ends.pop();
  }

  give(start: number, end: number): void {
    const starts = this.#starts;
    const ends = this.#ends;
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((starts[middle] as number) < start) low = middle + 1;
      else high = middle;
    }
    const touchesBefore = low > 0 && ends[low - 1] === start;
    const touchesAfter = low < starts.length && starts[low] === end;
    if (touchesBefore && touchesAfter) {
      ends[low - 1] = ends[low] as number;
      starts.splice(low, 1);
      ends.splice(low, 1);
    } else if (touchesBefore) ends[low - 1] = end;
    else if (touchesAfter) starts[low] = start;
    else {
      starts.splice(low, 0, start);
      ends.splice(low, 0, end);
    }
  }

  clear(): void {
    this.#starts.length = 0;
    this.#ends.length = 0;
  }
}
