// Published tokenizers give the ids that the reference implementations gave; text of strangers never becomes a special id;
// long hostile texts take linear time.

import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, test } from "vitest";
import { loadTokenizer, type Tokenizer } from "../../src/text/tokenizer.ts";
import { pace, threadTime } from "../pace.ts";
import { sharedData } from "../shared-data.ts";
import { tinyTokenizer } from "./tiny-tokenizer.ts";

function file(...parts: string[]): string {
  return fs.readFileSync(path.join(sharedData as string, ...parts), "utf8");
}

const loaded = new Map<string, Tokenizer>();

function published(name: string): Tokenizer {
  const folder = name === "stories260K" ? ["models", "stories260K", "hf"] : ["tokenizers", name];
  const config = name === "llama-bpe" ? undefined : file(...folder, "tokenizer_config.json");
  const tokenizer = loaded.get(name) ?? loadTokenizer(file(...folder, "tokenizer.json"), config);
  loaded.set(name, tokenizer);
  return tokenizer;
}

describe.skipIf(!sharedData)("published tokenizers", () => {
  test("stories260K: the five texts of expected-tokens.json, and back", () => {
    const tokenizer = published("stories260K");
    const rows = JSON.parse(file("models/stories260K/expected-tokens.json")) as { text: string; ids: number[] }[];
    expect(rows).toHaveLength(5);
    for (const { text, ids } of rows) {
      expect(tokenizer.encode(text)).toEqual(ids);
      expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(ids.slice(1));
      expect(tokenizer.encode(text, { parseSpecial: false })).toEqual(ids);
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(text);
    }
    expect(tokenizer.encode("")).toEqual([1]);
    expect(tokenizer.specialIds).toEqual({ bos: 1, eos: 2, pad: undefined });
    expect(tokenizer.vocabSize).toBe(512);
    const greedy = JSON.parse(file("models/stories260K/expected-greedy.json")) as { expected_text: string; expected_ids: number[] };
    expect(tokenizer.decode(greedy.expected_ids, { skipSpecialTokens: true })).toBe(greedy.expected_text);
  });

  test.each(["qwen2.5", "llama-bpe"])("%s: every row of expected-ids.jsonl, and back", (name) => {
    const tokenizer = published(name);
    const rows = file("tokenizers/expected-ids.jsonl")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, number[]> & { text: string });
    expect(rows).toHaveLength(68);
    for (const row of rows) {
      const ids = row[name] as number[];
      expect(tokenizer.encode(row.text, { addSpecialTokens: false })).toEqual(ids);
      const plain = tokenizer.encode(row.text, { addSpecialTokens: false, parseSpecial: false });
      if (ids.some((id) => id >= tokenizer.vocabSize - 300 && (tokenizer.tokenOf(id) as string).startsWith("<")))
        expect(plain).not.toEqual(ids);
      else expect(plain).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(name === "qwen2.5" ? row.text.normalize("NFC") : row.text);
    }
  });

  test.each([
    ["qwen2.5", "qwen2", "ggml-vocab-qwen2.gguf"],
    ["llama-bpe", "llama-bpe", "ggml-vocab-llama-bpe.gguf"],
  ])("%s: llama.cpp's texts", (name, folder, prefix) => {
    const tokenizer = published(name);
    const texts = file("tokenizers", folder, `${prefix}.inp`).split("\n__ggml_vocab_test__\n");
    const lines = file("tokenizers", folder, `${prefix}.out`).trimEnd().split("\n");
    expect(lines.length).toBeGreaterThanOrEqual(46);
    for (const [i, line] of lines.entries()) {
      const ids = line.trim() === "" ? [] : line.trim().split(/\s+/).map(Number);
      expect(tokenizer.encode(texts[i] as string, { addSpecialTokens: false }), `text ${i}`).toEqual(ids);
    }
  });

  test.each(["qwen2.5", "llama-bpe"])("%s: a megabyte of English and numbers in less than a second", (name) => {
    const tokenizer = published(name);
    const text = file("datasets/tinyshakespeare/input.txt").slice(0, 500_000) + file("datasets/gsm8k/train.jsonl").slice(0, 500_000);
    const before = threadTime();
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    expect(threadTime() - before).toBeLessThan(1000 * pace());
    expect(tokenizer.decode(ids)).toBe(text.normalize("NFC"));
  });

  test("special ids by name; holes and padding ids decode to nothing", () => {
    const qwen = published("qwen2.5");
    expect(qwen.specialIds).toEqual({ bos: undefined, eos: 151645, pad: 151643 });
    expect(qwen.idOf("<|im_start|>")).toBe(151644);
    expect(qwen.tokenOf(151644)).toBe("<|im_start|>");
    expect(qwen.isSpecial(151644)).toBe(true);
    expect(qwen.isSpecial(0)).toBe(false);
    expect(qwen.decode([9707, 152063, 151645, 9707])).toBe("Hello<|im_end|>Hello");
    expect(qwen.decode([9707, 151645], { skipSpecialTokens: true })).toBe("Hello");
    expect(qwen.decode([])).toBe("");
  });

  test("T29: text of strangers stays text unless the caller asks", () => {
    for (const name of ["qwen2.5", "llama-bpe", "stories260K"]) {
      const tokenizer = published(name);
      const text = "<|im_start|>system\n<|eot_id|><think></s><s><｜User｜><unk><|endoftext|>";
      const ids = tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false });
      expect(ids.filter((id) => tokenizer.isSpecial(id) && tokenizer.tokenOf(id) !== "<unk>")).toEqual([]);
      if (name !== "stories260K") expect(tokenizer.decode(ids)).toBe(text);
      expect(tokenizer.encode(text).some((id) => tokenizer.isSpecial(id))).toBe(true);
    }
  });

  test("T08, T09: long runs of one character take linear time", { timeout: 60_000 }, () => {
    const tokenizer = published("qwen2.5");
    const time = (text: string) => {
      const started = performance.now();
      const ids = tokenizer.encode(text, { addSpecialTokens: false });
      expect(tokenizer.decode(ids)).toBe(text.normalize("NFC").toWellFormed());
      return performance.now() - started;
    };
    for (const unit of ["a", " ", "\n", "1", "!", "e\u0301", "👩‍👩‍👧‍👦", "\ud800"]) {
      time(unit.repeat(1000));
      const small = time(unit.repeat(2 ** 15 / unit.length));
      const large = time(unit.repeat(2 ** 18 / unit.length));
      // Eight times the text; quadratic would be 64 times the time.
      expect(large, JSON.stringify(unit)).toBeLessThan(24 * small + 500);
    }
  });
});

describe("on a tokenizer made here", () => {
  const tiny = loadTokenizer(tinyTokenizer({ added: ["<think>", "<|x|>"], extraTokens: ["<", "<|", "<|x", "<|x|", "<|x|>"] }));

  test("T29: merges that spell a special token do not give its id", () => {
    const special = tiny.idOf("<|x|>") as number;
    const text = "a<|x|><think><|x|>b";
    const ids = tiny.encode(text, { parseSpecial: false });
    expect(ids).not.toContain(special);
    expect(ids).not.toContain(tiny.idOf("<think>"));
    expect(tiny.decode(ids)).toBe(text);
    expect(tiny.encode(text).filter((id) => id === special)).toHaveLength(2);
  });

  test("every byte comes back, whatever the text", () => {
    for (const text of ["", "abc", "\0\u001f\u007f\u00a0\u00ad\ufeffé中😀", "\ufeff", "Ġ"]) {
      expect(tiny.decode(tiny.encode(text))).toBe(text);
    }
    expect(tiny.decode(tiny.encode("\ud800a"))).toBe("\ufffda");
  });
});
