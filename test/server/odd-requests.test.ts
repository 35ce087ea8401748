// Requests that are well-formed JSON and still odd, in every dialect: each is refused by the name of its field, in the shape of its dialect's errors, with what
// was expected in full; or served as the official servers do. Found by sending some hundreds by hand; none may be a failure of the server.

import { expect, test } from "vitest";
import type { App } from "../../src/server/app.ts";
import { openApp } from "./harness.ts";

const messages = [{ role: "user", content: "x" }];
const tool = (parameters: object) => ({ type: "function", function: { name: "f", parameters } });
const format = (schema: unknown) => ({ response_format: { type: "json_schema", json_schema: { name: "s", schema } } });
const called = { type: "function_call", call_id: "c", name: "f", arguments: "{}" };
const answered = { type: "function_call_output", call_id: "c", output: "r" };
const used = { type: "tool_use", id: "u", name: "f", input: {} };
const result = { type: "tool_result", tool_use_id: "u", content: "r" };

const paths = {
  chat: "/v1/chat/completions",
  completions: "/v1/completions",
  responses: "/v1/responses",
  anthropic: "/v1/messages",
  ollama: "/api/chat",
  generate: "/api/generate",
} as const;
type Api = keyof typeof paths;

const least: Readonly<Record<Api, object>> = {
  chat: { messages, max_tokens: 3 },
  completions: { prompt: "x", max_tokens: 3 },
  responses: { input: "x", max_output_tokens: 16 },
  anthropic: { model: "test", messages, max_tokens: 3 },
  ollama: { model: "test", messages, stream: false, options: { num_predict: 3 } },
  generate: { model: "test", prompt: "x", stream: false, options: { num_predict: 3 } },
};

async function send(app: App, api: Api, more: object | string): Promise<{ status: number; text: string }> {
  const body = typeof more === "string" ? more : JSON.stringify({ ...least[api], ...more });
  const headers = { "content-type": "application/json" };
  const response = await app.fetch(new Request(`http://localhost${paths[api]}`, { method: "POST", headers, body }));
  return { status: response.status, text: await response.text() };
}

/** The error of an answer in the dialect of its path; its other members must be those that the dialect has. */
function errorOf(api: Api, text: string): { message: string; param?: string | null } {
  const body = JSON.parse(text);
  if (api === "ollama" || api === "generate") {
    expect(Object.keys(body)).toEqual(["error"]);
    return { message: body.error };
  }
  if (api === "anthropic") expect([body.type, body.error.type]).toEqual(["error", "invalid_request_error"]);
  else expect(Object.keys(body)).toEqual(["error"]);
  expect(body.error.type).toBe("invalid_request_error");
  return body.error;
}

/** [dialect, fields, the field that is named, what the message says of it]. */
const refused: readonly (readonly [Api, object, string, string])[] = [
  // The range is told whole, whatever is wrong with the number.
  ["chat", { max_tokens: 1e308 }, "max_tokens", "got 1e+308; expected an integer from 1 to 2147483647"],
  ["chat", { max_tokens: 0 }, "max_tokens", "expected an integer from 1 to 2147483647"],
  ["chat", { n: true }, "n", "got true; expected an integer from 1 to 128"],
  ["chat", { n: "1" }, "n", 'got "1"; expected an integer from 1 to 128'],
  ["chat", { temperature: 2.0001 }, "temperature", "expected a number from 0 to 2"],
  ["chat", { temperature: [] }, "temperature", "got a list of 0; expected a number from 0 to 2"],
  ["chat", { top_p: 0 }, "top_p", "expected a number above 0, at most 1"],
  ["chat", { top_p: "1" }, "top_p", "expected a number above 0, at most 1"],
  ["anthropic", { temperature: 1.5 }, "temperature", "expected a number from 0 to 1"],
  ["ollama", { options: { num_predict: -3 } }, "options.num_predict", "expected an integer from -2 to 2147483647"],
  // What may be of several forms names them.
  ["chat", { stop: 5 }, "stop", "got 5; expected string, or array"],
  ["chat", { stop: [["a"]] }, "stop[0]", "got a list of 1; expected string"],
  ["chat", { messages: [{ role: "user", content: true }] }, "messages[0].content", "got true; expected string, or array"],
  ["chat", { tool_choice: 5 }, "tool_choice", 'expected one of "none"|"auto"|"required", or object'],
  ["chat", { response_format: { type: "xml" } }, "response_format.type", 'expected one of "text"|"json_object"|"json_schema"'],
  ["responses", { text: { format: {} } }, "text.format.type", 'expected one of "text"|"json_object"|"json_schema"'],
  ["responses", { input: null }, "input", "got null; expected string, or array"],
  ["anthropic", { system: 5 }, "system", "got 5; expected string, or array"],
  ["ollama", { format: "xml" }, "format", 'got "xml"; expected "", or "json", or an object'],
  ["ollama", { think: "max" }, "think", 'expected boolean, or one of "low"|"medium"|"high"'],
  ["chat", { logit_bias: { "05": 1 } }, "logit_bias.05", "expected a token id in digits"],
  ["chat", { logit_bias: [1] }, "logit_bias", "got a list of 1; expected object"],
  // Parts.
  ["chat", { messages: [{ role: "user", content: [{ type: "text" }] }] }, "messages[0].content[0].text", "got nothing; expected a text"],
  [
    "anthropic",
    { messages: [{ role: "user", content: [{ type: "text", text: 5 }] }] },
    "messages[0].content[0].text",
    "got 5; expected a text",
  ],
  // Calls whose names and ids are no texts.
  ["responses", { input: [...messages, { ...called, call_id: {} }] }, "input[1].call_id", "got an object; expected a text"],
  ["responses", { input: [...messages, { ...called, name: undefined }] }, "input[1].name", "got nothing; expected a text"],
  ["responses", { input: [...messages, { ...called, arguments: { a: 1 } }] }, "input[1].arguments", "got an object; expected a text"],
  ["responses", { input: [...messages, called, { ...answered, call_id: [] }] }, "input[2].call_id", "got a list of 0; expected a text"],
  ["anthropic", { messages: [{ role: "assistant", content: [{ ...used, id: {} }] }] }, "messages[0].content[0].id", "got an object"],
  ["anthropic", { messages: [{ role: "assistant", content: [{ ...used, name: "" }] }] }, "messages[0].content[0].name", 'got ""'],
  [
    "anthropic",
    { messages: [{ role: "user", content: [{ ...result, tool_use_id: {} }] }] },
    "messages[0].content[0].tool_use_id",
    "got an object; expected a text of 1 to 256 characters",
  ],
  ["anthropic", { mcp_servers: [{ type: "url", url: "http://169.254.169.254" }] }, "mcp_servers", "this server calls no other"],
];

test.each(refused)("%s: %j is refused", async (api, more, param, message) => {
  const { app, lines } = await openApp();
  const { status, text } = await send(app, api, more);
  const error = errorOf(api, text);
  expect([status, error.message]).toEqual([400, expect.stringContaining(`request: ${param}: `)]);
  expect(error.message).toContain(message);
  expect(error.message).not.toMatch(/expected expected|Invalid|discriminator|documented forms/);
  if (error.param !== undefined) expect(error.param).toBe(param);
  expect(lines.filter((line) => line.startsWith("failure"))).toEqual([]);
  expect(app.server.shelf.loaded[0]?.engine.counts.steps).toBe(0);
});

/** [fields, the field that is named, what the message says of the structure]. */
const structures: readonly (readonly [object, string, string])[] = [
  [format({ $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/a" } } }), "response_format.json_schema.schema", "leads back to itself"],
  [format({ $ref: {} }), "response_format.json_schema.schema", "the reference an object"],
  [format({ type: {} }), "response_format.json_schema.schema", "type an object; expected string, array"],
  [format({ type: [["string"]] }), "response_format.json_schema.schema", "type a list of 1"],
  [format({ type: "object", required: [{}] }), "response_format.json_schema.schema", "required an object; expected names"],
  [format({ type: "object", properties: [1] }), "response_format.json_schema.schema", "expected an object of schemas"],
  [format({ type: "array", minItems: {} }), "response_format.json_schema.schema", "minItems an object; expected an integer from 0"],
  [format({ type: "array", minItems: 1e300 }), "response_format.json_schema.schema", "minItems 1e+300"],
  [format({ type: "integer", minimum: {} }), "response_format.json_schema.schema", "the bound an object"],
  [format({ type: "string", pattern: "[" }), "response_format.json_schema.schema", 'pattern "["'],
  [format({ enum: [] }), "response_format.json_schema.schema", "enum no value"],
  [{ structured_outputs: { regex: "(" } }, "structured_outputs.regex", "expected a regular expression"],
  [{ structured_outputs: { regex: "(a)\\1" } }, "structured_outputs.regex", "a back reference"],
  [
    { structured_outputs: { grammar: "nope" } },
    "structured_outputs.grammar",
    "EBNF parser error at line 1, column 1: The root rule with name",
  ],
  [{ structured_outputs: { grammar: 'root ::= "\\q"' } }, "structured_outputs.grammar", "line 1, column 11: Invalid escape sequence"],
  [{ structured_outputs: { grammar: "root ::= root" } }, "structured_outputs.grammar", "that nothing satisfies"],
  [
    { structured_outputs: { choice: Array.from({ length: 1001 }, (_, i) => `c${i}`) } },
    "structured_outputs.choice",
    "expected 1 to 1000 texts",
  ],
  [{ tools: [tool({ $ref: "#" })], tool_choice: "required" }, "tools", "leads back to itself"],
  [{ tools: [tool({ type: "nope" })], tool_choice: { type: "function", function: { name: "f" } } }, "tools", 'type "nope"'],
];

test("a structure that cannot be had is refused by its field before a stream begins, and its neighbours are served", {
  timeout: 120_000,
}, async () => {
  const { app, lines } = await openApp({ spoken: { grammars: true } });
  const good = { structured_outputs: { choice: ["yes"] }, max_tokens: 20, reasoning_effort: "none" };
  for (const [more, param, message] of structures) {
    for (const stream of [false, true]) {
      const { status, text } = await send(app, "chat", { ...more, stream, n: stream ? 2 : 1 });
      expect([status, text.startsWith('{"error":{"message":')], text).toEqual([400, true]);
      const error = errorOf("chat", text);
      expect(error.message).toContain(message);
      expect(error.message).not.toMatch(/Aborted|ASSERTIONS|generate:/);
      expect(error.param).toBe(param);
    }
  }
  expect(JSON.parse((await send(app, "chat", good)).text).choices).toMatchObject([{ message: { content: "yes" }, finish_reason: "stop" }]);
  for (const [api, more] of [
    ["ollama", { format: { $ref: "#" } }],
    ["anthropic", { output_config: { format: { type: "json_schema", schema: { $ref: "#" } } } }],
    ["responses", { text: { format: { type: "json_schema", name: "s", schema: { $ref: "#" } } } }],
  ] as const) {
    for (const stream of [false, true]) {
      const { status, text } = await send(app, api, { ...more, stream });
      expect([status, errorOf(api, text).message]).toEqual([400, expect.stringContaining("leads back to itself")]);
    }
  }
  expect(lines.filter((line) => line.startsWith("failure"))).toEqual([]);
  const { engine, admission } = app.server.shelf.loaded[0] as NonNullable<(typeof app.server.shelf.loaded)[0]>;
  expect(engine.counts).toMatchObject({ running: 0, waiting: 0 });
  expect([admission.counts(), app.server.live.size]).toEqual([{ running: 0, waiting: 0 }, 0]);
  const { metrics } = app.server;
  expect(metrics.value("requests_rejected_total")).toBe(2 * structures.length + 6);
});

test.each<readonly [Api, object | string]>([
  ["chat", '{"messages":[{"role":"user","content":"\\ud800"}],"max_tokens":2,"stop":"\\udc00","user":"\\udfff","\\ud800":1}'],
  ["completions", '{"prompt":"\\ud83d","max_tokens":2,"echo":true}'],
  ["chat", '{"messages":[{"role":"user","content":"\\u0000"}],"max_tokens":2e0,"temperature":-0,"n":1.0}'],
  [
    "chat",
    '{"messages":[{"role":"user","content":"x","toString":1}],"max_tokens":2,"constructor":{"prototype":{"x":1}},"hasOwnProperty":2}',
  ],
  ["chat", { temperature: 1e-99, seed: -(2 ** 53 - 1) }],
  ["chat", { temperature: null, stop: [], tools: [], tool_choice: "auto", stream_options: null, structured_outputs: null }],
  ["chat", { n: 3, stream: true, tools: [tool({ type: "object", properties: {} })] }],
  ["chat", { thinking: { type: "disabled" }, reasoning_effort: "high" }],
  ["chat", { thinking: { type: "enabled", budget_tokens: 100_000 } }],
  ["chat", { messages: [{ role: "user", content: [] }] }],
  ["responses", { input: [...messages, { ...called, arguments: "" }, answered] }],
  ["responses", { input: [...messages, { ...called, arguments: undefined }, { ...answered, output: { a: 1 } }] }],
  ["responses", { truncation: "auto", include: [], store: true, service_tier: "auto", top_logprobs: 0 }],
  ["anthropic", { system: [{ type: "text", text: "a", cache_control: { type: "ephemeral" } }], mcp_servers: [] }],
  ["anthropic", { metadata: { user_id: 5 }, container: null }],
  ["ollama", { keep_alive: {}, options: { num_ctx: 1e9, num_predict: 2, mirostat: 2 } }],
  ["generate", { context: [], suffix: "", template: "", images: [] }],
])("%s: %j is served", async (api, more) => {
  const { app, lines } = await openApp({ spoken: { says: "hello" } });
  const { status, text } = await send(app, api, more);
  expect([status, text]).toEqual([200, expect.not.stringContaining('"error":{')]);
  expect(lines.filter((line) => line.startsWith("failure"))).toEqual([]);
});

test("a path that is not there is told in the dialect of its neighbours", async () => {
  const { app } = await openApp();
  const ask = async (path: string) => await (await app.fetch(new Request(`http://localhost${path}`, { method: "POST" }))).json();
  expect(await ask("/v1/messages/batches")).toMatchObject({ type: "error", error: { type: "not_found_error" } });
  expect(await ask("/api/pull")).toEqual({ error: expect.stringContaining("a path that is not there") });
  expect(await ask("/v1/embeddings")).toMatchObject({ error: { type: "not_found_error", code: "not_found", param: null } });
});
