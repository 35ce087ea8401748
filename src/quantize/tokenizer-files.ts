// The tokenizer of a model that changes its format. In: opened files. Out: entries for the metadata of a GGUF file, or the texts of
// tokenizer.json and tokenizer_config.json. text/ knows both forms; here they meet the model's special ids and chat template.

import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import type { GgufValue } from "../formats/gguf-values.ts";
import { hasTokenizer } from "../models/gguf-files.ts";
import { typedValue } from "../models/gguf-plain.ts";
import type { ModelFiles } from "../models/model-files.ts";
import { readGgufTokenizer } from "../text/gguf-tokenizer.ts";
import { ggufTokenizer } from "../text/gguf-tokenizer-writer.ts";
import { readDefinition } from "../text/tokenizer.ts";
import { tokenizerJson } from "../text/tokenizer-json.ts";

/** `tokenizer.*` values; those of a model without a tokenizer say so. `notes` collects what GGUF cannot hold. */
export async function tokenizerValues(model: ModelFiles, notes: string[]): Promise<Map<string, GgufValue>> {
  if (model.gguf && hasTokenizer(model.gguf)) return new Map([...model.gguf.metadata].filter(([key]) => key.startsWith("tokenizer.")));
  const vocabSize = Number(model.config.vocab_size);
  const definition = await definitionOf(model);
  if (!definition) {
    notes.push("no tokenizer: the file takes and gives ids only");
    return new Map([["tokenizer.ggml.model", { type: "string", value: "none" }]]);
  }
  const { tokenizer, templates } = await model.openText();
  const chatTemplate = templates.default;
  const { entries, warnings } = ggufTokenizer(definition, {
    specialIds: tokenizer.specialIds,
    vocabSize,
    ...(chatTemplate !== undefined && { chatTemplate }),
  });
  notes.push(...warnings);
  return new Map(entries.map((entry) => [entry.key, typedValue(entry)]));
}

async function definitionOf(model: ModelFiles): Promise<ReturnType<typeof readDefinition> | undefined> {
  if (model.gguf) return undefined;
  const json = await model.readText("tokenizer.json");
  return json === undefined ? undefined : readDefinition(json);
}

export type TokenizerFiles = { readonly tokenizerJson?: string; readonly tokenizerConfig?: JsonObject };

/** Files for a folder: those of the folder that the model came from, or made from the metadata. */
export async function tokenizerFiles(model: ModelFiles): Promise<TokenizerFiles> {
  if (!model.gguf) {
    const [json, config] = [await model.readText("tokenizer.json"), await model.readText("tokenizer_config.json")];
    const parsed = config === undefined ? undefined : parseJson(config, { source: "tokenizer_config.json", unsafeIntegers: "round" });
    const template = json === undefined ? undefined : (await model.openText()).templates.default;
    const settings = isJsonObject(parsed) ? { ...parsed, ...(template !== undefined && { chat_template: template }) } : undefined;
    return { ...(json !== undefined && { tokenizerJson: json }), ...(settings && { tokenizerConfig: settings }) };
  }
  if (!hasTokenizer(model.gguf)) return {};
  const { definition, specialIds, chatTemplate } = readGgufTokenizer(model.gguf.metadata, model.path);
  const { tokenizer } = await model.openText();
  const token = (name: string, id: number | undefined) => {
    const content = id === undefined ? undefined : tokenizer.tokenOf(id);
    return content === undefined ? {} : { [`${name}_token`]: content };
  };
  return {
    tokenizerJson: tokenizerJson(definition),
    tokenizerConfig: {
      tokenizer_class: "PreTrainedTokenizerFast",
      ...token("bos", specialIds.bos),
      ...token("eos", specialIds.eos),
      ...token("pad", specialIds.pad),
      ...token("unk", definition.unknown),
      clean_up_tokenization_spaces: false,
      model_max_length: Number(model.config.max_position_embeddings),
      ...(chatTemplate !== undefined && { chat_template: chatTemplate }),
    },
  };
}
