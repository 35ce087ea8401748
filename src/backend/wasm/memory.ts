// One WebAssembly memory shared by all threads, and its allocator: size classes an eighth apart, each with a free list; blocks never
// merge, because training and decoding ask for the same sizes step after step and so reach a steady state. A memory ends at 4 GiB.

import { DeviceError } from "../../core/errors.ts";
import { heapStart } from "./control.ts";

const pageBytes = 65536;
const maximumPages = 65536;

export class SharedHeap {
  readonly memory: WebAssembly.Memory;
  #words: Int32Array;
  #floats: Float32Array;
  #top = heapStart;
  readonly #free = new Map<number, number[]>();
  #used = 0;

  constructor() {
    this.memory = new WebAssembly.Memory({ initial: 64, maximum: maximumPages, shared: true });
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
    const recycled = this.#free.get(size)?.pop();
    const address = recycled ?? this.fresh(size);
    this.#used += size;
    return address;
  }

  release(address: number, bytes: number): void {
    const size = blockSize(bytes);
    this.#used -= size;
    const list = this.#free.get(size);
    if (list) list.push(address);
    else this.#free.set(size, [address]);
  }

  /** Memory that no command has ever seen: the host may write to it at once. */
  fresh(size: number): number {
    const address = this.#top;
    const end = address + size;
    const capacity = this.memory.buffer.byteLength;
    if (end > capacity) {
      // Grow by a quarter at least, so that growing stays rare.
      const wanted = Math.min(maximumPages, Math.ceil(Math.max(end, capacity * 1.25) / pageBytes));
      const pages = Math.ceil(end / pageBytes) <= maximumPages ? wanted - capacity / pageBytes : 0;
      try {
        if (pages <= 0) throw new RangeError("beyond 4 GiB");
        this.memory.grow(pages);
      } catch (cause) {
        throw new DeviceError(
          {
            operation: "allocate on the wasm device",
            got: `${size} bytes more on top of ${this.#used} in use`,
            expected: "at most 4 GiB in all, and what the system gives",
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
}

/** Rounds up to an eighth of the power of two below, and to 64 bytes; every block has 16 bytes to spare for vector reads. */
function blockSize(bytes: number): number {
  const padded = Math.max(64, bytes + 16);
  const step = Math.max(64, 2 ** (Math.floor(Math.log2(padded)) - 3));
  return Math.ceil(padded / step) * step;
}
