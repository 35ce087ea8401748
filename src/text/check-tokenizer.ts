// Checks a tokenizer.json from a stranger before anything trusts it. In: the parsed JSON. Out: the tokenizer's definition, or a
// FormatError. Hazards T01 to T26 by their rows.

import { FormatError, quote } from "../core/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../core/json.ts";
import type { Merges } from "./bpe-merge.ts";
import { patternFault } from "./pattern-check.ts";
import { makeScanner } from "./scanner.ts";
import type { AddedToken, TokenizerDefinition } from "./tokenizer-definition.ts";

const idLimit = 2 ** 24;
/** The largest published vocabularies have some 260,000 tokens. */
export const vocabularyLimit = 1_000_000;
const addedLimit = 100_000;
const addedLength = 512;
const chainLimit = 100;
const growthLimit = 1000;

export function checkTokenizer(json: JsonObject, source: string): TokenizerDefinition {
  function fail(got: string, expected: string): never {
    throw new FormatError({
      operation: `load ${quote(source, 300)}`,
      got,
      expected,
      cure: "use the tokenizer.json of a Llama, Qwen or DeepSeek model",
    });
  }
  const model = json.model;
  if (!isJsonObject(model) || (model.type !== "BPE" && model.type !== undefined)) {
    fail(`a model of type ${isJsonObject(model) ? quote(String(model.type)) : "none"}`, "BPE");
  }
  for (const key of ["end_of_word_suffix", "continuing_subword_prefix", "dropout"]) {
    if (model[key]) fail(`${key} ${quote(String(model[key]))}`, "none: that is not how language models of these families are tokenized");
  }
  const { tokens, idOf } = checkVocabulary(model.vocab, fail);
  const merges = checkMerges(model.merges, idOf, fail);
  const unknownToken = model.unk_token ?? undefined;
  const unknown = typeof unknownToken === "string" ? idOf.get(unknownToken) : undefined;
  if (unknownToken !== undefined && unknown === undefined) fail("an unk_token outside the vocabulary", "one of its tokens");
  const added = checkAdded(json.added_tokens ?? [], tokens, idOf, fail);
  checkNormalizer(json.normalizer, fail);
  checkPreTokenizer(json.pre_tokenizer, fail);
  const addedIds = new Map(added.map(({ content, id }) => [content, id]));
  checkPostProcessor(json.post_processor, (token) => addedIds.get(token) ?? idOf.get(token), fail);
  return {
    tokens,
    idOf,
    merges,
    added,
    ...(unknown !== undefined && { unknown }),
    fuseUnknown: model.fuse_unk === true,
    byteFallback: model.byte_fallback === true,
    ignoreMerges: model.ignore_merges === true,
    normalizer: json.normalizer ?? null,
    preTokenizer: json.pre_tokenizer ?? null,
    postProcessor: json.post_processor ?? null,
    decoder: json.decoder ?? null,
  };
}

type Fail = (got: string, expected: string) => never;

function isId(value: JsonValue | undefined): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < idLimit;
}

type Vocabulary = { readonly tokens: (string | undefined)[]; readonly idOf: Map<string, number> };

function checkVocabulary(vocab: JsonValue | undefined, fail: Fail): Vocabulary {
  if (!isJsonObject(vocab)) fail("a model without vocab", "an object of tokens and ids");
  const idOf = new Map<string, number>();
  let highest = -1;
  for (const token in vocab) {
    const id = vocab[token];
    if (!isId(id)) fail(`id ${JSON.stringify(id)} for token ${quote(token)}`, `an integer from 0 to ${idLimit - 1}`);
    idOf.set(token, id);
    if (id > highest) highest = id;
  }
  const tokens = new Array<string | undefined>(highest + 1).fill(undefined);
  for (const [token, id] of idOf) {
    if (tokens[id] !== undefined) fail(`id ${id} for both ${quote(tokens[id])} and ${quote(token)}`, "each id once");
    tokens[id] = token;
  }
  return { tokens, idOf };
}

function checkMerges(merges: JsonValue | undefined, idOf: ReadonlyMap<string, number>, fail: Fail): Merges {
  if (!Array.isArray(merges)) fail("a model without merges", "a list of pairs");
  const count = merges.length;
  const [lefts, rights, made] = [new Int32Array(count), new Int32Array(count), new Int32Array(count)];
  for (let i = 0; i < count; i++) {
    const merge = merges[i] as JsonValue;
    const [left, right] = splitMerge(merge) ?? fail(`the merge ${quote(JSON.stringify(merge))}`, "two tokens");
    const [leftId, rightId, madeId] = [idOf.get(left), idOf.get(right), idOf.get(left + right)];
    if (leftId === undefined || rightId === undefined || madeId === undefined || left === "" || right === "")
      fail(`the merge ${quote(JSON.stringify(merge))}`, "two tokens of the vocabulary that make a third one");
    lefts[i] = leftId;
    rights[i] = rightId;
    made[i] = madeId;
  }
  return { left: lefts, right: rights, made };
}

/** "a b" or ["a", "b"]. */
function splitMerge(merge: JsonValue): readonly [string, string] | undefined {
  if (typeof merge === "string") {
    const space = merge.indexOf(" ");
    return space < 0 || merge.includes(" ", space + 1) ? undefined : [merge.slice(0, space), merge.slice(space + 1)];
  }
  if (!Array.isArray(merge) || merge.length !== 2) return undefined;
  const [left, right] = merge;
  return typeof left === "string" && typeof right === "string" ? [left, right] : undefined;
}

function checkAdded(listed: JsonValue, tokens: Vocabulary["tokens"], idOf: Vocabulary["idOf"], fail: Fail): AddedToken[] {
  if (!Array.isArray(listed) || listed.length > addedLimit)
    fail("added_tokens that are no list, or a very long one", `a list of at most ${addedLimit}`);
  const owners = new Map<number, string>();
  const seen = new Set<string>();
  return listed.map((token) => {
    if (!isJsonObject(token)) fail("an added token that is no object", "id, content, special");
    const { id, content, special } = token;
    if (!isId(id) || typeof content !== "string" || content === "" || content.length > addedLength)
      fail(`added token ${quote(String(content))} with id ${JSON.stringify(id)}`, `some text and an id; at most ${addedLength} characters`);
    if (seen.has(content)) fail(`added token ${quote(content)} a second time`, "each once");
    const owner = owners.get(id) ?? tokens[id];
    if (owner !== undefined && owner !== content)
      fail(`added token ${quote(content)} with id ${id}, which is ${quote(owner)}`, "an id of its own");
    const own = idOf.get(content);
    if (own !== undefined && own !== id) fail(`added token ${quote(content)} with id ${id}`, `${own}, its id in the vocabulary`);
    owners.set(id, content);
    seen.add(content);
    const isTrue = (key: string) => token[key] === true;
    const normalized = typeof token.normalized === "boolean" ? token.normalized : special !== true;
    const rest = { lstrip: isTrue("lstrip"), rstrip: isTrue("rstrip"), singleWord: isTrue("single_word") };
    return { id, content, special: special === true, normalized, ...rest };
  });
}

/** Calls `visit` for each part of a possibly nested Sequence. */
function eachPart(part: JsonValue | undefined, listKey: string, fail: Fail, visit: (part: JsonObject) => void): void {
  let seen = 0;
  const walk = (inner: JsonValue | undefined): void => {
    if (inner === null || inner === undefined) return;
    if (!isJsonObject(inner)) fail(`${listKey} with a part that is no object`, "objects");
    if (++seen > chainLimit) fail(`more than ${chainLimit} ${listKey}`, `at most ${chainLimit}`);
    const list = inner[listKey];
    if (inner.type === "Sequence" && Array.isArray(list)) list.forEach(walk);
    else visit(inner);
  };
  walk(part);
}

function checkPattern(pattern: JsonValue | undefined, fail: Fail): void {
  if (!isJsonObject(pattern) || typeof (pattern.Regex ?? pattern.String) !== "string")
    fail("a step without a pattern", '{"Regex"} or {"String"}');
  if (pattern.String === "") fail("an empty pattern", "some text");
  const { Regex: regex } = pattern;
  const fault = typeof regex === "string" && !makeScanner(regex) ? patternFault(regex) : undefined;
  if (fault !== undefined) fail(`the pattern ${quote(regex as string)} with ${fault}`, "a pattern that cannot hang the program");
}

const normalizers = new Set(["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "Prepend", "Replace"]);

function checkNormalizer(normalizer: JsonValue | undefined, fail: Fail): void {
  // By what factor a chain of replacements may lengthen a text.
  let growth = 1;
  eachPart(normalizer, "normalizers", fail, ({ type, pattern, content }) => {
    if (typeof type !== "string" || !normalizers.has(type))
      fail(`normalizer ${quote(String(type))}`, `one of ${[...normalizers].join(", ")}`);
    if (type !== "Replace") return;
    checkPattern(pattern, fail);
    if (typeof content !== "string") fail("a Replace without content", "a string");
    const from = isJsonObject(pattern) && typeof pattern.String === "string" ? pattern.String.length : 1;
    growth *= Math.max(1, content.length / from);
    if (growth > growthLimit) fail("normalizers that lengthen a text more than 1000 times", "fewer replacements");
  });
}

const preTokenizers = new Set(["ByteLevel", "Split", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit", "Metaspace"]);

function checkPreTokenizer(preTokenizer: JsonValue | undefined, fail: Fail): void {
  eachPart(preTokenizer, "pretokenizers", fail, ({ type, pattern }) => {
    if (typeof type !== "string" || !preTokenizers.has(type))
      fail(`pre-tokenizer ${quote(String(type))}`, `one of ${[...preTokenizers].join(", ")}`);
    if (type === "Split") checkPattern(pattern, fail);
  });
}

type IdOf = (token: string) => number | undefined;

/** Template processors name tokens: each must exist, under the id that the vocabulary gives it. */
function checkPostProcessor(processor: JsonValue | undefined, idOf: IdOf, fail: Fail): void {
  eachPart(processor, "processors", fail, (part) => {
    if (part.type === "ByteLevel") return;
    if (part.type !== "TemplateProcessing") fail(`post-processor ${quote(String(part.type))}`, "ByteLevel or TemplateProcessing");
    const declared = isJsonObject(part.special_tokens) ? part.special_tokens : {};
    for (const list of [part.single, part.pair]) {
      if (!Array.isArray(list)) fail("a template that is no list", "a list of tokens and sequences");
      for (const item of list) checkTemplateItem(item, declared, idOf, fail);
    }
  });
}

function checkTemplateItem(item: JsonValue, declared: JsonObject, idOf: IdOf, fail: Fail): void {
  if (!isJsonObject(item)) fail("a template item that is no object", "SpecialToken or Sequence");
  if (isJsonObject(item.Sequence)) return;
  const name = isJsonObject(item.SpecialToken) ? item.SpecialToken.id : undefined;
  const entry = typeof name === "string" ? declared[name] : undefined;
  const ids = isJsonObject(entry) ? entry.ids : undefined;
  if (typeof name !== "string" || !Array.isArray(ids) || ids.length !== 1 || idOf(name) !== ids[0]) {
    fail(`a template that names the token ${quote(String(name))}`, "a token of the vocabulary under its id");
  }
}
