// A file of the store that is being written, in a worker: append, throw away, close. What was written stays when the tab dies; its size is how far it came.
// A full disk or quota becomes a DeviceError that says what would fit.

import { FormatError, quote } from "../../core/errors.ts";
import { noRoom } from "./quota.ts";
import type { StoreFolder } from "./store.ts";

const flushEvery = 2 ** 25;
/** Written at a time: what fits is then taken nearly to the end. */
const pieceBytes = 2 ** 18;

export class PartialFile {
  readonly #handle: FileSystemSyncAccessHandle;
  readonly #model: string;
  readonly #path: string;
  #size: number;
  #unflushed = 0;

  private constructor(handle: FileSystemSyncAccessHandle, model: string, path: string) {
    this.#handle = handle;
    this.#model = model;
    this.#path = path;
    this.#size = handle.getSize();
  }

  /** `model`: its name, for messages. */
  static async open(folder: StoreFolder, path: string, model: string): Promise<PartialFile> {
    const file = await folder.getFileHandle(path, { create: true });
    return new PartialFile(await file.createSyncAccessHandle(), model, path);
  }

  get size(): number {
    return this.#size;
  }

  /** `expected`: bytes of the whole file, where known, for the message of a full disk. */
  async append(bytes: Uint8Array, expected: number | undefined): Promise<void> {
    let done = 0;
    try {
      while (done < bytes.length) {
        const written = this.#handle.write(bytes.subarray(done, done + pieceBytes) as Uint8Array<ArrayBuffer>, { at: this.#size });
        // Chromium 2026 returns 4294967288 where the quota is used up: an error that lost its sign.
        if (!(written > 0 && written <= pieceBytes)) throw new DOMException("nothing was written", "QuotaExceededError");
        done += written;
        this.#size += written;
      }
      this.#unflushed += bytes.length;
      if (this.#unflushed >= flushEvery) this.flush();
    } catch (thrown) {
      if (!(thrown instanceof DOMException) || !/Quota|NoSpace|Unknown|InvalidState/.test(thrown.name)) throw thrown;
      throw await noRoom(expected ?? this.#size + bytes.length, this.#size, this.#model);
    }
  }

  clear(): void {
    this.#handle.truncate(0);
    this.#size = 0;
  }

  flush(): void {
    this.#handle.flush();
    this.#unflushed = 0;
  }

  close(): void {
    this.flush();
    this.#handle.close();
  }

  /** Throws FormatError when the file is not of this size. */
  check(expected: number): void {
    if (this.#size === expected) return;
    throw new FormatError({
      operation: `fetch ${quote(this.#path)}`,
      got: `${this.#size} bytes`,
      expected: `${expected} bytes`,
      cure: "load it again; do not trust this server if it happens again",
    });
  }
}
