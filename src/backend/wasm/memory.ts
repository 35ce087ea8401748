// One WebAssembly memory, shared by all threads where there are several, and its allocator. A memory ends at 4 GiB, and where the host says how
// much there is, all memories of a device together end there: a system kills who takes more. While an arena is open, blocks are taken from it: what was recorded
// then may run again, because nobody else gets its addresses.

import { DeviceError } from "../../core/errors.ts";
import { noMemory } from "../backend.ts";
import { heapStart } from "./control.ts";
import { FreeRanges } from "./free-ranges.ts";

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

/** Pieces of the heap, and what of them is free. */
export type Arena = { readonly pieces: { readonly start: number; readonly end: number }[]; readonly free: FreeRanges };

/** An arena grows by so much at least, and by a quarter of what it has. */
const arenaPiece = 2 ** 18;

/** What the memories of one device may still grow by, in bytes. */
export type MemoryBudget = { left: number };

export class SharedHeap {
  readonly memory: WebAssembly.Memory;
  #words: Int32Array;
  #floats: Float32Array;
  #top = heapStart;
  readonly #free = new FreeRanges();
  #open: Arena | undefined;
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

  /** The arena that blocks are taken from now, if one is open. */
  get arena(): Arena | undefined {
    return this.#open;
  }

  /** Address of a block of at least `bytes`, 64-byte aligned. The same `bytes` must be given to `release`. */
  allocate(bytes: number): number {
    const size = blockSize(bytes);
    return this.#open ? this.#allocateIn(this.#open, size) : this.#allocate(size);
  }

  /** The same outside every arena: for what outlives the commands recorded now. */
  allocateLasting(bytes: number): number {
    return this.#allocate(blockSize(bytes));
  }

  /** `arena`: which was open when the block was allocated; it may have been closed or dropped since. */
  release(address: number, bytes: number, arena = this.#open): void {
    const size = blockSize(bytes);
    if (!arena) this.#release(address, size);
    else if (arena === this.#open) arena.free.give(address, address + size); // else: when it is next opened all of it is free
  }

  /** A block of allocateLasting. */
  releaseLasting(address: number, bytes: number): void {
    this.#release(address, blockSize(bytes));
  }

  /** From now on until closeArena, blocks are taken from the arena, all of which is free. */
  openArena(arena: Arena): void {
    this.#open = arena;
    arena.free.clear();
    for (const { start, end } of arena.pieces) arena.free.give(start, end);
  }

  closeArena(): void {
    this.#open = undefined;
  }

  /** Gives its memory back. */
  dropArena(arena: Arena): void {
    for (const { start, end } of arena.pieces.splice(0)) this.#release(start, end - start);
  }

  /** Memory that no command has ever seen: the host may write to it at once. It is never given back. */
  fresh(bytes: number): number {
    return this.#grow(blockSize(bytes));
  }

  #allocate(size: number): number {
    const address = this.#free.take(size) ?? this.#topUp(size);
    this.#used += size;
    return address;
  }

  #release(address: number, size: number): void {
    this.#used -= size;
    this.#free.give(address, address + size);
  }

  #allocateIn({ pieces, free }: Arena, size: number): number {
    const address = free.take(size);
    if (address !== undefined) return address;
    const had = pieces.reduce((sum, { start, end }) => sum + end - start, 0);
    const bytes = Math.max(size, arenaPiece, 64 * Math.ceil(had / 256));
    const start = this.#allocate(bytes);
    pieces.push({ start, end: start + bytes });
    if (bytes > size) free.give(start + size, start + bytes);
    return start;
  }

  /** A block at the top; a free range that ends there is its beginning. */
  #topUp(size: number): number {
    const top = this.#top;
    const start = this.#free.startBefore(top);
    this.#grow(size - (top - start));
    if (start < top) this.#free.dropLast();
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
