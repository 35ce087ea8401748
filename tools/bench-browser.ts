// Decode speed in headless Chromium beside Node's, through the package as Vite builds it: `node tools/bench-browser.ts [MODEL ...]`, MODEL a folder or .gguf file (default:
// the bundled model). Prints one JSON line a model: tokens a second with threads, with one thread, and in Node with the relaxed and the widest build.
// Greedy, past every end, from a short prompt, TOKENS (200) of them; the middle of RUNS (5) runs after one that warms up. Of a .gguf file also wllama's, where bench/ has its packages; some letters are its prompt.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import * as path from "node:path";
import { openDevice, type WasmBuild } from "../src/backend/open.ts";
import type * as Door from "../src/platform/browser.ts";
import { loadPath } from "../src/platform/load.ts";
import { nodeHost } from "../src/platform/node.ts";
import { buildPages, chromium, launch, PageServer } from "../test/platform/browser/place.ts";

declare const door: typeof Door;

const tokens = Number(process.env.TOKENS ?? 200);
const runs = Number(process.env.RUNS ?? 5);
const text = "Once upon a time";
const middle = (rates: readonly number[]) => [...rates].sort((a, b) => a - b)[rates.length >> 1] as number;

async function inNode(
  model: string,
  threads: number,
  build: WasmBuild | undefined,
): Promise<{ rate: number; build: string; stopIds: readonly number[] }> {
  if (build) process.env.GRADUALLY_WASM = build;
  else delete process.env.GRADUALLY_WASM;
  const host = nodeHost();
  const probe = await openDevice(host, { threads: 1 });
  const name = probe.info.build ?? probe.info.name;
  await probe.close();
  const loaded = await loadPath(host, model, { threads, parallel: 1, contextLength: 256 });
  const { stopIds } = loaded;
  const rates: number[] = [];
  for (let i = 0; i <= runs; i++) rates.push((await loaded.generate(text, endless(stopIds)).answer()).statistics.generatedPerSecond);
  await loaded.close();
  return { rate: middle(rates.slice(1)), build: name, stopIds };
}

/** Whatever a model wants to say, it says so many tokens. */
const endless = (stopIds: readonly number[]) => ({ temperature: 0, maxTokens: tokens, thinking: false, bannedIds: [...stopIds] }) as const;

async function inBrowser(server: PageServer, url: string, isolated: boolean, stopIds: readonly number[]) {
  server.isolated = isolated;
  const browser = await launch([]);
  try {
    const page = await browser.newPage();
    await page.goto(`${server.url}/driven/`);
    await page.waitForFunction(() => "door" in globalThis);
    return await page.evaluate(
      async ({ url, text, runs, options }) => {
        const began = performance.now();
        const model = await door.load(url, { parallel: 1, contextLength: 256 });
        const ready = (performance.now() - began) / 1000;
        await model.close();
        const again = performance.now();
        const stored = await door.load(url, { parallel: 1, contextLength: 256 });
        const fromStore = (performance.now() - again) / 1000;
        const rates: number[] = [];
        for (let i = 0; i <= runs; i++) rates.push((await stored.generate(text, options).answer()).statistics.generatedPerSecond);
        const { build, threads } = stored;
        await stored.close();
        await door.deleteModel(stored.name);
        return { rates: rates.slice(1), build, threads, ready, fromStore };
      },
      { url, text, runs, options: endless(stopIds) },
    );
  } finally {
    await browser.close();
  }
}

/** Undefined where its package is not installed, or where it cannot run the file. */
function inWllama(model: string, threads: number): number | undefined {
  const bench = path.join(import.meta.dirname, "../bench");
  if (!model.endsWith(".gguf") || !existsSync(path.join(bench, "node_modules/@wllama/wllama"))) return undefined;
  const test = JSON.stringify([{ name: "decode", gen: tokens, depth: 8 }]);
  const call = () =>
    spawnSync(process.execPath, [path.join(bench, "engine-wllama.ts"), model, String(threads), test], { encoding: "utf8" });
  const rates = Array.from({ length: runs }, call).flatMap(({ status, stdout }) =>
    status === 0 ? [JSON.parse(stdout).decode as number] : [],
  );
  return rates.length === 0 ? undefined : middle(rates);
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
    const one = await inNode(full, 1, "relaxed");
    const threaded = await inBrowser(server, url, true, one.stopIds);
    const single = await inBrowser(server, url, false, one.stopIds);
    const relaxed = await inNode(full, threaded.threads, "relaxed");
    const widest = await inNode(full, threaded.threads, undefined);
    const wllama = inWllama(full, threaded.threads);
    console.log(
      JSON.stringify({
        model: path.basename(full),
        tokens,
        chromium: { tok_s: round(middle(threaded.rates)), threads: threaded.threads, build: threaded.build },
        chromium_one_thread: { tok_s: round(middle(single.rates)), build: single.build },
        node: { tok_s: round(relaxed.rate), threads: threaded.threads, build: relaxed.build },
        node_one_thread: { tok_s: round(one.rate), build: one.build },
        node_widest: { tok_s: round(widest.rate), build: widest.build },
        ...(wllama !== undefined && { wllama: { tok_s: round(wllama), threads: threaded.threads } }),
        seconds_from_server: round(threaded.ready, 2),
        seconds_from_store: round(threaded.fromStore, 2),
      }),
    );
  }
} finally {
  await server.stop();
  built.remove();
}
