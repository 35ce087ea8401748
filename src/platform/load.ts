// `load`: from a name to a model that answers, in Node. Opens files, device, tokenizer and chat template, and closes them together.

import { openDevice } from "../backend/open.ts";
import { ChatModel } from "../chat/model.ts";
import type { Delimiters } from "../chat/think-stream.ts";
import { findDelimiters } from "../chat/thinking.ts";
import { ConfigError, quote } from "../core/errors.ts";
import type { Files, Host } from "../core/host.ts";
import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import type { EngineOptions } from "../engine/options.ts";
import { openHfFolder } from "../formats/hf-folder.ts";
import { parseHubName } from "../formats/hub-names.ts";
import { describeConfig } from "../models/describe.ts";
import { type Checkpoint, loadModel } from "../models/load.ts";
import { compileChatTemplate, readTemplates } from "../text/chat-template.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenizer.ts";
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
  /** A Jinja template in place of the model's. */
  readonly chatTemplate?: string;
  /** What begins and ends thinking, where it cannot be found; false: the model does not think. */
  readonly thinking?: Delimiters | false;
  /** Hears of the progress of a download. */
  readonly pull?: PullReport;
  /** Hears what is odd but harmless in the files. */
  readonly onWarning?: (text: string) => void;
};

/**
 * `reference`: a Hugging Face folder, hf:org/name (fetched into the Hub's cache when it is not there), the name of a bundled model; left out: the bundled
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

/** As load, for a folder that is there. The files come first: a wrong path is told without starting threads. */
export async function loadPath(host: Host, path: string, options: LoadOptions = {}): Promise<ChatModel> {
  const cleanups: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  };
  try {
    const opened = await openFiles(host.files, path);
    cleanups.push(() => opened.close());
    for (const warning of opened.warnings) options.onWarning?.(warning);
    const [tokenizer, source] = [await opened.loadTokenizer(), options.chatTemplate ?? (await opened.chatTemplate())];
    const template = source === undefined ? undefined : compileChatTemplate(source, { name: path, tokens: specialTokens(tokenizer) });
    const device = await openDevice(host, { device: options.device ?? "cpu", threads: options.threads });
    cleanups.push(() => device.close());
    const model = await loadModel(device, opened);
    cleanups.push(() => model.dispose());
    const delimiters = options.thinking === false ? undefined : (options.thinking ?? findDelimiters(source, tokenizer));
    return new ChatModel({
      model,
      tokenizer,
      ...(template && { template }),
      ...(delimiters && { delimiters }),
      generationConfig: opened.generationConfig,
      now: host.now,
      engine: engineOptions(options, opened, model.contextLength),
      openGrammars: async (...vocabulary) => (await import("./grammar-threads.ts")).openGrammarThreads(...vocabulary),
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

function engineOptions({ contextLength, parallel = 4 }: LoadOptions, opened: ModelFiles, longest: number): EngineOptions {
  const names = new Set(Array.from(opened.tensors instanceof Map ? opened.tensors.keys() : [], String));
  const { cacheBytesPerToken } = describeConfig(opened.config, {}, names);
  const fitting = Math.max(smallestContext, Math.floor(cacheBytes / (parallel * cacheBytesPerToken)));
  return { slots: parallel, contextLength: contextLength ?? Math.min(longest, fitting) };
}

function specialTokens(tokenizer: Tokenizer): Record<string, string | undefined> {
  const { bos, eos, pad } = tokenizer.specialIds;
  const text = (id: number | undefined) => (id === undefined ? undefined : tokenizer.tokenOf(id));
  return { bos_token: text(bos), eos_token: text(eos), pad_token: text(pad) };
}

type ModelFiles = Checkpoint & {
  readonly generationConfig: JsonObject;
  readonly warnings: readonly string[];
  loadTokenizer(): Promise<Tokenizer>;
  chatTemplate(): Promise<string | undefined>;
  close(): Promise<void>;
};

async function openFiles(files: Files, path: string): Promise<ModelFiles> {
  const folder = await openHfFolder(files, path);
  const { config, tensors, warnings } = folder;
  const eos = config.eos_token_id;
  return {
    config,
    tensors,
    warnings,
    generationConfig: { ...(eos !== undefined && eos !== null && { eos_token_id: eos }), ...folder.generationConfig },
    loadTokenizer: async () => {
      const json = await folder.readText("tokenizer.json");
      if (json !== undefined)
        return loadTokenizer(json, await folder.readText("tokenizer_config.json"), files.join(path, "tokenizer.json"));
      throw new ConfigError({
        operation: `open model ${quote(path, 300)}`,
        got: "no tokenizer.json",
        expected: "a folder with one",
        cure: "put the tokenizer.json of the model's publisher there",
      });
    },
    chatTemplate: async () => {
      const text = await folder.readText("tokenizer_config.json");
      const settings = text === undefined ? undefined : parseJson(text, { source: "tokenizer_config.json", unsafeIntegers: "round" });
      return readTemplates(await folder.readText("chat_template.jinja"), isJsonObject(settings) ? settings : undefined).default;
    },
    close: () => folder.close(),
  };
}
