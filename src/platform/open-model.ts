// From a path to a model that answers, whatever the host: files, tokenizer, template, device, weights, in this order, so that a wrong path is told without
// starting threads. In: a host, a path, and who opens the device and the compiler of grammars there. Out: a ChatModel that closes all of it. The files are
// closed as soon as the weights are in memory.

import type { Device } from "../backend/backend.ts";
import { ChatModel, type ChatModelParts } from "../chat/model.ts";
import type { Chat } from "../chat/prompt.ts";
import { soundDefaults } from "../chat/sampling-defaults.ts";
import { r1Tags, type ThinkTags } from "../chat/think-tags.ts";
import type { CacheType } from "../core/dtype.ts";
import { type PackedType, packedRowBytes } from "../core/dtype.ts";
import type { Files, Host } from "../core/host.ts";
import type { SpeculationOptions } from "../engine/speculation.ts";
import { defaultCacheType } from "../models/cache-type.ts";
import { describeConfig } from "../models/describe.ts";
import { cachedBytes } from "../models/layers.ts";
import { loadModel } from "../models/load.ts";
import type { ModelFiles } from "../models/model-files.ts";
import { type CheckpointTensor, packedWeights } from "../models/weights.ts";
import type { TemplateSet } from "../text/template-set.ts";
import type { Tokenizer } from "../text/tokenizer.ts";

export type OpenOptions = {
  /** Tokens that prompt and completion may have together; default: the model's context, as far as `cacheBytes` for all parallel answers go. */
  readonly contextLength?: number;
  /** Answers that are computed at once; more wait. */
  readonly parallel: number;
  /** Default: as exact as the weights (models/cache-type.ts). */
  readonly cacheType?: CacheType;
  /** Default: lookup for models of `drafted` bytes or more, else none. */
  readonly speculation?: SpeculationOptions;
  readonly chatTemplate?: string;
  readonly thinking?: ThinkTags | false;
  readonly onWarning?: (text: string) => void;
};

/** Bytes, where nothing else is said. */
export type ModelNeeds = {
  /** Weights that stay packed. */
  readonly packed: { readonly bytes: number; readonly types: ReadonlySet<PackedType> };
  /** Of all weights as they lie in memory. */
  readonly weightBytes: number;
  readonly cacheBytes: number;
  readonly contextLength: number;
  readonly parallel: number;
};

export type OpenParts = {
  /** Most that all parallel answers together may cache unless contextLength says otherwise; `smallestContext` tokens are allowed in any case. */
  readonly cacheBytes: number;
  /** These three are models/files.ts, chat/prompt.ts and chat/plain-chat.ts, loaded as far as they are needed where a host can do that. */
  readonly openFiles: (files: Files, path: string) => Promise<ModelFiles>;
  readonly openChat: (tokenizer: Tokenizer, templates: TemplateSet, path: string) => Chat | Promise<Chat>;
  /** How a model without a template answers messages: called at the first. `thinks`: its vocabulary has `</think>`. */
  readonly openPlainChat: (tokenizer: Tokenizer, thinks: boolean, path: string) => Chat | Promise<Chat>;
  readonly openDevice: (needs: ModelNeeds) => Promise<Device>;
  readonly openGrammars?: ChatModelParts["openGrammars"];
};

const smallestContext = 4096;
/** A step of a smaller model takes so little that looking for drafts costs more than few of them bring (9 % of 0.4 ms, measured). */
const drafted = 2 ** 26;

/** Throws ConfigError, FormatError, DeviceError or RequestError, each with the cure; everything is closed then. */
export async function openChatModel(host: Host, path: string, options: OpenOptions, parts: OpenParts): Promise<ChatModel> {
  const cleanups: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  };
  try {
    const opened = await parts.openFiles(host.files, path);
    cleanups.push(() => opened.close());
    for (const warning of opened.warnings) options.onWarning?.(warning);
    const { tokenizer, templates: found } = await opened.openText();
    const templates = options.chatTemplate === undefined ? found : { default: options.chatTemplate };
    const isPlain = templates.default === undefined && templates.toolUse === undefined;
    const chat = isPlain ? undefined : await parts.openChat(tokenizer, templates, path);
    const { parallel } = options;
    const described = describeConfig(opened.config, {}, new Set(opened.tensors.keys()));
    const cacheType = options.cacheType ?? defaultCacheType(opened.tensors.values());
    const perToken = cachedBytes(described.cacheShape, cacheType);
    const weightBytes = bytesInMemory(opened.tensors.values());
    const room = Math.min(parts.cacheBytes, (host.memoryBytes ?? Number.POSITIVE_INFINITY) - weightBytes);
    const fitting = Math.max(smallestContext, Math.floor(room / (parallel * perToken)));
    const contextLength = options.contextLength ?? Math.min(described.contextLength, fitting);
    const speculation = options.speculation ?? (weightBytes >= drafted ? ({ kind: "lookup" } as const) : undefined);
    const device = await parts.openDevice({
      packed: packedWeights(opened.tensors.values()),
      weightBytes,
      cacheBytes: parallel * contextLength * perToken,
      contextLength,
      parallel,
    });
    cleanups.push(() => device.close());
    const model = await loadModel(device, opened, { weights: "stored", contextLength });
    cleanups.push(() => model.dispose());
    // A GPU says late that its memory is full; else the first answer would say so.
    if (device.info.name === "webgpu") await device.finish();
    const defaults = soundDefaults(opened.generationConfig, model.vocabSize);
    for (const warning of defaults.warnings) options.onWarning?.(warning);
    const tags = chat?.thinkTags ?? (tokenizer.idOf(r1Tags.close) === undefined ? undefined : r1Tags);
    const thinkTags = options.thinking === false ? undefined : (options.thinking ?? tags);
    const { openGrammars } = parts;
    const loaded = new ChatModel({
      model,
      tokenizer,
      ...(chat && { chat }),
      openPlainChat: () => parts.openPlainChat(tokenizer, thinkTags !== undefined, path),
      ...(thinkTags && { thinkTags }),
      generationConfig: defaults.config,
      now: host.now,
      engine: { slots: parallel, contextLength, cacheType, ...(speculation && { speculation }) },
      ...(openGrammars && { openGrammars }),
      close,
    });
    cleanups.shift();
    await opened.close();
    return loaded;
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** Packed types stay packed, all else is f32. */
export function bytesInMemory(tensors: Iterable<CheckpointTensor>): number {
  let bytes = 0;
  for (const { shape, packed } of tensors) {
    const count = shape.reduce((product, size) => product * size, 1);
    const width = shape.at(-1) ?? 1;
    bytes += packed ? (count / width) * packedRowBytes(packed.type, width) : 4 * count;
  }
  return bytes;
}
