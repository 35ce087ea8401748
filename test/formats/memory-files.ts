// Test helper: Files over a Map of names and bytes in one folder. Only what readers of model folders need; anything else throws.

import { ConfigError, FormatError } from "../../src/core/errors.ts";
import type { Files } from "../../src/core/host.ts";
import { decodeUtf8 } from "../../src/core/json.ts";
import { type MemorySource, memorySource } from "./memory-source.ts";

export const memoryFolder = "/model";

function absent(): never {
  throw new Error("not in memory files");
}

/** The files, and the sources that were opened so far. */
export function memoryFiles(content: ReadonlyMap<string, Uint8Array>): { files: Files; sources: MemorySource[] } {
  const sources: MemorySource[] = [];
  const find = (target: string): Uint8Array => {
    const bytes = content.get(target.slice(memoryFolder.length + 1));
    if (bytes === undefined || !target.startsWith(`${memoryFolder}/`)) {
      throw new ConfigError({ operation: "open", got: "no such file", expected: "a file", cure: "check the path" });
    }
    return bytes;
  };
  const files: Files = {
    async open(target) {
      const source = memorySource(find(target));
      sources.push(source);
      return { ...source, path: target };
    },
    exists: async (target) => content.has(target.slice(memoryFolder.length + 1)),
    isFolder: async (target) => target === memoryFolder,
    list: async (target) => (target === memoryFolder ? [...content.keys()].sort() : []),
    async read(target, limit = Number.POSITIVE_INFINITY) {
      const bytes = find(target);
      if (bytes.length > limit) throw new FormatError({ operation: "read", got: "a long file", expected: "a short one", cure: "none" });
      return bytes;
    },
    readText: async (target, limit) => decodeUtf8(await files.read(target, limit), target),
    join: (...parts) => parts.join("/"),
    baseName: (target) => target.slice(target.lastIndexOf("/") + 1),
    writeAtomic: absent,
    appender: absent,
    writeFolderAtomic: absent,
    makeFolder: absent,
    remove: absent,
  };
  return { files, sources };
}
