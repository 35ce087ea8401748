// From the word MODEL to a loaded model. In: a Hugging Face folder, a .gguf file, hf:org/name (fetched when it is not there), the name of a bundled
// model, or nothing (the bundled model). Out: device, model, tokenizer and what the files say about generation, closed when `use` is
// done, whatever happens.

import type { Device } from "../backend/backend.ts";
import { type DeviceOptions, openDevice } from "../backend/open.ts";
import { type Chat, openChat } from "../chat/prompt.ts";
import type { CacheType } from "../core/dtype.ts";
import { ConfigError } from "../core/errors.ts";
import type { Files, Host } from "../core/host.ts";
import type { JsonObject } from "../core/json.ts";
import { defaultCacheType } from "../models/cache-type.ts";
import { describeConfig } from "../models/describe.ts";
import { openModelFiles, openModelText } from "../models/files.ts";
import { cachedBytes } from "../models/layers.ts";
import { loadModel } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import type { ModelFiles } from "../models/model-files.ts";
import { packedWeights } from "../models/weights.ts";
import { checkFits, withMemoryOf } from "../platform/memory-needs.ts";
import { nodeHost } from "../platform/node.ts";
import { bytesInMemory } from "../platform/open-model.ts";
import type { TemplateSet } from "../text/template-set.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { findModel } from "./find-model.ts";
import type { DeviceFlags, ModelFlags } from "./model-flags.ts";
import { note } from "./output.ts";

export async function withDevice<T>(
  flags: DeviceFlags & Pick<DeviceOptions, "packed">,
  use: (device: Device, host: Host) => Promise<T>,
): Promise<T> {
  const host = nodeHost();
  const device = await openDevice(host, flags);
  try {
    return await use(device, host);
  } finally {
    await device.close();
  }
}

type ModelText = { readonly path: string; readonly tokenizer: Tokenizer; readonly chat?: Chat };

/** What text needs of a model: no weights, no device. Throws ConfigError where MODEL has no tokenizer. */
export async function openText(files: Files, reference: string): Promise<ModelText> {
  const path = await findModel(files, reference);
  const { tokenizer, templates } = await openModelText(files, path);
  return { path, tokenizer, ...chatOf(tokenizer, templates, path) };
}

function chatOf(tokenizer: Tokenizer, templates: TemplateSet, path: string): { readonly chat?: Chat } {
  return templates.default === undefined && templates.toolUse === undefined ? {} : { chat: openChat(tokenizer, templates, path) };
}

export type LoadedModel = {
  readonly host: Host;
  readonly device: Device;
  /** As the user could name it. */
  readonly path: string;
  readonly model: Model;
  /** For engines on it. */
  readonly cacheType: CacheType;
  readonly tokenizer: Tokenizer;
  /** Special ids and sampling defaults. */
  readonly generationConfig: JsonObject;
  readonly chat?: Chat;
};

/** Loads device, model and tokenizer. */
export async function withModel<T>(reference: string | undefined, flags: ModelFlags, use: (loaded: LoadedModel) => Promise<T>): Promise<T> {
  return await withWeights(reference, flags, async (loaded) => {
    const { opened } = loaded;
    const { tokenizer, templates } = await opened.openText();
    return await use({ ...loaded, tokenizer, generationConfig: opened.generationConfig, ...chatOf(tokenizer, templates, loaded.path) });
  });
}

type Weighted = Pick<LoadedModel, "host" | "device" | "path" | "model" | "cacheType"> & { readonly opened: ModelFiles };

/** Loads device and model, weights as the files store them: for verbs that need no text. */
export async function withWeights<T>(reference: string | undefined, flags: ModelFlags, use: (loaded: Weighted) => Promise<T>): Promise<T> {
  // The files first: a wrong path is told without starting threads.
  const { files } = nodeHost();
  const path = await findModel(files, reference);
  const opened = await openModelFiles(files, path);
  try {
    for (const warning of opened.warnings) note(`note: ${warning}`);
    const cacheType = flags.cacheType ?? defaultCacheType(opened.tensors.values());
    const contextLength = chooseContext(opened, path, flags, cacheType);
    return await withDevice({ ...flags, packed: packedWeights(opened.tensors.values()) }, async (device, host) => {
      const model = await loadModel(device, opened, { weights: "stored", contextLength });
      try {
        return await use({ host, device, path, model, opened, cacheType });
      } finally {
        model.dispose();
      }
    });
  } finally {
    await opened.close();
  }
}

/** Cached tokens may take so many bytes unless --ctx-size says otherwise; at least `smallestDefault` of them are allowed. */
const cacheBytes = 2 ** 30;
const smallestDefault = 4096;

/**
 * The context that the model has, but no longer than a cache of 1 GiB holds, or the memory beside the weights; or what --ctx-size asks for. Throws DeviceError when
 * that does not fit.
 */
function chooseContext(
  { config, tensors }: ModelFiles,
  path: string,
  { device, ctxSize: wanted }: ModelFlags,
  cacheType: CacheType,
): number {
  const { contextLength: longest, cacheShape } = describeConfig(config, {}, new Set(tensors.keys()));
  const host = withMemoryOf(device, nodeHost());
  const perToken = cachedBytes(cacheShape, cacheType);
  const weightBytes = bytesInMemory(tensors.values());
  const room = Math.min(cacheBytes, (host.memoryBytes ?? cacheBytes + weightBytes) - weightBytes);
  const contextLength = wanted ?? Math.min(longest, Math.max(smallestDefault, Math.floor(room / perToken)));
  if (contextLength > longest)
    throw new ConfigError({
      operation: "--ctx-size",
      got: String(contextLength),
      expected: `at most ${longest}, the model's context`,
      cure: "ask for less, or leave the flag out",
    });
  checkFits(host, path, { weightBytes, cacheBytes: contextLength * perToken, contextLength, parallel: 1 });
  return contextLength;
}
