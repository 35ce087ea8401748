// Against the reference implementations, from committed fixtures (tools/reference/make_text_fixtures.py): pieces and ids of Hugging Face's
// tokenizers, and what Python's Jinja2 makes of small templates.

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { GraduallyError } from "../../src/core/errors.ts";
import type { JsonObject } from "../../src/core/json.ts";
import { compileChatTemplate } from "../../src/text/chat-template.ts";
import { makeCutter, readSteps } from "../../src/text/pre-tokenizer.ts";
import { loadTokenizer, readDefinition } from "../../src/text/tokenizer.ts";
import { tokenizerJson } from "../../src/text/tokenizer-json.ts";

function fixture<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../fixtures/text/${name}.json`, import.meta.url), "utf8")) as T;
}

describe("pieces", () => {
  const { texts, patterns } = fixture<{ texts: string[]; patterns: Record<string, { config: JsonObject; ends: number[][] }> }>("pieces");

  test.each(Object.entries(patterns))("%s", (_name, { config, ends }) => {
    const cut = makeCutter(readSteps(config)?.patterns ?? [""]);
    expect(ends).toHaveLength(texts.length);
    for (const [i, text] of texts.entries()) {
      // The reference counts code points.
      const expected = (ends[i] as number[]).map((end) => Array.from(text).slice(0, end).join("").length);
      expect(cut?.(text), JSON.stringify(text)).toEqual(expected);
    }
  });

  test("there are all that GGUF has names for, and more", () => expect(Object.keys(patterns).length).toBeGreaterThan(12));
});

describe("tokenizers", () => {
  const rows = fixture<{ name: string; tokenizer: JsonObject; texts: string[]; ids: number[][]; withSpecial: number[] }[]>("tokenizers");

  test.each(rows)("$name", ({ tokenizer: json, texts, ids, withSpecial }) => {
    const text = JSON.stringify(json);
    // What we write has the same meaning.
    for (const tokenizer of [loadTokenizer(text), loadTokenizer(tokenizerJson(readDefinition(text)))]) {
      for (const [i, sample] of texts.entries()) {
        expect(tokenizer.encode(sample, { addSpecialTokens: false }), JSON.stringify(sample)).toEqual(ids[i]);
      }
      expect(tokenizer.encode("the cat")).toEqual(withSpecial);
    }
  });
});

describe("templates", () => {
  type Row = { template: string; expected?: string; error?: string };
  const { data, cases } = fixture<{ data: { messages: JsonObject[]; tools: JsonObject[] }; cases: Row[] }>("templates");
  const render = (template: string) =>
    compileChatTemplate(template, { name: "test" }).render({ ...data, now: new Date(2024, 6, 26, 12), addGenerationPrompt: false });

  test.each(cases.filter(({ expected }) => expected !== undefined))("$template", ({ template, expected }) => {
    expect(render(template)).toBe(expected);
  });

  test.each(cases.filter(({ error }) => error !== undefined))("refused: $template", ({ template }) => {
    expect(() => render(template)).toThrow(GraduallyError);
  });
});
