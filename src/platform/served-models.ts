// What `serve` puts on its shelf: for each MODEL a name, the memory it will take, and how to load it. In: words as for `run`. Out: entries. The
// files are looked at before anything is loaded, so that a wrong path is told at once.

import { openPlainChat } from "../chat/plain-chat.ts";
import { type Chat, openChat } from "../chat/prompt.ts";
import { ConfigError, quote } from "../core/errors.ts";
import type { Files, Host } from "../core/host.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import { isHubName } from "../formats/hub-names.ts";
import { describeConfig } from "../models/describe.ts";
import type { ModelEntry } from "../server/shelf.ts";
import { readTemplates } from "../text/chat-template.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type LoadOptions, loadPath } from "./load.ts";

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
    bytes: await bytesOf(files, path, parallel, options.contextLength),
    created: Math.floor(Date.now() / 1000),
    load: async () => {
      const model = await loadPath(host, path, { ...options, parallel });
      try {
        const own = await chatOf(files, path, model.tokenizer, options);
        const thinks = model.delimiters !== undefined;
        if (!own)
          options.onNote?.(
            `${path} has no chat template: ${thinks ? "messages are problems of its task" : "chats are written as plain ChatML"}`,
          );
        const chat = own ?? openPlainChat(model.tokenizer, thinks, path);
        return {
          engine: model.engine,
          tokenizer: model.tokenizer,
          chat,
          isPlain: own === undefined && !thinks,
          generationConfig: model.generationConfig,
          slots: parallel,
          constrain: (structure) => model.constrain(structure),
          close: () => model.close(),
        };
      } catch (error) {
        await model.close();
        throw error;
      }
    },
  };
}

/** hf:org/name is called org/name; a folder by its own name. */
function nameOf(files: Files, reference: string | undefined, path: string): string {
  if (reference !== undefined && isHubName(reference)) return reference.replace(/^hf:/, "");
  return files.baseName(path.replace(/[/\\]+$/, "")).replace(/\.gguf$/, "");
}

/** Weights in 32 bits and the cache. 0 where the files do not say. */
async function bytesOf(files: Files, path: string, parallel: number, contextLength?: number): Promise<number> {
  const configPath = files.join(path, "config.json");
  if (!(await files.isFolder(path)) || !(await files.exists(configPath))) return 0;
  const description = describeConfig(
    parseJson(await files.readText(configPath, 10_000_000), { source: configPath, unsafeIntegers: "round" }),
  );
  const context = contextLength ?? Math.min(description.contextLength, 4096);
  return 4 * description.parameters.total + parallel * context * description.cacheBytesPerToken;
}

async function chatOf(files: Files, path: string, tokenizer: Tokenizer, options: ServedOptions): Promise<Chat | undefined> {
  if (options.chatTemplate !== undefined) return openChat(tokenizer, { default: options.chatTemplate }, path);
  const names = new Set(await files.list(path));
  const read = async (name: string) => (names.has(name) ? await files.readText(files.join(path, name), 50_000_000) : undefined);
  const text = await read("tokenizer_config.json");
  const config = text === undefined ? undefined : parseJson(text, { source: "tokenizer_config.json", unsafeIntegers: "round" });
  const templates = readTemplates(await read("chat_template.jinja"), isJsonObject(config) ? config : undefined);
  return templates.default === undefined && templates.toolUse === undefined ? undefined : openChat(tokenizer, templates, path);
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
