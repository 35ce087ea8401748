// The attack cases A01 to A92, by name, as data where they are one request and one expected answer. After each the server must still serve: ten
// other answers are computed meanwhile and must have the bits that they have alone.

import { describe, expect, test } from "vitest";
import type { App } from "../../src/server/app.ts";
import { limitTable } from "../../src/server/limits.ts";
import { routes } from "../../src/server/routes.ts";
import { openApp, openServer, vocabSize } from "./harness.ts";
import { post, raw } from "./raw.ts";

const messages = [{ role: "user", content: "x" }];
const json = { "content-type": "application/json" };

function ask(
  app: App,
  body: unknown,
  { path = "/v1/chat/completions", headers = {} }: { path?: string; headers?: Record<string, string> } = {},
) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return app.fetch(new Request(`http://localhost${path}`, { method: "POST", headers: { ...json, ...headers }, body: text }));
}

type ErrorBody = { error: { message: string; type: string; param: string | null; code: string | null } };

async function refused(response: Response, status: number, param?: string | null): Promise<ErrorBody["error"]> {
  const { error } = (await response.json()) as ErrorBody;
  expect({ status: response.status, message: error?.message }).toMatchObject({ status });
  expect(Object.keys(error).sort()).toEqual(["code", "message", "param", "type"]);
  expect(error.message).toMatch(/: got .+; expected .+; .+/s);
  if (param !== undefined) expect(error.param).toBe(param);
  return error;
}

describe("keys", () => {
  const call = (app: App, headers: Record<string, string>, path = "/v1/models") =>
    app.fetch(new Request(`http://localhost${path}`, { headers }));

  test.each([
    ["A01: no key", {}, 401],
    ["A02: a wrong key", { authorization: "Bearer wrong" }, 401],
    ["A02: the key and more", { authorization: "Bearer secret2" }, 401],
    ["A02: an empty key", { authorization: "Bearer " }, 401],
    ["A02: another scheme", { authorization: "Basic secret" }, 401],
    ["A04: bearer in lower case", { authorization: "bearer secret" }, 200],
    ["A05: X-Api-Key", { "x-api-key": "secret" }, 401],
    ["the right key", { authorization: "Bearer secret" }, 200],
  ])("%s", async (_, headers, status) => {
    const { app } = await openApp({ keys: ["other", "secret"] });
    const response = await call(app, headers as Record<string, string>);
    expect(response.status).toBe(status);
    if (status !== 401) return;
    expect(response.headers.get("www-authenticate")).toBe("Bearer");
    expect((await refused(response, 401)).type).toBe("authentication_error");
  });

  test.each(["Bearer sec\nret", "Bearer sec\0ret", "Bearer secret\0"])("A03: %j", async (value) => {
    const { listener } = await openServer({ keys: ["secret"] });
    const { status } = await raw(listener.port, [`GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${value}\r\n\r\n`]);
    expect([400, 401]).toContain(status);
  });

  test("A06: a key in the query is ignored", async () => {
    const { app } = await openApp({ keys: ["secret"] });
    await refused(await call(app, {}, "/v1/models?api_key=secret&key=secret"), 401);
  });

  test("A07: every route of the table without a key", async () => {
    const { app } = await openApp({ keys: ["secret"] });
    const open: string[] = [];
    for (const { method, path } of routes) {
      const url = `http://localhost${path.replace(/:\w+(\{.*\})?/, "x")}`;
      const init = method === "POST" ? { method, headers: json, body: "{}" } : { method };
      const { status } = await app.fetch(new Request(url, init));
      if (status !== 401) open.push(path);
    }
    // The page holds nothing of anybody's, and asks for the key itself.
    expect(open).toEqual(["/", "/assets/:file", "/health", "/ready"]);
    for (const path of ["/nothing", "/assets/", "/assets/a/b", "/runs/", "/v1/", "/V1/models", "/metrics/", "/health/x"])
      expect((await call(app, {}, path)).status).toBe(401);
  });

  // A busy machine may disturb one round of it.
  test("A08: the time of a refusal does not tell how much of a key is right", { retry: 2 }, async () => {
    const { app } = await openApp({ keys: ["0123456789abcdef0123456789abcdef"] });
    const time = async (key: string) => {
      const begun = performance.now();
      await call(app, { authorization: `Bearer ${key}` });
      return performance.now() - begun;
    };
    const near = "0123456789abcdef0123456789abcdeX";
    const far = "X123456789abcdef0123456789abcdef";
    const samples: [number[], number[]] = [[], []];
    for (let i = 0; i < 3000; i++) {
      const first = i % 2;
      samples[first as 0 | 1].push(await time(first === 0 ? near : far));
    }
    const [a, b] = samples.map((list) => {
      const kept = list
        .slice(100)
        .sort((x, y) => x - y)
        .slice(0, -100); // without the pauses of garbage collection
      const mean = kept.reduce((sum, x) => sum + x, 0) / kept.length;
      return { mean, error: kept.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (kept.length - 1) / kept.length };
    }) as [{ mean: number; error: number }, { mean: number; error: number }];
    expect(Math.abs(a.mean - b.mean) / Math.sqrt(a.error + b.error)).toBeLessThan(4.5);
  });
});

describe("where it is addressed to", () => {
  test.each([
    ["A09: another name", "evil.example", 403],
    ["A12: a public name of 127.0.0.1", "127.0.0.1.nip.io", 403],
    ["another name with our port", "evil.example:8080", 403],
    ["a name that holds ours", "localhost.evil.example", 403],
    ["a user before the name", "localhost@evil.example", 403],
    ["our name", "localhost:8080", 200],
    ["our name in capitals", "LOCALHOST", 200],
    ["our name with its dot", "localhost.", 200],
    ["our address", "127.0.0.1:80", 200],
    ["our address, sixth version", "[::1]:80", 200],
    ["a name that was allowed", "my.box", 200],
  ])("%s", async (_, host, status) => {
    const { app, listener } = await openServer({ hosts: ["my.box"] });
    const answer = await raw(listener.port, [`GET /v1/models HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`]);
    expect(answer.status).toBe(status);
    expect(app.server.state).toBe("ready");
  });

  test.each([
    ["A10: no Host", "GET /health HTTP/1.1\r\n\r\n", 400],
    ["A11: two Hosts", "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400],
    ["A13: HTTP/1.0 without Host", "GET /health HTTP/1.0\r\n\r\n", 403],
  ])("%s", async (_, request, status) => {
    const { listener } = await openServer();
    const answer = await raw(listener.port, [request]);
    expect(answer.status).toBe(status);
    expect(answer.text).toContain('{"error":{"message":');
  });

  test.each([
    ["A14: an origin that nobody allowed", "https://evil.example"],
    ["A15: the origin null", "null"],
  ])("%s", async (_, origin) => {
    for (const origins of [[], ["https://good.example"]]) {
      const { app } = await openApp({ origins });
      const response = await app.fetch(new Request("http://localhost/v1/models", { headers: { origin } }));
      expect(response.headers.has("access-control-allow-origin")).toBe(false);
      expect(response.headers.has("access-control-allow-credentials")).toBe(false);
    }
  });

  test("an origin that was allowed gets its own name, never credentials", async () => {
    const { app } = await openApp({ origins: ["https://good.example"], keys: ["k"] });
    const response = await app.fetch(
      new Request("http://localhost/v1/models", { headers: { origin: "https://good.example", authorization: "Bearer k" } }),
    );
    expect(response.headers.get("access-control-allow-origin")).toBe("https://good.example");
    expect(response.headers.has("access-control-allow-credentials")).toBe(false);
    const preflight = await app.fetch(
      new Request("http://localhost/v1/chat/completions", {
        method: "OPTIONS",
        headers: { origin: "https://good.example", "access-control-request-method": "POST" },
      }),
    );
    expect([preflight.status, preflight.headers.get("access-control-allow-origin")]).toEqual([204, "https://good.example"]);
  });

  test("A16: a preflight from a stranger, with the private-network header", async () => {
    const { app } = await openApp({ origins: ["https://good.example"] });
    const headers = {
      origin: "https://evil.example",
      "access-control-request-method": "POST",
      "access-control-request-private-network": "true",
    };
    const response = await app.fetch(new Request("http://localhost/v1/chat/completions", { method: "OPTIONS", headers }));
    expect([...response.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
  });

  test.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "text/plain; application/json"])(
    "A17: a simple POST of type %j",
    async (type) => {
      const { app } = await openApp();
      await refused(await ask(app, { messages }, { headers: { "content-type": type } }), 415);
    },
  );

  test("A17: on Ollama's paths JSON may come unsaid, as its clients send it, but not from a page", async () => {
    const { app } = await openApp({ spoken: { says: "hello" } });
    const send = (headers: Record<string, string>) => {
      const body = new TextEncoder().encode(JSON.stringify({ model: "test", messages, stream: false }));
      return app.fetch(new Request("http://localhost/api/chat", { method: "POST", body, headers }));
    };
    const types: Record<string, string>[] = [{}, { "content-type": "application/x-www-form-urlencoded" }];
    const pages: Record<string, string>[] = [{ origin: "https://evil.example" }, { origin: "null" }, { "sec-fetch-site": "cross-site" }];
    for (const type of types) {
      expect((await send(type)).status).toBe(200);
      for (const page of pages) expect((await send({ ...type, ...page })).status).toBe(415);
    }
    for (const type of ["text/plain", "multipart/form-data", "application/octet-stream"])
      expect((await send({ "content-type": type })).status).toBe(415);
  });
});

describe("bodies", () => {
  test("A18: a body above the limit is refused by its length, without being read", async () => {
    const { listener, app } = await openServer({ limits: { bodyBytes: 1024 } });
    const answer = await raw(listener.port, [
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n{",
    ]);
    expect(answer).toMatchObject({ status: 413, isClosed: true });
    await refused(await ask(app, { messages, pad: "x".repeat(2000) }), 413);
  });

  test("A18: the default limit is 8 MB", async () => {
    expect(limitTable.bodyBytes.standard).toBe(8 * 1024 * 1024);
    const { app } = await openApp();
    await refused(await ask(app, `{"messages": "${"x".repeat(8 * 1024 * 1024)}"}`), 413);
  });

  test("A19: an endless chunked body is cut at the limit", async () => {
    const { listener } = await openServer({ limits: { bodyBytes: 4096 } });
    const head =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    const chunk = `400\r\n${"x".repeat(1024)}\r\n`;
    const answer = await raw(listener.port, [head, ...Array.from({ length: 50 }, () => chunk)], { gapMs: 2, waitMs: 800 });
    expect(answer).toMatchObject({ status: 413, isClosed: true });
  });

  test("A20: a Content-Length that is too short or too long", async () => {
    const { listener } = await openServer({ limits: { headerSeconds: 1, bodySeconds: 1 } });
    const body = JSON.stringify({ messages, max_tokens: 1 });
    const short = post("/v1/chat/completions", body).replace(/Content-Length: \d+/, "Content-Length: 10");
    expect((await raw(listener.port, [short])).status).toBe(400);
    const long = post("/v1/chat/completions", body).replace(/Content-Length: \d+/, "Content-Length: 5000");
    expect(await raw(listener.port, [long], { waitMs: 5000 })).toMatchObject({ status: 408, isClosed: true });
  });

  test("A21: a compressed body", async () => {
    const { app } = await openApp();
    await refused(await ask(app, "x", { headers: { "content-encoding": "gzip" } }), 415);
  });

  test.each([
    ["A22: not JSON", "hello"],
    ["A22: half of it", '{"messages": ['],
    ["A22: two of them", '{"messages": []} {}'],
    ["A22: nothing", ""],
    ["A22: not UTF-8", new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
    ["A23: 100,000 deep", `{"a": ${"[".repeat(100_000)}`],
    ["A23: objects 100,000 deep", '{"a":'.repeat(100_000)],
    ["A24: a key twice", '{"messages": [{"role":"user","content":"x"}], "n": 1, "n": 2}'],
    ["A25: __proto__", '{"messages": [{"role":"user","content":"x"}], "__proto__": {"isAdmin": true}}'],
    ["A25: __proto__, with a letter escaped", '{"messages": [{"role":"user","content":"x"}], "a": {"__pr\\u006fto__": 1}}'],
    ["A25: __proto__, spelled otherwise", '{"messages": [{"role":"user","content":"x","\\u005f_proto__": 1}]}'],
    ["A26: a list", "[]"],
    ["A26: null", "null"],
    ["A26: a number", "5"],
    ["A26: a text", '"x"'],
  ])("%s", async (_, body) => {
    const { app } = await openApp();
    const begun = performance.now();
    const request = new Request("http://localhost/v1/chat/completions", { method: "POST", headers: json, body });
    await refused(await app.fetch(request), 400);
    expect(performance.now() - begun).toBeLessThan(500);
    expect(Object.prototype).not.toHaveProperty("isAdmin");
  });
});

describe("connections", () => {
  test("A27: 64 kB of headers; A28: 10,000 headers", async () => {
    const { listener, url } = await openServer();
    const head = "GET /health HTTP/1.1\r\nHost: localhost\r\n";
    expect((await raw(listener.port, [`${head}X: ${"y".repeat(65_536)}\r\n\r\n`])).status).toBe(431);
    expect((await raw(listener.port, [head + "a:b\r\n".repeat(10_000), "\r\n"])).status).toBe(431);
    expect((await raw(listener.port, [head + "a:b\r\n".repeat(200), "\r\n"])).status).toBe(431);
    expect((await fetch(`${url}/health`)).status).toBe(200);
  });

  test("A29: slow headers; A30: a slow body", async () => {
    const { listener, url } = await openServer({ limits: { headerSeconds: 1, bodySeconds: 1 } });
    const slowly = (text: string) => raw(listener.port, [...text], { gapMs: 100, waitMs: 4000 });
    const [headers, body] = await Promise.all([
      slowly("GET /health HTTP/1.1\r\nHost: localhost\r\nX: yyyyyyyyyyyyyyyy"),
      raw(
        listener.port,
        [post("/v1/completions", "").replace("Length: 0", "Length: 100"), ...'{"prompt": "slow slow slow slow slow slow"'],
        {
          gapMs: 100,
          waitMs: 4000,
        },
      ),
      fetch(`${url}/health`).then(({ status }) => expect(status).toBe(200)),
    ]);
    expect(headers).toMatchObject({ status: 408, isClosed: true });
    expect(body).toMatchObject({ status: 408, isClosed: true });
  });

  test("A31: 500 idle sockets; others are served", async () => {
    const { listener, url } = await openServer({ limits: { headerSeconds: 1 } });
    const idle = Array.from({ length: 500 }, () => raw(listener.port, [], { waitMs: 6000 }));
    expect((await fetch(`${url}/health`)).status).toBe(200);
    expect((await Promise.all(idle)).every(({ isClosed }) => isClosed)).toBe(true);
  });

  test.each([
    ["A83", "GET /v1/../metrics HTTP/1.1", 400],
    ["A83", "GET //v1/models HTTP/1.1", 404],
    ["A83", "GET /v1/models/%2e%2e HTTP/1.1", 400],
    ["A83", "GET /v1/models/%00 HTTP/1.1", 400],
    ["A83", "GET /v1/models/..%2fx HTTP/1.1", 404],
    ["A83", "GET http://evil.example/v1/models HTTP/1.1", 400],
    ["A83", "GET v1/models HTTP/1.1", 400],
    ["A84", "TRACE / HTTP/1.1", 405],
    ["A84", "CONNECT evil.example:80 HTTP/1.1", 405],
    ["A84", "DELETE /v1/models HTTP/1.1", 405],
    ["A84", "GET /v1/chat/completions HTTP/1.1", 405],
    ["A84", "BREW /v1/models HTTP/1.1", 400],
  ])("%s: %s", async (_, line, status) => {
    const { listener } = await openServer();
    const answer = await raw(listener.port, [`${line}\r\nHost: localhost\r\nConnection: close\r\n\r\n`]);
    expect(answer.status).toBe(status);
    expect(answer.text).toContain('"error":{"message":');
  });

  test.each([
    [
      "Content-Length and Transfer-Encoding",
      "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ["two Content-Lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"],
    ["an odd Transfer-Encoding", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"],
    ["Transfer-Encoding twice", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ])("A85: smuggling by %s: one answer, and the connection is closed", async (_, rest) => {
    const { listener } = await openServer();
    const answer = await raw(
      listener.port,
      [`POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${rest}`],
      { waitMs: 1000 },
    );
    expect(answer.isClosed).toBe(true);
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
  });
});

/** [case, fields beside the messages, the field that the answer must name]. */
const badFields: readonly (readonly [string, object, string])[] = [
  ...[0, -1, 1.5, 17, 1e9].map((n) => ["A32", { n }, "n"] as const),
  ...[0, -1, 2 ** 31, 1e12, "5"].map((max_tokens) => ["A34", { max_tokens }, "max_tokens"] as const),
  ["A36", { messages: [{ role: "user", content: "x".repeat(600) }] }, "messages"],
  ["A37", { messages: [{ role: "user", content: "x".repeat(5_000_000) }] }, "messages"],
  ["A38", { messages: [] }, "messages"],
  ["A39", { messages: Array.from({ length: 100_000 }, () => ({ role: "user", content: "x" })) }, "messages"],
  ...[999_999, -1, "NaN"].map((temperature) => ["A40", { temperature }, "temperature"] as const),
  ...[-1, 0, 1.0001].map((top_p) => ["A41", { top_p }, "top_p"] as const),
  ["A42", { top_k: -5 }, "top_k"],
  ["A43", { presence_penalty: 1e30 }, "presence_penalty"],
  ["A43", { frequency_penalty: -1e30 }, "frequency_penalty"],
  ["A43", { repetition_penalty: 1e30 }, "repetition_penalty"],
  ["A44", { seed: 2 ** 64 }, "seed"],
  ["A45", { min_p: 2 }, "min_p"],
  ["A46", { logit_bias: Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [i, 1])) }, "logit_bias"],
  ["A47", { logit_bias: { "-1": 1 } }, "logit_bias.-1"],
  ["A47", { logit_bias: { "1e3": 1 } }, "logit_bias.1e3"],
  ["A47", { logit_bias: { [vocabSize]: 1 } }, `logit_bias.${vocabSize}`],
  ["A48", { logit_bias: { "5": 1e9 } }, "logit_bias.5"],
  ["A48", { logit_bias: { "5": null } }, "logit_bias.5"],
  ["A54", { stop: Array.from({ length: 1000 }, (_, i) => `s${i}`) }, "stop"],
  ["A55", { stop: "" }, "stop"],
  ["A55", { stop: ["a", ""] }, "stop[1]"],
  ["A56", { stop: "x".repeat(1_000_000) }, "stop[0]"],
  ["A58", { logprobs: 1e6 }, "logprobs"],
  ["A58", { logprobs: true, top_logprobs: 21 }, "top_logprobs"],
  ["A58", { logprobs: true, top_logprobs: -1 }, "top_logprobs"],
  ["A58", { top_logprobs: 2 }, "top_logprobs"],
  ["A71", { tools: Array.from({ length: 1000 }, (_, i) => ({ type: "function", function: { name: `f${i}` } })) }, "tools"],
  ["A72", { tools: [{ type: "function", function: { name: "a name" } }] }, "tools[0].function.name"],
  ["A73", { tool_choice: "sometimes" }, "tool_choice"],
  ["A73", { tool_choice: { type: "function", function: { name: "f" } } }, "tool_choice"],
  ["A73", { tool_choice: "required" }, "tool_choice"],
  ["A75", { messages: [...messages, { role: "tool", tool_call_id: "c", content: "r" }] }, "messages[1].tool_call_id"],
  ["A76", { response_format: { type: "xml" } }, "response_format.type"],
  ["A76", { response_format: { type: "json_schema" } }, "response_format.json_schema"],
  ["A78", { stream_options: { include_usage: true } }, "stream_options"],
  [
    "A82",
    { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "http://169.254.169.254/" } }] }] },
    "messages[0].content[0].type",
  ],
  [
    "A82",
    { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "file:///etc/passwd" } }] }] },
    "messages[0].content[0].type",
  ],
  ["A82", { messages: [{ role: "user", content: [{ type: "input_audio" }] }] }, "messages[0].content[0].type"],
  ["a role", { messages: [{ role: "root", content: "x" }] }, "messages[0].role"],
  ["no content", { messages: [{ role: "user" }] }, "messages[0].content"],
  ["a content", { messages: [{ role: "user", content: 5 }] }, "messages[0].content"],
  ["an effort", { reasoning_effort: "utmost" }, "reasoning_effort"],
  ["a budget", { thinking_token_budget: -1 }, "thinking_token_budget"],
  ["a switch", { chat_template_kwargs: { messages: [] } }, "chat_template_kwargs"],
];

/** Some values are megabytes: titles have their beginning. */
function titled([id, more, param]: readonly [string, object, string]): [string, string, object, string] {
  return [id, JSON.stringify(more).slice(0, 60), more, param];
}

describe("fields of chat completions", () => {
  test.each(badFields.map(titled))("%s: %s is refused by the name of its field", async (_, __, more, param) => {
    const { app } = await openApp();
    await refused(await ask(app, { messages, ...more }), 400, param);
    expect(app.server.shelf.loaded[0]?.engine.counts).toMatchObject({ steps: 0, running: 0, waiting: 0 });
  });

  test("A35: max_tokens above what is left of the context: cut there, with finish_reason length", async () => {
    const { app } = await openApp({ spoken: { contextLength: 64 } });
    const response = await ask(app, { messages, max_tokens: 1000, ignore_eos: true });
    const { usage, choices } = (await response.json()) as { usage: { total_tokens: number }; choices: { finish_reason: string }[] };
    expect([usage.total_tokens, choices[0]?.finish_reason]).toEqual([64, "length"]);
  });

  test.each([
    { temperature: 1e-320 },
    { temperature: 2, top_p: 1e-300 },
    { min_p: 1 },
    { top_k: -1, seed: -1 },
    { seed: 2 ** 53 - 1 },
    { presence_penalty: -2 },
  ])("A40 to A45: at the edge, %j, an answer", async (more) => {
    const { app } = await openApp();
    const response = await ask(app, { messages, max_tokens: 3, logprobs: true, ...more });
    expect(response.status).toBe(200);
  });

  test("A57: a stop text that begins again and again and never ends", async () => {
    const { app } = await openApp({ spoken: { says: "aaaaaaaaaab aaaab".repeat(8) } });
    const response = await ask(app, { messages, stop: [`${"a".repeat(12)}c`, "abc"], stream: true });
    const text = (await response.text())
      .split("\n\n")
      .filter((line) => line.startsWith("data: {"))
      .map((line) => JSON.parse(line.slice(6)).choices[0]?.delta.content ?? "")
      .join("");
    expect(text).toBe("aaaaaaaaaab aaaab".repeat(8));
  });

  test("A74: arguments that are no JSON are delivered as a text", async () => {
    const { app } = await openApp({ spoken: { says: '<tool_call>{"name": "f", "arguments": {city: Taipei</tool_call>' } });
    const tools = [{ type: "function", function: { name: "f" } }];
    const { choices } = (await (await ask(app, { messages, tools })).json()) as { choices: { message: { tool_calls: unknown[] } }[] };
    expect(choices[0]?.message.tool_calls).toMatchObject([{ function: { name: "f", arguments: "{city: Taipei" } }]);
  });

  test("A77: fields that nobody knows are ignored", async () => {
    const { app } = await openApp();
    expect((await ask(app, { messages, max_tokens: 1, store: true, metadata: { a: "b" }, whatever: [1] })).status).toBe(200);
  });

  test.each(["nothing", "../x", "/etc/passwd", "a".repeat(200), "\u0000"])("A79, A80: the model %j", async (model) => {
    const { app } = await openApp();
    const error = await refused(await ask(app, { messages, model }), 404, "model");
    expect(error.code).toBe("model_not_found");
  });

  test("A81: user with new lines: one line of the log, and no text of the prompt in it", async () => {
    const { app, lines } = await openApp();
    const secret = "hunter2-prompt";
    await ask(app, { messages: [{ role: "user", content: secret }], max_tokens: 1, user: "a\nrequest id=forged\u001b[31m" });
    await ask(app, { messages: [{ role: "user", content: secret }], model: "a\nrequest id=forged" });
    expect(lines).toHaveLength(2);
    for (const line of lines) expect(line).toMatch(/^request id=req-\w+ method=POST path=\/v1\/chat\/completions /);
    for (const bad of ["\n", "\u001b", secret]) expect(lines.join("")).not.toContain(bad);
  });

  test("A81: with logTexts the text of a request is in its line, escaped; without it is in none", async () => {
    const secret = 'hunter2\n"prompt"\u001b[31m';
    const linesOf = async (logTexts: boolean) => {
      const { app, lines } = await openApp({ logTexts });
      await ask(app, { messages: [{ role: "user", content: secret }], max_tokens: 1 });
      await ask(app, { messages: [{ role: "user", content: secret }], max_tokens: 1, n: 16, stop: [""] });
      return lines;
    };
    const [without, withTexts] = [await linesOf(false), await linesOf(true)];
    expect([without.length, withTexts.length]).toEqual([2, 2]);
    expect(without.join("")).not.toContain("hunter2");
    expect(withTexts[0]).toContain("hunter2");
    for (const line of withTexts) expect(line).not.toMatch(/\p{Cc}/u);
  });

  test("A91: labels of metrics come from fixed sets", async () => {
    const { app } = await openApp();
    for (let i = 0; i < 300; i++) await ask(app, { messages, model: `m${i}`, user: `u${i}` });
    const text = await (await app.fetch(new Request("http://localhost/metrics"))).text();
    expect(text).toContain('gradually:requests_rejected_total{reason="model"} 300');
    expect(text.split("\n").filter((line) => line.startsWith("gradually:requests_rejected_total"))).toHaveLength(1);
  });
});

describe("fields of completions", () => {
  test.each<readonly [string, object, string]>([
    ["A33", { best_of: 1_000_000 }, "best_of"],
    ["A33", { best_of: 2 }, "best_of"],
    ["A38", { prompt: "" }, "prompt"],
    ["A38", { prompt: [] }, "prompt"],
    ["A49", { prompt: [-1] }, "prompt"],
    ["A50", { prompt: [vocabSize] }, "prompt"],
    ["A51", { prompt: [1.5] }, "prompt"],
    ["A52", { prompt: [[1], [vocabSize]] }, "prompt[1]"],
    ["A52", { prompt: [[1], []] }, "prompt[1]"],
    ["A52", { prompt: [[1], ["a"]] }, "prompt[1][0]"],
    ["A53", { prompt: Array.from({ length: 1_100_000 }, () => 1) }, "prompt"],
    ["A58", { logprobs: 1e6 }, "logprobs"],
    ["A32", { prompt: ["a", "b", "c"], n: 6 }, "n"],
    ["suffix", { suffix: "x" }, "suffix"],
  ])("%s: a bad prompt or count", async (_, more, param) => {
    const { app } = await openApp();
    const error = await refused(await ask(app, { prompt: "x", ...more }, { path: "/v1/completions" }), 400);
    expect(error.param?.startsWith(param.split("[")[0] as string)).toBe(true);
    expect(app.server.shelf.loaded[0]?.engine.counts.steps).toBe(0);
  });
});

test("after all of it: ten answers under way while bad requests come have the bits that they have alone", async () => {
  const { app } = await openApp({ spoken: { slots: 4 } });
  const body = (i: number) => ({
    messages: [{ role: "user", content: `question ${i}` }],
    max_tokens: 24,
    seed: i,
    temperature: 1,
    logprobs: true,
  });
  const alone: unknown[] = [];
  for (let i = 0; i < 10; i++) alone.push(((await (await ask(app, body(i))).json()) as { choices: unknown }).choices);
  const crowd = Array.from({ length: 10 }, async (_, i) => ((await (await ask(app, body(i))).json()) as { choices: unknown }).choices);
  const bad = badFields.map(async ([, more]) => expect((await ask(app, { messages, ...more })).status).toBe(400));
  expect(await Promise.all(crowd)).toEqual(alone);
  await Promise.all(bad);
  const { metrics } = app.server;
  expect(metrics.value("requests_received_total")).toBe(20 + badFields.length);
  expect(metrics.value("request_success_total") + metrics.value("requests_rejected_total")).toBe(20 + badFields.length);
});
