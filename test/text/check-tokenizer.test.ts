// Every local row of hazards.md section 1.5 about tokenizer.json, by its id: refused with a FormatError, or accepted.

import { expect, test } from "vitest";
import { FormatError } from "../../src/core/errors.ts";
import { patternFault } from "../../src/text/pattern-check.ts";
import { loadTokenizer } from "../../src/text/tokenizer.ts";
import { tinyTokenizer } from "./tiny-tokenizer.ts";

type Json = Record<string, unknown>;
type Model = { vocab: Record<string, unknown>; merges: unknown[] } & Json;

const patched = (patch: (json: Json, model: Model) => void) =>
  tinyTokenizer({ extraTokens: ["ab", "abc"], patch: (json) => patch(json, json.model as Model) });
const split = (Regex: unknown) =>
  patched((json) => Object.assign(json, { pre_tokenizer: { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false } }));
const added = (...tokens: unknown[]) => patched((json) => Object.assign(json, { added_tokens: tokens }));
const normalizer = (value: unknown) => patched((json) => Object.assign(json, { normalizer: value }));
const template = (id: string, ids: unknown) =>
  patched((json) => {
    json.added_tokens = [{ id: 900, content: "<s>", special: true }];
    const single = [{ SpecialToken: { id, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }];
    json.post_processor = { type: "TemplateProcessing", single, pair: single, special_tokens: { [id]: { id, ids, tokens: [id] } } };
  });

const refused: [id: string, what: string, json: string, message: RegExp][] = [
  ["T01", "(a+)+$", split("(a+)+$"), /a group that repeats without bound/],
  ["T02", "(\\w*)*\\d", split("(\\w*)*\\d"), /a group that repeats without bound/],
  ["T02", "(?:a|aa)+$", split("(?:a|aa)+$"), /a group that repeats without bound/],
  ["T02", "(?:a+){2,}$", split("(?:a+){2,}$"), /a group that repeats without bound/],
  ["T03", "(?=(.*))\\1", split("(?=(.*))\\1x"), /a back reference/],
  ["T03", "\\k<a>", split("(?<a>.)\\k<a>"), /a back reference/],
  ["T04", "a pattern of 1 MB", split("a".repeat(1e6)), /1000000 characters/],
  ["T05", "nested quantifiers with Unicode classes", split("(?:[\\p{L}\\p{M}]+[^\\p{N}]*)+!"), /a group that repeats without bound/],
  ["T05", "many unbounded repetitions", split("\\s*\\s*\\s*\\s*\\s*x"), /more than 3 unbounded repetitions in one alternative/],
  ["T05", "a huge bounded repetition", split("a{100000}"), /more than 1000 repetitions/],
  ["T06", "an invalid pattern", split("[a"), /got ".*regular expression|character class/i],
  ["T06", "a pattern that is no text", split(3), /without a pattern/],
  ["T11", "an id twice", patched((_, model) => Object.assign(model.vocab, { zz: 5 })), /id 5 for both .* and "zz"/],
  ["T12", "id 2^31", patched((_, model) => Object.assign(model.vocab, { zz: 2 ** 31 })), /id 2147483648 for token "zz"/],
  ["T13", "a negative id", patched((_, model) => Object.assign(model.vocab, { zz: -1 })), /id -1 for token "zz"/],
  ["T14", "an id as a string", patched((_, model) => Object.assign(model.vocab, { zz: "300" })), /id "300" for token "zz"/],
  ["T14", "a fraction", patched((_, model) => Object.assign(model.vocab, { zz: 300.5 })), /id 300.5/],
  ["T16", "a merge of an unknown part", patched((_, model) => void model.merges.push(["ab", "zz"])), /the merge .*zz/],
  ["T16", "a merge that makes an unknown token", patched((_, model) => void model.merges.push(["a", "c"])), /make a third one/],
  ["T18", "a merge with an empty part", patched((_, model) => void model.merges.push(["ab", ""])), /the merge/],
  ["", "a merge of three", patched((_, model) => void model.merges.push("a b c")), /the merge/],
  ["", "merges that are no list", patched((_, model) => Object.assign(model, { merges: {} as never })), /without merges/],
  ["", "no vocabulary", patched((_, model) => Object.assign(model, { vocab: [] as never })), /without vocab/],
  ["T19", "an added token on another's id", added({ id: 5, content: "<x>" }), /id 5, which is/],
  ["T19", "an added token with another id than in the vocabulary", added({ id: 900, content: "ab" }), /256, its id in the vocabulary/],
  ["T20", "an empty added token", added({ id: 900, content: "" }), /expected some text/],
  ["", "an added token twice", added({ id: 900, content: "<x>" }, { id: 901, content: "<x>" }), /a second time/],
  ["", "an added token without id", added({ content: "<x>" }), /some text and an id/],
  [
    "T23",
    "normalizers nested deep",
    tinyTokenizer().replace('"normalizer":null', `"normalizer":${'{"type":"Sequence","normalizers":['.repeat(10_000)}`),
    /nested deeper/,
  ],
  [
    "T23",
    "10,000 normalizers in a row",
    normalizer({ type: "Sequence", normalizers: new Array(10_000).fill({ type: "NFC" }) }),
    /more than 100 normalizers/,
  ],
  [
    "T24",
    "replacements that double the text 40 times",
    normalizer({ type: "Sequence", normalizers: new Array(40).fill({ type: "Replace", pattern: { String: "a" }, content: "aa" }) }),
    /lengthen a text/,
  ],
  ["T24", "an empty pattern", normalizer({ type: "Replace", pattern: { String: "" }, content: "a" }), /an empty pattern/],
  ["T25", "a Precompiled normalizer", normalizer({ type: "Precompiled", precompiled_charsmap: "AA==" }), /normalizer "Precompiled"/],
  ["T26", "a template that names an unknown token", template("<unknown>", [900]), /template that names the token "<unknown>"/],
  ["T26", "a template with another id", template("<s>", [7]), /template that names the token "<s>"/],
  ["", "another model", patched((_, model) => Object.assign(model, { type: "Unigram" })), /model of type "Unigram"; expected BPE/],
  ["", "another decoder", patched((json) => Object.assign(json, { decoder: { type: "WordPiece" } })), /decoder "WordPiece"/],
  ["", "no decoder", patched((json) => Object.assign(json, { decoder: null })), /decoder "none"/],
  ["", "another pre-tokenizer", patched((json) => Object.assign(json, { pre_tokenizer: { type: "Lua" } })), /pre-tokenizer "Lua"/],
  ["", "an end-of-word suffix", patched((_, model) => Object.assign(model, { end_of_word_suffix: "</w>" })), /end_of_word_suffix/],
  ["", "an unknown token that is unknown", patched((_, model) => Object.assign(model, { unk_token: "<unk>" })), /unk_token outside/],
  ["", "no JSON", "{", /read JSON/],
  ["", "an array", "[]", /no object/],
  ["", "a token of the vocabulary twice", tinyTokenizer().replace('"!":33', '"!":33,"!":33'), /key "!" a second time/],
];

test.each(refused)("%s refused: %s", (_id, _what, json, message) => {
  const started = performance.now();
  expect(() => loadTokenizer(json)).toThrow(FormatError);
  expect(() => loadTokenizer(json)).toThrow(message);
  expect(performance.now() - started).toBeLessThan(2000);
});

test("T15 refused by a limit: two million tokens", { timeout: 30_000 }, () => {
  const entries = Array.from({ length: 2_000_000 }, (_, i) => `"t${i}":${i}`);
  const json = tinyTokenizer().replace(/"vocab":\{.*?\},"merges"/, () => `"vocab":{${entries.join(",")}},"merges"`);
  expect(() => loadTokenizer(json)).toThrow(/more than 1000000 keys/);
});

test("T10 accepted: holes in the ids, which decode to nothing", () => {
  const holes = loadTokenizer(patched((_, model) => Object.assign(model.vocab, { zz: 400 })));
  expect(holes.vocabSize).toBe(401);
  expect(holes.tokenOf(399)).toBeUndefined();
  expect(holes.decode([65, 399, 400, 12345])).toBe("bzz".replace("b", holes.decode([65])));
});

test("T17 accepted: merges as pairs, and as strings", () => {
  const pairs = loadTokenizer(patched(() => {}));
  const strings = loadTokenizer(patched((_, model) => Object.assign(model, { merges: ["a b", "ab c"] })));
  for (const tokenizer of [pairs, strings]) expect(tokenizer.encode("abcab").map(tokenizer.tokenOf)).toEqual(["abc", "ab"]);
});

test("T21 accepted: 10,000 added tokens that share prefixes, in linear time", () => {
  const tokens = Array.from({ length: 10_000 }, (_, i) => ({ id: 1000 + i, content: `<|reserved_special_token_${i}|>`, special: true }));
  const tokenizer = loadTokenizer(added(...tokens));
  const text = "<|reserved_special_token_".repeat(4000);
  const started = performance.now();
  expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  expect(performance.now() - started).toBeLessThan(2000);
  expect(tokenizer.encode("<|reserved_special_token_9999|>")).toEqual([10_999]);
});

test("T22 accepted: an added token of regular-expression characters is plain text", () => {
  const tokenizer = loadTokenizer(added({ id: 900, content: "(.*)+[", special: true }));
  expect(tokenizer.encode("(.*)+[")).toEqual([900]);
  expect(tokenizer.encode("abc")).not.toContain(900);
});

test("templates that are right are applied", () => {
  const tokenizer = loadTokenizer(template("<s>", [900]));
  const plain = tokenizer.encode("ab", { addSpecialTokens: false });
  expect(tokenizer.encode("ab")).toEqual([900, ...plain]);
  expect(tokenizer.encode("ab", { parseSpecial: false })).toEqual([900, ...plain]);
});

test("T07 the patterns of the published families pass, with syntax that JavaScript lacks", () => {
  for (const pattern of [
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*",
    "\\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "\\p{L}++| ?[^\\s\\p{L}]++",
  ]) {
    expect(patternFault(pattern), pattern).toBeUndefined();
    const tokenizer = loadTokenizer(
      patched((json) => {
        const first = { type: "Split", pattern: { Regex: pattern.replaceAll("++", "+") }, behavior: "Isolated", invert: false };
        json.pre_tokenizer = { type: "Sequence", pretokenizers: [first, { type: "ByteLevel", add_prefix_space: false, use_regex: false }] };
      }),
    );
    expect(tokenizer.decode(tokenizer.encode("It's 12345 中文!\r\n  x"))).toBe("It's 12345 中文!\r\n  x");
  }
});
