// Time on hostile texts and patterns: T01 to T09 of hazards.md. Bounds are generous, for busy machines; what they are there to catch would
// take minutes or hours.

import { describe, expect, test } from "vitest";
import { RequestError } from "../../src/core/errors.ts";
import { longestText } from "../../src/text/pattern-check.ts";
import { knownPreNames, preTokenizerOf } from "../../src/text/pre-names.ts";
import { gpt2Pattern, makeCutter, readSteps } from "../../src/text/pre-tokenizer.ts";
import { makeScanner } from "../../src/text/scanner.ts";
import { loadTokenizer } from "../../src/text/tokenizer.ts";
import { tinyTokenizer } from "./tiny-tokenizer.ts";

const length = 2 ** 17;
const units = [
  "a",
  "A",
  "aA",
  " ",
  "\n",
  " \n",
  "\t ",
  "1",
  "!",
  "'",
  "'s",
  "\u0301",
  "a\u0301\u0323",
  "👩‍👩‍👧‍👦",
  "\ufffd",
  "中",
  "\u3000",
  "ʰ",
  "ªA",
];

function split(pattern: string, extraTokens: readonly string[] = []): string {
  return tinyTokenizer({
    extraTokens,
    patch: (json) => {
      const first = { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
      json.pre_tokenizer = { type: "Sequence", pretokenizers: [first, { type: "ByteLevel", add_prefix_space: false, use_regex: false }] };
    },
  });
}

/** The first name of each pattern. */
const families = knownPreNames().filter((name, i, names) => {
  const pattern = JSON.stringify(preTokenizerOf(name)?.preTokenizer);
  return names.findIndex((other) => JSON.stringify(preTokenizerOf(other)?.preTokenizer) === pattern) === i;
});

describe("T08 130,000 of one thing and more, by the pattern of every family", () => {
  test.each(families)("%s", { timeout: 60_000 }, (name) => {
    const cut = makeCutter(readSteps(preTokenizerOf(name)?.preTokenizer)?.patterns ?? []);
    const started = performance.now();
    for (const unit of units) {
      const text = unit.repeat(Math.floor(length / unit.length));
      const ends = cut?.(text) ?? [];
      expect(ends.at(-1)).toBe(text.length);
      expect(cut?.(`${text}x${text}`).at(-1)).toBe(2 * text.length + 1);
    }
    expect(performance.now() - started).toBeLessThan(30_000);
  });

  test("patterns of which no alternative fits, but only after a long look", () => {
    for (const pattern of ["[A-Z]*[a-z]+", "[A-Z]?[A-Z]*[a-z]+|[A-Z]", "\\s*[\\r\\n]+", "\\s+$", "\\s+(?!\\S)", "[^a]?a{2,9}"]) {
      const scan = makeScanner(pattern);
      expect(scan, pattern).toBeDefined();
      const started = performance.now();
      for (const unit of ["A", " ", "a", "\n", " \n"]) {
        const text = unit.repeat(length);
        const ends: number[] = [];
        scan?.(`${text}!`, 0, text.length + 1, ends);
        expect(ends.at(-1)).toBe(text.length + 1);
      }
      expect(performance.now() - started, pattern).toBeLessThan(10_000);
    }
  });
});

test("T08 normalising: 130,000 combining marks, in an order that must change", { timeout: 60_000 }, () => {
  const tokenizer = loadTokenizer(tinyTokenizer({ patch: (json) => Object.assign(json, { normalizer: { type: "NFC" } }) }));
  const started = performance.now();
  const ids = tokenizer.encode(`a${"\u0301\u0323".repeat(length / 2)}`);
  expect(ids.length).toBeGreaterThan(length);
  expect(performance.now() - started).toBeLessThan(20_000);
  // As many marks as a text may have are put in order exactly.
  const few = `a${"\u0301\u0323".repeat(32)}b`;
  expect(tokenizer.decode(tokenizer.encode(few))).toBe(few.normalize("NFC"));
});

test("T09 one word of a million characters", { timeout: 60_000 }, () => {
  const chain = Array.from({ length: 12 }, (_, i) => "ab".repeat(2 ** i));
  const tokens = ["ab", ...chain.slice(1)];
  const json = tinyTokenizer({
    extraTokens: tokens,
    patch: (value) => {
      (value.model as { merges: unknown }).merges = [["a", "b"], ...chain.slice(1).map((_, i) => [chain[i], chain[i]])];
    },
  });
  const tokenizer = loadTokenizer(json);
  for (const text of [
    "ab".repeat(2 ** 19),
    "a".repeat(2 ** 20),
    Array.from({ length: 2 ** 20 }, (_, i) => "abc"[(i * i + (i >> 3)) % 3]).join(""),
  ]) {
    const started = performance.now();
    const ids = tokenizer.encode(text);
    expect(performance.now() - started).toBeLessThan(8000);
    expect(tokenizer.decode(ids)).toBe(text);
  }
  expect(tokenizer.encode("ab".repeat(2 ** 19))).toHaveLength(2 ** 19 / 2 ** 11);
});

describe("T01 to T07: patterns that no scanner knows", () => {
  // Allowed, as they cannot take exponential time; on a long text they could still take hours.
  test.each(["\\p{L}*\\p{L}*\\p{L}*!", "(?:a|b)?\\w*x", "[a-z]*?[a-z]*z"])("%s runs on short texts only", (pattern) => {
    expect(makeScanner(pattern)).toBeUndefined();
    const tokenizer = loadTokenizer(split(pattern));
    expect(tokenizer.decode(tokenizer.encode("some words"))).toBe("some words");
    const longest = longestText({ Regex: pattern });
    const started = performance.now();
    tokenizer.encode("a".repeat(longest));
    expect(performance.now() - started).toBeLessThan(5000);
    expect(() => tokenizer.encode("a".repeat(longest + 1))).toThrow(RequestError);
    expect(() => tokenizer.encode("a".repeat(1e6))).toThrow(/at most \d+ between special tokens/);
  });

  test("patterns without long repetitions run on any text", () => {
    expect(longestText({ Regex: "(?:ab|c)d" })).toBeGreaterThan(1e6);
    expect(longestText({ type: "ByteLevel" })).toBe(Number.POSITIVE_INFINITY);
  });

  test.each(["(?:a{1,9}){1,9}b", "(a?){20}a{20}", "(?:a*)?(?:b+)*c"])("%s is refused: a group that repeats", (pattern) => {
    expect(() => loadTokenizer(split(pattern))).toThrow(/a group that repeats/);
  });

  test("patterns are compared as they are meant: raw line breaks in a class", () => {
    expect(makeScanner("[^\r\n\\p{L}]?\\p{L}+")).toBeDefined();
    expect(readSteps({ type: "ByteLevel", add_prefix_space: false })).toEqual({ patterns: [gpt2Pattern], bytes: true });
  });
});

test("T21 an added token of 512 characters that nearly comes a thousand times", () => {
  const tokenizer = loadTokenizer(tinyTokenizer({ added: [`${"x".repeat(511)}!`, "x".repeat(100)] }));
  const started = performance.now();
  const ids = tokenizer.encode("x".repeat(510_000));
  expect(ids).toHaveLength(5100);
  expect(performance.now() - started).toBeLessThan(5000);
  expect(() => loadTokenizer(tinyTokenizer({ added: ["x".repeat(513)] }))).toThrow(/at most 512 characters/);
});

test("T29 tokens that a mark breaks up stay text, and the mark is gone", () => {
  const tokenizer = loadTokenizer(tinyTokenizer({ added: ["<|x|>"], extraTokens: ["<|", "<|x", "<|x|", "<|x|>"] }));
  const special = tokenizer.idOf("<|x|>");
  const ids = tokenizer.encode("<|x|>a<\ufdd0|x|><|x|>", { mark: "\ufdd0" });
  expect(ids.filter((id) => id === special)).toHaveLength(2);
  expect(tokenizer.decode(ids)).toBe("<|x|>a<|x|><|x|>");
  expect(tokenizer.encode("a\ufdd0b", { mark: "\ufdd0", parseSpecial: false })).toEqual(tokenizer.encode("ab"));
});
