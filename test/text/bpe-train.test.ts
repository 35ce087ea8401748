// BPE training against its definition (count everything again after every merge), and what its tokenizer.json must do.
// tools/reference/check_tokenizer.py compares the same with Rust's trainer and with transformers.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { type TrainBpeOptions, trainBpe } from "../../src/text/bpe-train.ts";
import { byteToChar, charToByte } from "../../src/text/byte-alphabet.ts";
import { loadTokenizer } from "../../src/text/tokenizer.ts";

type Model = { vocab: Record<string, number>; merges: [string, string][] };

const modelOf = (json: string) => (JSON.parse(json) as { model: Model }).model;

/** The definition: the most frequent pair, lowest ids first, counted from scratch each time. */
function plainTrain(words: readonly string[][], ids: Map<string, number>, merges: number, minFrequency: number): [string, string][] {
  const made: [string, string][] = [];
  while (made.length < merges) {
    const counts = new Map<string, { left: string; right: string; count: number }>();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        const [left, right] = [word[i] as string, word[i + 1] as string];
        const entry = counts.get(`${left} ${right}`) ?? { left, right, count: 0 };
        entry.count++;
        counts.set(`${left} ${right}`, entry);
      }
    }
    const id = (token: string) => ids.get(token) as number;
    const [best] = [...counts.values()].sort((a, b) => b.count - a.count || id(a.left) - id(b.left) || id(a.right) - id(b.right));
    if (!best || best.count < minFrequency) return made;
    const { left, right } = best;
    if (!ids.has(left + right)) ids.set(left + right, ids.size);
    made.push([left, right]);
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) if (word[i] === left && word[i + 1] === right) word.splice(i, 2, left + right);
    }
  }
  return made;
}

test("any texts: the merges of the definition, whatever the order of the texts", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 30 });
  fc.assert(
    fc.property(
      fc.array(text, { maxLength: 8 }),
      fc.integer({ min: 1, max: 30 }),
      fc.integer({ min: 1, max: 3 }),
      (texts, merges, minFrequency) => {
        const ids = new Map([...byteToChar].sort().map((char, id) => [char, id]));
        const expected = plainTrain(
          texts.map((t) => [...t]),
          ids,
          merges,
          minFrequency,
        );
        // A merge that makes a token already there adds no id; then the trainer has merges to spare.
        const options: TrainBpeOptions = { vocabSize: 256 + merges, pattern: null, minFrequency };
        const json = trainBpe(texts, options);
        expect(modelOf(json).merges.slice(0, expected.length)).toEqual(expected);
        expect(trainBpe([...texts].reverse(), options)).toBe(json);
      },
    ),
    { numRuns: 300 },
  );
});

describe("what is trained", () => {
  const traces = Array.from(
    { length: 400 },
    (_, i) => `<bos>${i % 97},${(i * 7) % 89}=${(i * 13) % 101}:<think>${i}*2=${i * 2}!</think>${i * 2}<eos>`,
  );
  const options: TrainBpeOptions = {
    vocabSize: 512,
    specialTokens: ["<bos>", "<eos>", { content: "<think>", special: false }, "</think>"],
  };
  const json = trainBpe(traces, options);
  const tokenizer = loadTokenizer(json);

  test("special tokens have the first ids, then all 256 bytes, then merges", () => {
    const { vocab, merges } = modelOf(json);
    expect(["<bos>", "<eos>", "<think>", "</think>"].map((token) => vocab[token])).toEqual([0, 1, 2, 3]);
    expect([...byteToChar].every((char) => (vocab[char] as number) >= 4 && (vocab[char] as number) < 260)).toBe(true);
    expect(Object.keys(vocab)).toHaveLength(512);
    expect(merges).toHaveLength(512 - 260);
    expect(tokenizer.isSpecial(0)).toBe(true);
    expect(tokenizer.isSpecial(2)).toBe(false);
    expect(tokenizer.decode([0, 2, 1], { skipSpecialTokens: true })).toBe("<think>");
  });

  test("whole numbers become tokens, and nothing joins digits to other signs", () => {
    const { vocab } = modelOf(json);
    expect(vocab["97"] ?? vocab["88"]).toBeGreaterThan(259);
    expect(Object.keys(vocab).filter((token) => /\d[^\d]|[^\d]\d/.test(token))).toEqual([]);
    expect(tokenizer.encode("97=88").map(tokenizer.tokenOf)).toContain("=");
  });

  test("no merge looks inside a special token, and plain text never gives one", () => {
    const { vocab } = modelOf(json);
    expect(Object.keys(vocab).filter((token) => token.includes("think") && !token.startsWith("<") && !token.startsWith("</"))).toEqual([]);
    expect(tokenizer.encode("<think>x</think>", { parseSpecial: false }).filter((id) => id < 4)).toEqual([]);
    const tricky = loadTokenizer(trainBpe(["ababab ab abc"], { vocabSize: 300, specialTokens: ["ab"], minFrequency: 1 }));
    expect(tricky.encode("ab", { parseSpecial: false })).toHaveLength(2);
    const spelled = loadTokenizer(trainBpe(["xy".repeat(50)], { vocabSize: 300, specialTokens: ["xyx"], minFrequency: 1, pattern: null }));
    expect(spelled.encode("xyxyx", { parseSpecial: false })).not.toContain(0);
  });

  test("every text comes back, whatever its bytes", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text.toWellFormed());
      }),
    );
  });

  test("fewer tokens come out when there are no more pairs", () => {
    expect(Object.keys(modelOf(trainBpe(["hello hello"], { vocabSize: 1000 })).vocab)).toHaveLength(260);
    expect(Object.keys(modelOf(trainBpe([], { vocabSize: 1000 })).vocab)).toHaveLength(256);
    expect(modelOf(trainBpe(["ab ab ab"], { vocabSize: 1000, minFrequency: 4 })).merges).toEqual([]);
  });
});

test("time does not grow with the square of a piece's length", () => {
  const time = (length: number) => {
    const text = Array.from({ length }, (_, i) => "abcdefgh"[(i * i + (i >> 3)) % 8]).join("");
    const started = performance.now();
    trainBpe([text], { vocabSize: 600, pattern: null });
    return performance.now() - started;
  };
  time(1000);
  // Sixteen times the text; quadratic would be 256 times the time.
  expect(time(320_000)).toBeLessThan(64 * time(20_000) + 500);
});

test("the byte alphabet is a bijection that leaves printable ASCII alone", () => {
  expect(new Set(byteToChar).size).toBe(256);
  for (let byte = 0; byte < 256; byte++) expect(charToByte.get(byteToChar[byte] as string)).toBe(byte);
  expect(byteToChar[0x20]).toBe("Ġ");
  expect(byteToChar[0x0a]).toBe("Ċ");
  expect(byteToChar[0x41]).toBe("A");
});

test.each<[what: string, options: TrainBpeOptions]>([
  ["too few tokens for the bytes", { vocabSize: 255 }],
  ["too few for the special tokens", { vocabSize: 256, specialTokens: ["<a>"] }],
  ["a fraction", { vocabSize: 300.5 }],
  ["NaN", { vocabSize: Number.NaN }],
  ["too many", { vocabSize: 2 ** 21 }],
  ["an empty special token", { vocabSize: 300, specialTokens: [""] }],
  ["a special token twice", { vocabSize: 300, specialTokens: ["<a>", "<a>"] }],
  ["a special token that is a byte", { vocabSize: 300, specialTokens: ["a"] }],
  ["no frequency", { vocabSize: 300, minFrequency: 0 }],
  ["a pattern that can hang", { vocabSize: 300, pattern: "(a+)+$" }],
  ["a pattern that is none", { vocabSize: 300, pattern: "[" }],
])("refused: %s", (_what, options) => {
  expect(() => trainBpe(["some text"], options)).toThrow(ConfigError);
});
