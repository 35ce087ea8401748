// L03, L04, L19, L22 to L24: what must hold when there is more to do than can be done. Times of day and of this machine are kept out where counting steps says
// the same; test/load/server-load.ts measures. L21, the day of load, is its --soak.

import { readFileSync } from "node:fs";
import * as path from "node:path";
import { describe, expect, test, vi } from "vitest";
import type { App } from "../../src/server/app.ts";
import { Pacer } from "../../src/server/pacer.ts";
import { loadTokenizer } from "../../src/text/tokenizer.ts";
import { pace, threadTime } from "../pace.ts";
import { sharedData } from "../shared-data.ts";
import { entry, openApp, speaker } from "./harness.ts";

function ask(app: App, content: string, more: object = {}): Promise<Response> {
  const body = JSON.stringify({ messages: [{ role: "user", content }], ...more });
  const headers = { "content-type": "application/json" };
  return app.fetch(new Request("http://localhost/v1/chat/completions", { method: "POST", headers, body }));
}

const engineOf = (app: App) => {
  const [model] = app.server.shelf.loaded;
  if (!model) throw new Error("no model");
  return model.engine;
};

const pause = (ms: number) => new Promise((next) => setTimeout(next, ms));

test("L03: ten times too many for a while: slots stay full, what is held stays bounded, health answers", async () => {
  const { app } = await openApp({ spoken: { slots: 4, stepMs: 1 }, limits: { queue: 8 } });
  const until = performance.now() + 2500;
  const statuses = new Map<number, number>();
  const refusals: number[] = [];
  let most = 0;
  const clients = Array.from({ length: 120 }, async (_, i) => {
    while (performance.now() < until) {
      const begun = performance.now();
      const response = await ask(app, `${i}`, { max_tokens: 20, ignore_eos: true });
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
      most = Math.max(most, app.server.live.size);
      if (response.status === 429) {
        refusals.push(performance.now() - begun);
        expect(response.headers.get("retry-after")).toMatch(/^[1-9]\d?$/);
        await pause(20);
      } else await response.text();
    }
  });
  const healths: number[] = [];
  while (performance.now() < until) {
    const begun = performance.now();
    expect((await app.fetch(new Request("http://localhost/health"))).status).toBe(200);
    healths.push(performance.now() - begun);
    await pause(50);
  }
  await Promise.all(clients);
  expect([...statuses.keys()].sort()).toEqual([200, 429]);
  expect(statuses.get(429)).toBeGreaterThan(5 * (statuses.get(200) ?? 0));
  expect(most).toBeLessThanOrEqual(12);
  const { emitted, steps } = engineOf(app).counts;
  expect(emitted / steps).toBeGreaterThan(0.9 * 4); // of four slots
  healths.sort((a, b) => a - b);
  expect(healths[Math.floor(healths.length / 2)]).toBeLessThan(100);
});

test("L04: a long prompt among 16 decoders: each of them has its token in every step, and no step is longer than a chunk", async () => {
  const rows: number[] = [];
  const onForward = (_: number, count: number) => void rows.push(count);
  const { app } = await openApp({ spoken: { slots: 17, contextLength: 1024, onForward, engine: { prefillTokens: 32 } } });
  const engine = engineOf(app);
  const decoders = Array.from({ length: 16 }, (_, i) => ask(app, `${i}`, { max_tokens: 100, ignore_eos: true }).then((r) => r.text()));
  while (engine.counts.emitted < 16 * 20) await pause(1);
  const before = { steps: engine.counts.steps, emitted: engine.counts.emitted };
  const long = ask(app, "x".repeat(900), { max_tokens: 1, ignore_eos: true });
  const response = await long;
  const { steps, emitted } = engine.counts;
  expect(response.status).toBe(200);
  // 900 and some rows in chunks of 32; meanwhile no decoder waited.
  expect(steps - before.steps).toBeGreaterThanOrEqual(28);
  expect(emitted - before.emitted).toBeGreaterThanOrEqual(16 * 28);
  expect(Math.max(...rows.slice(before.steps))).toBeLessThanOrEqual(16 + 32);
  await Promise.all(decoders);
}, 60_000);

describe("L19: the event loop goes on", () => {
  /** Milliseconds of this thread's processor time between two turns of the event loop: the most while `work` is done. */
  async function longestTurn(work: () => Promise<unknown>): Promise<number> {
    let longest = 0;
    let isDone = false;
    const done = work().finally(() => {
      isDone = true;
    });
    for (let last = threadTime(); !isDone; ) {
      await new Promise((next) => setImmediate(next));
      const now = threadTime();
      longest = Math.max(longest, now - last);
      last = now;
    }
    await done;
    return longest;
  }

  test.skipIf(!sharedData)(
    "while megabytes are refused that a context of 32,768 tokens does not hold",
    async () => {
      const json = readFileSync(path.join(sharedData as string, "tokenizers/qwen2.5/tokenizer.json"), "utf8");
      const tokenizer = loadTokenizer(json);
      const load = () => {
        const model = speaker({ says: "ok" });
        // The engine is never asked: only its context counts.
        return { ...model, tokenizer, engine: Object.create(model.engine, { contextLength: { value: 32_768 } }) };
      };
      const { app } = await openApp({ models: [entry("test", load)] });
      for (const unit of ["the quick brown fox ", "a", "7", "\n", "猫🎉"]) {
        const text = unit.repeat(5_000_000 / Buffer.byteLength(JSON.stringify(unit)));
        let answer = "";
        const longest = await longestTurn(async () => {
          answer = await (await ask(app, text)).text();
        });
        expect(answer).toContain('"code":"context_length_exceeded"');
        // The most is for reading the body; whole texts take seconds.
        expect(longest).toBeLessThan(250 * pace());
      }
    },
    60_000,
  );

  test("while a schema is compiled", async () => {
    const { app } = await openApp({ spoken: { grammars: true, contextLength: 1024 } });
    const values = Array.from({ length: 3000 }, (_, i) => `value ${i}`);
    const schema = { type: "object", properties: { kind: { enum: values } }, required: ["kind"] };
    const response_format = { type: "json_schema", json_schema: { name: "s", schema } };
    const longest = await longestTurn(async () => {
      await (await ask(app, "x", { response_format, max_tokens: 2 })).text();
    });
    expect(longest).toBeLessThan(250 * pace());
  }, 60_000);
});

test("L22: the time of day jumps by an hour, both ways: nothing runs out", async () => {
  const limits = { requestSeconds: 60, writeSeconds: 20, keepAliveSeconds: 20, loadSeconds: 20 };
  const { app } = await openApp({ spoken: { stepMs: 2, slots: 2 }, limits });
  const real = Date.now.bind(Date);
  let hours = 0;
  const clock = vi.spyOn(Date, "now").mockImplementation(() => real() + hours * 3_600_000);
  try {
    const answers = Array.from({ length: 6 }, (_, i) => ask(app, `${i}`, { max_tokens: 60, ignore_eos: true, stream: i % 2 === 0 }));
    for (const jump of [1, -1, 0, 24, -24]) {
      hours = jump;
      await pause(40);
    }
    for (const answer of answers) {
      const text = await (await answer).text();
      expect(text).toMatch(/"finish_reason":"length"/);
      expect(text).not.toMatch(/keep-alive|"error"/);
      const ms = Number(/"predicted_ms":([-\d.]+)/.exec(text)?.[1]);
      expect(ms > 0 && ms < 60_000).toBe(true);
    }
  } finally {
    clock.mockRestore();
  }
});

test("L23: 300 answers alone and in a crowd, with beginnings in common, too few pages and clients that leave: the same bits", async () => {
  const count = Number(process.env.GRADUALLY_CROWD ?? 300);
  const stem = "the same beginning for many, and then ";
  const content = (i: number) => `${stem.slice(0, (i * 5) % stem.length)}${(i * 7919) % 1000}`;
  const settings = (i: number) => ({
    max_tokens: 4 + (i % 20),
    temperature: i % 3 === 0 ? 0 : 1,
    seed: i,
    logprobs: true,
    ignore_eos: true,
  });
  const told = async (app: App, i: number) => {
    const { choices } = await (await ask(app, content(i), settings(i))).json();
    return JSON.stringify(choices);
  };
  const { app: solo } = await openApp({ spoken: { slots: 1, contextLength: 128, engine: { prefixCache: false } } });
  const alone: string[] = [];
  for (let i = 0; i < count; i++) alone.push(await told(solo, i));
  const engine = { cacheTokens: 480, pageSize: 8, prefillTokens: 48 };
  const { app } = await openApp({ spoken: { slots: 16, contextLength: 128, engine }, limits: { queue: 1000 } });
  let random = 1;
  const wait = async () => {
    random = (random * 48_271) % 2_147_483_647;
    await pause(random % 200);
  };
  const crowd = Array.from({ length: count }, async (_, i) => {
    await wait();
    if (i % 10 !== 0) return await told(app, i);
    const reader = ((await ask(app, content(i), { ...settings(i), stream: true })).body as ReadableStream<Uint8Array>).getReader();
    for (let k = 0; k < i % 5; k++) await reader.read();
    await reader.cancel();
    return undefined;
  });
  for (const [i, one] of (await Promise.all(crowd)).entries()) if (one !== undefined) expect(one).toBe(alone[i]);
  const { preemptions, pages, freePages } = engineOf(app).counts;
  expect(preemptions).toBeGreaterThan(0);
  expect(freePages).toBe(pages);
  expect(app.server.metrics.value("prefix_cache_hits")).toBeGreaterThan(0);
}, 120_000);

test("L24: the same arrivals twice: the same events in the same steps", async () => {
  const run = async () => {
    const log: string[] = [];
    /** When the program hears of an end is the event loop's affair. */
    const ended = new Map<number, string>();
    let step = 0;
    const arrivals = new Map(Array.from({ length: 12 }, (_, i) => [i * 3, i]));
    const pending: Promise<unknown>[] = [];
    const { app } = await openApp({
      spoken: {
        slots: 3,
        contextLength: 128,
        engine: { cacheTokens: 200, pageSize: 8, prefillTokens: 16 },
        onForward: (_, rows) => {
          log.push(`step ${++step}: ${rows} rows`);
          submit(step);
        },
      },
    });
    const engine = engineOf(app);
    const submit = (at: number) => {
      const i = arrivals.get(at);
      if (i === undefined) return;
      const ids = Array.from({ length: 6 + 4 * (i % 5) }, (_, k) => (k < 4 ? k : (k * i) % 256));
      const request = { ids, maxTokens: 5 + 3 * (i % 6), sampling: { seed: i, temperature: 1 } };
      const onToken = (id: number) => void log.push(`${i}: ${id}`);
      pending.push(engine.submit(request, { onToken }).then(({ stop }) => void ended.set(i, stop)));
    };
    submit(0);
    let known = -1;
    while (known < pending.length) {
      known = pending.length;
      await Promise.all(pending);
    }
    return { log, ended: [...ended].sort(([a], [b]) => a - b) };
  };
  const first = await run();
  expect(first.ended).toHaveLength(12);
  expect(first.log.length).toBeGreaterThan(150);
  expect(await run()).toEqual(first);
});

describe("chunks", () => {
  test("a stream that sent long ago sends at once; one that sent just now waits for its share, and no longer", async () => {
    let now = 0;
    const pacer = new Pacer(100, () => now);
    const leave = [pacer.join(), pacer.join(), pacer.join()];
    expect(pacer.interval).toBeCloseTo(0.03);
    const sent: string[] = [];
    now = 1;
    pacer.turn(0.5, () => sent.push("old"));
    pacer.turn(0.99, () => sent.push("new"));
    expect(sent).toEqual(["old"]);
    await pause(60);
    expect(sent).toEqual(["old", "new"]);
    for (const one of leave) one();
    expect(pacer.interval).toBe(0);
  });

  test("fast answers come in fewer chunks than tokens, whole; a slow one in as many", async () => {
    const says = "0123456789".repeat(8);
    const read = async (stepMs: number) => {
      const { app } = await openApp({ spoken: { says, stepMs }, limits: { chunksPerSecond: 100 } });
      const text = await (await ask(app, "x", { stream: true })).text();
      const chunks = [...text.matchAll(/"content":"(\d+)"/g)].map(([, digits]) => digits as string);
      expect(chunks.join("")).toBe(says);
      return chunks.length;
    };
    expect(await read(0)).toBeLessThan(40);
    expect(await read(25)).toBeGreaterThan(70);
  });
});
