// The state of BPE training: all distinct pieces as one chain of token ids, and for each pair of neighbours how often it
// occurs and where. In: pieces with their counts. Out: the most frequent pair, again and again, as merges are applied.
// A merge visits the places of its pair only, so that training takes n log n time, also for pieces of any length.

export type Pair = { readonly left: number; readonly right: number; readonly count: number };

type Entry = { readonly key: number; readonly count: number };

const stride = 2 ** 20;
const none = -1;

export class PairCounts {
  // One slot per byte of every distinct piece; merging empties the right-hand slot. Neighbours are linked within a piece.
  readonly #ids: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** How often the piece that the slot belongs to occurs. */
  readonly #weights: Float64Array;
  readonly #counts = new Map<number, number>();
  /** Slots where a pair began at some time; they are checked when they are used. */
  readonly #places = new Map<number, number[]>();
  readonly #forbidden = new Set<number>();
  /** A heap, largest count first, then lowest key; counts in it may be out of date, then they are too high. */
  readonly #heap: Entry[] = [];

  constructor(pieces: ReadonlyMap<string, number>, idOf: (char: string) => number) {
    let slots = 0;
    for (const piece of pieces.keys()) slots += piece.length;
    this.#ids = new Int32Array(slots);
    this.#next = new Int32Array(slots).fill(none);
    this.#previous = new Int32Array(slots).fill(none);
    this.#weights = new Float64Array(slots);
    let at = 0;
    for (const [piece, weight] of pieces) {
      for (let i = 0; i < piece.length; i++, at++) {
        this.#ids[at] = idOf(piece.charAt(i));
        this.#weights[at] = weight;
        if (i > 0) this.#previous[at] = at - 1;
        if (i > 0) this.#next[at - 1] = at;
      }
    }
    for (let slot = 0; slot < slots; slot++) if (this.#next[slot] !== none) this.#see(slot);
    for (const [key, count] of this.#counts) this.#push({ key, count });
  }

  /** The most frequent pair; among equals the one of the lowest left id, then right id. Undefined when no pair is left. */
  best(): Pair | undefined {
    for (;;) {
      const top = this.#heap[0];
      if (!top) return undefined;
      const count = this.#counts.get(top.key) ?? 0;
      if (count === top.count && count > 0 && !this.#forbidden.has(top.key)) {
        return { left: Math.floor(top.key / stride), right: top.key % stride, count };
      }
      this.#pop();
      if (count > 0 && count < top.count) this.#push({ key: top.key, count });
    }
  }

  forbid({ left, right }: Pair): void {
    this.#forbidden.add(left * stride + right);
  }

  /** Replaces the pair by `id` wherever it stands, from left to right. */
  merge({ left, right }: Pair, id: number): void {
    const key = left * stride + right;
    const places = (this.#places.get(key) ?? []).sort((a, b) => a - b);
    this.#places.delete(key);
    const fresh = new Set<number>();
    for (const slot of places) {
      const eaten = this.#next[slot] as number;
      if (eaten === none || this.#ids[slot] !== left || this.#ids[eaten] !== right) continue;
      const before = this.#previous[slot] as number;
      const after = this.#next[eaten] as number;
      if (before !== none) this.#forget(before);
      if (after !== none) this.#forget(eaten);
      this.#forget(slot);
      this.#ids[slot] = id;
      this.#ids[eaten] = none;
      this.#next[eaten] = none;
      this.#next[slot] = after;
      if (after !== none) this.#previous[after] = slot;
      if (before !== none) fresh.add(this.#see(before));
      if (after !== none) fresh.add(this.#see(slot));
    }
    for (const changed of fresh) {
      const count = this.#counts.get(changed) ?? 0;
      if (count > 0) this.#push({ key: changed, count });
    }
  }

  #keyAt(slot: number): number {
    return (this.#ids[slot] as number) * stride + (this.#ids[this.#next[slot] as number] as number);
  }

  /** Counts the pair that begins at `slot`; returns its key. */
  #see(slot: number): number {
    const key = this.#keyAt(slot);
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + (this.#weights[slot] as number));
    const places = this.#places.get(key);
    if (places) places.push(slot);
    else this.#places.set(key, [slot]);
    return key;
  }

  #forget(slot: number): void {
    const key = this.#keyAt(slot);
    const count = (this.#counts.get(key) ?? 0) - (this.#weights[slot] as number);
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }

  #push(entry: Entry): void {
    const heap = this.#heap;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const other = heap[above] as Entry;
      if (!isBefore(entry, other)) break;
      heap[at] = other;
      at = above;
    }
    heap[at] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Entry;
    const size = heap.length;
    if (size === 0) return;
    let at = 0;
    for (let below = 1; below < size; below = 2 * at + 1) {
      if (below + 1 < size && isBefore(heap[below + 1] as Entry, heap[below] as Entry)) below++;
      if (!isBefore(heap[below] as Entry, last)) break;
      heap[at] = heap[below] as Entry;
      at = below;
    }
    heap[at] = last;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.count > b.count || (a.count === b.count && a.key < b.key);
}
