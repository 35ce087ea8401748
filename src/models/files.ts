// The one door to a model's files. In: a Hugging Face folder or a GGUF file. Out: the same object for both (model-files.ts): config.json, tensors by
// checkpoint name, tokenizer, chat template, sampling defaults.

import type { Files } from "../core/host.ts";
import { openFolderFiles, openFolderText } from "./folder-files.ts";
import { openGgufFiles, openGgufText } from "./gguf-files.ts";
import { isGgufFile, type ModelFiles, type ModelText } from "./model-files.ts";

/** Throws FormatError or ConfigError for files that are damaged, unsupported or not what they claim to be. */
export async function openModelFiles(files: Files, path: string): Promise<ModelFiles> {
  return (await isGgufFile(files, path)) ? await openGgufFiles(files, path) : await openFolderFiles(files, path);
}

/** Only the text part: of a folder no weights are looked at, of a GGUF file no tensors. Throws as openText. */
export async function openModelText(files: Files, path: string): Promise<ModelText> {
  return (await isGgufFile(files, path)) ? await openGgufText(files, path) : await openFolderText(files, path);
}
