// One WebAssembly memory, shared by all threads where there are several, and its allocator: best fit over free ranges that merge with their neighbours, because the ragged
// batches of reinforcement ask for other sizes at every step (size classes without merging grew to 3.6 GB there). A memory ends at 4 GiB, and where the host says how
// much there is, all memories of a device together end there: a system kills who takes more.

import { DeviceError } from "../../core/errors.ts";
import { noMemory } from "../backend.ts";
import { heapStart } from "./control.ts";

const pageBytes = 65536;
const maximumPages = 65536;
/** 256 MiB: less is of no use. */
const smallestMaximum = 4096;

/** Address space is reserved for the maximum; a system that has not so much (phones, 32 bits) gives less. */
function reserve(shared: boolean): [memory: WebAssembly.Memory, maximum: number] {
  for (let maximum = maximumPages; ; maximum /= 2) {
    try {
      return [new WebAssembly.Memory({ initial: 64, maximum, shared }), maximum];
    } catch (cause) {
      if (maximum > smallestMaximum) continue;
      throw new DeviceError(
        {
          operation: "open the wasm device",
          got: `no memory of ${maximum} pages`,
          expected: "room for one",
          cure: "close other programs or tabs",
        },
        { cause },
      );
    }
  }
}

/** What the memories of one device may still grow by, in bytes. */
export type MemoryBudget = { left: number };

export class SharedHeap {
  readonly memory: WebAssembly.Memory;
  #words: Int32Array;
  #floats: Float32Array;
  #top = heapStart;
  /** Free ranges by ascending address; no two touch. */
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  #used = 0;

  /** Most pages that it may have. */
  readonly #maximum: number;
  readonly #budget: MemoryBudget;

  /** `shared`: for threads. A page that is not cross-origin isolated may have none that is. */
  constructor(shared = true, budget: MemoryBudget = { left: Number.POSITIVE_INFINITY }) {
    this.#budget = budget;
    [this.memory, this.#maximum] = reserve(shared);
    this.#words = new Int32Array(this.memory.buffer);
    this.#floats = new Float32Array(this.memory.buffer);
  }

  /** The whole memory as 32-bit words. Ask again after an allocation: growing replaces the array. */
  get words(): Int32Array {
    return this.#words;
  }

  get floats(): Float32Array {
    return this.#floats;
  }

  get usedBytes(): number {
    return this.#used;
  }

  get reservedBytes(): number {
    return this.memory.buffer.byteLength;
  }

  /** Address of a block of at least `bytes`, 64-byte aligned. The same `bytes` must be given to `release`. */
  allocate(bytes: number): number {
    const size = blockSize(bytes);
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
    let address: number;
    if (best < 0) {
      address = this.#topUp(size);
    } else {
      address = starts[best] as number;
      if (bestSize === size) {
        starts.splice(best, 1);
        ends.splice(best, 1);
      } else starts[best] = address + size;
    }
    this.#used += size;
    return address;
  }

  release(address: number, bytes: number): void {
    const size = blockSize(bytes);
    this.#used -= size;
    this.#free(address, address + size);
  }

  /** Memory that no command has ever seen: the host may write to it at once. It is never given back. */
  fresh(bytes: number): number {
    return this.#grow(blockSize(bytes));
  }

  #free(start: number, end: number): void {
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

  /** A block at the top; a free range that ends there is its beginning. */
  #topUp(size: number): number {
    const last = this.#starts.length - 1;
    if (last < 0 || this.#ends[last] !== this.#top) return this.#grow(size);
    const start = this.#starts[last] as number;
    this.#grow(size - (this.#top - start));
    this.#starts.pop();
    this.#ends.pop();
    return start;
  }

  #grow(size: number): number {
    const address = this.#top;
    const end = address + size;
    const capacity = this.memory.buffer.byteLength;
    if (end > capacity) {
      // Grow by an eighth at least, so that growing stays rare; where the system has not so much, by what is needed.
      const needed = Math.ceil(end / pageBytes);
      const generous = Math.min(this.#maximum, Math.ceil(Math.max(end, capacity * 1.125) / pageBytes));
      try {
        if (needed > this.#maximum) throw new RangeError("beyond 4 GiB");
        if (!this.#mayGrow(generous)) this.#growTo(needed);
      } catch (cause) {
        throw new DeviceError(
          {
            operation: noMemory,
            got: `${size} bytes more on top of ${this.#used} in use`,
            expected: `at most 4 GiB in all, and what the system gives${this.#allowed()}`,
            cure: "use a smaller batch, context or model",
          },
          { cause },
        );
      }
      this.#words = new Int32Array(this.memory.buffer);
      this.#floats = new Float32Array(this.memory.buffer);
    }
    this.#top = end;
    return address;
  }

  #mayGrow(pages: number): boolean {
    try {
      this.#growTo(pages);
      return true;
    } catch {
      return false;
    }
  }

  #growTo(pages: number): void {
    const more = pages - this.memory.buffer.byteLength / pageBytes;
    if (more * pageBytes > this.#budget.left) throw new RangeError("beyond what this process may have");
    this.memory.grow(more);
    this.#budget.left -= more * pageBytes;
  }

  #allowed(): string {
    const { left } = this.#budget;
    return Number.isFinite(left) ? ` (${Math.round((this.reservedBytes + left) / 1e6)} MB here)` : "";
  }
}

/** Whole 64-byte lines, with 16 bytes to spare for vector reads. */
function blockSize(bytes: number): number {
  return Math.ceil((bytes + 16) / 64) * 64;
}
