// Chat templates of published models give the prompts that llama.cpp and Python's Jinja2 give.

import * as fs from "node:fs";
import * as path from "node:path";
import { describe, expect, test } from "vitest";
import { RequestError } from "../../src/core/errors.ts";
import type { JsonObject } from "../../src/core/json.ts";
import { compileChatTemplate, type TemplateInput } from "../../src/text/chat-template.ts";
import { sharedData } from "../shared-data.ts";

type Case = {
  readonly name?: string;
  readonly case?: string;
  readonly template: string;
  readonly bos_token: string;
  readonly eos_token: string;
  readonly messages: JsonObject[];
  readonly tools?: JsonObject[];
  readonly add_generation_prompt: boolean;
  readonly enable_thinking?: boolean;
  readonly thinking?: boolean;
  readonly expected?: string;
  readonly error?: string;
  readonly jinja2_agrees?: boolean;
  readonly jinja2_output?: string;
};

const folder = path.join(sharedData ?? "", "chat-templates");
const cases = (name: string): Case[] => {
  if (!sharedData) return [];
  const value = JSON.parse(fs.readFileSync(path.join(folder, name), "utf8"));
  return Array.isArray(value) ? value : value.cases;
};

/** The settings of jinja2-expected.json: strftime_now is 2024-07-26 12:00. */
function render(template: string, row: Case): string {
  const { bos_token, eos_token, enable_thinking, thinking } = row;
  const input: TemplateInput = {
    messages: row.messages,
    ...(row.tools && { tools: row.tools }),
    addGenerationPrompt: row.add_generation_prompt,
    switches: { ...(enable_thinking !== undefined && { enable_thinking }), ...(thinking !== undefined && { thinking }) },
    now: new Date(2024, 6, 26, 12),
  };
  return compileChatTemplate(template, { name: "test", tokens: { bos_token, eos_token } }).render(input);
}

describe.skipIf(!sharedData)("published templates", () => {
  test("llama.cpp's cases", () => {
    const rows = cases("llamacpp-expected.json");
    expect(rows).toHaveLength(16);
    for (const row of rows) {
      expect(render(row.template, row), row.name as string).toBe(row.jinja2_agrees ? row.expected : row.jinja2_output);
    }
  });

  test("Jinja2's cases", () => {
    const rows = cases("jinja2-expected.json");
    expect(rows).toHaveLength(55);
    for (const row of rows) {
      const template = fs.readFileSync(path.join(folder, "templates", row.template), "utf8");
      if (row.error === undefined) expect(render(template, row), `${row.template} ${row.case}`).toBe(row.expected);
      else {
        expect(() => render(template, row), `${row.template} ${row.case}`).toThrow(RequestError);
        expect(() => render(template, row)).toThrow(/None is not iterable/);
      }
    }
  });
});
