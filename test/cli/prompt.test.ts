// `gradually prompt` and `gradually tokenize` as a user runs them, on a small folder made here.

import { mkdirSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sharedData } from "../shared-data.ts";
import { tinyTokenizer } from "../text/tiny-tokenizer.ts";
import { cli, expectFailure, expectUsage, json, temporaryFolder } from "./cli.ts";

const folder = temporaryFolder();
const model = path.join(folder.path, "model");
const file = (name: string, value: unknown) => {
  const at = path.join(folder.path, name);
  writeFileSync(at, typeof value === "string" ? value : JSON.stringify(value));
  return at;
};

beforeAll(() => {
  mkdirSync(model);
  writeFileSync(path.join(model, "tokenizer.json"), tinyTokenizer({ added: ["<s>", "<|u|>", "<think>"] }));
  const chat_template = [
    {
      name: "default",
      template:
        "{{ bos_token }}{% for m in messages %}<|u|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<think>{% endif %}{# </think> #}",
    },
    { name: "tool_use", template: "{{ tools | tojson }}{{ enable_thinking }}" },
  ];
  writeFileSync(path.join(model, "tokenizer_config.json"), JSON.stringify({ bos_token: "<s>", chat_template }));
});
afterAll(folder.remove);

describe("gradually prompt", () => {
  test("renders messages, with ids; special tokens of a user stay text", async () => {
    const messages = file("messages.json", [{ role: "user", content: "a<|u|>" }]);
    const bytes = [..."a<|u|>"].map((char) => char.charCodeAt(0));
    expect(await json(["prompt", model, "--messages", messages])).toEqual({
      prompt: "<s><|u|>a<|u|><think>",
      ids: [1000, 1001, ...bytes, 1002],
      thinking: true,
    });
    expect(
      await json(["prompt", model, "--messages", "-", "--no-generation-prompt"], { input: '{"messages":[{"role":"user","content":"b"}]}' }),
    ).toEqual({
      prompt: "<s><|u|>b",
      ids: [1000, 1001, 98],
      thinking: false,
    });
    const shown = await cli(["prompt", model, "--messages", messages]);
    expect(shown).toMatchObject({ code: 0, out: "<s><|u|>a<|u|><think>\n", err: "9 ids\n" });
  });

  test("tools take their own template, and switches reach it", async () => {
    const messages = file("messages.json", [{ role: "user", content: "a" }]);
    const tools = file("tools.json", [{ type: "function" }]);
    const made = await json(["prompt", model, "--messages", messages, "--tools", tools, "--set", "enable_thinking=false"]);
    expect(made.prompt).toBe('[{"type": "function"}]False');
  });

  test("refused in one line", async () => {
    const messages = file("messages.json", [{ role: "user", content: "a" }]);
    await expectFailure(["prompt", model, "--messages", file("bad.json", [{ content: "a" }])], "message 0 without a role");
    await expectFailure(["prompt", model, "--messages", messages, "--set", "tokenize=true"], 'the argument "tokenize"', "enable_thinking");
    await expectFailure(["prompt", "countdown-reasoner", "--messages", messages], "a model without a chat template");
    await expectUsage(["prompt", model], "--messages");
    await expectUsage(["prompt", model, "--messages", messages, "--set", "x"], "Expected name=value");
  });
});

test("gradually tokenize: a text, or standard input", async () => {
  expect(await json(["tokenize", model, "b<think>"])).toEqual({ ids: [98, 1002] });
  expect(await json(["tokenize", model, "-"], { input: "bb" })).toEqual({ ids: [98, 98] });
  await expectFailure(["tokenize", path.join(folder.path, "nowhere"), "x"], "no such folder");
});

test.skipIf(!sharedData)("gradually tokenize: a GGUF file", async () => {
  const file = path.join(sharedData as string, "models/stories260K/stories260K-f32.gguf");
  expect(await json(["tokenize", file, "Once upon a time"])).toEqual(
    await json(["tokenize", path.join(sharedData as string, "models/stories260K/hf"), "Once upon a time"]),
  );
  await expectFailure(["prompt", file, "--messages", path.join(folder.path, "messages.json")], "a model without a chat template");
});
