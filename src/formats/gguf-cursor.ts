// Reads a GGUF file from front to back through a window of a few megabytes. In: a FileSource, possibly a stranger's. Out: little-endian
// numbers and bytes, or a FormatError that says at which byte. Nothing is read or allocated that the file cannot hold: every length is
// held against the file's end first. Callers ask for `ready` bytes and fill only when they are not, so that loops over short
// values need not wait.

import { FormatError, quote } from "../core/errors.ts";
import type { FileSource } from "../core/host.ts";

const chunkBytes = 2 ** 20;
const empty = new Uint8Array(0);

export class Cursor {
  readonly source: FileSource;
  #window: Uint8Array = empty;
  #view: DataView = new DataView(empty.buffer);
  /** Where the next byte lies in the window. */
  #at = 0;
  /** Where the window begins in the file. */
  #start = 0;

  constructor(source: FileSource) {
    this.source = source;
  }

  /** Where the next byte lies in the file. */
  get position(): number {
    return this.#start + this.#at;
  }

  /** Bytes from here to the end of the file. */
  get left(): number {
    return this.source.size - this.position;
  }

  /** Bytes that may be taken without filling. */
  get ready(): number {
    return this.#window.length - this.#at;
  }

  fail(got: string, expected: string, cure = "the file is damaged or no GGUF file; fetch it again"): never {
    throw new FormatError({ operation: `load ${quote(this.source.path, 300)}`, got, expected, cure });
  }

  /** Makes `count` bytes ready; `what` names them when the file ends before. */
  async fill(count: number, what: string): Promise<void> {
    if (count <= this.ready) return;
    if (count > this.left) this.fail(`a file that ends at byte ${this.source.size}`, `${count} bytes of ${what} at byte ${this.position}`);
    const kept = this.#window.subarray(this.#at);
    const begin = this.position + kept.length;
    const length = Math.min(Math.max(count, chunkBytes) - kept.length, this.source.size - begin);
    const more = await this.source.read(begin, length);
    // A source may be anyone's implementation: what it returns is measured.
    if (more.length !== length) this.fail(`${more.length} bytes from offset ${begin}`, `${length} bytes`);
    const window = kept.length === 0 ? more : new Uint8Array(kept.length + length);
    if (kept.length > 0) {
      window.set(kept);
      window.set(more, kept.length);
    }
    this.#start = this.position;
    this.#at = 0;
    this.#window = window;
    this.#view = new DataView(window.buffer, window.byteOffset, window.length);
  }

  /** The next `count` bytes, which must be ready. They stay valid, but are not a copy. */
  take(count: number): Uint8Array {
    const bytes = this.#window.subarray(this.#at, this.#at + count);
    this.#at += count;
    return bytes;
  }

  /** Copies the next `count` ready bytes to `out[to]`. */
  copy(count: number, out: Uint8Array, to: number): void {
    if (count > 32) {
      out.set(this.take(count), to);
      return;
    }
    const window = this.#window;
    const at = this.#at;
    for (let i = 0; i < count; i++) out[to + i] = window[at + i] as number;
    this.#at = at + count;
  }

  u32(): number {
    const value = this.#view.getUint32(this.#at, true);
    this.#at += 4;
    return value;
  }

  u64(): bigint {
    const value = this.#view.getBigUint64(this.#at, true);
    this.#at += 8;
    return value;
  }

  /** A 64-bit count or length as a number; `what` is refused from 2^53 on. */
  size(what: string): number {
    const low = this.#view.getUint32(this.#at, true);
    const high = this.#view.getUint32(this.#at + 4, true);
    if (high >= 2 ** 21) this.fail(`${what} ${this.#view.getBigUint64(this.#at, true)}`, "less than 2^53");
    this.#at += 8;
    return high * 2 ** 32 + low;
  }
}
