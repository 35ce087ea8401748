// The server under load and at its ends: the cases L01 to L25 that fit into a suite. In-process where a socket adds nothing.

import OpenAI from "openai";
import { describe, expect, test } from "vitest";
import type { App } from "../../src/server/app.ts";
import { entry, openApp, openServer, speaker } from "./harness.ts";

const messages = [{ role: "user", content: "x" }];
const long = { messages, max_tokens: 100, ignore_eos: true };

function ask(app: App, body: object, init: RequestInit = {}): Promise<Response> {
  const headers = { "content-type": "application/json", ...init.headers };
  return app.fetch(
    new Request("http://localhost/v1/chat/completions", { ...init, method: "POST", headers, body: JSON.stringify({ messages, ...body }) }),
  );
}

/** Nothing runs, nothing waits, all pages are free, and every request has one outcome. */
async function expectRest(app: App): Promise<void> {
  const { metrics, shelf, live } = app.server;
  for (let i = 0; i < 100 && live.size > 0; i++) await new Promise((next) => setTimeout(next, 10));
  const [model] = shelf.loaded;
  expect(model?.engine.counts).toMatchObject({ running: 0, waiting: 0 });
  expect(model?.engine.counts.freePages).toBe(model?.engine.counts.pages);
  expect(model?.admission.counts()).toEqual({ running: 0, waiting: 0 });
  const outcomes = ["request_success_total", "requests_failed_total", "requests_cancelled_total", "requests_rejected_total"] as const;
  const sum = outcomes.reduce((total, name) => total + metrics.value(name), 0);
  expect(sum).toBe(metrics.value("requests_received_total"));
}

describe("the line", () => {
  test("L01: of S + Q + 20 at once exactly 20 are answered 429, soon, with Retry-After; the rest complete", async () => {
    const { app } = await openApp({ spoken: { slots: 4, stepMs: 1 }, limits: { queue: 6 } });
    const times: number[] = [];
    const answers = await Promise.all(
      Array.from({ length: 30 }, async () => {
        const begun = performance.now();
        const response = await ask(app, { max_tokens: 20, ignore_eos: true });
        if (response.status === 429) times.push(performance.now() - begun);
        await response.text();
        return response;
      }),
    );
    const refused = answers.filter(({ status }) => status === 429);
    expect([refused.length, answers.filter(({ status }) => status === 200).length]).toEqual([20, 10]);
    for (const { headers } of refused) expect(headers.get("retry-after")).toMatch(/^[1-9]\d?$/);
    expect(Math.max(...times)).toBeLessThan(1000);
    await expectRest(app);
    expect(app.server.metrics.value("requests_rejected_total", { reason: "queue_full" })).toBe(20);
  });

  test("L02: the default client, which tries again, gets every answer", async () => {
    const { url, app } = await openServer({ spoken: { slots: 2 }, limits: { queue: 4 } });
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 8 });
    const all = Array.from({ length: 16 }, () =>
      client.chat.completions.create({ model: "test", messages: messages as [], max_tokens: 4 }),
    );
    for (const { choices } of await Promise.all(all)) expect(choices).toHaveLength(1);
    await expectRest(app);
  }, 60_000);

  test("n counts as so many places", async () => {
    const { app } = await openApp({ spoken: { slots: 2 }, limits: { queue: 2 } });
    const [a, b] = await Promise.all([ask(app, { ...long, n: 4 }), ask(app, { ...long, n: 1 })]);
    expect([a?.status, b?.status]).toEqual([200, 429]);
  });
});

describe("clients that vanish", () => {
  test("L05: before the first byte, in the queue, in the middle, after the last: everything is given back", async () => {
    const { url, app } = await openServer({ spoken: { slots: 3 }, limits: { queue: 200 } });
    let seed = 1;
    const random = () => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed / 2_147_483_647;
    };
    const ones = Array.from({ length: 60 }, async (_, i) => {
      const control = new AbortController();
      setTimeout(() => control.abort(), random() * 400);
      const body = JSON.stringify({ messages, max_tokens: 60, ignore_eos: true, stream: i % 2 === 0 });
      const headers = { "content-type": "application/json" };
      try {
        const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body, signal: control.signal });
        return (await response.text()).length > 0;
      } catch {
        return false;
      }
    });
    const ended = await Promise.all(ones);
    await expectRest(app);
    const { metrics } = app.server;
    expect(metrics.value("requests_cancelled_total")).toBeGreaterThan(0);
    expect(metrics.value("request_success_total") + metrics.value("requests_cancelled_total")).toBe(
      metrics.value("requests_received_total"),
    );
    expect(ended.filter(Boolean).length).toBeLessThanOrEqual(metrics.value("request_success_total"));
  }, 60_000);

  test("a client that goes away ends its computing within a token or two", async () => {
    const { app } = await openApp({ spoken: { stepMs: 5 } });
    const response = await ask(app, { max_tokens: 400, ignore_eos: true, stream: true });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (let i = 0; i < 4; i++) await reader.read();
    const before = app.server.shelf.loaded[0]?.engine.counts.emitted ?? 0;
    await reader.cancel();
    await expectRest(app);
    expect((app.server.shelf.loaded[0]?.engine.counts.emitted ?? 0) - before).toBeLessThanOrEqual(2);
    expect(app.server.metrics.value("requests_cancelled_total")).toBe(1);
  });

  test("L05: a client of several answers that goes away while it reads none leaves no failure that nobody hears", async () => {
    const { app } = await openApp({ spoken: { slots: 4, stepMs: 1 } });
    // Such a failure ends Node.
    const unheard: unknown[] = [];
    const hear = (reason: unknown) => unheard.push(reason);
    process.on("unhandledRejection", hear);
    try {
      for (let pieces = 1; pieces <= 6; pieces++) {
        const gone = new AbortController();
        const response = await ask(app, { ...long, n: 3, stream: true }, { signal: gone.signal });
        const reader = (response.body as ReadableStream<Uint8Array>).getReader();
        for (let i = 0; i < pieces; i++) await reader.read();
        gone.abort();
        await new Promise((next) => setTimeout(next, 20));
        await reader.cancel();
      }
    } finally {
      process.off("unhandledRejection", hear);
    }
    expect(unheard).toEqual([]);
    await expectRest(app);
  });

  test("L06: the same beginning again is still in the cache", async () => {
    const { app } = await openApp();
    const content = "a long beginning that is the same in both requests. ".repeat(6);
    const body = { messages: [{ role: "user", content }], max_tokens: 40, ignore_eos: true, stream: true };
    const reader = ((await ask(app, body)).body as ReadableStream<Uint8Array>).getReader();
    for (let i = 0; i < 4; i++) await reader.read();
    await reader.cancel();
    await expectRest(app);
    const { usage } = (await (await ask(app, { ...body, stream: false })).json()) as { usage: { prompt_cache_hit_tokens: number } };
    expect(usage.prompt_cache_hit_tokens).toBeGreaterThan(200);
  });

  test("L07, L08: a reader that does not read is cut after the write time-out; others are not disturbed", async () => {
    const { app, lines } = await openApp({ limits: { writeSeconds: 1 } });
    const stuck = await Promise.all(Array.from({ length: 3 }, () => ask(app, { ...long, stream: true })));
    const begun = performance.now();
    expect((await ask(app, { ...long, max_tokens: 10 })).status).toBe(200);
    expect(performance.now() - begun).toBeLessThan(1000);
    await new Promise((next) => setTimeout(next, 1200));
    for (const response of stuck) await expect(response.text()).rejects.toThrow(/read nothing for 1 s/);
    await expectRest(app);
    expect(lines.filter((line) => line.includes("read nothing"))).toHaveLength(3);
  });

  test("L07: what gathers for a slow reader comes in fewer, larger pieces, whole and in order", async () => {
    const { app } = await openApp({ spoken: { says: "0123456789".repeat(20) } });
    const response = await ask(app, { stream: true });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let text = "";
    let pieces = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      text += new TextDecoder().decode(value);
      pieces++;
      await new Promise((next) => setTimeout(next, 20));
    }
    const contents = [...text.matchAll(/"content":"(\d+)"/g)].map(([, digits]) => digits).join("");
    expect(contents).toBe("0123456789".repeat(20));
    expect(pieces).toBeLessThan(100);
  });

  test("a buffer that would grow beyond its limit ends that answer", async () => {
    const { app } = await openApp({ spoken: { contextLength: 1024 }, limits: { streamBytes: 4096 } });
    const response = await ask(app, { max_tokens: 900, ignore_eos: true, stream: true, logprobs: true, top_logprobs: 20 });
    await new Promise((next) => setTimeout(next, 500));
    expect(await response.text()).toMatch(/bytes that nobody read/);
    await expectRest(app);
  });
});

describe("time", () => {
  test("L09: a request that takes too long is answered 504", async () => {
    const { app } = await openApp({ spoken: { stepMs: 30 }, limits: { requestSeconds: 1 } });
    const response = await ask(app, { max_tokens: 400, ignore_eos: true });
    expect([response.status, ((await response.json()) as { error: { code: string } }).error.code]).toEqual([504, "timeout"]);
    await expectRest(app);
  });

  test("silence is filled with comments, which the client does not see", async () => {
    let release = () => {};
    const { app } = await openApp({ spoken: { says: "ok" }, limits: { keepAliveSeconds: 1 } });
    const [model] = app.server.shelf.loaded;
    const submit = model?.engine.submit.bind(model.engine);
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    Object.assign(model?.engine as object, {
      submit: async (...args: Parameters<NonNullable<typeof submit>>) => {
        await gate;
        return await submit?.(...args);
      },
    });
    setTimeout(release, 2300);
    const text = await (await ask(app, { stream: true })).text();
    expect(text.match(/^: keep-alive$/gm)).toHaveLength(2);
    expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  });

  test("L20: while the first model is loaded: alive, not ready, requests 503 with Retry-After", async () => {
    let loaded = () => {};
    const gate = new Promise<void>((resolve) => {
      loaded = resolve;
    });
    const { makeApp } = await import("../../src/server/app.ts");
    const slow = async () => {
      await gate;
      return speaker({ says: "ok" });
    };
    const app = await makeApp({ models: [entry("test", slow)], version: "0" });
    const started = app.start();
    const get = async (path: string) => (await app.fetch(new Request(`http://localhost${path}`))).status;
    expect([await get("/health"), await get("/ready")]).toEqual([200, 503]);
    const early = await ask(app, {});
    expect([early.status, early.headers.get("retry-after")]).toEqual([503, "2"]);
    loaded();
    await started;
    expect([await get("/ready"), (await ask(app, {})).status]).toEqual([200, 200]);
    await app.close();
  });
});

describe("the end", () => {
  test("L10: what runs completes with [DONE], what comes is refused, then nothing is left", async () => {
    const { app } = await openApp({ spoken: { slots: 8, stepMs: 1 } });
    const running = Array.from({ length: 8 }, async () => (await ask(app, { max_tokens: 60, ignore_eos: true, stream: true })).text());
    await new Promise((next) => setTimeout(next, 50));
    const drained = app.drain(30);
    const late = await ask(app, {});
    expect([late.status, late.headers.get("retry-after")]).toEqual([503, "10"]);
    expect((await app.fetch(new Request("http://localhost/ready"))).status).toBe(503);
    for (const text of await Promise.all(running)) expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
    await drained;
    await expectRest(app);
  });

  test("L11: the grace time over, the rest gets an error event and no [DONE]", async () => {
    const { app } = await openApp({ spoken: { stepMs: 10 } });
    const running = Array.from({ length: 3 }, async () => (await ask(app, { max_tokens: 400, ignore_eos: true, stream: true })).text());
    await new Promise((next) => setTimeout(next, 50));
    const begun = performance.now();
    await Promise.all([app.drain(0.1), ...running.map(async (text) => expect(await text).toMatch(/"code":"shutting_down"\}\}\n\n$/))]);
    expect(performance.now() - begun).toBeLessThan(1000);
  });
});

describe("models by name", () => {
  const named = (log: string[]) =>
    ["a", "b", "c"].map((name) =>
      entry(
        name,
        () => {
          log.push(`load ${name}`);
          const model = speaker({ says: name });
          return {
            ...model,
            close: () => {
              log.push(`unload ${name}`);
              return model.close();
            },
          };
        },
        100,
      ),
    );
  const say = async (app: App, model: string) => {
    const { choices } = (await (await ask(app, { model })).json()) as { choices: { message: { content: string } }[] };
    return choices[0]?.message.content;
  };

  test("loaded when asked for; the one used longest ago makes room", async () => {
    const log: string[] = [];
    const { app } = await openApp({ models: named(log), memoryBytes: 250 });
    expect(await say(app, "b")).toBe("b");
    expect(await say(app, "a")).toBe("a");
    expect(await say(app, "c")).toBe("c");
    expect(log).toEqual(["load a", "load b", "unload b", "load c"]);
    expect(await say(app, "a")).toBe("a");
    expect(log).toHaveLength(4);
  });

  test("ten at once share one loading; a model in use is not unloaded", async () => {
    const log: string[] = [];
    const { app } = await openApp({ models: named(log), memoryBytes: 150, limits: { queue: 100 } });
    const running = ask(app, { model: "a", max_tokens: 200, stream: true });
    const refused = await ask(app, { model: "b" });
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "10"]);
    await (await running).text();
    expect(await Promise.all(Array.from({ length: 10 }, () => say(app, "b")))).toEqual(Array.from({ length: 10 }, () => "b"));
    expect(log).toEqual(["load a", "unload a", "load b"]);
  });

  test("a model that cannot be loaded is a 503 for its requests alone", async () => {
    const models = [
      entry("good", () => speaker({ says: "ok" })),
      entry("bad", () => {
        throw new Error("a secret path");
      }),
    ];
    const { app, lines } = await openApp({ models });
    const response = await ask(app, { model: "bad" });
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain("secret");
    expect(lines.join("\n")).toContain("a secret path");
    expect(await say(app, "good")).toBe("ok");
  });
});

describe("nothing of one request reaches another", () => {
  test("A88: a prompt that another key sent is computed anew", async () => {
    const { app } = await openApp({ keys: ["one", "two"] });
    const content = "the same long prompt, word for word. ".repeat(10);
    const hits = async (key: string) => {
      const response = await ask(
        app,
        { messages: [{ role: "user", content }], max_tokens: 1 },
        { headers: { authorization: `Bearer ${key}` } },
      );
      return ((await response.json()) as { usage: { prompt_cache_hit_tokens: number } }).usage.prompt_cache_hit_tokens;
    };
    expect(await hits("one")).toBe(0);
    expect(await hits("two")).toBe(0);
    expect(await hits("one")).toBeGreaterThan(300);
    expect(await hits("two")).toBeGreaterThan(300);
  });

  test("sharing can be switched off", async () => {
    const { app } = await openApp({ sharePrefixes: false });
    const body = { messages: [{ role: "user", content: "y".repeat(300) }], max_tokens: 1 };
    for (let i = 0; i < 2; i++) expect(await (await ask(app, body)).text()).toContain('"prompt_cache_hit_tokens":0');
  });

  test("A89: a secret of each session appears in no other's answer, log, metrics or error", async () => {
    const { app, lines } = await openApp({ spoken: { slots: 8 }, limits: { queue: 500 } });
    const secrets = Array.from({ length: 60 }, (_, i) => `canary-${(i * 7919).toString(36)}-${i}`);
    const texts = await Promise.all(
      secrets.map(async (content, i) =>
        (await ask(app, { messages: [{ role: "user", content }], max_tokens: 8, seed: i, ...(i % 5 === 0 && { n: 99 }) })).text(),
      ),
    );
    const metrics = await (await app.fetch(new Request("http://localhost/metrics"))).text();
    const models = await (await app.fetch(new Request("http://localhost/api/ps"))).text();
    for (const secret of secrets) for (const text of [...texts, metrics, models, lines.join("\n")]) expect(text).not.toContain(secret);
  });
});

test("L25: a proxy that cuts the stream at every byte and writes CR LF changes nothing for the client", async () => {
  const { url } = await openServer({ spoken: { says: "<think>\nhm\n</think>\n\nnaïve 猫 🎉 ok" } });
  const cutting: typeof fetch = async (...args) => {
    const response = await fetch(...args);
    const text = (await response.text()).replaceAll("\n", "\r\n").replace("\r\n\r\n", "\r\n\r\n: proxy\r\n\r\n");
    const bytes = new TextEncoder().encode(text);
    let at = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at < bytes.length) controller.enqueue(bytes.subarray(at, ++at));
        else controller.close();
      },
    });
    return new Response(body, { headers: response.headers });
  };
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, fetch: cutting });
  const stream = await client.chat.completions.create({ model: "test", messages: messages as [], stream: true });
  let text = "";
  for await (const { choices } of stream) text += choices[0]?.delta.content ?? "";
  expect(text).toBe("naïve 猫 🎉 ok");
});
