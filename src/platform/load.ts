// `load`: from a name to a model that answers, in Node. Opens files, device, tokenizer and chat template, and closes them together.

import { openDevice } from "../backend/open.ts";
import { ChatModel } from "../chat/model.ts";
import { openChat } from "../chat/prompt.ts";
import { r1Tags, type ThinkTags } from "../chat/think-tags.ts";
import type { CacheType } from "../core/dtype.ts";
import type { Host } from "../core/host.ts";
import type { EngineOptions } from "../engine/options.ts";
import { parseHubName } from "../formats/hub-names.ts";
import { defaultCacheType } from "../models/cache-type.ts";
import { describeConfig } from "../models/describe.ts";
import { type ModelFiles, openModelFiles } from "../models/files.ts";
import { cachedBytes } from "../models/layers.ts";
import { loadModel } from "../models/load.ts";
import { packedBytes } from "../models/weights.ts";
import { findModelPath } from "./find-model.ts";
import type { PullReport } from "./hub/pull.ts";
import { nodeHost } from "./node.ts";

export type LoadOptions = {
  /** "cpu" (default): WebAssembly; "reference": plain loops, slow. */
  readonly device?: "cpu" | "reference";
  /** Default: all cores. */
  readonly threads?: number;
  /** Tokens that prompt and completion may have together; default: the model's context, as far as 1 GiB of cache for all parallel answers goes. */
  readonly contextLength?: number;
  /** Answers that are computed at once; more wait. Default 4. */
  readonly parallel?: number;
  /** What keys and values in the cache are rounded to; default: q8_0 for block-quantised weights, f16 for 16-bit ones, else f32. */
  readonly cacheType?: CacheType;
  /** A Jinja template in place of the model's. */
  readonly chatTemplate?: string;
  /** What begins and ends thinking, where it cannot be found; false: the model does not think. */
  readonly thinking?: ThinkTags | false;
  /** Longest compilation of a structure, default 500 milliseconds; a large schema may need more with a large vocabulary. */
  readonly compileMilliseconds?: number;
  /** Hears of the progress of a download. */
  readonly pull?: PullReport;
  /** Hears what is odd but harmless in the files. */
  readonly onWarning?: (text: string) => void;
};

/**
 * `reference`: a Hugging Face folder, a .gguf file, hf:org/name (fetched into the Hub's cache when it is not there), the name of a bundled model; left out: the bundled
 * model. Throws ConfigError, FormatError, DeviceError or RequestError, each with the cure.
 */
export async function load(reference?: string, options: LoadOptions = {}): Promise<ChatModel> {
  const host = nodeHost();
  const path = await findModelPath(host.files, reference, (name) => findHub(host, name, options.pull));
  return await loadPath(host, path, options);
}

async function findHub(host: Host, reference: string, report: PullReport | undefined): Promise<string> {
  // Loaded when needed: the client of the Hub takes longer to load than a small model.
  const [{ findOrPull }, { hubSettings }] = await Promise.all([import("./hub/pull.ts"), import("./hub/settings.ts")]);
  return await findOrPull(await hubSettings(host.env), parseHubName(reference), report);
}

/** As load, for a folder or .gguf file that is there. The files come first: a wrong path is told without starting threads. */
export async function loadPath(host: Host, path: string, options: LoadOptions = {}): Promise<ChatModel> {
  const cleanups: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  };
  try {
    const opened = await openModelFiles(host.files, path);
    cleanups.push(() => opened.close());
    for (const warning of opened.warnings) options.onWarning?.(warning);
    const { tokenizer, templates: found } = await opened.openText();
    const templates = options.chatTemplate === undefined ? found : { default: options.chatTemplate };
    const chat = templates.default === undefined && templates.toolUse === undefined ? undefined : openChat(tokenizer, templates, path);
    const weightBytes = packedBytes(opened.tensors.values());
    const device = await openDevice(host, { device: options.device ?? "cpu", threads: options.threads, weightBytes });
    cleanups.push(() => device.close());
    const longest = engineOptions(options, opened).contextLength;
    const model = await loadModel(device, opened, { weights: "stored", contextLength: longest });
    cleanups.push(() => model.dispose());
    const tags = chat?.thinkTags ?? (tokenizer.idOf(r1Tags.close) === undefined ? undefined : r1Tags);
    const thinkTags = options.thinking === false ? undefined : (options.thinking ?? tags);
    return new ChatModel({
      model,
      tokenizer,
      ...(chat && { chat }),
      ...(thinkTags && { thinkTags }),
      generationConfig: opened.generationConfig,
      now: host.now,
      engine: engineOptions(options, opened),
      openGrammars: async (...vocabulary) => (await import("./grammar-threads.ts")).openGrammarThreads(...vocabulary, options),
      close,
    });
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** All parallel answers together may cache so many bytes unless contextLength says otherwise; at least `smallestContext` tokens are allowed. */
const cacheBytes = 2 ** 30;
const smallestContext = 4096;

function engineOptions({ contextLength, parallel = 4, ...options }: LoadOptions, { config, tensors }: ModelFiles) {
  const { contextLength: longest, cacheShape } = describeConfig(config, {}, new Set(tensors.keys()));
  const cacheType = options.cacheType ?? defaultCacheType(tensors.values());
  const fitting = Math.max(smallestContext, Math.floor(cacheBytes / (parallel * cachedBytes(cacheShape, cacheType))));
  return { slots: parallel, cacheType, contextLength: contextLength ?? Math.min(longest, fitting) } satisfies EngineOptions;
}
