// The tokenizer of a run: trained on the task's worked examples or a text file, or taken from a folder. In: plain data from a recipe. Out: the
// files of a Hugging Face tokenizer. Unusual: tokenizer.json puts the beginning token before every text by itself (TemplateProcessing), so whoever encodes
// a prompt with it, here or in another engine, gives the model what it was trained on.

import { ConfigError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import type { Random } from "../core/random.ts";
import type { RowEncoder } from "../data/rows.ts";
import { thinkClose, thinkOpen } from "../tasks/completion.ts";
import { defaultPattern, trainBpe } from "../text/bpe-train.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import { oneOf, orNull, resolveOptions, text, type Values, whole } from "./options.ts";
import type { TrainingTask } from "./task-table.ts";

export const tokenizerFields = {
  /** "bpe": trained here; "folder": tokenizer.json and tokenizer_config.json of `path`. */
  kind: oneOf("bpe", ["bpe", "folder"]),
  path: orNull(text("")),
  /** All tokens: 4 special ones, 256 bytes, merges. */
  vocabSize: whole(320, { min: 260, max: 2 ** 20 - 1 }),
  /** Worked examples to learn merges from. */
  examples: whole(2000, { min: 1, max: 1e6 }),
  /** What merges may not cross, as a regular expression; null: nothing. */
  pattern: orNull(text(defaultPattern), defaultPattern),
} as const;

export type TokenizerConfig = Values<typeof tokenizerFields>;

export type TokenizerFiles = { readonly tokenizerJson: string; readonly tokenizerConfig: JsonObject };

export const beginToken = "<|bos|>";
export const endToken = "<|eos|>";

/** Throws ConfigError when the settings make no sense or there is nothing to learn from. */
export async function makeTokenizer(
  files: Files,
  config: unknown,
  task: TrainingTask | undefined,
  random: Random,
): Promise<TokenizerFiles> {
  const operation = "recipe: tokenizer";
  const { kind, path, vocabSize, examples, pattern } = resolveOptions(operation, tokenizerFields, config);
  if (kind === "folder") {
    if (path === null)
      throw new ConfigError({
        operation,
        got: "kind folder without a path",
        expected: "a folder with tokenizer.json",
        cure: "set tokenizer.path",
      });
    return await readTokenizerFiles(files, path);
  }
  if (!task)
    throw new ConfigError({
      operation,
      got: "no task to make texts from",
      expected: "a task",
      cure: "name a task in the recipe, or set tokenizer.kind to folder",
    });
  const texts = Array.from({ length: examples }, (_, i) => {
    const { prompt, completion } = task.drawTrace(random.fork(i), {}, false);
    return prompt + completion;
  });
  const special = (content: string, isSpecial: boolean) => ({ content, special: isSpecial });
  // The thinking tags are text to be read back, so skipSpecialTokens must not drop them.
  const specialTokens = [special(beginToken, true), special(endToken, true), special(thinkOpen, false), special(thinkClose, false)];
  const tokenizerJson = beginWith(beginToken, trainBpe(texts, { vocabSize, specialTokens, pattern }));
  const tokenizerConfig = {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: beginToken,
    eos_token: endToken,
    pad_token: endToken,
    clean_up_tokenization_spaces: false,
  };
  return { tokenizerJson, tokenizerConfig };
}

/** tokenizer.json and tokenizer_config.json of a folder. Throws FormatError, or ConfigError when there are none. */
export async function readTokenizerFiles(files: Files, folder: string): Promise<TokenizerFiles> {
  const tokenizerJson = await files.readText(files.join(folder, "tokenizer.json"), 200_000_000);
  const path = files.join(folder, "tokenizer_config.json");
  const config = parseJson(await files.readText(path, 10_000_000), { source: path, unsafeIntegers: "round" });
  if (!isJsonObject(config))
    throw new ConfigError({
      operation: `load ${quote(path)}`,
      got: "JSON that is no object",
      expected: "an object",
      cure: "check the folder",
    });
  return { tokenizerJson, tokenizerConfig: config };
}

export function openTokenizer({ tokenizerJson, tokenizerConfig }: TokenizerFiles): Tokenizer {
  return loadTokenizer(tokenizerJson, JSON.stringify(tokenizerConfig));
}

/** How training and rollouts encode: no token is added but bos and eos, in their places. Throws ConfigError for a tokenizer without an end token. */
export function encoderOf(tokenizer: Tokenizer): RowEncoder {
  const { bos, eos } = tokenizer.specialIds;
  if (eos === undefined) {
    throw new ConfigError({
      operation: "open the tokenizer",
      got: "no eos_token",
      expected: "one: it is how a model learns to stop",
      cure: "name it in tokenizer_config.json",
    });
  }
  return { encode: (value) => tokenizer.encode(value, { addSpecialTokens: false }), eos, ...(bos !== undefined && { bos }) };
}

function beginWith(token: string, tokenizerJson: string): string {
  const json = JSON.parse(tokenizerJson) as { model: { vocab: Record<string, number> }; post_processor: unknown };
  const special = { SpecialToken: { id: token, type_id: 0 } };
  const sequence = (id: string, type_id: number) => ({ Sequence: { id, type_id } });
  json.post_processor = {
    type: "TemplateProcessing",
    single: [special, sequence("A", 0)],
    pair: [special, sequence("A", 0), sequence("B", 1)],
    special_tokens: { [token]: { id: token, ids: [json.model.vocab[token]], tokens: [token] } },
  };
  return JSON.stringify(json);
}
