// The official `openai` client against the server, on a random local port: what people's programs do. maxRetries 0, so that every refusal counts.

import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import type { AppOptions } from "../../src/server/app.ts";
import { entry, openServer, type Spoken, speaker } from "./harness.ts";

async function open(options: Partial<AppOptions> & { spoken?: Spoken } = {}) {
  const started = await openServer(options);
  const client = new OpenAI({ baseURL: `${started.url}/v1`, apiKey: "none", maxRetries: 0 });
  return { ...started, client };
}

const user = (content: string) => [{ role: "user" as const, content }];

describe("chat completions", () => {
  test("an answer with thinking, usage and timings", async () => {
    const { client } = await open({ spoken: { says: "<think>\nTwo and two.\n</think>\n\nFour." } });
    const answer = await client.chat.completions.create({ model: "test", messages: user("2+2?"), max_tokens: 200 });
    expect(answer.choices).toEqual([
      {
        index: 0,
        message: { role: "assistant", content: "Four.", refusal: null, annotations: [], reasoning_content: "Two and two." },
        logprobs: null,
        finish_reason: "stop",
      },
    ]);
    expect(answer).toMatchObject({ object: "chat.completion", model: "test" });
    expect(answer.id).toMatch(/^chatcmpl-/);
    const prompt = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n".replace(/<\|im_\w+\|>/g, "x").length;
    expect(answer.usage).toMatchObject({
      prompt_tokens: prompt,
      completion_tokens: 23,
      total_tokens: prompt + 23,
      prompt_tokens_details: { cached_tokens: 0 },
      prompt_cache_hit_tokens: 0,
      prompt_cache_miss_tokens: prompt,
    });
    expect(answer.usage?.completion_tokens_details?.reasoning_tokens).toBe(14);
    expect(answer).toHaveProperty("timings.predicted_n", 23);
  });

  test("speculation changes no letter and is told in the timings, as llama.cpp does, and in the metrics", async () => {
    const says = "one two one two one two one two";
    const speculation = { kind: "lookup", adapt: false } as const;
    const { client, url } = await open({ spoken: { says, engine: { speculation } } });
    const answer = await client.chat.completions.create({ model: "test", messages: user("count"), max_tokens: 200 });
    expect(answer.choices[0]?.message.content).toBe(says);
    const { draft_n, draft_n_accepted } = (answer as unknown as { timings: Record<string, number> }).timings;
    expect(draft_n_accepted).toBeGreaterThan(10);
    expect(draft_n).toBeGreaterThanOrEqual(draft_n_accepted as number);
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).toContain(`gradually:spec_decode_num_draft_tokens_total ${draft_n}`);
    expect(metrics).toContain(`gradually:spec_decode_num_accepted_tokens_total ${draft_n_accepted}`);
    const plain = await (await open({ spoken: { says } })).client.chat.completions.create({
      model: "test",
      messages: user("count"),
      max_tokens: 200,
    });
    expect(plain).not.toHaveProperty("timings.draft_n");
  });

  test("a stream: role first, reasoning before content, then finish_reason, then usage without choices", async () => {
    const { client } = await open({ spoken: { says: "<think>\nhm\n</think>\n\nYes, it is." } });
    const stream = await client.chat.completions.create({
      model: "test",
      messages: user("?"),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks: OpenAI.Chat.ChatCompletionChunk[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks[0]?.choices[0]?.delta).toEqual({ role: "assistant", content: "" });
    const kinds = chunks.slice(1).flatMap(({ choices }) => Object.keys(choices[0]?.delta ?? {}));
    expect(kinds.join(" ")).toMatch(/^(reasoning_content )+(content ?)+$/);
    const text = (key: string) =>
      chunks.map(({ choices }) => (choices[0]?.delta as Record<string, string> | undefined)?.[key] ?? "").join("");
    expect([text("reasoning_content"), text("content")]).toEqual(["hm", "Yes, it is."]);
    expect(chunks.at(-2)?.choices[0]).toMatchObject({ delta: {}, finish_reason: "stop" });
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 19 } });
    expect(chunks.slice(0, -1).every(({ usage }) => usage === null)).toBe(true);
  });

  test("a stream ends with [DONE]; its bytes are server-sent events", async () => {
    const { url } = await open({ spoken: { says: "ok" } });
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ messages: user("x"), stream: true }),
    });
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const text = await response.text();
    expect(text.endsWith("\n\ndata: [DONE]\n\n")).toBe(true);
    for (const line of text.split("\n\n").slice(0, -2))
      expect(JSON.parse(line.replace(/^data: /, ""))).toHaveProperty("object", "chat.completion.chunk");
  });

  test("the reasoning field has the name that the operator chose", async () => {
    const { client } = await open({ spoken: { says: "<think>a</think>b" }, reasoningField: "both" });
    const { choices } = await client.chat.completions.create({ model: "test", messages: user("x") });
    expect(choices[0]?.message).toMatchObject({ reasoning: "a", reasoning_content: "a", content: "b" });
  });

  test("n, seed and logprobs", async () => {
    const { client } = await open();
    const ask = { model: "test", messages: user("x"), max_tokens: 12, temperature: 1, seed: 5, n: 3, logprobs: true, top_logprobs: 2 };
    const [one, two] = [await client.chat.completions.create(ask), await client.chat.completions.create(ask)];
    const texts = one.choices.map(({ message }) => message.content);
    expect(two.choices.map(({ message }) => message.content)).toEqual(texts);
    expect(new Set(texts).size).toBe(3);
    const content = one.choices[0]?.logprobs?.content ?? [];
    expect(content).toHaveLength(12);
    for (const { logprob, top_logprobs, bytes } of content) {
      expect(logprob).toBeLessThanOrEqual(0);
      expect(bytes?.length).toBeGreaterThan(0);
      expect(top_logprobs).toHaveLength(2);
      expect(top_logprobs[0]?.logprob).toBeGreaterThanOrEqual(logprob - 1e-6);
    }
    expect(one.usage?.completion_tokens).toBe(36);
    const stream = await client.chat.completions.create({ ...ask, stream: true });
    const streamed = ["", "", ""];
    let count = 0;
    for await (const { choices } of stream) {
      for (const { index, delta, logprobs } of choices) {
        streamed[index] += delta.content ?? "";
        count += logprobs?.content?.length ?? 0;
      }
    }
    expect(streamed).toEqual(texts);
    expect(count).toBe(36);
  });

  test("stop texts end the answer and are not part of it; max_tokens ends with length", async () => {
    const { client } = await open({ spoken: { says: "one, two, three" } });
    const ask = async (more: object) => (await client.chat.completions.create({ model: "test", messages: user("x"), ...more })).choices[0];
    expect(await ask({ stop: ["three", ", t"] })).toMatchObject({ message: { content: "one" }, finish_reason: "stop" });
    expect(await ask({ max_tokens: 5 })).toMatchObject({ message: { content: "one, " }, finish_reason: "length" });
  });

  test("logit_bias", async () => {
    const { client } = await open();
    const ask = { model: "test", messages: user("x"), max_tokens: 5, temperature: 0, logit_bias: { "65": 100 } };
    expect((await client.chat.completions.create(ask)).choices[0]?.message.content).toMatch(/A{3,}/);
  });
});

describe("thinking", () => {
  const spoken: Spoken = { says: "<think>\nlong thoughts about it\n</think>\n\nYes." };

  test.each([
    ["OpenAI", { reasoning_effort: "none" }],
    ["DeepSeek", { thinking: { type: "disabled" } }],
    ["vLLM", { chat_template_kwargs: { enable_thinking: false } }],
    ["Qwen", { enable_thinking: false }],
    ["Responses", { reasoning: { effort: "none" } }],
  ])("off, as %s says it", async (_, more) => {
    const { client, url } = await open({ spoken: { says: "Yes." } });
    const prompt = await fetch(`${url}/tokenize`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ messages: user("x"), chat_template_kwargs: { enable_thinking: false } }),
    });
    const answer = await client.chat.completions.create({ model: "test", messages: user("x"), ...(more as object) });
    expect(answer.choices[0]?.message).not.toHaveProperty("reasoning_content");
    expect(answer.choices[0]?.message.content).toBe("Yes.");
    expect(answer.usage?.prompt_tokens).toBe(((await prompt.json()) as { count: number }).count);
  });

  test.each([
    ["Anthropic", { thinking: { type: "enabled", budget_tokens: 6 } }],
    ["vLLM", { thinking_token_budget: 6 }],
    ["Qwen", { thinking_budget: 6 }],
    ["llama.cpp", { reasoning_budget: 6 }],
    ["OpenRouter", { reasoning: { max_tokens: 6 } }],
  ])("a budget of tokens, as %s says it, ends thinking by force", async (_, more) => {
    const { client } = await open({ spoken: { says: "thoughts that never end, never end, never end" } });
    const answer = await client.chat.completions.create({ model: "test", messages: user("x"), ...(more as object) });
    expect(answer.choices[0]?.message).toMatchObject({ reasoning_content: "though" });
    expect(answer.usage?.completion_tokens_details?.reasoning_tokens).toBe(6);
  });

  test("an end of thinking gives way to Wait, as often as thinking_extend says", async () => {
    // The script goes by position: the four letters of Wait stand in the place of </think>Yes, and the second end is let through.
    const { client } = await open({ spoken: { says: "ab</think>Yes.</think>Done" } });
    const answer = await client.chat.completions.create({ model: "test", messages: user("x"), ...({ thinking_extend: 1 } as object) });
    expect(answer.choices[0]?.message).toMatchObject({ reasoning_content: "abWait.", content: "Done" });
    const off = { thinking_extend: 1, enable_thinking: false } as object;
    const without = await client.chat.completions.create({ model: "test", messages: user("x"), ...off });
    expect(without.choices[0]?.message).not.toHaveProperty("reasoning_content");
  });

  test("left to the model it thinks as long as it likes", async () => {
    const { client } = await open({ spoken });
    const answer = await client.chat.completions.create({ model: "test", messages: user("x"), reasoning_effort: "high" });
    expect(answer.choices[0]?.message).toMatchObject({ reasoning_content: "long thoughts about it", content: "Yes." });
  });
});

describe("tools", () => {
  const tools = [
    {
      type: "function" as const,
      function: { name: "weather", description: "of a city", parameters: { type: "object", properties: { city: { type: "string" } } } },
    },
  ];
  const call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Taipei"}}\n</tool_call>';

  test("a call, and its result sent back", async () => {
    const { client } = await open({ spoken: { says: `Let me see.\n${call}` } });
    const answer = await client.chat.completions.create({ model: "test", messages: user("Weather?"), tools });
    const [choice] = answer.choices;
    expect(choice).toMatchObject({
      finish_reason: "tool_calls",
      message: {
        content: "Let me see.",
        tool_calls: [{ type: "function", function: { name: "weather", arguments: '{"city": "Taipei"}' } }],
      },
    });
    const made = choice?.message.tool_calls?.[0];
    const next = await client.chat.completions.create({
      model: "test",
      messages: [
        ...user("Weather?"),
        choice?.message as OpenAI.Chat.ChatCompletionMessage,
        { role: "tool", tool_call_id: made?.id ?? "", content: "sunny" },
      ],
      tools,
    });
    expect(next.choices).toHaveLength(1);
  });

  test("a streamed call: name first, then its arguments in pieces", async () => {
    const { client } = await open({ spoken: { says: `${call}${call}` } });
    const runner = client.chat.completions.stream({ model: "test", messages: user("x"), tools });
    const names: string[] = [];
    let pieces = 0;
    for await (const { choices } of runner) {
      for (const part of choices[0]?.delta.tool_calls ?? []) {
        if (part.function?.name) names.push(part.function.name);
        if (part.function?.arguments) pieces++;
      }
    }
    expect(names).toEqual(["weather", "weather"]);
    expect(pieces).toBeGreaterThan(2);
    const final = await runner.finalChatCompletion();
    expect(final.choices[0]?.message.tool_calls?.map((one) => (one.type === "function" ? one.function.arguments : ""))).toEqual([
      '{"city": "Taipei"}',
      '{"city": "Taipei"}',
    ]);
    expect(final.choices[0]?.finish_reason).toBe("tool_calls");
  });

  test("tool_choice none: what looks like a call is text", async () => {
    const { client } = await open({ spoken: { says: call } });
    const answer = await client.chat.completions.create({ model: "test", messages: user("x"), tools, tool_choice: "none" });
    expect(answer.choices[0]).toMatchObject({ finish_reason: "stop", message: { content: call } });
  });
});

describe("completions, models, errors", () => {
  test("a text goes on; echo, several prompts, ids", async () => {
    const { client } = await open({ spoken: { says: " there" } });
    const ask = async (more: object) =>
      (await client.completions.create({ model: "test", prompt: "Hi", ...more })).choices.map(({ text }) => text);
    expect(await ask({})).toEqual([" there"]);
    expect(await ask({ echo: true })).toEqual(["Hi there"]);
    expect(await ask({ prompt: [72, 105], echo: true })).toHaveLength(1);
    expect(await ask({ prompt: ["ab", "cd"], n: 2, echo: true })).toEqual(["ab there", "ab there", "cd there", "cd there"]);
    const stream = await client.completions.create({ model: "test", prompt: "Hi", stream: true, stream_options: { include_usage: true } });
    let text = "";
    let used: number | undefined;
    for await (const { choices, usage } of stream) {
      text += choices[0]?.text ?? "";
      used = usage?.completion_tokens ?? used;
    }
    expect([text, used]).toEqual([" there", 6]);
  });

  test("models: a list, one by name, one that is not there", async () => {
    const { client } = await open({ models: [entry("a", () => speaker()), entry("org/b", () => speaker())] });
    const list = await client.models.list();
    expect(list.data.map(({ id }) => id)).toEqual(["a", "org/b"]);
    expect(await client.models.retrieve("org/b")).toMatchObject({ id: "org/b", object: "model" });
    await expect(client.models.retrieve("c")).rejects.toMatchObject({ status: 404, code: "model_not_found" });
  });

  test("a bad field is a BadRequestError that names it", async () => {
    const { client } = await open();
    const asked = client.chat.completions.create({ model: "test", messages: user("x"), temperature: 7 });
    await expect(asked).rejects.toBeInstanceOf(OpenAI.BadRequestError);
    await expect(asked).rejects.toMatchObject({ status: 400, param: "temperature", type: "invalid_request_error" });
  });

  test("A92: an error in the middle of a stream is an APIError, without [DONE]", async () => {
    const onForward = (step: number) => {
      if (step === 6) throw new Error("device lost");
    };
    const { client, lines } = await open({ spoken: { says: "a very long answer indeed", onForward } });
    const stream = await client.chat.completions.create({ model: "test", messages: user("x"), stream: true });
    let text = "";
    const read = async () => {
      for await (const { choices } of stream) text += choices[0]?.delta.content ?? "";
    };
    await expect(read()).rejects.toBeInstanceOf(OpenAI.APIError);
    expect(text.length).toBeGreaterThan(2);
    expect(lines.some((line) => line.includes("device lost"))).toBe(true);
    expect((await client.chat.completions.create({ model: "test", messages: user("x") })).choices).toHaveLength(1);
  });

  test("the key of the client", async () => {
    const { url } = await open({ keys: ["right"], spoken: { says: "in" } });
    const ask = (apiKey: string) =>
      new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 }).chat.completions.create({ model: "test", messages: user("x") });
    await expect(ask("wrong")).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
    expect((await ask("right")).choices[0]?.message.content).toBe("in");
  });
});
