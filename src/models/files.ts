// The one door to a model's files. In: a Hugging Face folder or a GGUF file. Out: the same object for both: config.json, tensors by checkpoint name,
// tokenizer, chat template, sampling defaults. Everything but the tensors' numbers is read and checked when it is opened, the
// tokenizer when it is asked for.

import { ConfigError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import { type Gguf, openGguf } from "../formats/gguf.ts";
import { ggufInteger } from "../formats/gguf-values.ts";
import { openHfFolder } from "../formats/hf-folder.ts";
import { loadGgufTokenizer } from "../text/gguf-tokenizer.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import { type ModelTensor, mapGguf } from "./gguf-map.ts";
import { plainMetadata } from "./gguf-plain.ts";

export type ModelFiles = {
  readonly path: string;
  readonly kind: "hf" | "gguf";
  readonly config: JsonObject;
  /** Special ids and sampling defaults: of generation_config.json, or of the metadata. */
  readonly generationConfig: JsonObject;
  readonly tensors: ReadonlyMap<string, ModelTensor>;
  /** What is odd but harmless, one line each. */
  readonly warnings: readonly string[];
  /** The file itself, for GGUF. */
  readonly gguf?: Gguf;
  /** A text file of the folder; undefined for GGUF. */
  readText(name: string): Promise<string | undefined>;
  loadTokenizer(): Promise<Tokenizer>;
  /** The template's source. */
  chatTemplate(): Promise<string | undefined>;
  close(): Promise<void>;
};

export function isGgufPath(path: string): boolean {
  return path.toLowerCase().endsWith(".gguf");
}

/** Throws FormatError or ConfigError for files that are damaged, unsupported or not what they claim to be. */
export async function openModelFiles(files: Files, path: string): Promise<ModelFiles> {
  return isGgufPath(path) && !(await files.isFolder(path)) ? await openGgufModel(files, path) : await openFolder(files, path);
}

async function openFolder(files: Files, path: string): Promise<ModelFiles> {
  const folder = await openHfFolder(files, path);
  const { config, tensors, warnings, readText, close } = folder;
  const eos = config.eos_token_id;
  return {
    path,
    kind: "hf",
    config,
    generationConfig: { ...(eos != null && { eos_token_id: eos }), ...folder.generationConfig },
    tensors,
    warnings,
    readText,
    loadTokenizer: () => folderTokenizer(files, path, readText),
    chatTemplate: () => folderTemplate(readText),
    close,
  };
}

async function openGgufModel(files: Files, path: string): Promise<ModelFiles> {
  const gguf = await openGguf(files, path);
  try {
    const { config, tensors } = await mapGguf(gguf, path);
    return {
      path,
      kind: "gguf",
      config,
      generationConfig: generationOf(gguf),
      tensors,
      warnings: [],
      gguf,
      readText: async () => undefined,
      loadTokenizer: async () => ggufTokenizer(gguf, path),
      chatTemplate: async () => ggufTemplate(gguf),
      close: () => gguf.close(),
    };
  } catch (thrown) {
    await gguf.close();
    throw thrown;
  }
}

/** Ids that end an answer: end of text, of turn, of message; without decoding the vocabulary. */
function generationOf({ metadata }: Gguf): JsonObject {
  const ids = ["eos", "eot", "eom"].map((name) => ggufInteger(metadata, `tokenizer.ggml.${name}_token_id`));
  const known = [...new Set(ids.filter((id) => id !== undefined))];
  return known.length > 0 ? { eos_token_id: known } : {};
}

/** Files may say that they have none; then they take and give ids. */
export function hasTokenizer(gguf: Gguf): boolean {
  const model = gguf.metadata.get("tokenizer.ggml.model")?.value;
  return model !== undefined && model !== "none" && model !== "no_vocab";
}

/** What text/gguf-tokenizer.ts reads. */
export function tokenizerMetadata(gguf: Gguf): Map<string, unknown> {
  return plainMetadata(gguf.metadata, (key) => key.startsWith("tokenizer."));
}

function ggufTokenizer(gguf: Gguf, path: string): Tokenizer {
  if (hasTokenizer(gguf)) return loadGgufTokenizer(tokenizerMetadata(gguf), path);
  throw new ConfigError({
    operation: `open model ${quote(path, 300)}`,
    got: "a file without a tokenizer",
    expected: "one with tokenizer.ggml.*",
    cure: "use verbs that take ids, as logits does, or convert the model again from a folder with a tokenizer.json",
  });
}

function ggufTemplate(gguf: Gguf): string | undefined {
  const template = gguf.metadata.get("tokenizer.chat_template")?.value;
  return typeof template === "string" ? template : undefined;
}

/** Only the tokenizer: of a folder no weights are looked at, of a GGUF file no tensors. */
export async function openTokenizer(files: Files, path: string): Promise<Tokenizer> {
  if (isGgufPath(path) && !(await files.isFolder(path))) {
    const gguf = await openGguf(files, path);
    try {
      return ggufTokenizer(gguf, path);
    } finally {
      await gguf.close();
    }
  }
  const names = new Set(await files.list(path));
  return await folderTokenizer(files, path, async (name) =>
    names.has(name) ? await files.readText(files.join(path, name), 200_000_000) : undefined,
  );
}

async function folderTokenizer(files: Files, path: string, readText: (name: string) => Promise<string | undefined>): Promise<Tokenizer> {
  const json = await readText("tokenizer.json");
  if (json === undefined) {
    throw new ConfigError({
      operation: `open model ${quote(path, 300)}`,
      got: "no tokenizer.json",
      expected: "a folder with one",
      cure: "put the tokenizer.json of the model's publisher there",
    });
  }
  return loadTokenizer(json, await readText("tokenizer_config.json"), files.join(path, "tokenizer.json"));
}

/** chat_template.jinja, or the default one of tokenizer_config.json. */
async function folderTemplate(readText: (name: string) => Promise<string | undefined>): Promise<string | undefined> {
  const file = await readText("chat_template.jinja");
  if (file !== undefined) return file;
  const text = await readText("tokenizer_config.json");
  const config = text === undefined ? undefined : parseJson(text, { source: "tokenizer_config.json", unsafeIntegers: "round" });
  const template = isJsonObject(config) ? config.chat_template : undefined;
  if (typeof template === "string") return template;
  if (!Array.isArray(template)) return undefined;
  const named = template.filter(isJsonObject);
  const chosen = (named.find(({ name }) => name === "default") ?? named[0])?.template;
  return typeof chosen === "string" ? chosen : undefined;
}
