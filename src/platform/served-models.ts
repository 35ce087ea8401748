// What `serve` puts on its shelf: for each MODEL a name, the memory it will take, and how to load it. In: words as for `run`. Out: entries. The
// files are looked at before anything is loaded, so that a wrong path is told at once.

import { ConfigError, quote } from "../core/errors.ts";
import type { Files, Host } from "../core/host.ts";
import { isHubName } from "../formats/hub-names.ts";
import { defaultCacheType } from "../models/cache-type.ts";
import { describeConfig } from "../models/describe.ts";
import { openModelFiles } from "../models/files.ts";
import { cachedBytes } from "../models/layers.ts";
import type { ModelEntry } from "../server/shelf.ts";
import { type LoadOptions, loadPath } from "./load.ts";
import { bytesInMemory } from "./open-model.ts";
import { shelved } from "./shelved-model.ts";

export type ServedOptions = LoadOptions & {
  /** Called for what is odd, with the model's name. */
  readonly onNote?: (text: string) => void;
};

/** `reference` as the user wrote it, `path` what it means. A name can be given as NAME=MODEL by the caller. */
export async function servedModel(
  host: Host,
  reference: string | undefined,
  path: string,
  name: string | undefined,
  options: ServedOptions,
): Promise<ModelEntry> {
  const { files } = host;
  const chosen = name ?? nameOf(files, reference, path);
  const parallel = options.parallel ?? 8;
  return {
    name: chosen,
    bytes: await bytesOf(files, path, parallel, options),
    created: Math.floor(Date.now() / 1000),
    load: async () => {
      const model = await loadPath(host, path, { ...options, parallel });
      const thinks = model.thinkTags !== undefined;
      if (!model.hasTemplate)
        options.onNote?.(`${path} has no chat template: ${thinks ? "messages are problems of its task" : "chats are plain ChatML"}`);
      return await shelved(model, parallel);
    },
  };
}

/** hf:org/name is called org/name; a folder by its own name. */
function nameOf(files: Files, reference: string | undefined, path: string): string {
  if (reference !== undefined && isHubName(reference)) return reference.replace(/^hf:/, "");
  return files.baseName(path.replace(/[/\\]+$/, "")).replace(/\.gguf$/, "");
}

/** Weights as they lie in memory (packed types stay packed, all else is f32) and the cache. Reads the header of the files only. */
async function bytesOf(files: Files, path: string, parallel: number, { contextLength, cacheType }: ServedOptions): Promise<number> {
  const opened = await openModelFiles(files, path);
  try {
    const description = describeConfig(opened.config, {}, new Set(opened.tensors.keys()));
    const context = contextLength ?? Math.min(description.contextLength, 4096);
    const perToken = cachedBytes(description.cacheShape, cacheType ?? defaultCacheType(opened.tensors.values()));
    return bytesInMemory(opened.tensors.values()) + parallel * context * perToken;
  } finally {
    await opened.close();
  }
}

/** Throws ConfigError when two models would have one name. */
export function checkNames(entries: readonly ModelEntry[]): void {
  const names = new Set<string>();
  for (const { name } of entries) {
    if (names.has(name)) {
      throw new ConfigError({
        operation: "serve",
        got: `two models called ${quote(name)}`,
        expected: "a name for each",
        cure: "write NAME=MODEL",
      });
    }
    names.add(name);
  }
}
