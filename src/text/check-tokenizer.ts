// Checks a tokenizer.json from a stranger before `@huggingface/tokenizers` sees it: that library trusts its input. In: the
// parsed JSON. Out: vocabulary, merges and added tokens as typed values, or a FormatError. Hazards T01 to T26 by their rows.

import { FormatError, quote } from "../core/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../core/json.ts";
import { patternFault } from "./pattern-check.ts";

export type AddedToken = { readonly id: number; readonly content: string; readonly special: boolean };

export type TokenizerParts = {
  readonly idOf: Map<string, number>;
  readonly merges: [string, string][];
  readonly added: readonly AddedToken[];
};

const idLimit = 2 ** 24;
/** The largest published vocabularies have some 260,000 tokens. */
export const vocabularyLimit = 1_000_000;
const addedLimit = 100_000;
const chainLimit = 100;
const growthLimit = 1000;

export function checkTokenizer(json: JsonObject, source: string): TokenizerParts {
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
  const idOf = checkVocabulary(model.vocab, fail);
  const merges = checkMerges(model.merges, idOf, fail);
  const unknown = model.unk_token;
  if (unknown !== null && unknown !== undefined && !(typeof unknown === "string" && idOf.has(unknown)))
    fail("an unk_token outside the vocabulary", "one of its tokens");
  const added = checkAdded(json.added_tokens ?? [], idOf, fail);
  checkNormalizer(json.normalizer, fail);
  checkPreTokenizer(json.pre_tokenizer, fail);
  checkPostProcessor(json.post_processor, new Map([...idOf, ...added.map(({ content, id }) => [content, id] as const)]), fail);
  return { idOf, merges, added };
}

type Fail = (got: string, expected: string) => never;

function isId(value: JsonValue | undefined): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < idLimit;
}

function checkVocabulary(vocab: JsonValue | undefined, fail: Fail): Map<string, number> {
  if (!isJsonObject(vocab)) fail("a model without vocab", "an object of tokens and ids");
  const idOf = new Map<string, number>();
  const taken = new Map<number, string>();
  for (const token in vocab) {
    const id = vocab[token];
    if (!isId(id)) fail(`id ${JSON.stringify(id)} for token ${quote(token)}`, `an integer from 0 to ${idLimit - 1}`);
    if (taken.has(id)) fail(`id ${id} for both ${quote(taken.get(id) as string)} and ${quote(token)}`, "each id once");
    taken.set(id, token);
    idOf.set(token, id);
  }
  return idOf;
}

function checkMerges(merges: JsonValue | undefined, idOf: ReadonlyMap<string, number>, fail: Fail): [string, string][] {
  if (!Array.isArray(merges)) fail("a model without merges", "a list of pairs");
  return merges.map((merge) => {
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    if (!Array.isArray(pair) || pair.length !== 2) fail(`the merge ${quote(JSON.stringify(merge))}`, "two tokens");
    const [left, right] = pair;
    const complete = typeof left === "string" && typeof right === "string" && left !== "" && right !== "";
    if (!complete || !idOf.has(left) || !idOf.has(right) || !idOf.has(left + right)) {
      fail(`the merge ${quote(JSON.stringify(merge))}`, "two tokens of the vocabulary that make a third one");
    }
    return [left, right];
  });
}

function checkAdded(listed: JsonValue, idOf: ReadonlyMap<string, number>, fail: Fail): AddedToken[] {
  if (!Array.isArray(listed) || listed.length > addedLimit)
    fail("added_tokens that are no list, or a very long one", `a list of at most ${addedLimit}`);
  const tokenOf = new Map<number, string>(Array.from(idOf, ([token, id]) => [id, token]));
  const seen = new Set<string>();
  return listed.map((token) => {
    if (!isJsonObject(token)) fail("an added token that is no object", "id, content, special");
    const { id, content, special } = token;
    if (!isId(id) || typeof content !== "string" || content === "")
      fail(`added token ${quote(String(content))} with id ${JSON.stringify(id)}`, "some text and an id");
    if (seen.has(content)) fail(`added token ${quote(content)} a second time`, "each once");
    const owner = tokenOf.get(id);
    if (owner !== undefined && owner !== content)
      fail(`added token ${quote(content)} with id ${id}, which is ${quote(owner)}`, "an id of its own");
    const own = idOf.get(content);
    if (own !== undefined && own !== id) fail(`added token ${quote(content)} with id ${id}`, `${own}, its id in the vocabulary`);
    tokenOf.set(id, content);
    seen.add(content);
    return { id, content, special: special === true };
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
  const fault = typeof regex === "string" ? patternFault(regex) : undefined;
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

/** Template processors name tokens: each must exist, under the id that the vocabulary gives it. */
function checkPostProcessor(processor: JsonValue | undefined, idOf: ReadonlyMap<string, number>, fail: Fail): void {
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

function checkTemplateItem(item: JsonValue, declared: JsonObject, idOf: ReadonlyMap<string, number>, fail: Fail): void {
  if (!isJsonObject(item)) fail("a template item that is no object", "SpecialToken or Sequence");
  if (isJsonObject(item.Sequence)) return;
  const name = isJsonObject(item.SpecialToken) ? item.SpecialToken.id : undefined;
  const entry = typeof name === "string" ? declared[name] : undefined;
  const ids = isJsonObject(entry) ? entry.ids : undefined;
  if (typeof name !== "string" || !Array.isArray(ids) || ids.length !== 1 || idOf.get(name) !== ids[0]) {
    fail(`a template that names the token ${quote(String(name))}`, "a token of the vocabulary under its id");
  }
}
