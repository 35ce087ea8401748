// The server in front of models that were trained: the bundled reasoner, and stories260K where the shared data are. Greedy answers are those that the
// engine, or the reference implementation, gives.

import { readFileSync } from "node:fs";
import * as path from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nodeHost } from "../../src/platform/node.ts";
import { type Listener, listen } from "../../src/platform/node-listener.ts";
import { servedModel } from "../../src/platform/served-models.ts";
import { type App, makeApp } from "../../src/server/app.ts";
import { sharedData } from "../shared-data.ts";

const bundled = path.join(import.meta.dirname, "../../models/countdown-reasoner");
const stories = sharedData && path.join(sharedData, "models/stories260K");
let app: App;
let listener: Listener;
let client: OpenAI;

beforeAll(async () => {
  const host = nodeHost();
  const options = { threads: 2, parallel: 4 };
  const models = [await servedModel(host, undefined, bundled, undefined, options)];
  if (stories) models.push(await servedModel(host, undefined, path.join(stories, "hf"), "stories", options));
  app = await makeApp({ models, version: "0" });
  listener = await listen((request) => app.fetch(request), { host: "127.0.0.1", port: 0, limits: app.server.limits });
  await app.start();
  client = new OpenAI({ baseURL: `http://127.0.0.1:${listener.port}/v1`, apiKey: "none", maxRetries: 0 });
}, 60_000);

afterAll(async () => {
  listener.destroy();
  await listener.close();
  await app.close();
});

describe("countdown-reasoner", () => {
  const messages = [{ role: "user" as const, content: "3 5 7=22" }];

  test("thinks, then answers right", async () => {
    const answer = await client.chat.completions.create({ model: "countdown-reasoner", messages, temperature: 0 });
    const message = answer.choices[0]?.message as unknown as { content: string; reasoning_content: string };
    expect(message.reasoning_content).toContain("=22");
    expect([...(message.content.match(/\d/g) ?? [])].sort()).toEqual(["3", "5", "7"]);
    expect(Function(`"use strict"; return ${message.content.replace(/[^\d+*/()-]/g, "")}`)()).toBe(22);
    expect(answer.usage?.completion_tokens_details?.reasoning_tokens).toBeGreaterThan(5);
  });

  test.each([0, 4, 16])("a budget of %d tokens", async (max_tokens) => {
    const answer = await client.chat.completions.create({
      model: "countdown-reasoner",
      messages,
      temperature: 0,
      ...({ reasoning: { max_tokens } } as object),
    });
    expect(answer.usage?.completion_tokens_details?.reasoning_tokens).toBeLessThanOrEqual(max_tokens);
    expect(answer.choices[0]?.message.content).not.toBe("");
  });

  test("what is no problem is refused, and says what would be one", async () => {
    const asked = client.chat.completions.create({ model: "countdown-reasoner", messages: [{ role: "user", content: "hello" }] });
    await expect(asked).rejects.toMatchObject({ status: 400, param: "messages", message: expect.stringContaining("3 5 7=22") });
  });
});

describe.skipIf(!stories)("stories260K", () => {
  test("C01: its greedy text, token for token, whole and streamed", async () => {
    const { prompt_ids, expected_ids } = JSON.parse(readFileSync(path.join(stories as string, "expected-greedy.json"), "utf8")) as {
      prompt_ids: number[];
      expected_ids: number[];
    };
    const ask = { model: "stories", prompt: prompt_ids, max_tokens: expected_ids.length - prompt_ids.length, temperature: 0, logprobs: 1 };
    const whole = await client.completions.create(ask);
    const { tokenizer } = app.server.shelf.loaded.find(({ name }) => name === "stories") as {
      tokenizer: { decode(ids: number[]): string };
    };
    expect(whole.choices[0]?.text.trimStart()).toBe(tokenizer.decode(expected_ids.slice(prompt_ids.length)).trimStart());
    expect(whole.choices[0]?.logprobs?.tokens).toHaveLength(expected_ids.length - prompt_ids.length);
    let text = "";
    for await (const { choices } of await client.completions.create({ ...ask, stream: true })) text += choices[0]?.text ?? "";
    expect(text).toBe(whole.choices[0]?.text);
  });

  test("a chat without a template is written as ChatML", async () => {
    const answer = await client.chat.completions.create({ model: "stories", messages: [{ role: "user", content: "Hi" }], max_tokens: 8 });
    expect(answer.choices[0]?.finish_reason).toBe("length");
    expect(answer.usage?.completion_tokens).toBe(8);
  });

  test("tokenize and detokenize", async () => {
    const post = async (where: string, body: object) => {
      const response = await fetch(`http://127.0.0.1:${listener.port}/${where}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ model: "stories", ...body }),
      });
      return (await response.json()) as { tokens: number[]; count: number; prompt: string };
    };
    const { tokens, count } = await post("tokenize", { prompt: "Once upon a time" });
    expect(tokens).toHaveLength(count);
    expect(tokens[0]).toBe(1);
    expect((await post("tokenize", { content: "Once upon a time" })).tokens).toEqual(tokens.slice(1));
    expect((await post("detokenize", { tokens })).prompt).toContain("Once upon a time");
  });
});
