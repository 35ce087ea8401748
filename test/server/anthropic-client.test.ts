// The official `@anthropic-ai/sdk` against /v1/messages: whole and streamed answers, thinking sent back, tools and their loop, counting, errors by class.

import Anthropic from "@anthropic-ai/sdk";
import { jsonSchemaOutputFormat } from "@anthropic-ai/sdk/helpers/json-schema";
import { expect, test } from "vitest";
import type { AppOptions } from "../../src/server/app.ts";
import { openServer, type Spoken } from "./harness.ts";

async function open(spoken: Spoken, options: Partial<AppOptions> = {}, apiKey = "none") {
  const { url, app } = await openServer({ spoken, ...options });
  return { app, client: new Anthropic({ baseURL: url, apiKey, maxRetries: 0 }) };
}

const thinks: Spoken = { says: "<think>\nhm\n</think>\n\nFour." };
const calls: Spoken = { says: 'See.<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>' };
const messages = [{ role: "user" as const, content: "2+2?" }];
const asked = { model: "test", max_tokens: 300, messages };
const tools: Anthropic.Tool[] = [
  {
    name: "add",
    description: "adds",
    input_schema: { type: "object", properties: { a: { type: "number" }, b: { type: "number" } }, required: ["a", "b"] },
  },
];

test("an answer, and its thinking sent back in the next turn", async () => {
  const { client } = await open(thinks);
  const first = await client.messages.create({ ...asked, system: "Count.", thinking: { type: "enabled", budget_tokens: 1024 } });
  expect(first).toMatchObject({
    role: "assistant",
    model: "test",
    stop_reason: "end_turn",
    usage: { output_tokens: 13, output_tokens_details: { thinking_tokens: 5 } },
  });
  expect(first.content.map(({ type }) => type)).toEqual(["thinking", "text"]);
  const next = await client.messages.create({
    ...asked,
    messages: [...messages, { role: "assistant", content: first.content }, { role: "user", content: "Sure?" }],
  });
  expect(next.stop_reason).toBe("end_turn");
});

test("every kind of thinking, effort, parts with cache_control, a system message on the way and metadata are taken", async () => {
  const { client } = await open(thinks);
  for (const thinking of [{ type: "disabled" }, { type: "adaptive" }, { type: "between_tools" }] as const) {
    const answer = await client.messages.create({
      ...asked,
      thinking,
      metadata: { user_id: "u" },
      service_tier: "auto",
      stop_sequences: ["###"],
      system: [{ type: "text", text: "Count.", cache_control: { type: "ephemeral" } }],
      output_config: { effort: "low" },
      messages: [
        { role: "user", content: [{ type: "text", text: "2+2?", cache_control: { type: "ephemeral" } }] },
        { role: "system", content: "Be brief." },
      ],
    });
    expect(answer.content.map(({ type }) => type)).toEqual(thinking.type === "disabled" ? ["text"] : ["thinking", "text"]);
  }
});

test("the client's stream helper gathers the same message, and tells thinking and text as they come", async () => {
  const { client } = await open(thinks);
  const whole = await client.messages.create(asked);
  const stream = client.messages.stream(asked);
  let [text, thinking] = ["", ""];
  stream.on("text", (delta) => {
    text += delta;
  });
  stream.on("thinking", (delta) => {
    thinking += delta;
  });
  const { content, stop_reason, usage } = await stream.finalMessage();
  expect([text, thinking]).toEqual(["Four.", "hm"]);
  const bare = (blocks: Anthropic.ContentBlock[]) =>
    blocks.map((block) => ("text" in block ? block.text : "thinking" in block ? block.thinking : block.type));
  expect(bare(content)).toEqual(bare(whole.content));
  expect(stop_reason).toBe("end_turn");
  expect(usage.output_tokens).toBe(whole.usage.output_tokens);
});

test("raw events by stream: true", async () => {
  const { client } = await open({ says: "Four." });
  const types: string[] = [];
  for await (const event of await client.messages.create({ ...asked, stream: true }))
    if (types.at(-1) !== event.type) types.push(event.type);
  expect(types).toEqual([
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
  ]);
});

test("tools: a call, streamed too, and the result sent back", async () => {
  const { client } = await open(calls);
  const first = await client.messages.create({ ...asked, tools, tool_choice: { type: "auto", disable_parallel_tool_use: true } });
  expect(first.stop_reason).toBe("tool_use");
  const call = first.content.find((block) => block.type === "tool_use");
  expect(call).toMatchObject({ name: "add", input: { a: 1, b: 2 } });
  const inputs: unknown[] = [];
  const stream = client.messages.stream({ ...asked, tools }).on("inputJson", (_, snapshot) => void inputs.push(snapshot));
  const streamed = await stream.finalMessage();
  expect(streamed.content.find((block) => block.type === "tool_use")).toMatchObject({ name: "add", input: { a: 1, b: 2 } });
  expect(inputs.at(-1)).toEqual({ a: 1, b: 2 });
  const next = await client.messages.create({
    ...asked,
    tools,
    messages: [
      ...messages,
      { role: "assistant", content: first.content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: call?.id ?? "", content: "3", is_error: false }] },
    ],
  });
  expect(next.type).toBe("message");
});

test("the client's own loop runs a tool and sends its result; its threads are refused so that it goes on without", async () => {
  const { client, app } = await open(calls);
  const seen: unknown[] = [];
  const add = {
    ...(tools[0] as Anthropic.Tool),
    run: (input: unknown) => {
      seen.push(input);
      return "3";
    },
    parse: (input: unknown) => input,
  };
  const runner = client.beta.messages.toolRunner({ ...asked, tools: [add], max_iterations: 2 });
  const last = await runner.runUntilDone();
  expect(seen).toEqual([{ a: 1, b: 2 }, ...seen.slice(1)]);
  expect(last.stop_reason).toBe("tool_use");
  const { metrics } = app.server;
  expect([
    metrics.value("requests_received_total"),
    metrics.value("requests_rejected_total"),
    metrics.value("request_success_total"),
  ]).toEqual([3, 1, 2]);
  const refused = await client.beta.messages
    .thread(asked)
    .send()
    .then(
      () => undefined,
      (error: unknown) => error,
    );
  expect(refused).toBeInstanceOf(Anthropic.BadRequestError);
  expect(refused).toMatchObject({ status: 400, message: expect.stringContaining("send the whole conversation") });
});

test("a schema holds, by output_config and by the client's parse; after the thinking", async () => {
  const { client } = await open({ ...thinks, says: '<think>\nhm\n</think>\n\n{"sum": 4}', grammars: true });
  const schema = { type: "object", properties: { sum: { type: "integer" } }, required: ["sum"], additionalProperties: false };
  const { content } = await client.messages.create({ ...asked, output_config: { format: { type: "json_schema", schema } } });
  expect(content.map(({ type }) => type)).toEqual(["thinking", "text"]);
  expect(JSON.parse((content.at(-1) as Anthropic.TextBlock).text)).toEqual({ sum: 4 });
  const parsed = await client.messages.parse({ ...asked, output_config: { format: jsonSchemaOutputFormat(schema as never) } });
  expect(parsed.parsed_output).toEqual({ sum: 4 });
});

test("tools that a server would run are refused by name", async () => {
  const { client } = await open({ says: "x" });
  const search = { type: "web_search_20250305", name: "web_search" } as const;
  await expect(client.messages.create({ ...asked, tools: [search] })).rejects.toMatchObject({
    status: 400,
    message: expect.stringContaining("tools[0].type"),
  });
});

test("count_tokens, models", async () => {
  const { client } = await open({ says: "x" });
  expect((await client.messages.countTokens({ model: "test", messages })).input_tokens).toBeGreaterThan(3);
  const names: string[] = [];
  for await (const model of client.models.list()) names.push(model.id);
  expect(names).toEqual(["test"]);
  expect(await client.models.retrieve("test")).toMatchObject({ id: "test" });
});

test("errors are the client's classes, with Anthropic's body", async () => {
  const { client } = await open({ says: "x" });
  const failed = async (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => undefined,
      (error: unknown) => error,
    );
  const bad = await failed(client.messages.create({ ...asked, ...{ temperature: 3 } }));
  expect(bad).toBeInstanceOf(Anthropic.BadRequestError);
  expect(bad).toMatchObject({
    status: 400,
    type: "invalid_request_error",
    error: { type: "error", error: { message: expect.any(String) } },
  });
  expect(await failed(client.messages.create({ ...asked, model: "none" }))).toBeInstanceOf(Anthropic.NotFoundError);
  const long = await failed(client.messages.create({ ...asked, messages: [{ role: "user", content: "x".repeat(2000) }] }));
  expect(long).toBeInstanceOf(Anthropic.BadRequestError);
  const image = { type: "image" as const, source: { type: "base64" as const, media_type: "image/png" as const, data: "aGk=" } };
  expect(await failed(client.messages.create({ ...asked, messages: [{ role: "user", content: [image] }] }))).toMatchObject({
    status: 400,
    message: expect.stringContaining("messages[0].content[0].type"),
  });
});

test("the key: as x-api-key, as a bearer token, wrong", async () => {
  const { client, app } = await open({ says: "x" }, { keys: ["k"] }, "k");
  expect((await client.messages.create(asked)).type).toBe("message");
  const bearer = new Anthropic({ baseURL: client.baseURL, apiKey: null, authToken: "k", maxRetries: 0 });
  expect((await bearer.messages.create(asked)).type).toBe("message");
  const wrong = new Anthropic({ baseURL: client.baseURL, apiKey: "other", maxRetries: 0 });
  await expect(wrong.messages.create(asked)).rejects.toBeInstanceOf(Anthropic.AuthenticationError);
  expect(app.server.state).toBe("ready");
});

test("an error in the middle of a stream is an APIError; leaving a stream frees its place", async () => {
  let steps = 0;
  const { client } = await open({
    says: "a long answer",
    onForward: () => {
      if (++steps > 4) throw new Error("a fault of ours");
    },
  });
  await expect(client.messages.stream(asked).finalMessage()).rejects.toBeInstanceOf(Anthropic.APIError);
  const calm = await open({ says: "a".repeat(400), contextLength: 1000, stepMs: 1 });
  const stream = calm.client.messages.stream({ ...asked, max_tokens: 900 });
  for await (const event of stream) if (event.type === "content_block_delta") break;
  const { engine } = calm.app.server.shelf.loaded[0] ?? {};
  for (let i = 0; i < 100 && engine?.counts.running !== 0; i++) await new Promise((next) => setTimeout(next, 20));
  expect(engine?.counts.running).toBe(0);
});
