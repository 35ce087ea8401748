// Streaming: whatever the ids and however they are cut into pushes, the parts together are decode(all ids), and no part
// holds half a character. On every tokenizer at hand, on random ids as well as on encoded texts.

import * as fs from "node:fs";
import * as path from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { streamDecoder } from "../../src/text/stream-decoder.ts";
import { loadTokenizer, type Tokenizer } from "../../src/text/tokenizer.ts";
import { sharedData } from "../shared-data.ts";
import { tinyTokenizer } from "./tiny-tokenizer.ts";

const tokenizers: [name: string, load: () => Tokenizer][] = [
  ["byte level, made here", () => loadTokenizer(tinyTokenizer({ added: ["<think>", "é"] }))],
];
if (sharedData) {
  for (const folder of ["tokenizers/qwen2.5", "tokenizers/llama-bpe", "models/stories260K/hf"]) {
    tokenizers.push([folder, () => loadTokenizer(fs.readFileSync(path.join(sharedData as string, folder, "tokenizer.json"), "utf8"))]);
  }
}

/** Pushes `ids` in groups, and checks each part. */
function stream(tokenizer: Tokenizer, ids: readonly number[], groups: readonly number[], options = {}): string {
  const decoder = streamDecoder(tokenizer, options);
  let text = "";
  for (let at = 0, i = 0; at < ids.length; i++) {
    const size = groups[i % groups.length] as number;
    const part = decoder.push(...ids.slice(at, at + size));
    expect(part.isWellFormed()).toBe(true);
    text += part;
    at += size;
  }
  return text + decoder.end();
}

test.each(tokenizers)("%s: encoded texts come back", (_name, load) => {
  const tokenizer = load();
  const texts = fc.string({
    unit: fc.oneof(
      fc.string({ unit: "grapheme", maxLength: 3 }),
      fc.constantFrom(" ", "  ", "\n", "中文", "👩‍👩‍👧‍👦", "é", "<think>", "</s>", "<0x41>"),
    ),
    maxLength: 20,
  });
  fc.assert(
    fc.property(
      texts,
      fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      (text, groups, skipSpecialTokens) => {
        const ids = tokenizer.encode(text, { addSpecialTokens: false });
        const whole = tokenizer.decode(ids, { skipSpecialTokens });
        expect(stream(tokenizer, ids, groups, { skipSpecialTokens })).toBe(whole);
        expect(whole.includes("\ufffd")).toBe(text.includes("\ufffd"));
        if (!skipSpecialTokens && !ids.some(tokenizer.isSpecial)) expect(whole).toBe(_name.includes("qwen") ? text.normalize("NFC") : text);
      },
    ),
    { numRuns: 300, seed: 2 },
  );
});

test.each(tokenizers)("%s: random ids, with halves of characters everywhere", (_name, load) => {
  const tokenizer = load();
  // Half of the ids among the first 256: single bytes, in these vocabularies.
  const id = fc.oneof(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: tokenizer.vocabSize + 100 }));
  fc.assert(
    fc.property(
      fc.array(id, { maxLength: 30 }),
      fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 3 }),
      fc.boolean(),
      (ids, groups, skip) => {
        expect(stream(tokenizer, ids, groups, { skipSpecialTokens: skip })).toBe(tokenizer.decode(ids, { skipSpecialTokens: skip }));
      },
    ),
    { numRuns: 500, seed: 3 },
  );
});

test("T27, T28: half a character waits; it becomes U+FFFD at the end or when the next token cannot finish it", () => {
  const tokenizer = loadTokenizer(tinyTokenizer({ added: ["<think>"] }));
  const [a, b, c, d] = tokenizer.encode("😀") as [number, number, number, number];
  const decoder = streamDecoder(tokenizer);
  expect([decoder.push(a), decoder.push(b), decoder.push(c), decoder.push(d), decoder.end()]).toEqual(["", "", "", "😀", ""]);
  expect([decoder.push(a, b, c), decoder.end()]).toEqual(["", "\ufffd"]);
  expect([decoder.push(a, b), decoder.push(...tokenizer.encode("x")), decoder.end()]).toEqual(["", "\ufffdx", ""]);
  expect([decoder.push(a, b), decoder.push(tokenizer.idOf("<think>") as number), decoder.end()]).toEqual(["", "\ufffd<think>", ""]);
  expect([decoder.push(d), decoder.end()]).toEqual(["\ufffd", ""]);
});

test.skipIf(!sharedData)("the first space of a SentencePiece text is cut once, also after a skipped token, and again in a new text", () => {
  const tokenizer = loadTokenizer(fs.readFileSync(path.join(sharedData as string, "models/stories260K/hf/tokenizer.json"), "utf8"));
  const ids = tokenizer.encode(" a b");
  const decoder = streamDecoder(tokenizer, { skipSpecialTokens: true });
  for (let again = 0; again < 2; again++) expect(ids.map((id) => decoder.push(id)).join("") + decoder.end()).toBe(" a b");
  expect(tokenizer.decode(ids)).toBe("<s>  a b");
});
