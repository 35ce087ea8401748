// C05, C06: the helpers that the official client builds on the stream (ChatCompletionStream, runTools, ResponseStream), each with the events that it must see in
// their order. They are stricter readers than the plain calls: they add pieces up, wait for every end, call functions and send the results back.

import OpenAI from "openai";
import { LengthFinishReasonError } from "openai/error";
import type { ChatCompletionStream } from "openai/lib/ChatCompletionStream";
import type { Response, ResponseInputItem, ResponseStreamEvent } from "openai/resources/responses/responses";
import { describe, expect, test } from "vitest";
import { openServer, type Spoken } from "./harness.ts";

async function open(spoken: Spoken): Promise<OpenAI> {
  const { url } = await openServer({ spoken: { contextLength: 1024, ...spoken } });
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
}

const user = (content: string) => [{ role: "user" as const, content }];
const call = (name: string, args: string) => `<tool_call>\n{"name": "${name}", "arguments": ${args}}\n</tool_call>`;
const tool = (name: string) => ({
  type: "function" as const,
  function: { name, description: "x", parameters: { type: "object", properties: { city: { type: "string" } } } },
});

/** Names of all events as they come, those in a row once. */
function record<ParsedT>(stream: ChatCompletionStream<ParsedT>): string[] {
  const seen: string[] = [];
  const names = [
    "connect",
    "chunk",
    "content.delta",
    "content.done",
    "refusal.delta",
    "refusal.done",
    "tool_calls.function.arguments.delta",
    "tool_calls.function.arguments.done",
    "logprobs.content.delta",
    "logprobs.content.done",
    "message",
    "functionToolCall",
    "chatCompletion",
    "finalContent",
    "finalMessage",
    "finalFunctionToolCall",
    "finalChatCompletion",
    "totalUsage",
    "error",
    "abort",
    "end",
  ] as const;
  for (const name of names)
    stream.on(name, () => {
      if (seen.at(-1) !== name) seen.push(name);
    });
  return seen;
}
const without = (seen: readonly string[], ...names: string[]) => seen.filter((name, i) => !names.includes(name) && seen[i - 1] !== name);

describe("C05: ChatCompletionStream", () => {
  test("a text with thinking, log-probabilities and usage: deltas that add up, one end of each kind, nothing after the end", async () => {
    const client = await open({ says: "<think>\nhm\n</think>\n\nYes, it is." });
    const stream = client.chat.completions.stream({
      model: "test",
      messages: user("?"),
      logprobs: true,
      stream_options: { include_usage: true },
    });
    const seen = record(stream);
    let text = "";
    let scored = 0;
    stream.on("content.delta", ({ delta, snapshot }) => {
      text += delta;
      expect(snapshot).toBe(text);
    });
    stream.on("logprobs.content.delta", ({ content }) => {
      scored += content.length;
    });
    const final = await stream.finalChatCompletion();
    await stream.done();
    expect(text).toBe("Yes, it is.");
    expect(scored).toBeGreaterThan(5);
    expect(final.choices[0]?.logprobs?.content).toHaveLength(scored);
    expect(final.choices[0]).toMatchObject({ index: 0, finish_reason: "stop", message: { content: text, role: "assistant" } });
    expect(await stream.finalContent()).toBe(text);
    expect((await stream.totalUsage()).completion_tokens).toBe(final.usage?.completion_tokens);
    expect(without(seen, "chunk", "content.delta", "logprobs.content.delta")).toEqual([
      "connect",
      "content.done",
      "logprobs.content.done",
      "chatCompletion",
      "message",
      "finalChatCompletion",
      "finalMessage",
      "finalContent",
      "totalUsage",
      "end",
    ]);
  });

  test("two calls of functions: arguments in pieces, each ended before the next begins", async () => {
    const client = await open({ says: `Let me see.${call("a", '{"city": "Taipei"}')}${call("b", "{}")}` });
    const stream = client.chat.completions.stream({ model: "test", messages: user("?"), tools: [tool("a"), tool("b")] });
    const pieces: [number, string][] = [];
    const ends: object[] = [];
    stream.on("tool_calls.function.arguments.delta", ({ index, arguments_delta, arguments: whole }) => {
      expect(whole.endsWith(arguments_delta)).toBe(true);
      expect(ends).toHaveLength(index);
      pieces.push([index, arguments_delta]);
    });
    stream.on("tool_calls.function.arguments.done", ({ index, name, arguments: whole }) => void ends.push({ index, name, whole }));
    const message = await stream.finalMessage();
    expect(message.content).toBe("Let me see.");
    expect(ends).toEqual([
      { index: 0, name: "a", whole: '{"city": "Taipei"}' },
      { index: 1, name: "b", whole: "{}" },
    ]);
    for (const index of [0, 1])
      expect(pieces.flatMap(([at, piece]) => (at === index ? [piece] : [])).join("")).toBe((ends[index] as { whole: string }).whole);
    expect(new Set(message.tool_calls?.map(({ id }) => id)).size).toBe(2);
  });

  test("a structure is parsed when it ends; what was cut off by the length is the client's own error", async () => {
    const schema = { type: "object", properties: { a: { type: "integer" } }, required: ["a"], additionalProperties: false };
    const response_format = { type: "json_schema" as const, json_schema: { name: "s", schema, strict: true } };
    const client = await open({ grammars: true, says: '{"a": 7}' });
    const ask = { model: "test", messages: user("?"), response_format, chat_template_kwargs: { enable_thinking: false } };
    const whole = await client.chat.completions.parse(ask);
    expect(JSON.parse(whole.choices[0]?.message.content ?? "")).toEqual({ a: 7 });
    const streamed = await client.chat.completions.stream(ask).finalContent();
    expect(streamed).toBe(whole.choices[0]?.message.content);
    await expect(client.chat.completions.parse({ ...ask, max_tokens: 3 })).rejects.toBeInstanceOf(LengthFinishReasonError);
  });

  test("an abort in the middle ends the stream as an abort, and the server serves on", async () => {
    const client = await open({ says: "a rather long answer, of many words, that goes on", stepMs: 2 });
    const stream = client.chat.completions.stream({ model: "test", messages: user("?") });
    const seen = record(stream);
    stream.on("content.delta", ({ snapshot }) => {
      if (snapshot.length > 5) stream.abort();
    });
    await expect(stream.done()).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
    expect(seen.slice(-2)).toEqual(["abort", "end"]);
    expect(await client.chat.completions.stream({ model: "test", messages: user("?") }).finalContent()).toMatch(/^a rather/);
  });

  test("a stream handed on as bytes and read again is the same", async () => {
    const client = await open({ says: `<think>a</think>b${call("f", "{}")}` });
    const sent = client.chat.completions.stream({ model: "test", messages: user("?"), tools: [tool("f")] });
    const { ChatCompletionStream } = await import("openai/lib/ChatCompletionStream");
    const read = ChatCompletionStream.fromReadableStream(sent.toReadableStream());
    expect(await read.finalMessage()).toEqual(await sent.finalMessage());
  });
});

describe("C05: runTools", () => {
  const weather = (function_: (args: { city?: string }) => unknown) => ({
    type: "function" as const,
    function: {
      name: "weather",
      description: "of a city",
      parameters: { type: "object", properties: { city: { type: "string" } } } as const,
      parse: (text: string) => JSON.parse(text) as { city?: string },
      function: function_,
    },
  });

  test.each([true, false])("calls until there is an answer, results sent back by their ids (streaming: %s)", async (stream) => {
    const says = [
      call("weather", '{"city": "Taipei"}') + call("weather", '{"city": "Tainan"}'),
      `Let me check again.${call("weather", "{}")}`,
      "Sunny.",
    ];
    const client = await open({ says });
    const asked: unknown[] = [];
    const tools = [
      weather((args) => {
        asked.push(args);
        return `sun in ${args.city}`;
      }),
    ];
    const ask = { model: "test", messages: user("Weather?"), tools };
    const runner = stream ? client.chat.completions.runTools({ ...ask, stream: true }) : client.chat.completions.runTools(ask);
    expect(await runner.finalContent()).toBe("Sunny.");
    expect(asked).toEqual([{ city: "Taipei" }, { city: "Tainan" }, {}]);
    expect(runner.messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "tool", "assistant", "tool", "assistant"]);
    const ids = runner.messages.flatMap((message) => (message.role === "assistant" ? (message.tool_calls ?? []) : [])).map(({ id }) => id);
    const answered = runner.messages.flatMap((message) => (message.role === "tool" ? [message.tool_call_id] : []));
    expect(answered).toEqual(ids);
    expect(new Set(ids).size).toBe(3);
    expect(runner.allChatCompletions()).toHaveLength(3);
  });

  test("a function that does not exist, a choice that asks for one by name", async () => {
    const client = await open({ says: [call("wether", "{}"), "Sorry."] });
    const failing = client.chat.completions.runTools({ model: "test", messages: user("?"), tools: [weather(() => "")] });
    expect(await failing.finalContent()).toBe("Sorry.");
    expect(failing.messages.flatMap((message) => (message.role === "tool" ? [message.content] : [])).join()).toMatch(/wether/);
    const forced = await open({ grammars: true, says: call("weather", "{}") });
    let count = 0;
    const chosen = forced.chat.completions.runTools({
      model: "test",
      messages: user("?"),
      tools: [weather(() => ++count)],
      tool_choice: { type: "function", function: { name: "weather" } },
      ...{ chat_template_kwargs: { enable_thinking: false } },
    });
    await chosen.done();
    expect(count).toBe(1);
  });
});

describe("C05, C06: ResponseStream and /v1/responses", () => {
  const functions = [{ type: "function" as const, name: "f", description: "x", parameters: { type: "object" }, strict: false }];

  async function readAll(client: OpenAI, ask: Omit<OpenAI.Responses.ResponseCreateParamsNonStreaming, "stream">) {
    const stream = client.responses.stream({ ...ask, stream: true });
    const events: ResponseStreamEvent[] = [];
    for await (const event of stream) events.push(event);
    return { events, final: await stream.finalResponse() };
  }
  /** What two answers to one request may differ in. */
  const comparable = ({ output, usage, status, instructions, tools, incomplete_details }: Response) => ({
    output: JSON.parse(
      JSON.stringify(output, (key, value) => (["id", "call_id", "parsed", "parsed_arguments"].includes(key) ? undefined : value)),
    ),
    usage: { ...usage, input_tokens_details: null },
    ...{ status, instructions, incomplete_details, tools: tools.length },
  });

  test("streamed and whole are the same response; items carry one id from their beginning to their end", async () => {
    for (const says of [
      "Four.",
      "<think>hm</think>Four.",
      `One.${call("f", '{"a": 1}')}`,
      `<think>a</think>${call("f", "{}")}${call("f", "{}")}`,
    ]) {
      const client = await open({ says });
      const ask = { model: "test", input: "2+2?", instructions: "Count.", tools: functions };
      const whole = await client.responses.create(ask);
      const { events, final } = await readAll(client, ask);
      expect(comparable(final as Response)).toEqual(comparable(whole));
      expect(final.output_text).toBe(whole.output_text);
      const added = events.flatMap((event) => (event.type === "response.output_item.added" ? [event.item.id] : []));
      const done = events.flatMap((event) => (event.type === "response.output_item.done" ? [event.item.id] : []));
      expect(done).toEqual(added);
      expect(final.output.map(({ id }) => id)).toEqual(added);
      expect(events.flatMap((event) => ("item_id" in event ? [event.item_id] : [])).every((id) => added.includes(id))).toBe(true);
      expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
    }
  });

  test("text and arguments: what the helper adds up is what the done events say", async () => {
    const client = await open({ says: `Four is it.${call("f", '{"a": [1, 2]}')}` });
    const stream = client.responses.stream({ model: "test", input: "x", tools: functions });
    const [texts, args, ended]: string[][] = [[], [], []];
    stream.on("response.output_text.delta", ({ snapshot }) => void texts?.push(snapshot));
    stream.on("response.function_call_arguments.delta", ({ snapshot }) => void args?.push(snapshot));
    stream.on("response.function_call_arguments.done", (event) => void ended?.push(event.arguments));
    const final = await stream.finalResponse();
    expect(texts?.at(-1)).toBe("Four is it.");
    expect(args?.at(-1)).toBe('{"a": [1, 2]}');
    expect(ended).toEqual(['{"a": [1, 2]}']);
    expect(final.status).toBe("completed");
  });

  test("cut off by the length: response.incomplete, and the items say so", async () => {
    const client = await open({ says: "a long answer" });
    const { events, final } = await readAll(client, { model: "test", input: "x", max_output_tokens: 6 });
    expect(events.at(-1)?.type).toBe("response.incomplete");
    expect(final).toMatchObject({
      status: "incomplete",
      incomplete_details: { reason: "max_output_tokens" },
      output: [{ status: "incomplete" }],
    });
  });

  test("an error in the middle of a stream has the next number, and reaches the reader as an error", async () => {
    const onForward = (step: number) => {
      if (step >= 6) throw new Error("device lost");
    };
    const client = await open({ says: "a very long answer indeed", onForward });
    const raw = await client.responses.create({ model: "test", input: "x", stream: true }).asResponse();
    const events = (await raw.text()).split("\n\n").flatMap((block) => /^data: (.+)$/m.exec(block)?.[1] ?? []);
    const numbers = events.map((text) => JSON.parse(text).sequence_number);
    expect(JSON.parse(events.at(-1) ?? "").type).toBe("error");
    expect(numbers).toEqual(numbers.map((_, i) => i));
    await expect(client.responses.stream({ model: "test", input: "x" }).finalResponse()).rejects.toBeInstanceOf(OpenAI.APIError);
  });

  test("system prompt: instructions, a system item and a developer item are the same prompt", async () => {
    const client = await open({ says: "Ahoy." });
    const counts = await Promise.all(
      [
        { instructions: "Talk like a pirate.", input: "Hi" },
        ...(["system", "developer"] as const).map((role) => ({
          input: [
            { role, content: "Talk like a pirate." },
            { role: "user" as const, content: "Hi" },
          ],
        })),
      ].map(async (ask) => (await client.responses.create({ model: "test", ...ask })).usage?.input_tokens),
    );
    expect(new Set(counts).size).toBe(1);
    expect(counts[0]).toBeGreaterThan((await client.responses.create({ model: "test", input: "Hi" })).usage?.input_tokens ?? 0);
  });

  test("several turns: a response's own output goes back as it came, with the results of functions as text or as parts", async () => {
    const says = [`<think>I need f.</think>Let me see.${call("f", '{"a": 1}')}`, "It is 2.", "It is 2."];
    const client = await open({ says });
    const input: ResponseInputItem[] = [{ role: "user", content: "x" }];
    const first = await client.responses.create({ model: "test", input, tools: functions });
    input.push(...(first.output as ResponseInputItem[]));
    const made = first.output.find((item) => item.type === "function_call");
    const result = (output: ResponseInputItem.FunctionCallOutput["output"]): ResponseInputItem[] => [
      ...input,
      { type: "function_call_output", call_id: made?.call_id ?? "", output },
    ];
    const second = await client.responses.create({ model: "test", input: result("two"), tools: functions });
    expect(second.output_text).toBe("It is 2.");
    // The same text as a part is the same prompt.
    const parts = await client.responses.create({
      model: "test",
      input: result([{ type: "input_text", text: "two" }]),
      tools: functions,
    });
    expect(parts.usage?.input_tokens).toBe(second.usage?.input_tokens);
    const image = result([{ type: "input_image", image_url: "data:image/png;base64,AA==", detail: "auto" }]);
    await expect(client.responses.create({ model: "test", input: image, tools: functions })).rejects.toMatchObject({ status: 400 });
  });
});
