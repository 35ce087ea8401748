// Small files are read whole, once: a model of 2 MB has some hundred tensors, and asking the system for each takes longer than all their bytes.
// In: a source. Out: the same, from memory where the file is small, until it is closed.

import type { FileSource } from "../core/host.ts";

const smallBytes = 2 ** 24;

export function smallFile(source: FileSource): FileSource {
  if (source.size > smallBytes) return source;
  let whole: Promise<Uint8Array> | undefined;
  return {
    path: source.path,
    size: source.size,
    async read(offset, length) {
      const isInside = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
      // The source says what is wrong with a request.
      if (!isInside || offset + length > source.size) return await source.read(offset, length);
      whole ??= source.read(0, source.size);
      return (await whole).slice(offset, offset + length);
    },
    async close() {
      whole = undefined;
      await source.close();
    },
  };
}
