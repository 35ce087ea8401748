// A folder in the worker's memory, in place of the origin's private file system where the browser gives none (a private window, storage that is blocked, a page
// over plain http): what a model's files lie in from the network to the engine. In and out: the few calls of the File System API that the store makes.
// Unusual: files only grow at their end, as the store writes them. What does not fit ends as a full disk does.

const pageBytes = 2 ** 20;

export class MemoryFolder {
  readonly kind = "directory";
  readonly #entries = new Map<string, MemoryFolder | MemoryFile>();

  async *entries(): AsyncGenerator<[string, MemoryFolder | MemoryFile]> {
    yield* [...this.#entries];
  }

  async getDirectoryHandle(name: string, { create = false } = {}): Promise<MemoryFolder> {
    const found = this.#entries.get(name) ?? (create ? new MemoryFolder() : undefined);
    if (!(found instanceof MemoryFolder)) throw missing(name);
    this.#entries.set(name, found);
    return found;
  }

  async getFileHandle(name: string, { create = false } = {}): Promise<MemoryFile> {
    const found = this.#entries.get(name) ?? (create ? new MemoryFile(name) : undefined);
    if (!(found instanceof MemoryFile)) throw missing(name);
    this.#entries.set(name, found);
    return found;
  }

  async removeEntry(name: string, _: { readonly recursive?: boolean } = {}): Promise<void> {
    if (!this.#entries.delete(name)) throw missing(name);
  }
}

export class MemoryFile {
  readonly kind = "file";
  readonly name: string;
  #pages: Uint8Array<ArrayBuffer>[] = [];
  #size = 0;

  constructor(name: string) {
    this.name = name;
  }

  async getFile(): Promise<File> {
    const used = this.#pages.map((page, i) => page.subarray(0, Math.min(pageBytes, this.#size - i * pageBytes)));
    return new File(used, this.name);
  }

  /** All handles of a file are one: there is no other tab to guard against. */
  async createSyncAccessHandle(_?: { readonly mode?: string }): Promise<FileSystemSyncAccessHandle> {
    return {
      getSize: () => this.#size,
      read: (into, { at = 0 } = {}) => this.#read(bytesOf(into), at),
      write: (from, { at = this.#size } = {}) => this.#append(bytesOf(from), at),
      truncate: (size) => {
        if (size !== 0) throw new DOMException("only to nothing", "NotSupportedError");
        this.#pages = [];
        this.#size = 0;
      },
      flush: () => {},
      close: () => {},
    };
  }

  #read(into: Uint8Array, at: number): number {
    const count = Math.max(0, Math.min(into.length, this.#size - at));
    for (let done = 0; done < count; ) {
      const place = (at + done) % pageBytes;
      const page = this.#pages[Math.floor((at + done) / pageBytes)] as Uint8Array;
      const piece = page.subarray(place, Math.min(pageBytes, place + count - done));
      into.set(piece, done);
      done += piece.length;
    }
    return count;
  }

  #append(from: Uint8Array, at: number): number {
    if (at !== this.#size) throw new DOMException("only at the end", "NotSupportedError");
    for (let done = 0; done < from.length; ) {
      const place = this.#size % pageBytes;
      if (place === 0) this.#pages.push(newPage());
      const piece = from.subarray(done, done + pageBytes - place);
      (this.#pages.at(-1) as Uint8Array).set(piece, place);
      done += piece.length;
      this.#size += piece.length;
    }
    return from.length;
  }
}

function newPage(): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(pageBytes);
  } catch {
    throw new DOMException("no memory for another page", "QuotaExceededError");
  }
}

function bytesOf(buffer: AllowSharedBufferSource): Uint8Array {
  return ArrayBuffer.isView(buffer) ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength) : new Uint8Array(buffer);
}

function missing(name: string): DOMException {
  return new DOMException(name, "NotFoundError");
}
