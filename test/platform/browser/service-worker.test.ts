// The server's app as a service worker in headless Chromium: a page's own fetch is answered by it, whole and streamed, in all dialects, with the bits of Node;
// refusals have their shape; a page that leaves an answer ends its computing. Skipped loudly where there is no Chromium.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import type { Browser, Page } from "playwright-core";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeApp } from "../../../src/server/app.ts";
import { tinyServed } from "../../server/tiny.ts";
import { chromium, launch, PageServer } from "./place.ts";

type Answer = { readonly status: number; readonly type: string; readonly text: string };

describe.skipIf(!chromium)("a service worker", { timeout: 120_000 }, () => {
  const folder = mkdtempSync(path.join(tmpdir(), "gradually-worker-"));
  let server: PageServer;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    await build({
      configFile: false,
      logLevel: "error",
      build: {
        outDir: folder,
        lib: { entry: path.join(import.meta.dirname, "service-worker.ts"), formats: ["es"], fileName: () => "worker.js" },
      },
    });
    writeFileSync(path.join(folder, "index.html"), "<!doctype html><title>worker</title>");
    server = await new PageServer({ page: folder }).start();
    browser = await launch();
    page = await (await browser.newContext()).newPage();
    await page.goto(`${server.url}/page/`);
    await page.evaluate(async () => {
      const { serviceWorker } = navigator;
      const controlled = new Promise((resolve) => serviceWorker.addEventListener("controllerchange", resolve));
      await serviceWorker.register("./worker.js", { type: "module" });
      await controlled;
    });
    server.asked.length = 0;
  }, 120_000);

  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  async function ask(at: string, body?: object): Promise<Answer> {
    return await page.evaluate(
      async ([to, sent]) => {
        const init = sent === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: sent };
        const response = await fetch(to, init);
        return { status: response.status, type: response.headers.get("content-type") ?? "", text: await response.text() };
      },
      [at, body && JSON.stringify(body)] as const,
    );
  }

  const chat = { messages: [{ role: "user", content: "x" }], max_tokens: 12, ignore_eos: true, seed: 5, temperature: 1, logprobs: true };

  test("answers as Node's does, bit for bit, and nothing reaches the network", async () => {
    const entry = { name: "tiny", bytes: 1000, created: 1_700_000_000, load: async () => tinyServed() };
    const app = await makeApp({ models: [entry], version: "0.0.0" });
    await app.start();
    const request = new Request("http://localhost/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(chat),
    });
    const { choices } = (await (await app.fetch(request)).json()) as { choices: object[] };
    await app.close();
    const whole = await ask("/v1/chat/completions", chat);
    expect(whole.status).toBe(200);
    expect(JSON.parse(whole.text).choices).toEqual(choices);
    expect(server.asked).toEqual([]);
  });

  test("streams, and speaks the other dialects", async () => {
    const streamed = await ask("/v1/chat/completions", { ...chat, stream: true });
    expect([streamed.status, streamed.type.split(";")[0]]).toEqual([200, "text/event-stream"]);
    expect(streamed.text.endsWith("data: [DONE]\n\n")).toBe(true);
    expect(streamed.text.split("\n\n").length).toBeGreaterThan(4);
    expect(JSON.parse((await ask("/v1/models")).text).data).toMatchObject([{ id: "tiny" }]);
    const { messages } = chat;
    const lines = (await ask("/api/chat", { model: "tiny", messages, options: { num_predict: 3 } })).text.trim().split("\n");
    expect(JSON.parse(lines.at(-1) as string)).toMatchObject({ done: true });
    expect(JSON.parse((await ask("/v1/messages", { model: "tiny", max_tokens: 3, messages })).text)).toMatchObject({ type: "message" });
    expect(server.asked).toEqual([]);
  });

  test("refuses in the shape of its errors", async () => {
    const { status, text } = await ask("/v1/chat/completions", { ...chat, n: 0 });
    expect([status, JSON.parse(text).error]).toEqual([
      400,
      { message: expect.any(String), type: "invalid_request_error", param: "n", code: null },
    ]);
    expect((await ask("/v1/nothing")).status).toBe(404);
  });

  test("a page that leaves an answer ends its computing", async () => {
    await page.evaluate(
      async (body) => {
        const leave = new AbortController();
        const init = { method: "POST", headers: { "content-type": "application/json" }, body, signal: leave.signal };
        const response = await fetch("/v1/chat/completions", init);
        await response.body?.getReader().read();
        leave.abort();
      },
      JSON.stringify({ ...chat, max_tokens: 400, stream: true }),
    );
    await expect.poll(async () => (await ask("/metrics")).text, { timeout: 20_000 }).toMatch(/^gradually:num_requests_running 0$/m);
    const { text } = await ask("/metrics");
    expect(text).toMatch(/^gradually:requests_cancelled_total 1$/m);
  });
});
