// Decode speed in headless Chromium beside Node's, through the package as Vite builds it: `node tools/bench-browser.ts [MODEL ...]`, MODEL a folder or .gguf file (default:
// the bundled model). Prints one JSON line a model: tokens a second with threads, with one thread, and in Node with the relaxed and the widest build.
// Greedy, from one token's prompt, the middle of 3 runs each.

import { existsSync } from "node:fs";
import * as path from "node:path";
import { openDevice, type WasmBuild } from "../src/backend/open.ts";
import type * as Door from "../src/platform/browser.ts";
import { loadPath } from "../src/platform/load.ts";
import { nodeHost } from "../src/platform/node.ts";
import { buildPages, chromium, launch, PageServer } from "../test/platform/browser/place.ts";

declare const door: typeof Door;

const tokens = Number(process.env.TOKENS ?? 128);
const text = "Once upon a time";
const middle = (rates: readonly number[]) => [...rates].sort((a, b) => a - b)[rates.length >> 1] as number;

async function inNode(model: string, threads: number, build: WasmBuild | undefined): Promise<{ rate: number; build: string }> {
  if (build) process.env.GRADUALLY_WASM = build;
  else delete process.env.GRADUALLY_WASM;
  const host = nodeHost();
  const probe = await openDevice(host, { threads: 1 });
  const name = probe.info.build ?? probe.info.name;
  await probe.close();
  const loaded = await loadPath(host, model, { threads, parallel: 1, contextLength: 256 });
  const rates: number[] = [];
  for (let i = 0; i < 3; i++)
    rates.push((await loaded.generate(text, { temperature: 0, maxTokens: tokens, ...unending }).answer()).statistics.generatedPerSecond);
  await loaded.close();
  return { rate: middle(rates), build: name };
}

/** Whatever a model wants to say, it says so many tokens. */
const unending = { thinking: false } as const;

async function inBrowser(server: PageServer, url: string, isolated: boolean, flags: readonly string[] = []) {
  server.isolated = isolated;
  const browser = await launch(flags);
  try {
    const page = await browser.newPage();
    await page.goto(`${server.url}/driven/`);
    await page.waitForFunction(() => "door" in globalThis);
    return await page.evaluate(
      async ({ url, text, tokens, unending }) => {
        const began = performance.now();
        const model = await door.load(url, { parallel: 1, contextLength: 256 });
        const ready = (performance.now() - began) / 1000;
        await model.close();
        const again = performance.now();
        const stored = await door.load(url, { parallel: 1, contextLength: 256 });
        const fromStore = (performance.now() - again) / 1000;
        const rates: number[] = [];
        for (let i = 0; i < 3; i++)
          rates.push(
            (await stored.generate(text, { temperature: 0, maxTokens: tokens, ...unending }).answer()).statistics.generatedPerSecond,
          );
        const { build, threads } = stored;
        await stored.close();
        await door.deleteModel(stored.name);
        return { rates, build, threads, ready, fromStore };
      },
      { url, text, tokens, unending },
    );
  } finally {
    await browser.close();
  }
}

const models = process.argv.slice(2);
if (models.length === 0) models.push(path.join(import.meta.dirname, "../models/countdown-reasoner"));
if (!chromium) throw new Error("no Chromium: set GRADUALLY_CHROMIUM");
const built = await buildPages();
const server = await new PageServer({ driven: path.join(built.folder, "driven/dist") }).start();
const round = (value: number, digits = 1) => Number(value.toFixed(digits));
try {
  for (const model of models) {
    if (!existsSync(model)) throw new Error(`no ${model}`);
    const full = path.resolve(model);
    server.mount("bench", path.dirname(full));
    const url = `/bench/${path.basename(full)}`;
    const threaded = await inBrowser(server, url, true);
    const single = await inBrowser(server, url, false);
    const relaxed = await inNode(full, threaded.threads, "relaxed");
    const one = await inNode(full, 1, "relaxed");
    const widest = await inNode(full, threaded.threads, undefined);
    console.log(
      JSON.stringify({
        model: path.basename(full),
        tokens,
        chromium: { tok_s: round(middle(threaded.rates)), threads: threaded.threads, build: threaded.build },
        chromium_one_thread: { tok_s: round(middle(single.rates)), build: single.build },
        node: { tok_s: round(relaxed.rate), threads: threaded.threads, build: relaxed.build },
        node_one_thread: { tok_s: round(one.rate), build: one.build },
        node_widest: { tok_s: round(widest.rate), build: widest.build },
        seconds_from_server: round(threaded.ready, 2),
        seconds_from_store: round(threaded.fromStore, 2),
      }),
    );
  }
} finally {
  await server.stop();
  built.remove();
}
