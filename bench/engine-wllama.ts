// wllama (llama.cpp compiled to WebAssembly) in headless Chromium, on the same GGUF file. In and out: protocol.ts. The page is isolated from other
// origins, without which browsers give no threads; the file reaches it as a file that a user chose, so it is not copied. Rates are those of
// llama.cpp's server inside, but for several sequences, which are timed from outside.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { chromium } from "playwright-core";
import { leave, readCall, say, type Test } from "./protocol.ts";

type Input = { readonly files: ArrayLike<Blob> };
type Timings = { readonly prompt_n: number; readonly prompt_ms: number; readonly predicted_n: number; readonly predicted_ms: number };
type Job = { readonly test: Test; readonly threads: number };

const browsers = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const executablePath = browsers.find((path) => path !== undefined && existsSync(path));
if (executablePath === undefined) leave("no Chromium: apt-get install chromium, or set CHROMIUM to its path");

const { model, threads, tests } = readCall();
const wllama = new URL("./", import.meta.resolve("@wllama/wllama"));
const files = new Map<string, { type: string; body: Uint8Array | string }>([
  ["/", { type: "text/html", body: "<!doctype html><title>wllama</title><input type=file>" }],
  ["/index.js", { type: "text/javascript", body: await readFile(new URL("index.js", wllama)) }],
  ["/wllama.wasm", { type: "application/wasm", body: await readFile(new URL("wasm/wllama.wasm", wllama)) }],
]);
const server = createServer((request, response) => {
  const file = files.get(request.url ?? "");
  const isolation = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };
  response.writeHead(file ? 200 : 404, { "content-type": file?.type ?? "text/plain", ...isolation }).end(file?.body);
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));

/** Runs in the page: it sees nothing of this file but its arguments. */
async function measure(input: Input, { test, threads }: Job): Promise<number> {
  const { prompt = 0, gen = 0, depth = 0, parallel = 1 } = test;
  const address = "/index.js";
  const { Wllama } = (await import(address)) as typeof import("@wllama/wllama");
  const engine = new Wllama({ default: "/wllama.wasm" }, { suppressNativeLog: true });
  await engine.loadModel([input.files[0] as Blob], {
    n_threads: threads,
    n_gpu_layers: 0,
    n_ctx: (Math.max(prompt, depth + gen) + 16) * parallel,
    n_batch: 512,
    n_ubatch: 512,
    n_parallel: parallel,
    kv_unified: false,
    flash_attn: true,
  });
  if (!engine.isMultithread() || engine.getNumThreads() !== threads) throw new Error(`wllama runs with ${engine.getNumThreads()} threads`);
  const complete = async (text: string, max_tokens: number) => {
    const options = { prompt: text, max_tokens, temperature: 0, ignore_eos: true, cache_prompt: parallel > 1 };
    const { timings } = (await engine.createCompletion({ ...options, stream: false })) as { timings: Timings };
    if (timings.predicted_n !== max_tokens) throw new Error(`${timings.predicted_n} tokens instead of ${max_tokens}`);
    return timings;
  };
  // It takes text alone, and puts something in front. In the vocabulary of random models a letter is a token.
  const { prompt_n } = await complete("a", 1);
  const length = (prompt || depth || 1) - (prompt_n - 1);
  const texts = Array.from({ length: parallel }, (_, row) =>
    Array.from({ length }, (_, i) => String.fromCharCode(97 + ((row + 7 * i) % 26))).join(""),
  );
  if (parallel > 1) {
    // The prompts are in the cache when the clock starts.
    await Promise.all(texts.map((text) => complete(text, 1)));
    const start = performance.now();
    const timings = await Promise.all(texts.map((text) => complete(text, gen)));
    const seconds = (performance.now() - start) / 1000;
    if (timings.some(({ prompt_n }) => prompt_n > 16)) throw new Error("a prompt was computed twice");
    return (gen * parallel) / seconds;
  }
  const timings = await complete(texts[0] as string, Math.max(gen, 1));
  if (timings.prompt_n !== (prompt || depth || 1)) throw new Error(`a prompt of ${timings.prompt_n} tokens`);
  // The first token of the generation comes with the prompt.
  return prompt > 0 ? (1000 * timings.prompt_n) / timings.prompt_ms : (1000 * (gen - 1)) / timings.predicted_ms;
}

const browser = await chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });
const results: Record<string, number> = {};
try {
  for (const test of tests) {
    const page = await browser.newPage();
    page.setDefaultTimeout(0);
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    const input = page.locator("input");
    await input.setInputFiles(model);
    results[test.name] = await input.evaluate(measure as unknown as (element: unknown, job: Job) => Promise<number>, {
      test,
      threads,
    });
    await page.close();
  }
} finally {
  await browser.close();
  server.close();
}
say(results);
