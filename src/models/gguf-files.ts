// A model in a GGUF file. In: its path. Out: what model-files.ts promises. Everything but the tensors' numbers is read and checked when the file is
// opened, the tokenizer when it is asked for.

import { ConfigError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import type { JsonObject } from "../core/json.ts";
import { type Gguf, openGguf } from "../formats/gguf.ts";
import { ggufInteger } from "../formats/gguf-values.ts";
import { readGgufTokenizer } from "../text/gguf-tokenizer.ts";
import { makeTokenizer } from "../text/tokenizer.ts";
import { mapGguf } from "./gguf-map.ts";
import type { ModelFiles, ModelText } from "./model-files.ts";

/** Throws FormatError or ConfigError for files that are damaged, unsupported or not what they claim to be. */
export async function openGgufFiles(files: Files, path: string): Promise<ModelFiles> {
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

/** Only the text part: no tensors are looked at. Throws as openText. */
export async function openGgufText(files: Files, path: string): Promise<ModelText> {
  const gguf = await openGguf(files, path);
  try {
    return ggufText(gguf, path);
  } finally {
    await gguf.close();
  }
}
