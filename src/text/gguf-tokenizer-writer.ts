// From a tokenizer's definition to the metadata of a GGUF file. In: a definition and special ids, e.g. of a Hugging Face folder. Out:
// typed entries for the file. A pre-tokenizer that llama.cpp has no name for is written as "default" with the whole tokenizer.json
// beside it (`tokenizer.huggingface.json`, a key of ggml's docs/gguf.md), which gradually reads back exactly; the warning says so.

import { ConfigError } from "../core/errors.ts";
import { byteToken } from "./bpe-model.ts";
import { tokenType } from "./gguf-tokenizer.ts";
import { readFrame } from "./post-processor.ts";
import { preNameOf } from "./pre-names.ts";
import { readSteps } from "./pre-tokenizer.ts";
import type { SpecialIds } from "./tokenizer.ts";
import type { TokenizerDefinition } from "./tokenizer-definition.ts";
import { tokenizerJson } from "./tokenizer-json.ts";

export type GgufEntry = { readonly key: string } & (
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "uint32"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string[]"; readonly value: readonly string[] }
  | { readonly type: "int32[]"; readonly value: Int32Array }
  | { readonly type: "float32[]"; readonly value: Float32Array }
);

export type GgufTokenizerOptions = {
  readonly specialIds: SpecialIds;
  /** Rows of the model's embedding; missing tokens are filled up as unused. Default: the highest id + 1. */
  readonly vocabSize?: number;
  readonly chatTemplate?: string;
};

/** Throws ConfigError for a tokenizer that GGUF cannot hold. */
export function ggufTokenizer(
  definition: TokenizerDefinition,
  options: GgufTokenizerOptions,
): { entries: GgufEntry[]; warnings: string[] } {
  const { specialIds, chatTemplate } = options;
  const warnings: string[] = [];
  const { tokens, types } = listTokens(definition, options.vocabSize);
  const bytes = readSteps(definition.preTokenizer)?.bytes === true;
  const entries: GgufEntry[] = [{ key: "tokenizer.ggml.model", type: "string", value: bytes ? "gpt2" : "llama" }];
  entries.push(...(bytes ? byteLevel(definition, tokens, warnings) : sentencePiece(definition, tokens, types)));
  entries.push(
    { key: "tokenizer.ggml.tokens", type: "string[]", value: tokens },
    { key: "tokenizer.ggml.token_type", type: "int32[]", value: types },
  );

  const ids = { bos: specialIds.bos, eos: specialIds.eos, padding: specialIds.pad, unknown: definition.unknown };
  for (const [name, value] of Object.entries(ids))
    if (value !== undefined) entries.push({ key: `tokenizer.ggml.${name}_token_id`, type: "uint32", value });
  const { before, after } = readFrame(definition.postProcessor);
  const isJust = (added: readonly number[], id: number | undefined) => added.length === 1 && added[0] === id;
  const [addBos, addEos] = [isJust(before, specialIds.bos), isJust(after, specialIds.eos)];
  if ((before.length > 0 && !addBos) || (after.length > 0 && !addEos))
    warnings.push("GGUF can add one token at the start and one at the end of a text; what this tokenizer adds is left out");
  entries.push(
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: addBos },
    { key: "tokenizer.ggml.add_eos_token", type: "bool", value: addEos },
  );
  if (chatTemplate !== undefined) entries.push({ key: "tokenizer.chat_template", type: "string", value: chatTemplate });
  return { entries, warnings };
}

function listTokens(definition: TokenizerDefinition, vocabSize = 0): { tokens: string[]; types: Int32Array } {
  const { added, unknown, byteFallback } = definition;
  const count = Math.max(definition.tokens.length, vocabSize, ...[added.reduce((most, { id }) => Math.max(most, id + 1), 0)]);
  if (vocabSize > 0 && count > vocabSize) fail(`${count} tokens`, `at most ${vocabSize}, the rows of the model's embedding`);
  const types = new Int32Array(count).fill(tokenType.unused);
  const tokens = Array.from({ length: count }, (_, id) => `[PAD${id}]`);
  const isByte = new Set(byteFallback ? Array.from({ length: 256 }, (_, byte) => byteToken(byte)) : []);
  for (const [id, token] of definition.tokens.entries()) {
    if (token === undefined) continue;
    tokens[id] = token;
    types[id] = isByte.has(token) ? tokenType.byte : tokenType.normal;
  }
  for (const { id, content, special } of added) {
    tokens[id] = content;
    types[id] = special ? tokenType.control : tokenType.userDefined;
  }
  if (unknown !== undefined) types[unknown] = tokenType.unknown;
  return { tokens, types };
}

function byteLevel(definition: TokenizerDefinition, tokens: readonly string[], warnings: string[]): GgufEntry[] {
  const { left, right } = definition.merges;
  const name = preNameOf(definition.preTokenizer, definition.ignoreMerges);
  const entries: GgufEntry[] = [
    { key: "tokenizer.ggml.pre", type: "string", value: name ?? "default" },
    { key: "tokenizer.ggml.merges", type: "string[]", value: Array.from(left, (id, i) => `${tokens[id]} ${tokens[right[i] as number]}`) },
  ];
  if (name === undefined) {
    entries.push({ key: "tokenizer.huggingface.json", type: "string", value: tokenizerJson(definition) });
    warnings.push(
      'GGUF has no name for this tokenizer\'s pattern; it is written as "default", so other programs may cut texts differently',
    );
  }
  return entries;
}

function sentencePiece(definition: TokenizerDefinition, tokens: readonly string[], types: Int32Array): GgufEntry[] {
  const { normalizer, preTokenizer, merges } = definition;
  // "Prepend" is part of the text of either step that can put a space in front.
  const steps = JSON.stringify([normalizer, preTokenizer]);
  if (!steps.includes("\u2581") || /"(?:Lowercase|NF[A-Z]+|StripAccents|Split)"/.test(steps))
    fail("a tokenizer that is neither byte-level nor SentencePiece's", "one of them");
  const prefix = steps.includes('"Prepend"') || /"prepend_scheme":"(?:always|first)"/.test(steps);
  const scores = new Float32Array(tokens.length);
  for (let id = 0; id < tokens.length; id++) if (types[id] === tokenType.normal) scores[id] = -(merges.left.length + id + 1);
  for (let i = merges.left.length - 1; i >= 0; i--) scores[merges.made[i] as number] = -(merges.rank?.[i] ?? i);
  return [
    { key: "tokenizer.ggml.pre", type: "string", value: "default" },
    { key: "tokenizer.ggml.scores", type: "float32[]", value: scores },
    { key: "tokenizer.ggml.add_space_prefix", type: "bool", value: prefix },
  ];
}

function fail(got: string, expected: string): never {
  throw new ConfigError({ operation: "write a tokenizer into GGUF", got, expected, cure: "keep the Hugging Face folder" });
}
