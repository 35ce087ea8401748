// Anthropic's messages and OpenAI's responses: whole answers, events in their order, tools, errors. Responses through the official client.

import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import { openApp, openServer, type Spoken } from "./harness.ts";

const thinks: Spoken = { says: "<think>\nhm\n</think>\n\nFour." };
const calls: Spoken = { says: 'See.<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>' };
const messages = [{ role: "user", content: "2+2?" }];

type Event = { type: string; index?: number; delta?: Record<string, string>; [key: string]: unknown };

describe("/v1/messages", () => {
  async function ask(spoken: Spoken, body: object, headers: Record<string, string> = {}, keys: string[] = []) {
    const { app } = await openApp({ spoken, keys });
    return await app.fetch(
      new Request("http://localhost/v1/messages", {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify({ model: "test", max_tokens: 300, messages, ...body }),
      }),
    );
  }
  const whole = async (...args: Parameters<typeof ask>) => (await (await ask(...args)).json()) as Record<string, unknown>;

  test("thinking and text are blocks", async () => {
    expect(await whole(thinks, { system: [{ type: "text", text: "Count." }] })).toMatchObject({
      type: "message",
      role: "assistant",
      model: "test",
      content: [
        { type: "thinking", thinking: "hm" },
        { type: "text", text: "Four." },
      ],
      stop_reason: "end_turn",
      stop_sequence: null,
      usage: { output_tokens: 13, cache_read_input_tokens: 0 },
    });
  });

  test("reasons to stop", async () => {
    expect(await whole({ says: "one two" }, { stop_sequences: [" tw"] })).toMatchObject({
      stop_reason: "stop_sequence",
      stop_sequence: " tw",
    });
    expect(await whole({ says: "one two" }, { max_tokens: 3 })).toMatchObject({ stop_reason: "max_tokens" });
  });

  test("tools, and their results sent back", async () => {
    const tools = [{ name: "f", description: "", input_schema: { type: "object" } }];
    const answer = await whole(calls, { tools });
    expect(answer).toMatchObject({
      stop_reason: "tool_use",
      content: [
        { type: "text", text: "See." },
        { type: "tool_use", name: "f", input: { a: 1 } },
      ],
    });
    const content = answer.content as { id: string }[];
    const results = [{ type: "tool_result", tool_use_id: content[1]?.id, content: [{ type: "text", text: "2" }] }];
    const next = await ask(calls, { tools, messages: [...messages, { role: "assistant", content }, { role: "user", content: results }] });
    expect(next.status).toBe(200);
  });

  test("events", async () => {
    const response = await ask(calls, { stream: true, tools: [{ name: "f" }] });
    const events = (await response.text())
      .trim()
      .split("\n\n")
      .map((block) => {
        const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
        const value = JSON.parse(data ?? "null") as Event;
        expect(value.type).toBe(name);
        return value;
      });
    const order = events
      .map(({ type, index }) => (index === undefined ? type : `${type} ${index}`))
      .filter((one, i, all) => one !== all[i - 1]);
    expect(order).toEqual([
      "message_start",
      "content_block_start 0",
      "content_block_delta 0",
      "content_block_stop 0",
      "content_block_start 1",
      "content_block_delta 1",
      "content_block_stop 1",
      "message_delta",
      "message_stop",
    ]);
    expect(events.map(({ delta }) => delta?.partial_json ?? "").join("")).toBe('{"a": 1}');
    expect(events.at(-2)).toMatchObject({ delta: { stop_reason: "tool_use" }, usage: { output_tokens: expect.any(Number) } });
  });

  test("errors have Anthropic's shape; the key may come as x-api-key", async () => {
    expect(await whole(thinks, { temperature: 3 })).toMatchObject({
      type: "error",
      error: { type: "invalid_request_error", param: "temperature" },
    });
    expect((await ask(thinks, {}, {}, ["k"])).status).toBe(401);
    expect((await ask(thinks, {}, { "x-api-key": "k" }, ["k"])).status).toBe(200);
  });

  test("count_tokens", async () => {
    const { app } = await openApp();
    const request = new Request("http://localhost/v1/messages/count_tokens", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "test", messages }),
    });
    expect(await (await app.fetch(request)).json()).toEqual({ input_tokens: 1 + 9 + 1 + 1 + 1 + 10 });
  });
});

describe("/v1/responses", () => {
  async function open(spoken: Spoken) {
    const { url } = await openServer({ spoken });
    return new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  }

  test("a response with its reasoning", async () => {
    const client = await open(thinks);
    const response = await client.responses.create({ model: "test", input: "2+2?", instructions: "Count." });
    expect(response).toMatchObject({
      object: "response",
      status: "completed",
      output_text: "Four.",
      output: [
        { type: "reasoning", content: [{ type: "reasoning_text", text: "hm" }] },
        { type: "message", role: "assistant", status: "completed", content: [{ type: "output_text", text: "Four." }] },
      ],
      usage: { output_tokens: 13, output_tokens_details: { reasoning_tokens: 4 } },
    });
  });

  test("several turns, parts, the length", async () => {
    const client = await open({ says: "a long answer" });
    const response = await client.responses.create({
      model: "test",
      max_output_tokens: 6,
      input: [
        { role: "user", content: [{ type: "input_text", text: "Hi" }] },
        { role: "assistant", content: "Hello" },
        { role: "user", content: "More" },
      ],
    });
    expect(response).toMatchObject({ status: "incomplete", incomplete_details: { reason: "max_output_tokens" }, output_text: "a long" });
  });

  test("events are numbered and nested as the client's own stream reader wants them", async () => {
    const client = await open(thinks);
    const stream = client.responses.stream({ model: "test", input: "2+2?" });
    const types: string[] = [];
    let count = 0;
    for await (const event of stream) {
      expect(event.sequence_number).toBe(count++);
      if (types.at(-1) !== event.type) types.push(event.type);
    }
    expect(types).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.content_part.added",
      "response.reasoning_text.delta",
      "response.reasoning_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.output_item.added",
      "response.content_part.added",
      "response.output_text.delta",
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.completed",
    ]);
    expect((await stream.finalResponse()).output_text).toBe("Four.");
  });

  test("a function is called, and its output goes back", async () => {
    const client = await open(calls);
    const tools = [{ type: "function" as const, name: "f", parameters: { type: "object" }, strict: false }];
    const first = await client.responses.create({ model: "test", input: "x", tools });
    const call = first.output.find((item) => item.type === "function_call");
    expect(call).toMatchObject({ name: "f", arguments: '{"a": 1}' });
    const output = { type: "function_call_output" as const, call_id: (call as { call_id: string }).call_id, output: "2" };
    const next = await client.responses.create({
      model: "test",
      input: [{ role: "user", content: "x" }, ...first.output, output] as never,
      tools,
    });
    expect(next.status).toBe("completed");
  });

  test("what would need a memory is refused by name", async () => {
    const client = await open(thinks);
    await expect(client.responses.create({ model: "test", input: "x", previous_response_id: "resp_1" })).rejects.toMatchObject({
      status: 400,
      param: "previous_response_id",
    });
  });
});
