// L14 to L18: the device breaks down under running answers, or has no memory left. What can be computed again is, bit for bit; what fails, fails alone;
// the server goes on. Once with injected failures on the reference device, once with real threads that die and kernels that trap.

import * as path from "node:path";
import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import type { Device, View } from "../../src/backend/backend.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { DeviceError } from "../../src/core/errors.ts";
import { nodeHandle, nodeHost } from "../../src/platform/node.ts";
import { servedModel } from "../../src/platform/served-models.ts";
import type { App } from "../../src/server/app.ts";
import { entry, openApp, type Spoken, speaker } from "./harness.ts";

const settings = { max_tokens: 40, ignore_eos: true, temperature: 1, logprobs: true };

function ask(app: App, i: number, more: object = {}): Promise<Response> {
  const body = { ...settings, messages: [{ role: "user", content: `${1 + (i % 9)} ${1 + (i % 7)} 5=${12 + i}` }], seed: i, ...more };
  const headers = { "content-type": "application/json" };
  return app.fetch(new Request("http://localhost/v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body) }));
}

type Told = { status: number; choices: unknown; error?: { message: string } };

async function answer(app: App, i: number): Promise<Told> {
  const response = await ask(app, i);
  const { choices, error } = (await response.json()) as Told;
  return { status: response.status, choices, ...(error && { error }) };
}

/** The text of a stream; chunk boundaries are left out, as they are a matter of time. */
async function streamed(app: App, i: number): Promise<string> {
  const text = await (await ask(app, i, { stream: true, logprobs: false })).text();
  const deltas = text.split("\n\n").flatMap((line) => (line.startsWith("data: {") ? [JSON.parse(line.slice(6)).choices[0]?.delta] : []));
  return `${deltas.map((delta) => (delta?.reasoning_content ?? "") + (delta?.content ?? "")).join("")}${/\[DONE\]/.exec(text)}`;
}

async function isReady(app: App): Promise<boolean> {
  return (await app.fetch(new Request("http://localhost/ready"))).status === 200;
}

const many = Array.from({ length: 10 }, (_, i) => i);
const inOrder = async <T>(ask: (i: number) => Promise<T>) => {
  const all: T[] = [];
  for (const i of many) all.push(await ask(i));
  return all;
};

/** A device that breaks down in the step for which `breaks` says so, and stays so. */
function mortal(breaks: () => boolean): { device: Device; onForward: () => void } {
  let isLost = false;
  const device = openReference();
  Object.defineProperty(device, "isLost", { get: () => isLost });
  const onForward = () => {
    isLost ||= breaks();
    if (isLost) throw new DeviceError({ operation: "step", got: "a device that died", expected: "one", cure: "open it again" });
  };
  return { device, onForward };
}

function failure(): DeviceError {
  return new DeviceError({ operation: "allocate", got: "no memory", expected: "some", cure: "ask for less" });
}

describe("injected", () => {
  const reopening = (deaths: readonly number[], onLoad: () => void = () => {}) => {
    let steps = 0;
    const load = async () => {
      onLoad();
      const { device, onForward } = mortal(() => deaths.includes(++steps));
      if (steps > 0) await new Promise((next) => setTimeout(next, 100));
      return speaker({ slots: 4, device, onForward });
    };
    return [entry("test", load)];
  };

  test("L14, L16: the device is lost: every answer is computed anew on another, to the same bits; not ready meanwhile", async () => {
    const { app: sound } = await openApp({ spoken: { slots: 4 } });
    const alone = await inOrder((i) => answer(sound, i));
    const texts = await inOrder((i) => streamed(sound, i));
    let loads = 0;
    let wasReady: boolean | undefined;
    const models = reopening([12, 60], () => {
      if (loads++ === 1) setTimeout(async () => (wasReady = await isReady(app)), 20);
    });
    const { app, lines } = await openApp({ models });
    const crowd = many.map((i) => answer(app, i));
    const streams = many.map((i) => streamed(app, i));
    expect(await Promise.all(crowd)).toEqual(alone);
    expect(await Promise.all(streams)).toEqual(texts);
    expect([loads, wasReady, await isReady(app)]).toEqual([3, false, true]);
    expect(lines.filter((line) => line.startsWith("failure"))).toEqual([]);
    expect(app.server.metrics.value("request_success_total")).toBe(20);
    expect(app.server.shelf.loaded[0]?.admission.counts()).toEqual({ running: 0, waiting: 0 });
  });

  test("L14: what kills every device ends with its error, and what comes after is served", async () => {
    const { app } = await openApp({ models: reopening([5, 9, 13]) });
    const [told] = await Promise.all([answer(app, 1)]);
    expect([told?.status, told?.error?.message]).toEqual([500, expect.stringContaining("a device that died")]);
    expect((await answer(app, 2)).status).toBe(200);
  });

  test.each([false, true])("what fails inside is one line of the log, whole or streamed (stream: %s)", async (stream) => {
    const onForward = () => {
      throw new Error("a fault of ours");
    };
    const { app, lines } = await openApp({ spoken: { onForward } });
    const told = await (await ask(app, 0, { stream })).text();
    expect(told).toContain("failed inside the server");
    expect(told).not.toContain("a fault of ours");
    expect(lines.filter((line) => line.startsWith("failure"))).toEqual([expect.stringContaining("a fault of ours")]);
  });

  test("L14: whoever leaves while the device is opened anew is gone; the rest goes on", async () => {
    const { app } = await openApp({ models: reopening([12]) });
    const response = await ask(app, 0, { stream: true });
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    const others = [1, 2].map((i) => answer(app, i));
    while (!app.server.shelf.isMending) await new Promise((next) => setTimeout(next, 1));
    await reader.cancel();
    for (const { status } of await Promise.all(others)) expect(status).toBe(200);
    expect(app.server.metrics.value("requests_cancelled_total")).toBe(1);
  });

  test("L17: no memory in a step: who was in it fails, who waits is served, no page is lost", async () => {
    let left = 6;
    const onForward = () => {
      if (--left === 0) throw failure();
    };
    const { app } = await openApp({ spoken: { slots: 4, onForward } });
    const told = await Promise.all(many.map((i) => answer(app, i)));
    expect(told.map(({ status }) => status)).toEqual([500, 500, 500, 500, 200, 200, 200, 200, 200, 200]);
    expect(told[0]?.error?.message).toMatch(/got no memory|no memory; ask for less/);
    const { pages, freePages, running, waiting } = app.server.shelf.loaded[0]?.engine.counts ?? {};
    expect({ freePages, running, waiting }).toEqual({ freePages: pages, running: 0, waiting: 0 });
    expect(await isReady(app)).toBe(true);
  });

  test("L17: the cache is had at the start or not at all, and does not grow", async () => {
    const poor = openReference();
    poor.allocate = () => {
      throw failure();
    };
    await expect(openApp({ models: [entry("test", () => speaker({ device: poor }))] })).rejects.toThrow(DeviceError);
    const device = openReference();
    const { app } = await openApp({ spoken: { slots: 4, device, contextLength: 128 } });
    await answer(app, 0);
    const before = device.memory().used;
    await Promise.all(many.map((i) => answer(app, i)));
    expect(device.memory().used).toBe(before);
  });

  test("L18: four long answers in a cache for one and a half: preempted, complete, with the bits that each has alone", async () => {
    const long = { max_tokens: 150 };
    const run = async (spoken: Spoken, together: boolean) => {
      const { app } = await openApp({ spoken });
      const one = async (i: number) => ((await (await ask(app, i, long)).json()) as Told).choices;
      const choices: unknown[] = [];
      if (together) choices.push(...(await Promise.all([0, 1, 2, 3].map(one))));
      else for (const i of [0, 1, 2, 3]) choices.push(await one(i));
      return { choices, preemptions: app.server.shelf.loaded[0]?.engine.counts.preemptions ?? 0 };
    };
    const alone = await run({ slots: 1 }, false);
    const crowd = await run({ slots: 4, contextLength: 256, engine: { cacheTokens: 256, pageSize: 8 } }, true);
    expect(crowd.choices).toEqual(alone.choices);
    expect([alone.preemptions, crowd.preemptions > 0]).toEqual([0, true]);
  });
});

describe("real threads", () => {
  const bundled = path.join(import.meta.dirname, "../../models/countdown-reasoner");
  const entryFile = new URL("../../src/platform/node-worker.ts", import.meta.url);

  async function open(threads: number): Promise<{ app: App; workers: Worker[] }> {
    const workers: Worker[] = [];
    const spawnWasmWorker = () => {
      const worker = new Worker(entryFile);
      workers.push(worker);
      return nodeHandle(worker);
    };
    const model = await servedModel({ ...nodeHost(), spawnWasmWorker }, undefined, bundled, "test", { threads, parallel: 4 });
    return { app: (await openApp({ models: [model] })).app, workers };
  }

  const deviceOf = (app: App) => app.server.shelf.loaded[0]?.engine.model.device as Device;

  /** A command whose place in memory is none, as a wrong offset would be. */
  function trap(device: Device): void {
    const buffer = device.allocate("f32", 4096);
    device.kernels.fill({ out: { buffer: { ...buffer, address: 0xffff_f000 } as typeof buffer, offset: 0 }, n: 4096, value: 1 });
  }

  /** Threads start with the first list that is worth it, and this model's lists are not: one that is. */
  function startThreads(device: Device): void {
    const [n, size] = [256, 256 * 256];
    const [a, b, out] = [0, 1, 2].map(() => ({ buffer: device.allocate("f32", size), offset: 0 })) as [View, View, View];
    for (const { buffer } of [a, b]) device.kernels.fill({ out: { buffer, offset: 0 }, n: size, value: 1 });
    device.kernels.matmul({ out, a, b, M: n, N: n, K: n });
    for (const { buffer } of [a, b, out]) device.release(buffer);
  }

  test.each([
    [
      "L14: a thread dies",
      2,
      (app: App, workers: Worker[]) => {
        startThreads(deviceOf(app));
        setTimeout(() => void workers.at(-1)?.terminate(), 5);
      },
    ],
    ["L15: a kernel traps in a thread", 2, (app: App) => trap(deviceOf(app))],
    ["L15: a kernel traps, without threads", 1, (app: App) => trap(deviceOf(app))],
  ] as const)(
    "%s: all answers have their own bits, within seconds",
    async (_, threads, harm) => {
      const { app, workers } = await open(threads);
      const alone = await inOrder((i) => answer(app, i));
      const device = deviceOf(app);
      const crowd = many.map((i) => answer(app, i));
      const begun = performance.now();
      setTimeout(() => harm(app, workers), 10);
      expect(await Promise.all(crowd)).toEqual(alone);
      expect(device.isLost).toBe(true);
      expect(deviceOf(app)).not.toBe(device);
      expect(performance.now() - begun).toBeLessThan(15_000);
      expect(await isReady(app)).toBe(true);
    },
    60_000,
  );
});
