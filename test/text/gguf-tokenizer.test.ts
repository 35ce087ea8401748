// Tokenizers from the metadata of GGUF files: the ids that llama.cpp and Hugging Face give, both ways between the formats, and
// hazards G60 to G68.

import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, test } from "vitest";
import { FormatError } from "../../src/core/errors.ts";
import { openGguf } from "../../src/formats/gguf.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { loadGgufTokenizer, readGgufTokenizer } from "../../src/text/gguf-tokenizer.ts";
import { ggufTokenizer } from "../../src/text/gguf-tokenizer-writer.ts";
import { loadTokenizer, makeTokenizer, readDefinition, type Tokenizer } from "../../src/text/tokenizer.ts";
import { tokenizerJson } from "../../src/text/tokenizer-json.ts";
import { sharedData } from "../shared-data.ts";
import { metadataOf, readMetadata, tinySentencePiece } from "./gguf-metadata.ts";
import { tinyTokenizer } from "./tiny-tokenizer.ts";

function file(...parts: string[]): string {
  return fs.readFileSync(path.join(sharedData as string, ...parts), "utf8");
}

/** llama.cpp's 47 texts with the ids that Hugging Face gave. */
function vocabularyTests(folder: string, name: string): { text: string; ids: number[] }[] {
  const texts = file("tokenizers", folder, `${name}.inp`).split("\n__ggml_vocab_test__\n");
  const lines = file("tokenizers", folder, `${name}.out`).trimEnd().split("\n");
  expect(lines.length).toBeGreaterThanOrEqual(46);
  return lines.map((line, i) => ({ text: texts[i] as string, ids: line.trim() === "" ? [] : line.trim().split(/\s+/).map(Number) }));
}

const files: [name: string, gguf: string, folder: string, texts: string, pre: string][] = [
  ["deepseek-llm", "deepseek-llm/ggml-vocab-deepseek-llm.gguf", "deepseek-llm", "ggml-vocab-deepseek-llm.gguf", "deepseek-llm"],
  ["qwen2", "qwen2/vocab-qwen2-rebuilt.gguf", "qwen2", "ggml-vocab-qwen2.gguf", "qwen2"],
  ["llama-bpe", "llama-bpe/vocab-llama-bpe-rebuilt.gguf", "llama-bpe", "ggml-vocab-llama-bpe.gguf", "llama-bpe"],
];

function expectIds(tokenizer: Tokenizer, rows: readonly { text: string; ids: number[] }[]): void {
  for (const [i, { text, ids }] of rows.entries()) expect(tokenizer.encode(text, { addSpecialTokens: false }), `text ${i}`).toEqual(ids);
}

describe.skipIf(!sharedData)("published vocabularies", () => {
  test.each(files)(
    "%s: llama.cpp's texts, from GGUF, through tokenizer.json, and back into GGUF",
    { timeout: 60_000 },
    (name, gguf, folder, texts, pre) => {
      const { definition, specialIds } = readGgufTokenizer(readMetadata(path.join(sharedData as string, "tokenizers", gguf)), gguf);
      const rows = vocabularyTests(folder, texts);
      expectIds(makeTokenizer(definition, specialIds, name), rows);
      const json = tokenizerJson(definition);
      expectIds(loadTokenizer(json), rows);
      const { entries, warnings } = ggufTokenizer(readDefinition(json), { specialIds, vocabSize: definition.tokens.length });
      expect(warnings).toEqual([]);
      const again = readGgufTokenizer(metadataOf(entries), name);
      expectIds(makeTokenizer(again.definition, again.specialIds, name), rows);
      expect(metadataOf(entries).get("tokenizer.ggml.pre")).toBe(pre);
      expect(again.specialIds).toEqual(specialIds);
      expect(again.definition.tokens.length).toBe(definition.tokens.length);
    },
  );

  test.each([
    ["qwen2.5", "qwen2/vocab-qwen2-rebuilt.gguf"],
    ["llama-bpe", "llama-bpe/vocab-llama-bpe-rebuilt.gguf"],
  ])("%s: every row of expected-ids.jsonl, from GGUF as from tokenizer.json", (name, gguf) => {
    const rows = file("tokenizers/expected-ids.jsonl").trim().split("\n");
    expect(rows).toHaveLength(68);
    const tokenizer = loadGgufTokenizer(readMetadata(path.join(sharedData as string, "tokenizers", gguf)), gguf);
    const special = name === "qwen2.5" ? 151_643 : 128_000;
    for (const row of rows) {
      const { text, [name]: ids } = JSON.parse(row) as Record<string, number[]> & { text: string };
      // The rebuilt Qwen file has the three special tokens of Qwen2 only.
      if (name === "qwen2.5" && (ids as number[]).some((id) => id >= special + 3)) continue;
      expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(ids);
      expect(tokenizer.decode(ids as number[])).toBe(name === "qwen2.5" ? text.normalize("NFC") : text);
    }
  });

  test("stories260K: SentencePiece from GGUF, through tokenizer.json, and back", () => {
    const { definition, specialIds, endIds } = readGgufTokenizer(
      readMetadata(path.join(sharedData as string, "models/stories260K/stories260K-f32.gguf")),
      "stories260K",
    );
    expect(specialIds).toEqual({ bos: 1, eos: 2, pad: undefined });
    expect(endIds).toEqual([2]);
    const rows = JSON.parse(file("models/stories260K/expected-tokens.json")) as { text: string; ids: number[] }[];
    const published = readDefinition(file("models/stories260K/hf/tokenizer.json"));
    const converted = readGgufTokenizer(metadataOf(ggufTokenizer(published, { specialIds }).entries), "converted").definition;
    for (const made of [definition, readDefinition(tokenizerJson(definition)), converted]) {
      const tokenizer = makeTokenizer(made, specialIds, "stories260K");
      for (const { text, ids } of rows) {
        expect(tokenizer.encode(text)).toEqual(ids);
        expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(text);
      }
    }
    const { expected_text, expected_ids } = JSON.parse(file("models/stories260K/expected-greedy.json")) as {
      expected_text: string;
      expected_ids: number[];
    };
    expect(makeTokenizer(definition, specialIds, "stories260K").decode(expected_ids, { skipSpecialTokens: true })).toBe(expected_text);
  });

  test("the end of a turn ends an answer, whichever id the file names", () => {
    const qwen = readGgufTokenizer(readMetadata(path.join(sharedData as string, "tokenizers/qwen2/vocab-qwen2-rebuilt.gguf")), "qwen2");
    expect(qwen.endIds).toEqual([151_645, 151_643]);
    expect(qwen.specialIds.bos).toBe(151_643);
    const tokenizer = makeTokenizer(qwen.definition, qwen.specialIds, "qwen2");
    // add_bos_token is false there.
    expect(tokenizer.encode("Hi")).toEqual([13_048]);
    expect(tokenizer.vocabSize).toBe(151_936);
    expect(tokenizer.decode([151_935])).toBe("");
  });
});

test.skipIf(!sharedData)("what formats/gguf.ts reads is understood as it is", async () => {
  const at = path.join(sharedData as string, "tokenizers/deepseek-llm/ggml-vocab-deepseek-llm.gguf");
  const gguf = await openGguf(nodeHost().files, at);
  try {
    const [typed, plain] = [readGgufTokenizer(gguf.metadata, at), readGgufTokenizer(readMetadata(at), at)];
    expect(typed.specialIds).toEqual(plain.specialIds);
    expect(typed.definition.tokens).toEqual(plain.definition.tokens);
    expect(typed.definition.merges).toEqual(plain.definition.merges);
    expect(typed.definition.added).toEqual(plain.definition.added);
  } finally {
    await gguf.close();
  }
});

describe("SentencePiece", () => {
  const spellings = (change: Record<string, unknown>, text: string) => {
    const tokenizer = loadGgufTokenizer(tinySentencePiece(change), "tiny");
    return tokenizer.encode(text).map(tokenizer.tokenOf);
  };

  test("the piece of highest score merges first, then the leftmost; a space comes first; unknown characters become bytes", () => {
    expect(spellings({}, "abc")).toEqual(["<s>", "▁ab", "c"]);
    expect(spellings({}, "cbc  ab")).toEqual(["<s>", "▁", "c", "bc", "▁", "▁ab"]);
    expect(spellings({}, "é")).toEqual(["<s>", "▁", "<0xC3>", "<0xA9>"]);
    expect(spellings({ add_space_prefix: false, add_bos_token: false, add_eos_token: true }, "abc")).toEqual(["ab", "c", "</s>"]);
  });

  test("pieces of characters that are no pieces themselves", () => {
    const { tokens, scores, token_type } = extended(["xy", "xyz", "😀z"], [-0.5, -0.25, -0.75]);
    expect(spellings({ tokens, scores, token_type }, "xyz")).toEqual(["<s>", "▁", "xyz"]);
    expect(spellings({ tokens, scores, token_type }, "x😀zy")).toEqual(["<s>", "▁", "<0x78>", "😀z", "<0x79>"]);
  });

  test("special tokens in a text, and texts that only look like them", () => {
    const tokenizer = loadGgufTokenizer(tinySentencePiece(), "tiny");
    expect(tokenizer.encode("ab</s>ab", { addSpecialTokens: false })).toEqual([264, 2, 264]);
    const plain = tokenizer.encode("ab</s><0x41>", { addSpecialTokens: false, parseSpecial: false });
    expect(plain).not.toContain(2);
    expect(tokenizer.decode(plain)).toBe("ab</s><0x41>");
  });
});

function extended(pieces: readonly string[], added: readonly number[]): { tokens: string[]; scores: Float32Array; token_type: Int32Array } {
  const base = tinySentencePiece();
  const get = (key: string) => base.get(`tokenizer.ggml.${key}`);
  return {
    tokens: [...(get("tokens") as string[]), ...pieces],
    scores: Float32Array.of(...(get("scores") as Float32Array), ...added),
    token_type: Int32Array.of(...(get("token_type") as Int32Array), ...pieces.map(() => 1)),
  };
}

/** A byte-level vocabulary as GGUF metadata. */
function tinyBytes(change: Record<string, unknown> = {}): Map<string, unknown> {
  const definition = readDefinition(tinyTokenizer({ added: ["<eos>"], extraTokens: ["ab", "abc"] }));
  const { entries } = ggufTokenizer(definition, { specialIds: { eos: 1000 } });
  const metadata = metadataOf(entries);
  metadata.delete("tokenizer.huggingface.json");
  for (const [key, value] of Object.entries(change)) metadata.set(`tokenizer.ggml.${key}`, value);
  return metadata;
}

const tokens = tinyBytes().get("tokenizer.ggml.tokens") as string[];
const replaced = (at: number, token: string) => tokens.with(at, token);

test.each<[id: string, what: string, metadata: Map<string, unknown>, message: RegExp]>([
  [
    "G60",
    "fewer scores than tokens",
    tinySentencePiece({ scores: new Float32Array(5) }),
    /5 entries of tokenizer.ggml.scores; expected 267/,
  ],
  ["G60", "no scores", tinySentencePiece({ scores: undefined }), /no tokenizer.ggml.scores/],
  ["G61", "scores as u8", tinySentencePiece({ scores: new Uint8Array(267) }), /scores that are whole numbers/],
  ["G61", "scores of NaN", tinySentencePiece({ scores: new Float32Array(267).fill(Number.NaN) }), /score NaN of token 0/],
  ["G62", "token_type 99", tinySentencePiece({ token_type: new Int32Array(267).fill(99) }), /token_type 99 of token 0/],
  ["G62", "token_type of strings", tinyBytes({ token_type: ["a"] }), /token_type that is no array of numbers/],
  ["G63", "bos id 10^9", tinyBytes({ bos_token_id: 1e9 }), /bos_token_id "1000000000"; expected an id from 0 to 1000/],
  ["G64", "eos id -1", tinyBytes({ eos_token_id: -1 }), /eos_token_id "-1"/],
  ["G64", "eos id 2^64 - 1", tinyBytes({ eos_token_id: 2n ** 64n - 1n }), /eos_token_id "18446744073709551615"/],
  ["G65", "<0x-1>", tinySentencePiece({ tokens: bytesWith("<0x-1>") }), /the byte token "<0x-1>"/],
  ["G65", "<0xZZ>", tinySentencePiece({ tokens: bytesWith("<0xZZ>") }), /the byte token "<0xZZ>"/],
  ["G65", "<0x041>", tinySentencePiece({ tokens: bytesWith("<0x041>") }), /the byte token "<0x041>"/],
  ["G66", "merges that name missing tokens", tinyBytes({ merges: ["a q q"] }), /the merge "a q q"/],
  ["G66", "merges that make a missing token", tinyBytes({ merges: ["a q"] }), /the merge "a q"/],
  ["G67", "merges without a space", tinyBytes({ merges: ["ab"] }), /the merge "ab"/],
  ["", "no tokens", tinyBytes({ tokens: [] }), /0 tokens/],
  ["", "tokens that are numbers", tinyBytes({ tokens: [1, 2] }), /no array of strings/],
  ["", "no merges", tinyBytes({ merges: undefined }), /no tokenizer.ggml.merges/],
  ["", "an unknown model", tinyBytes({ model: "t5" }), /tokenizer.ggml.model "t5"/],
  ["", "an unknown pre-tokenizer", tinyBytes({ pre: "mystery" }), /tokenizer.ggml.pre "mystery"; expected one of llama-bpe/],
  ["", "a beginning to add without its id", tinyBytes({ add_bos_token: true }), /add_bos_token without bos_token_id/],
  ["", "a flag that is text", tinyBytes({ add_bos_token: "yes" }), /add_bos_token that is no boolean/],
  ["", "a very long piece", tinySentencePiece(extended(["x".repeat(5000)], [-1])), /token 267 of 5000 characters/],
  ["", "many long pieces", tinySentencePiece(manyLong()), /squared lengths/],
])("%s refused: %s", (_id, _what, metadata, message) => {
  for (const [key, value] of metadata) if (value === undefined) metadata.delete(key);
  const started = performance.now();
  expect(() => loadGgufTokenizer(metadata, "tiny.gguf")).toThrow(FormatError);
  expect(() => loadGgufTokenizer(metadata, "tiny.gguf")).toThrow(message);
  expect(performance.now() - started).toBeLessThan(2000);
});

function bytesWith(byte: string): string[] {
  return (tinySentencePiece().get("tokenizer.ggml.tokens") as string[]).with(3, byte);
}

function manyLong(): ReturnType<typeof extended> {
  const pieces = Array.from({ length: 20 }, (_, i) => `${i}`.padEnd(4000, "x"));
  return extended(
    pieces,
    pieces.map((_, i) => -i),
  );
}

test("G68 accepted: of tokens with one text the lowest id wins, the others give nothing", () => {
  const tokenizer = loadGgufTokenizer(tinyBytes({ tokens: replaced(600, "a") }), "tiny.gguf");
  const [a] = tokenizer.encode("a") as [number];
  expect(a).toBeLessThan(256);
  expect(tokenizer.decode([600, a])).toBe("a");
});

test("a tokenizer whose pattern has no name in GGUF comes back exactly, and the warning says what others do", () => {
  const json = tinyTokenizer({ added: ["<think>"], extraTokens: ["1", "12", "123"] });
  const { entries, warnings } = ggufTokenizer(readDefinition(json), { specialIds: {}, chatTemplate: "{{ messages }}" });
  expect(warnings).toEqual([expect.stringContaining("no name for this tokenizer's pattern")]);
  const { definition, specialIds, chatTemplate } = readGgufTokenizer(metadataOf(entries), "tiny");
  expect(chatTemplate).toBe("{{ messages }}");
  const [before, after] = [loadTokenizer(json), makeTokenizer(definition, specialIds, "tiny")];
  for (const text of ["123 12 1", "<think>x", "1234é"]) expect(after.encode(text)).toEqual(before.encode(text));
  // Another file's tokenizer.json in it is not believed.
  const other = metadataOf(entries).set("tokenizer.huggingface.json", tinyTokenizer({ extraTokens: ["zz"] }));
  expect(readGgufTokenizer(other, "tiny").definition.preTokenizer).not.toEqual(definition.preTokenizer);
});

test("refused: a vocabulary larger than the model's embedding", () => {
  const definition = readDefinition(tinyTokenizer());
  expect(() => ggufTokenizer(definition, { specialIds: {}, vocabSize: 100 })).toThrow(/256 tokens; expected at most 100/);
});
