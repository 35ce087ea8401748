// A model in a Hugging Face folder. In: its path. Out: what model-files.ts promises. Everything but the tensors' numbers is read and checked when the
// folder is opened, the tokenizer when it is asked for.

import { ConfigError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import { openHfFolder } from "../formats/hf-folder.ts";
import { readTemplates } from "../text/template-set.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import type { ModelFiles, ModelText } from "./model-files.ts";

/** Throws FormatError or ConfigError for files that are damaged, unsupported or not what they claim to be. */
export async function openFolderFiles(files: Files, path: string): Promise<ModelFiles> {
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

/** Only the text part: no weights are looked at. Throws as openText. */
export async function openFolderText(files: Files, path: string): Promise<ModelText> {
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
