// What the conformance suites of others ask (C02 vLLM, C03 SGLang, C04 the parameters that the official client has types for), through the official client: every
// parameter that exists is obeyed, or dropped where it changes nothing, or refused by its name. Nothing is ever a failure of the server.

import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import { endId, openServer, type Spoken } from "./harness.ts";

const messages = [{ role: "user" as const, content: "2+2?" }];
const asked = { model: "test", messages, max_tokens: 40 };

async function open(spoken: Spoken = { says: "Four." }) {
  const { url, app, lines } = await openServer({ spoken });
  return { app, lines, url, client: new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 }) };
}

const chat = (client: OpenAI, more: object) => client.chat.completions.create({ ...asked, ...more, stream: false });
const failed = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => "no error",
    (error: unknown) => error,
  );

const tools = [{ type: "function", function: { name: "f", parameters: { type: "object" }, strict: true } }];

describe("C04: every parameter of chat completions", () => {
  const taken: Record<string, unknown> = {
    frequency_penalty: -2,
    logit_bias: { 5: 6 },
    max_completion_tokens: 9,
    metadata: { foo: "string" },
    modalities: ["text"],
    moderation: { model: "model" },
    n: 1,
    parallel_tool_calls: true,
    prediction: { content: "string", type: "content" },
    presence_penalty: -2,
    prompt_cache_key: "prompt-cache-key-1234",
    prompt_cache_retention: "in_memory",
    reasoning_effort: "none",
    response_format: { type: "text" },
    safety_identifier: "safety-identifier-1234",
    seed: -9007199254740991,
    service_tier: "auto",
    stop: "\n",
    store: true,
    temperature: 1,
    tool_choice: "none",
    tools,
    top_p: 1,
    user: "user-1234",
    verbosity: "low",
    audio: null,
    functions: null,
    function_call: null,
    web_search_options: null,
  };

  test("alone and together", async () => {
    const { client } = await open();
    for (const [name, value] of Object.entries(taken)) {
      const { choices } = await chat(client, { [name]: value });
      expect(choices[0]?.message.content, name).toBe("Four.");
    }
    expect((await chat(client, taken)).choices).toHaveLength(1);
    expect((await chat(client, { ...taken, logprobs: true, top_logprobs: 20 })).choices[0]?.logprobs?.content).toHaveLength(5);
  });

  test.each<readonly [string, unknown]>([
    ["functions", [{ name: "f", parameters: {} }]],
    ["function_call", "auto"],
    ["audio", { format: "wav", voice: "alloy" }],
    ["modalities", ["text", "audio"]],
    ["web_search_options", {}],
    ["stop_token_ids", [endId, -1]],
    ["stop_token_ids", [1e6]],
    ["stop_token_ids", ["a"]],
    ["structured_outputs", {}],
    ["structured_outputs", { regex: "a", choice: ["a"] }],
    ["structured_outputs", { choice: [] }],
    ["structured_outputs", { regex: "x".repeat(70_000) }],
  ])("%s: %j is refused by its name", async (name, value) => {
    const { client, app } = await open();
    const error = (await failed(chat(client, { [name]: value }))) as InstanceType<typeof OpenAI.APIError>;
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error.param?.startsWith(name), String(error.param)).toBe(true);
    expect(error.message).not.toMatch(/expected expected/);
    expect(app.server.shelf.loaded[0]?.engine.counts.steps).toBe(0);
  });

  test("stop_token_ids end the answer; with ignore_eos they alone do", async () => {
    const { client } = await open({ says: "abcdef" });
    const stopped = await chat(client, { stop_token_ids: ["d".charCodeAt(0)] });
    expect([stopped.choices[0]?.message.content, stopped.choices[0]?.finish_reason]).toEqual(["abc", "stop"]);
    expect((await chat(client, { stop_token_ids: ["d".charCodeAt(0)], ignore_eos: true })).choices[0]?.message.content).toBe("abc");
  });
});

describe("C02: structured_outputs as vLLM names them", () => {
  const random: Spoken = { grammars: true };
  test.each<readonly [object, RegExp]>([
    [{ choice: ["yes", "no"] }, /^(?:yes|no)$/],
    [{ regex: "[ab]{3}" }, /^[ab]{3}$/],
    [{ grammar: 'root ::= "x" "y"?' }, /^xy?$/],
    [
      { json: { type: "object", properties: { a: { enum: [1, 2] } }, required: ["a"], additionalProperties: false } },
      /^\{\s*"a"\s*:\s*[12]\s*\}$/,
    ],
  ])("%j", async (structured_outputs, rule) => {
    const { client } = await open(random);
    const { choices } = await chat(client, { structured_outputs, temperature: 1, seed: 3, reasoning_effort: "none" });
    expect(choices[0]?.finish_reason).toBe("stop");
    expect(choices[0]?.message.content).toMatch(rule);
    const completed = await client.completions.create({ model: "test", prompt: "x", max_tokens: 40, ...{ structured_outputs } });
    expect(completed.choices[0]?.text).toMatch(rule);
  });
});

describe("C04: completions and responses", () => {
  test("every parameter of completions", async () => {
    const { client } = await open();
    const all = {
      best_of: 1,
      echo: true,
      frequency_penalty: -2,
      logit_bias: { 5: 1 },
      logprobs: 0,
      max_tokens: 16,
      n: 1,
      presence_penalty: -2,
      seed: 0,
      stop: "\n",
      temperature: 1,
      top_p: 1,
      user: "user-1234",
    };
    const whole = await client.completions.create({ model: "test", prompt: "This is a test.", ...all });
    expect(whole.choices[0]?.text).toBe("This is a test.Four.");
    await expect(client.completions.create({ model: "test", prompt: "x", suffix: "test." })).rejects.toMatchObject({ param: "suffix" });
  });

  test("every parameter of responses that changes nothing else; what would need a memory is refused", async () => {
    const { client } = await open();
    const all = {
      background: false,
      include: [],
      instructions: "x",
      max_output_tokens: 40,
      max_tool_calls: 1,
      metadata: { foo: "string" },
      parallel_tool_calls: true,
      prompt_cache_key: "k",
      safety_identifier: "s",
      service_tier: "auto",
      store: true,
      temperature: 1,
      top_p: 1,
      truncation: "disabled",
      user: "u",
      conversation: null,
      prompt: null,
      previous_response_id: null,
    } as const;
    expect((await client.responses.create({ model: "test", input: "2+2?", ...(all as object) })).output_text).toBe("Four.");
    for (const more of [{ background: true }, { conversation: "conv_1" }, { prompt: { id: "p" } }, { previous_response_id: "resp_1" }]) {
      const [name] = Object.keys(more);
      await expect(client.responses.create({ model: "test", input: "x", ...more })).rejects.toMatchObject({ status: 400, param: name });
    }
  });
});

test("C03: usage of a stream is that of the whole answer; an empty list of prompts, a null tool_choice, a body that is no object", async () => {
  const { client, url } = await open();
  const whole = await chat(client, {});
  const stream = await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
  let told: unknown;
  for await (const chunk of stream) if (chunk.usage) told = chunk.usage;
  expect(told).toMatchObject({
    prompt_tokens: whole.usage?.prompt_tokens,
    completion_tokens: whole.usage?.completion_tokens,
    total_tokens: whole.usage?.total_tokens,
  });
  expect(await failed(client.completions.create({ model: "test", prompt: [] }))).toBeInstanceOf(OpenAI.BadRequestError);
  expect((await chat(client, { tool_choice: null, tools: null })).choices[0]?.finish_reason).toBe("stop");
  const bare = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '"text"',
  });
  expect(bare.status).toBe(400);
});
