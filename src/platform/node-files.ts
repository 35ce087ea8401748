// core/host.ts' Files on node:fs. In: paths. Out: bytes, or an error that names the path and the cure.
// Unusual: an open source remembers the size and time of its file and refuses to read once they change (a file that is
// written to while it is read must never give a mixture); only regular files are opened, so that a pipe cannot hang us.

import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import * as path from "node:path";
import { ConfigError, DeviceError, FormatError, quote } from "../core/errors.ts";
import type { Appender, FileSource, Files } from "../core/host.ts";
import { healFolder, removeWhole, writeAtomic, writeFolderAtomic } from "./node-atomic.ts";
import { hasCode, translated } from "./node-errors.ts";
import { makeFolders } from "./node-folders.ts";
import { lockFile } from "./node-lock.ts";

const chunk = 2 ** 28;

class NodeFileSource implements FileSource {
  readonly path: string;
  readonly size: number;
  readonly #modified: number;
  readonly #handle: fs.FileHandle;

  constructor(filePath: string, size: number, modified: number, handle: fs.FileHandle) {
    this.path = filePath;
    this.size = size;
    this.#modified = modified;
    this.#handle = handle;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const operation = `read ${quote(this.path, 300)}`;
    if (!(Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 && offset + length <= this.size)) {
      throw new FormatError({
        operation,
        got: `a request for bytes ${offset} to ${offset + length}`,
        expected: `at most ${this.size} bytes`,
        cure: "the file is shorter than it claims; fetch it again",
      });
    }
    return await translated("read", this.path, async () => {
      const bytes = allocate(length, operation);
      let done = 0;
      while (done < length) {
        const { bytesRead } = await this.#handle.read(bytes, done, Math.min(chunk, length - done), offset + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      const now = await this.#handle.stat();
      if (done < length || now.size !== this.size || now.mtimeMs !== this.#modified) {
        throw new FormatError({
          operation,
          got: "a file that changed while it was being read",
          expected: `${this.size} bytes that stay as they are`,
          cure: "try again when nothing writes to it",
        });
      }
      return bytes;
    });
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Not zeroed: `read` fills all of it or throws. */
function allocate(length: number, operation: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
  } catch (cause) {
    throw new DeviceError(
      {
        operation,
        got: `${length} bytes`,
        expected: "a size that fits into memory",
        cure: "read smaller parts or use a machine with more memory",
      },
      { cause },
    );
  }
}

class NodeAppender implements Appender {
  readonly #path: string;
  readonly #handle: fs.FileHandle;
  #position: number;
  /** Appends queue up behind one another, so that callers need not. */
  #last: Promise<void> = Promise.resolve();

  constructor(filePath: string, handle: fs.FileHandle, position: number) {
    this.#path = filePath;
    this.#handle = handle;
    this.#position = position;
  }

  get position(): number {
    return this.#position;
  }

  append(text: string): Promise<void> {
    const next = this.#last.then(() => translated("append to", this.#path, () => this.#write(Buffer.from(text, "utf8"))));
    this.#last = next.catch(() => {});
    return next;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    let done = 0;
    try {
      while (done < bytes.length) {
        const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, this.#position + done);
        done += bytesWritten;
      }
    } catch (thrown) {
      // A full disk may have taken half a line: give it back.
      await this.#handle.truncate(this.#position).catch(() => {});
      throw thrown;
    }
    this.#position += bytes.length;
  }

  async sync(): Promise<void> {
    await this.#last;
    await translated("write", this.#path, () => this.#handle.datasync());
  }

  async close(): Promise<void> {
    await this.#last;
    await translated("close", this.#path, () => this.#handle.close());
  }
}

async function open(filePath: string): Promise<NodeFileSource> {
  return await translated("open", filePath, async () => {
    // Non-blocking, because opening a pipe that nobody writes to would wait for ever.
    const handle = await fs.open(filePath, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      const stat = await handle.stat();
      if (!stat.isFile()) {
        const got = stat.isDirectory() ? "a folder" : "something that is not a regular file";
        throw new ConfigError({ operation: `open ${quote(filePath, 300)}`, got, expected: "a file", cure: "name a regular file" });
      }
      return new NodeFileSource(filePath, stat.size, stat.mtimeMs, handle);
    } catch (thrown) {
      await handle.close();
      throw thrown;
    }
  });
}

async function read(filePath: string, limit = 2 ** 31 - 1): Promise<Uint8Array> {
  const source = await open(filePath);
  try {
    if (source.size > limit) {
      throw new FormatError({
        operation: `read ${quote(filePath, 300)}`,
        got: `${source.size} bytes`,
        expected: `at most ${limit} bytes`,
        cure: "check that this is the right file",
      });
    }
    return await source.read(0, source.size);
  } finally {
    await source.close();
  }
}

async function readText(filePath: string, limit?: number): Promise<string> {
  const bytes = await read(filePath, limit);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    const operation = `read ${quote(filePath, 300)}`;
    // V8 also throws here when the text would be longer than a string can be.
    throw new FormatError(
      { operation, got: "bytes that are no UTF-8 text (or too long a text)", expected: "UTF-8", cure: "convert the file to UTF-8" },
      { cause },
    );
  }
}

async function list(folder: string): Promise<string[]> {
  return await translated("list", folder, async () => {
    try {
      return await healFolder(folder, await fs.readdir(folder));
    } catch (thrown) {
      if (hasCode(thrown, "ENOENT")) return [];
      throw thrown;
    }
  });
}

/** stat, or undefined when nothing is there; a folder that stepped aside in a crash is brought back first. */
async function look(target: string): Promise<{ isDirectory(): boolean } | undefined> {
  return await translated("look at", target, async () => {
    try {
      return await fs.stat(target);
    } catch (thrown) {
      if (!hasCode(thrown, "ENOENT", "ENOTDIR")) throw thrown;
    }
    const parent = path.dirname(path.resolve(target));
    const names = await fs.readdir(parent).catch(() => []);
    if (!names.some((name) => name.startsWith(`${path.basename(target)}.old-`))) return undefined;
    await healFolder(parent, names);
    return await fs.stat(target).catch(() => undefined);
  });
}

async function appender(filePath: string, truncateTo?: number): Promise<Appender> {
  return await translated("append to", filePath, async () => {
    const handle = await fs.open(filePath, constants.O_RDWR | constants.O_CREAT, 0o666);
    try {
      const { size } = await handle.stat();
      if (truncateTo !== undefined && !(Number.isSafeInteger(truncateTo) && truncateTo >= 0 && truncateTo <= size)) {
        throw new FormatError({
          operation: `append to ${quote(filePath, 300)}`,
          got: `${size} bytes`,
          expected: `at least ${truncateTo} bytes`,
          cure: "the file is shorter than its checkpoint says; restore it or start afresh",
        });
      }
      if (truncateTo !== undefined && truncateTo < size) await handle.truncate(truncateTo);
      return new NodeAppender(filePath, handle, truncateTo ?? size);
    } catch (thrown) {
      await handle.close();
      throw thrown;
    }
  });
}

export const nodeFiles: Files = {
  open,
  read,
  readText,
  list,
  appender,
  writeAtomic,
  writeFolderAtomic,
  exists: async (target) => (await look(target)) !== undefined,
  isFolder: async (target) => (await look(target))?.isDirectory() ?? false,
  makeFolder: async (folder) => {
    await translated("make folder", folder, () => makeFolders(folder));
  },
  remove: removeWhole,
  lock: lockFile,
  realPath: (target) => translated("look at", target, () => fs.realpath(target)),
  join: (...parts) => path.join(...parts),
  baseName: (target) => path.basename(target),
};
