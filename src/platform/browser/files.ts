// core/host.ts' Files over a handful of files of a browser: those of the store, or the user's own. In: names with a way to open each. Out: one folder of them,
// for reading only. Stored files are read through a sync access handle where it may be shared, else, and for the user's files, as blobs.

import { ConfigError, FormatError, quote } from "../../core/errors.ts";
import type { FileSource, Files } from "../../core/host.ts";
import type { Progress } from "./progress.ts";
import { isMissing, type StoreFolder } from "./store.ts";

export type Opener = () => Promise<FileSource>;

function checkRange(path: string, size: number, offset: number, length: number): void {
  if (Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 && offset + length <= size) return;
  throw new FormatError({
    operation: `read ${quote(path, 300)}`,
    got: `a request for bytes ${offset} to ${offset + length}`,
    expected: `at most ${size} bytes`,
    cure: "the file is shorter than it claims; fetch it again",
  });
}

function changed(path: string, size: number, cause?: unknown): FormatError {
  return new FormatError(
    {
      operation: `read ${quote(path, 300)}`,
      got: "a file that changed or went away while it was being read",
      expected: `${size} bytes that stay as they are`,
      cure: "choose it again when nothing writes to it",
    },
    { cause },
  );
}

export function blobSource(path: string, blob: Blob): FileSource {
  return {
    path,
    size: blob.size,
    read: async (offset, length) => {
      checkRange(path, blob.size, offset, length);
      try {
        const bytes = new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
        if (bytes.length !== length) throw new RangeError(`${bytes.length} bytes`);
        return bytes;
      } catch (cause) {
        throw changed(path, blob.size, cause);
      }
    },
    close: async () => {},
  };
}

function handleSource(path: string, handle: FileSystemSyncAccessHandle): FileSource {
  const size = handle.getSize();
  let isOpen = true;
  return {
    path,
    size,
    read: async (offset, length) => {
      checkRange(path, size, offset, length);
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length; ) {
        const count = handle.read(bytes.subarray(done), { at: offset + done });
        if (!(count > 0)) throw changed(path, size);
        done += count;
      }
      return bytes;
    },
    close: async () => {
      if (isOpen) handle.close();
      isOpen = false;
    },
  };
}

type SharedAccess = (options: { readonly mode: "read-only" }) => Promise<FileSystemSyncAccessHandle>;

/** Of the store, in a worker. Browsers without modes lock the file for one reader; a second then takes the blob. */
export async function openStored(folder: StoreFolder, path: string, size: number): Promise<FileSource> {
  let handle: Awaited<ReturnType<StoreFolder["getFileHandle"]>>;
  try {
    handle = await folder.getFileHandle(path);
  } catch (thrown) {
    if (isMissing(thrown)) throw changed(path, size, thrown);
    throw thrown;
  }
  const access = handle.createSyncAccessHandle.bind(handle) as SharedAccess;
  const shared = await access({ mode: "read-only" }).catch(() => undefined);
  const source = shared ? handleSource(path, shared) : blobSource(path, await handle.getFile());
  if (source.size === size) return source;
  await source.close();
  throw changed(path, size);
}

/** A source that counts what is read of it. */
export function counted(source: FileSource, progress: Progress): FileSource {
  progress.expect(source.path, source.size);
  return {
    path: source.path,
    size: source.size,
    read: async (offset, length) => {
      const bytes = await source.read(offset, length);
      progress.add(source.path, length);
      return bytes;
    },
    close: () => source.close(),
  };
}

/** A folder `name` with these files. */
export function folderFiles(name: string, openers: ReadonlyMap<string, Opener>): Files {
  const operation = `open ${quote(name, 300)}`;
  const opener = (path: string): Opener => {
    const found = path.startsWith(`${name}/`) ? openers.get(path.slice(name.length + 1)) : undefined;
    if (found) return found;
    throw new ConfigError({
      operation,
      got: `no file ${quote(path, 300)}`,
      expected: [...openers.keys()].join(", "),
      cure: "check the model's files",
    });
  };
  const read = async (path: string, limit = 2 ** 31 - 1): Promise<Uint8Array> => {
    const source = await opener(path)();
    try {
      if (source.size > limit) {
        const got = `${source.size} bytes`;
        throw new FormatError({
          operation: `read ${quote(path, 300)}`,
          got,
          expected: `at most ${limit} bytes`,
          cure: "check that this is the right file",
        });
      }
      return await source.read(0, source.size);
    } finally {
      await source.close();
    }
  };
  const refuse = async (): Promise<never> => {
    throw new ConfigError({ operation: `write to ${quote(name, 300)}`, got: "a browser", expected: "a disk", cure: "do this in Node" });
  };
  return {
    open: (path) => opener(path)(),
    exists: async (path) => path === name || (path.startsWith(`${name}/`) && openers.has(path.slice(name.length + 1))),
    isFolder: async (path) => path === name,
    list: async (path) => (path === name ? [...openers.keys()].sort() : []),
    read,
    readText: async (path, limit) => {
      const bytes = await read(path, limit);
      try {
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
      } catch (cause) {
        const got = "bytes that are no UTF-8 text (or too long a text)";
        throw new FormatError(
          { operation: `read ${quote(path, 300)}`, got, expected: "UTF-8", cure: "convert the file to UTF-8" },
          { cause },
        );
      }
    },
    writeAtomic: refuse,
    appender: refuse,
    writeFolderAtomic: refuse,
    makeFolder: refuse,
    remove: refuse,
    join: (...parts) => parts.join("/"),
    baseName: (path) => path.slice(path.lastIndexOf("/") + 1),
  };
}
