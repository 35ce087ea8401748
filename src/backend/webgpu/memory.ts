// GPU memory: one GPUBuffer for each allocation, rounded up to a size class, kept in a free list when it is released. Commands run in the order in which they
// were recorded, so a buffer may be handed out again at once: whoever gets it comes after whoever had it. In: sizes in bytes. Out: blocks. What the GPU has not
// got is found out later (failure.ts); what its limits or the memory limit forbid is refused at once.

import { DeviceError } from "../../core/errors.ts";
import { noMemory } from "../backend.ts";
import type { Failure } from "./failure.ts";
import { bufferUsage } from "./flags.ts";

export type Block = {
  readonly id: number;
  readonly buffer: GPUBuffer;
  readonly bytes: number;
  /** Number of the submit whose commands read or write it last. */
  lastUse: number;
  /** Commands that have written it. */
  version: number;
  /** When it was released, counted in releases. */
  freed: number;
};

const smallestBlock = 256;
/** Free memory beyond this and beyond half of what is used goes back to the system, what was free longest first. */
const freeBytesKept = 64 * 2 ** 20;

/** Eight classes for each power of two: at most an eighth is wasted. Multiples of 32 bytes. */
export function sizeClass(bytes: number): number {
  if (bytes <= smallestBlock) return smallestBlock;
  const step = 2 ** (Math.floor(Math.log2(bytes - 1)) - 3);
  return Math.ceil(bytes / step) * step;
}

export class Memory {
  readonly #device: GPUDevice;
  readonly #failure: Failure;
  readonly #limit: number;
  /** By size, in the order in which they were released. */
  readonly #free = new Map<number, Block[]>();
  #releases = 0;
  #used = 0;
  #freeBytes = 0;
  #nextId = 1;
  /** Set by the recorder: hands over what is recorded, and forgets bind groups, before buffers are destroyed. */
  beforeDestroy: () => void = () => {};

  /** `limit`: bytes that may be reserved in all. */
  constructor(device: GPUDevice, failure: Failure, limit: number) {
    this.#device = device;
    this.#failure = failure;
    this.#limit = limit;
  }

  get usedBytes(): number {
    return this.#used;
  }

  get reservedBytes(): number {
    return this.#used + this.#freeBytes;
  }

  /** Bytes of the largest buffer that a shader can bind whole. */
  get largest(): number {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.#device.limits;
    return Math.min(maxBufferSize, maxStorageBufferBindingSize);
  }

  /** `lasting`: for memory that is held long, no more than it needs. */
  allocate(bytes: number, lasting = false): Block {
    const most = this.largest;
    if (!(bytes <= most)) throw this.#refusal(bytes, `at most ${most} in one buffer on this GPU`);
    const wanted = lasting ? Math.max(smallestBlock, Math.ceil(bytes / 32) * 32) : sizeClass(bytes);
    const size = Math.min(wanted, most - (most % 4));
    // Last in, first out: what was written last may still lie in a cache.
    const found = this.#free.get(size)?.pop();
    if (found) {
      this.#freeBytes -= size;
      this.#used += size;
      return found;
    }
    if (this.#used + size > this.#limit) throw this.#refusal(bytes, `at most ${this.#limit} in all`);
    if (this.reservedBytes + size > this.#limit) this.#trim(this.#limit - this.#used - size);
    const usage = bufferUsage.storage | bufferUsage.copySource | bufferUsage.copyDestination;
    const buffer = this.#failure.watch(noMemory, ["validation", "out-of-memory"], () => this.#device.createBuffer({ size, usage }));
    this.#used += size;
    return { id: this.#nextId++, buffer, bytes: size, lastUse: 0, version: 0, freed: 0 };
  }

  release(block: Block): void {
    block.freed = ++this.#releases;
    this.#used -= block.bytes;
    this.#freeBytes += block.bytes;
    const same = this.#free.get(block.bytes);
    if (same) same.push(block);
    else this.#free.set(block.bytes, [block]);
    const kept = Math.max(freeBytesKept, this.#used / 2);
    if (this.#freeBytes > kept) this.#trim(kept / 2);
  }

  /** Destroys free blocks, oldest first, until at most `kept` bytes are free. */
  #trim(kept: number): void {
    this.beforeDestroy();
    const oldestFirst = [...this.#free.values()].flat().sort((a, b) => a.freed - b.freed);
    for (const block of oldestFirst) {
      if (this.#freeBytes <= kept) return;
      const same = this.#free.get(block.bytes) as Block[];
      same.splice(same.indexOf(block), 1);
      this.#freeBytes -= block.bytes;
      block.buffer.destroy();
    }
  }

  #refusal(bytes: number, expected: string): DeviceError {
    return new DeviceError({
      operation: noMemory,
      got: `${bytes} bytes more on top of ${this.#used} in use`,
      expected,
      cure: "use a smaller batch, context or model",
    });
  }
}
