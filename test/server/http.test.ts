// HTTP as clients, proxies and attackers write it: old versions, pipelines, absolute targets, expectations, bodies in odd pieces. What is right is answered,
// what is wrong is refused once, in the error shape, and the connection closed; the next client is served.

import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { bodyBytes } from "../load/load-client.ts";
import { openServer } from "./harness.ts";
import { post, raw } from "./raw.ts";

const body = JSON.stringify({ messages: [{ role: "user", content: "x" }], max_tokens: 2, ignore_eos: true });
const chat = "/v1/chat/completions";
const head = (line: string, headers: readonly string[] = []) => `${[line, "Host: localhost", ...headers].join("\r\n")}\r\n\r\n`;
const json = "Content-Type: application/json";

describe("what is right", () => {
  test("HTTP/1.0 with a Host: answered, and closed; a stream too, without chunks", async () => {
    const { listener } = await openServer({ spoken: { says: "hello" } });
    expect(await raw(listener.port, [head("GET /health HTTP/1.0")])).toMatchObject({ status: 200, isClosed: true });
    const streamed = body.replace("{", '{"stream":true,');
    const { text, isClosed } = await raw(
      listener.port,
      [head(`POST ${chat} HTTP/1.0`, [json, `Content-Length: ${streamed.length}`]) + streamed],
      { waitMs: 2000 },
    );
    expect(isClosed).toBe(true);
    expect(text).not.toMatch(/transfer-encoding/i);
    const contents = [...text.matchAll(/"content":"(\w*)"/g)].map(([, content]) => content).join("");
    expect([contents, text.endsWith("data: [DONE]\n\n")]).toEqual(["he", true]);
  });

  test("pipelined requests: answered in their order, each once", async () => {
    const { listener } = await openServer({ spoken: { slots: 2 } });
    const requests = [
      post(chat, body),
      head("GET /health HTTP/1.1"),
      post(chat, body),
      head("GET /nothing HTTP/1.1"),
      head("GET /ready HTTP/1.1"),
    ];
    const { text } = await raw(listener.port, [requests.join("")], { waitMs: 1000 });
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual(["200", "200", "200", "404", "200"]);
    expect(text.indexOf("chat.completion")).toBeLessThan(text.indexOf('"status":"ok"'));
  });

  test("streams in a pipeline: chunk by chunk as long as they say, also where a character is longer than a byte", async () => {
    const { listener } = await openServer({ spoken: { says: "é中🙂", slots: 2 } });
    const streamed = JSON.stringify({ messages: [{ role: "user", content: "x" }], stream: true });
    const { text } = await raw(listener.port, [post(chat, streamed).repeat(2)], { waitMs: 1500 });
    const answers = text.split(/(?=HTTP\/1\.1 200)/);
    expect(answers).toHaveLength(2);
    for (const answer of answers) {
      const events = bodyBytes(Buffer.from(answer, "latin1")).toString();
      const contents = [...events.matchAll(/"content":"([^"]*)"/g)].map(([, content]) => content).join("");
      expect([contents, events.endsWith("data: [DONE]\n\n")]).toEqual(["é中🙂", true]);
    }
  });

  test("a header that comes twice has both values: such a key is none", async () => {
    const { listener } = await openServer({ keys: ["secret"] });
    const ask = async (...keys: string[]) =>
      (
        await raw(listener.port, [
          head("GET /v1/models HTTP/1.1", [...keys.map((key) => `Authorization: Bearer ${key}`), "Connection: close"]),
        ])
      ).status;
    expect([await ask("secret"), await ask("secret", "secret"), await ask("other", "secret"), await ask()]).toEqual([200, 401, 401, 401]);
  });

  test("a pipeline of a hundred answers: those beyond the line are refused, none is lost", async () => {
    const { listener, app } = await openServer({ spoken: { slots: 2 }, limits: { queue: 8 } });
    const { text } = await raw(listener.port, [post(chat, body).repeat(100)], { waitMs: 2000 });
    const statuses = [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status);
    expect(statuses).toHaveLength(100);
    expect(new Set(statuses)).toEqual(new Set(["200", "429"]));
    expect(app.server.live.size).toBe(0);
  });

  test("an absolute target, as proxies send it, when it names the host of the Host header", async () => {
    const { listener } = await openServer();
    const ask = async (target: string) => (await raw(listener.port, [head(`GET ${target} HTTP/1.1`, ["Connection: close"])])).status;
    expect(await ask("http://localhost/v1/models")).toBe(200);
    expect(await ask("HTTP://LOCALHOST/v1/models?x=1")).toBe(200);
    expect(await ask("http://localhost")).toBe(404);
    for (const bad of [
      "http://localhost/v1/../metrics",
      "http://localhost@evil/v1/models",
      "https://localhost/v1/models",
      "ftp://localhost/",
    ])
      expect(await ask(bad)).toBe(400);
  });

  test("Expect: 100-continue: asked for when the body is wanted, and not when it is refused", async () => {
    const { listener } = await openServer({ limits: { bodyBytes: 4096 } });
    const expecting = (length: number) => head(`POST ${chat} HTTP/1.1`, [json, `Content-Length: ${length}`, "Expect: 100-continue"]);
    const { text } = await raw(listener.port, [expecting(body.length), body], { gapMs: 200, waitMs: 1000 });
    expect(text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
    expect(await raw(listener.port, [expecting(100_000)], { waitMs: 1500 })).toMatchObject({ status: 413, isClosed: true });
  });

  test("a chunked body in pieces of one byte, with extensions and a trailer", async () => {
    const { listener } = await openServer();
    const pieces = [...body].map((byte) => `1;a=b\r\n${byte}\r\n`).join("");
    const text = `${head(`POST ${chat} HTTP/1.1`, [json, "Transfer-Encoding: chunked", "Connection: close"])}${pieces}0\r\nX-After: y\r\n\r\n`;
    expect((await raw(listener.port, [text], { waitMs: 1500 })).status).toBe(200);
  });

  test("a request that came while an idle connection's time ran out is answered", async () => {
    const { listener } = await openServer({ limits: { idleSeconds: 1 } });
    const socket = connect(listener.port, "127.0.0.1");
    let text = "";
    const ended = new Promise((resolve) => socket.once("close", resolve));
    socket.on("data", (data) => {
      text += data;
    });
    socket.on("error", (error) => {
      text += error.message;
    });
    socket.write(head("GET /health HTTP/1.1"));
    while (!text.includes("ok")) await new Promise((next) => setTimeout(next, 10));
    socket.write(head("GET /ready HTTP/1.1"));
    // The process is stopped for longer than the connection may be idle.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3000);
    await ended;
    expect(text).toContain('{"ready":true');
    expect(text).not.toContain("ECONNRESET");
  }, 15_000);
});

describe("what is wrong", () => {
  const chunked = [json, "Transfer-Encoding: chunked"];
  test.each<readonly [string, string, number]>([
    ["an expectation nobody knows", head(`POST ${chat} HTTP/1.1`, [json, "Expect: a-miracle", "Content-Length: 0"]), 417],
    ["HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
    ["HTTP/0.9", "GET /health\r\n\r\n", 400],
    ["TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400],
    ["a blank before the colon", head("GET /health HTTP/1.1", ["X-A : b"]), 400],
    ["a folded header", head("GET /health HTTP/1.1", ["X-A: b\r\n c"]), 400],
    ["a negative Content-Length", head(`POST ${chat} HTTP/1.1`, [json, "Content-Length: -1"]), 400],
    ["a signed Content-Length", head(`POST ${chat} HTTP/1.1`, [json, "Content-Length: +5"]), 400],
    ["a Content-Length in hexadecimal", head(`POST ${chat} HTTP/1.1`, [json, "Content-Length: 0x5"]), 400],
    ["a Content-Length beyond all numbers", head(`POST ${chat} HTTP/1.1`, [json, `Content-Length: ${"9".repeat(40)}`]), 400],
    ["a chunk length that wraps", `${head(`POST ${chat} HTTP/1.1`, chunked)}ffffffffffffffffff\r\n`, 400],
    ["a chunk length that is none", `${head(`POST ${chat} HTTP/1.1`, chunked)}zz\r\n`, 400],
    ["a chunk longer than it says", `${head(`POST ${chat} HTTP/1.1`, chunked)}1\r\n{}\r\n0\r\n\r\n`, 400],
    ["chunks with bare line feeds", `${head(`POST ${chat} HTTP/1.1`, chunked)}2\n{}\n0\n\n`, 400],
    ["chunked twice", head(`POST ${chat} HTTP/1.1`, [json, "Transfer-Encoding: chunked, chunked"]), 400],
    ["chunked, and not last", head(`POST ${chat} HTTP/1.1`, [json, "Transfer-Encoding: chunked, gzip"]), 400],
    ["chunked by HTTP/1.0", `${head(`POST ${chat} HTTP/1.0`, [...chunked, "Content-Length: 2"])}{}`, 400],
    ["a line feed in the target", "GET /health\n HTTP/1.1\r\nHost: localhost\r\n\r\n", 400],
    ["a space in the target", head("GET /v1/models /x HTTP/1.1"), 400],
  ])("%s: refused once, and closed", async (_, text, status) => {
    const { listener, url } = await openServer({ limits: { headerSeconds: 1, bodySeconds: 1 } });
    const answer = await raw(listener.port, [Buffer.from(text, "latin1")], { waitMs: 4000 });
    expect(answer).toMatchObject({ status, isClosed: true });
    expect(answer.text.match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
    expect(answer.text).toMatch(/\{"error":\{"message":"[^"]*got [^"]*; expected [^"]*/);
    expect((await fetch(`${url}/health`)).status).toBe(200);
  });

  test("a chunked body without its end: 408, and closed", async () => {
    const { listener } = await openServer({ limits: { headerSeconds: 1, bodySeconds: 1 } });
    const text = `${head(`POST ${chat} HTTP/1.1`, chunked)}${body.length.toString(16)}\r\n${body}\r\n`;
    expect(await raw(listener.port, [text], { waitMs: 6000 })).toMatchObject({ status: 408, isClosed: true });
  }, 15_000);

  test.each<readonly [string, string | Uint8Array<ArrayBuffer>]>([
    ["a number beyond all", '{"messages":[{"role":"user","content":"x"}],"temperature":1e999}'],
    ["a number of 100,000 digits", `{"messages":[{"role":"user","content":"x"}],"seed":${"9".repeat(100_000)}}`],
    ["NaN", '{"messages":[{"role":"user","content":"x"}],"temperature":NaN}'],
    ["a leading zero", '{"messages":[{"role":"user","content":"x"}],"n":01}'],
    ["a comment", '{"messages":[{"role":"user","content":"x"}] /* n */}'],
    ["a comma too many", '{"messages":[{"role":"user","content":"x"}],}'],
    ["single quotes", "{'messages':[]}"],
    ["a byte order mark", `\ufeff${body}`],
    ["UTF-16", Uint8Array.from(Buffer.from(body, "utf16le"))],
    ["an overlong encoding", Uint8Array.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d])],
    ["a surrogate in UTF-8", Uint8Array.from([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d])],
    ["half a character", Uint8Array.from([0x22, 0xe7, 0x8c])],
    ["a control character in a text", '{"messages":[{"role":"user","content":"a\u0001b"}]}'],
    ["an escape that is none", '{"messages":[{"role":"user","content":"\\x41"}]}'],
    ["a key twice, spelled in two ways", '{"messages":[{"role":"user","content":"x"}],"n":1,"\\u006e":2}'],
    ["a key twice deep inside", '{"messages":[{"role":"user","content":"x","content":"y"}]}'],
    ["lists 65 deep where nobody looks", `{"messages":[{"role":"user","content":"x"}],"metadata":${"[".repeat(65)}${"]".repeat(65)}}`],
  ])("a body with %s: 400 and the reason", async (_, text) => {
    const { app } = await openServer();
    const request = new Request(`http://localhost${chat}`, { method: "POST", headers: { "content-type": "application/json" }, body: text });
    const response = await app.fetch(request);
    const { error } = await response.json();
    expect([response.status, error.type]).toEqual([400, "invalid_request_error"]);
    expect(error.message).toMatch(/: got .+; expected .+; .+/s);
    expect(error.message.length).toBeLessThan(1000);
  });
});
