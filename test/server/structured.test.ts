// Structured output through the clients: response_format, tool_choice, generateObject. The model is random: that its answers fit is the grammar's doing.
// And the hostile schemas A59 to A70: each is compiled soon, refused, or ends; the server goes on.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, streamObject } from "ai";
import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { openApp, openServer, plainTemplate, type Spoken, template } from "./harness.ts";

const spoken = { grammars: true, template: plainTemplate, contextLength: 1024 };
const user = [{ role: "user" as const, content: "x" }];
const schema = {
  type: "object",
  properties: { kind: { enum: ["cat", "dog"] }, tame: { type: "boolean" } },
  required: ["kind", "tame"],
  additionalProperties: false,
};

async function open(more: Partial<Spoken> = {}) {
  const { url } = await openServer({ spoken: { ...spoken, ...more } });
  return { url, client: new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 }) };
}

async function textOf(answer: OpenAI.Chat.ChatCompletion | AsyncIterable<OpenAI.Chat.ChatCompletionChunk>): Promise<string> {
  if (!(Symbol.asyncIterator in answer)) return answer.choices[0]?.message.content ?? "";
  let text = "";
  for await (const { choices } of answer) text += choices[0]?.delta.content ?? "";
  return text;
}

describe("answers that must fit", () => {
  test("of a model that stops in the middle of its thinking: schema and forced call hold all the same", async () => {
    const { client } = await open({ template, says: "Four." });
    const response_format = { type: "json_schema" as const, json_schema: { name: "pet", schema, strict: true } };
    const answer = await client.chat.completions.create({ model: "test", messages: user, response_format });
    expect(["cat", "dog"]).toContain((JSON.parse(await textOf(answer)) as { kind: string }).kind);
    expect(answer.choices[0]?.finish_reason).toBe("stop");
    const tools = [{ type: "function" as const, function: { name: "pet", parameters: schema, strict: true } }];
    const call = await client.chat.completions.create({ model: "test", messages: user, tools, tool_choice: "required" });
    expect(call.choices[0]).toMatchObject({ finish_reason: "tool_calls", message: { tool_calls: [{ function: { name: "pet" } }] } });
  });

  test("json_schema, whole and streamed, after thinking too", async () => {
    const { client } = await open();
    const response_format = { type: "json_schema" as const, json_schema: { name: "pet", schema, strict: true } };
    const { client: thinking } = await open({ template });
    for (const more of [{}, { stream: true }, { thinking_budget: 5 }, { thinking_budget: 5, stream: true }, { reasoning_effort: "none" }]) {
      const asked = "stream" in more || Object.keys(more).length === 0 ? client : thinking;
      const answer = await asked.chat.completions.create({
        model: "test",
        messages: user,
        response_format,
        temperature: 1,
        seed: 3,
        ...(more as object),
      });
      const text = await textOf(answer);
      const pet = JSON.parse(text) as { kind: string; tame: boolean };
      expect(Object.keys(pet)).toEqual(["kind", "tame"]);
      expect(["cat", "dog"]).toContain(pet.kind);
    }
  }, 60_000);

  test("json_object begins an object", async () => {
    const { client } = await open();
    const answer = await client.chat.completions.create({
      model: "test",
      messages: user,
      response_format: { type: "json_object" },
      max_tokens: 40,
    });
    expect(answer.choices[0]?.message.content).toMatch(/^\s*\{/);
  }, 60_000);

  test.each(["required", { type: "function", function: { name: "g" } }] as const)(
    "tool_choice %j makes a call",
    async (tool_choice) => {
      const { client } = await open();
      const tools = ["f", "g"].map((name) => ({ type: "function" as const, function: { name, parameters: schema } }));
      const answer = await client.chat.completions.create({ model: "test", messages: user, tools, tool_choice, temperature: 1, seed: 1 });
      const [choice] = answer.choices;
      expect(choice?.finish_reason).toBe("tool_calls");
      const made = choice?.message.tool_calls?.[0];
      const { name, arguments: text } = made?.type === "function" ? made.function : { name: "", arguments: "" };
      expect(typeof tool_choice === "string" ? ["f", "g"] : ["g"]).toContain(name);
      expect(Object.keys(JSON.parse(text) as object)).toEqual(["kind", "tame"]);
      expect(choice?.message.content).toBeNull();
    },
    60_000,
  );

  test("references of a tool's parameters lead into these parameters, not into what is made around them", async () => {
    const { client } = await open();
    const side = { enum: ["left", "right"] };
    const own = (name: string, parameters: object) => ({ type: "function" as const, function: { name, parameters: { ...parameters } } });
    const turn = own("turn", {
      type: "object",
      properties: { to: { $ref: "#/$defs/side" }, path: { type: "array", items: { $ref: "#/$defs/side" }, maxItems: 2 } },
      required: ["to", "path"],
      additionalProperties: false,
      $defs: { side },
    });
    const tree = own("tree", {
      type: "object",
      properties: { leaf: { const: "$ref" }, next: { anyOf: [{ type: "null" }, { $ref: "#" }] } },
      required: ["leaf", "next"],
      additionalProperties: false,
    });
    for (const [tools, wanted] of [
      [[turn], "turn"],
      [[turn, tree], "tree"],
      [[tree, turn], "turn"],
    ] as const) {
      // A random model may fill its room with white space; some answer comes to its end.
      let made: OpenAI.Chat.ChatCompletionMessageToolCall | undefined;
      for (let seed = 0; seed < 20 && !made; seed++) {
        const tool_choice = { type: "function" as const, function: { name: wanted } };
        const asked = { model: "test", messages: user, tools: [...tools], tool_choice, temperature: 1, max_tokens: 300, seed };
        const [choice] = (await client.chat.completions.create(asked)).choices;
        if (choice?.finish_reason === "tool_calls") made = choice.message.tool_calls?.[0];
      }
      expect(made).toMatchObject({ function: { name: wanted } });
      const given = JSON.parse(made?.type === "function" ? made.function.arguments : "") as Record<string, unknown>;
      if (wanted === "tree") expect(Object.keys(given)).toEqual(["leaf", "next"]);
      else expect([given.to, ...(given.path as unknown[])].every((to) => side.enum.includes(String(to)))).toBe(true);
    }
  }, 60_000);

  test("the AI SDK's generateObject and streamObject", async () => {
    const { url } = await open();
    const provider = createOpenAICompatible({ name: "gradually", baseURL: `${url}/v1`, supportsStructuredOutputs: true });
    const options = {
      model: provider("test"),
      maxRetries: 0,
      prompt: "x",
      schema: z.object({ kind: z.enum(["cat", "dog"]), tame: z.boolean() }),
    };
    expect(["cat", "dog"]).toContain((await generateObject(options)).object.kind);
    const stream = streamObject(options);
    for await (const part of stream.partialObjectStream) expect(typeof part).toBe("object");
    expect(typeof (await stream.object).tame).toBe("boolean");
  }, 60_000);
});

const deep = (count: number): object => (count === 0 ? { type: "string" } : { type: "array", items: deep(count - 1) });
const hostile: readonly (readonly [string, object])[] = [
  ["A59: 60,000 nested groups", { type: "string", pattern: "(".repeat(60_000) + ")".repeat(60_000) }],
  ["A59: 60 nested lists", deep(25)],
  ["A60: a $ref cycle", { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/a" } } }],
  ["A61: a $ref to an address", { $ref: "http://169.254.169.254/schema" }],
  ["A61: a $ref to a file", { $ref: "file:///etc/passwd" }],
  ["A62: 10,000 alternatives", { anyOf: Array.from({ length: 10_000 }, (_, i) => ({ const: i })) }],
  ["A63: a look-behind", { type: "string", pattern: "(?<=x)*" }],
  ["A64: brackets that never close", { type: "string", pattern: "(".repeat(60_000) }],
  ["A65: repetitions of repetitions", { type: "string", pattern: "(a{1,1000}){1,1000}" }],
  ["A66: a huge minLength", { type: "string", minLength: 1e9 }],
  ["A67: an enum of 100,000", { enum: Array.from({ length: 100_000 }, (_, i) => `v${i}`) }],
  ["A68: what nothing satisfies", { type: "integer", minimum: 5, maximum: 3 }],
  [
    "A69: a property __proto__",
    JSON.parse('{"type":"object","properties":{"__proto__":{"type":"boolean"}},"required":["__proto__"]}') as object,
  ],
  ["A70: 7 MB", { type: "string", description: "x".repeat(7_000_000) }],
];

test.each(hostile)(
  "%s: compiled soon, refused, or ended",
  async (_, bad) => {
    const { app } = await openApp({ spoken });
    const ask = async (of: object) => {
      const body = { messages: user, max_tokens: 30, response_format: { type: "json_schema", json_schema: { name: "s", schema: of } } };
      return await app.fetch(
        new Request("http://localhost/v1/chat/completions", {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body),
        }),
      );
    };
    expect((await ask(schema)).status).toBe(200); // the thread is warm
    const begun = performance.now();
    const response = await ask(bad);
    expect(performance.now() - begun).toBeLessThan(5000);
    if (response.status === 200) expect(await response.text()).toMatch(/"finish_reason":"(?:stop|length)"/);
    else
      expect([response.status, ((await response.json()) as { error: { type: string } }).error.type]).toEqual([
        400,
        "invalid_request_error",
      ]);
    expect((await ask(schema)).status).toBe(200);
  },
  60_000,
);
