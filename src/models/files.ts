// The one door to a model's files. In: a Hugging Face folder or a GGUF file. Out: the same object for both: config.json, tensors by checkpoint name,
// tokenizer, chat template, sampling defaults. Everything but the tensors' numbers is read and checked when it is opened, the
// tokenizer when it is asked for.

import { ConfigError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import { type Gguf, openGguf } from "../formats/gguf.ts";
import { ggufInteger } from "../formats/gguf-values.ts";
import { openHfFolder } from "../formats/hf-folder.ts";
import { readTemplates, type TemplateSet } from "../text/chat-template.ts";
import { readGgufTokenizer } from "../text/gguf-tokenizer.ts";
import { loadTokenizer, makeTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import { type ModelTensor, mapGguf } from "./gguf-map.ts";

/** What text needs of a model. */
export type ModelText = { readonly tokenizer: Tokenizer; readonly templates: TemplateSet };

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
  /** Throws ConfigError where there is no tokenizer. */
  openText(): Promise<ModelText>;
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
    openText: () => folderText(files, path, readText),
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
      openText: async () => ggufText(gguf, path),
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

function ggufText(gguf: Gguf, path: string): ModelText {
  if (hasTokenizer(gguf)) {
    const { definition, specialIds, chatTemplate } = readGgufTokenizer(gguf.metadata, path);
    return {
      tokenizer: makeTokenizer(definition, specialIds, path),
      templates: chatTemplate === undefined ? {} : { default: chatTemplate },
    };
  }
  throw new ConfigError({
    operation: `open model ${quote(path, 300)}`,
    got: "a file without a tokenizer",
    expected: "one with tokenizer.ggml.*",
    cure: "use verbs that take ids, as logits does, or convert the model again from a folder with a tokenizer.json",
  });
}

/** Only the text part: of a folder no weights are looked at, of a GGUF file no tensors. Throws as openText. */
export async function openModelText(files: Files, path: string): Promise<ModelText> {
  if (isGgufPath(path) && !(await files.isFolder(path))) {
    const gguf = await openGguf(files, path);
    try {
      return ggufText(gguf, path);
    } finally {
      await gguf.close();
    }
  }
  const names = new Set(await files.list(path));
  return await folderText(files, path, async (name) =>
    names.has(name) ? await files.readText(files.join(path, name), 200_000_000) : undefined,
  );
}

async function folderText(files: Files, path: string, readText: (name: string) => Promise<string | undefined>): Promise<ModelText> {
  const json = await readText("tokenizer.json");
  if (json === undefined) {
    throw new ConfigError({
      operation: `open model ${quote(path, 300)}`,
      got: "no tokenizer.json",
      expected: "a folder with one",
      cure: "put the tokenizer.json of the model's publisher there",
    });
  }
  const text = await readText("tokenizer_config.json");
  const config = text === undefined ? undefined : parseJson(text, { source: "tokenizer_config.json", unsafeIntegers: "round" });
  return {
    tokenizer: loadTokenizer(json, text, files.join(path, "tokenizer.json")),
    templates: readTemplates(await readText("chat_template.jinja"), isJsonObject(config) ? config : undefined),
  };
}
