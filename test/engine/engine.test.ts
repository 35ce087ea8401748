import * as path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { ConfigError, DeviceError, RequestError } from "../../src/core/errors.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { EngineOptions } from "../../src/engine/options.ts";
import type { GenerationRequest, GenerationResult } from "../../src/engine/request.ts";
import { openHfFolder } from "../../src/formats/hf-folder.ts";
import { loadModel } from "../../src/models/load.ts";
import type { Cache, Model } from "../../src/models/model.ts";
import { crossEntropy } from "../../src/ops/cross-entropy.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { fromArray, liveStorageCount, read, scope, type Tensor, write } from "../../src/tensor/tensor.ts";
import { sharedData } from "../shared-data.ts";
import { crowdSuite } from "./crowd-suite.ts";
import { mockModel, scriptedModel, tinyDeepseek, tinyLlama } from "./mock-model.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function open(model: Model, options: EngineOptions = {}): Engine {
  const engine = new Engine(model, options);
  cleanups.push(
    () => engine.dispose(),
    () => model.dispose(),
  );
  return engine;
}

const greedy = { temperature: 0 };
const range = (n: number) => Array.from({ length: n }, (_, i) => i);

describe("stopping", () => {
  test("maxTokens ends with length, and the last id is still emitted", async () => {
    const engine = open(scriptedModel([3, 4, 5, 6], 2, 8));
    expect(await engine.submit({ ids: [1, 2], maxTokens: 3, sampling: greedy })).toEqual({
      ids: [3, 4, 5],
      stop: "length",
      forced: 0,
      forcedAt: [],
      promptTokens: 2,
      cachedTokens: 0,
      seed: expect.any(Number),
    });
  });

  test("a stop id ends with stop and is not among the ids", async () => {
    const engine = open(scriptedModel([3, 4, 5, 6], 2, 8));
    const result = await engine.submit({ ids: [1, 2], maxTokens: 9, stop: [7, 5], sampling: greedy });
    expect(result).toMatchObject({ ids: [3, 4], stop: "stop", stopId: 5 });
    expect(await engine.submit({ ids: [1, 2], maxTokens: 9, stop: [3], sampling: greedy })).toMatchObject({
      ids: [],
      stop: "stop",
      stopId: 3,
    });
  });

  test("a full context ends with length", async () => {
    const engine = open(scriptedModel([3], 2, 8, { contextLength: 10 }), { contextLength: 6 });
    expect(await engine.submit({ ids: [1, 2], maxTokens: 100, sampling: greedy })).toMatchObject({ ids: [3, 3, 3, 3], stop: "length" });
  });

  test("ids are told one by one, the stop id is not", async () => {
    const engine = open(scriptedModel([3, 4, 5], 1, 8));
    const told: number[] = [];
    await engine.submit({ ids: [1], maxTokens: 9, stop: [5], sampling: greedy }, { onToken: (id) => told.push(id) });
    expect(told).toEqual([3, 4]);
  });
});

describe("drawing", () => {
  const flat = () => mockModel({ vocabSize: 50, byPosition: (p, id) => Math.sin(p * 7 + id) });
  const request = (seed?: number): GenerationRequest => ({ ids: [1], maxTokens: 20, sampling: { ...(seed !== undefined && { seed }) } });

  test("a seed replays, and the seed of a request without one is told", async () => {
    const engine = open(flat());
    const [a, b, c, d] = (await engine.generate([request(5), request(5), request(), request()])) as GenerationResult[];
    expect(a?.ids).toEqual(b?.ids);
    expect(c?.ids).not.toEqual(d?.ids);
    expect((await engine.submit(request(c?.seed))).ids).toEqual(c?.ids);
    expect((await engine.submit(request(5 + 2 ** 32))).ids).not.toEqual(a?.ids);
  });

  test("an engine's seed makes all of it repeatable", async () => {
    const run = async (seed: number) => (await open(flat(), { seed }).generate([request(), request()])).map(({ ids }) => ids);
    expect(await run(1)).toEqual(await run(1));
    expect(await run(1)).not.toEqual(await run(2));
  });

  test("banned ids and ids beyond vocabLimit are never drawn", async () => {
    const engine = open(mockModel({ vocabSize: 10, byPosition: (_, id) => id }), { vocabLimit: 8, bannedIds: [7, 0] });
    expect((await engine.submit({ ids: [9], maxTokens: 3, sampling: greedy })).ids).toEqual([6, 6, 6]);
    const drawn = await engine.submit({ ids: [9], maxTokens: 60, sampling: { temperature: 50, seed: 1 } });
    expect(new Set(drawn.ids)).toEqual(new Set([1, 2, 3, 4, 5, 6]));
  });

  test("log-probabilities are crossEntropy's over the whole vocabulary at temperature 1, that of the stop id beside them", async () => {
    const model = flat();
    const engine = open(model);
    const request = { ids: [1], maxTokens: 20, sampling: { temperature: 0.5, seed: 3 }, stop: [4, 8, 15, 16, 23, 42], logprobs: true };
    const told: (number | undefined)[] = [];
    const result = await engine.submit(request, { onToken: (_, { logprob }) => told.push(logprob) });
    expect(result.stop).toBe("stop");
    const all = [...result.ids, result.stopId as number];
    const losses = await read(
      scope(() => {
        const logits = all.flatMap((_, p) => range(50).map((id) => Math.fround(Math.sin(p * 7 + id))));
        return crossEntropy(fromArray(model.device, logits, [all.length, 50]), fromArray(model.device, all, [all.length], "i32"));
      }),
    );
    expect([...(result.logprobs as number[]), result.stopLogprob]).toEqual([...losses].map((loss) => -loss));
    expect(told).toEqual(result.logprobs);
  });
});

describe("budget", () => {
  test("the cap forces the end and the cue, which are fed like drawn ids", async () => {
    // After 9 the model says 5, 6, then stops with 0; before, it thinks 1, 2, 3 in turns.
    const after: Record<number, number> = { 1: 2, 2: 3, 3: 1, 8: 1, 9: 5, 5: 6, 6: 0 };
    const engine = open(mockModel({ vocabSize: 10, byId: (last, id) => (after[last] === id ? 5 : 0) }));
    const request = { ids: [3], maxTokens: 50, stop: [0], sampling: greedy, logprobs: true };
    const told: boolean[] = [];
    const result = await engine.submit(
      { ...request, budget: { end: [8], max: 4, cue: [9] } },
      { onToken: (_, { isForced }) => told.push(isForced) },
    );
    expect(result).toMatchObject({
      ids: [1, 2, 3, 1, 8, 9, 5, 6],
      stop: "stop",
      stopId: 0,
      forced: 2,
      forcedAt: [4, 5],
      thinkingTokens: 4,
    });
    expect(told.map(Number)).toEqual([0, 0, 0, 0, 1, 1, 0, 0]);
    expect(result.logprobs).toHaveLength(8);
    expect(result.logprobs?.[4]).toBeCloseTo(-Math.log(Math.exp(5) + 9), 5);
  });

  test("Wait: the end is dropped n times and the extension fed", async () => {
    const after: Record<number, number> = { 1: 8, 7: 2, 2: 8, 8: 4, 4: 0 };
    const engine = open(mockModel({ vocabSize: 10, byId: (last, id) => (after[last] === id ? 5 : 0) }));
    const run = (times: number) =>
      engine.submit({ ids: [1], maxTokens: 50, stop: [0], sampling: greedy, budget: { end: [8], extend: { times, ids: [7] } } });
    expect(await run(0)).toMatchObject({ ids: [8, 4], forced: 0, thinkingTokens: 0 });
    expect(await run(1)).toMatchObject({ ids: [7, 2, 8, 4], forced: 1, thinkingTokens: 2 });
    expect(await run(3)).toMatchObject({ ids: [7, 2, 7, 2, 7, 2, 8, 4], forced: 3, thinkingTokens: 6 });
  });

  test("a minimum without extension draws the next best id", async () => {
    const engine = open(mockModel({ vocabSize: 10, byPosition: (_, id) => ({ 8: 5, 0: 4, 2: 3 })[id] ?? 0 }));
    const result = await engine.submit({ ids: [1], maxTokens: 50, stop: [0], sampling: greedy, budget: { end: [8], min: 3 } });
    expect(result.ids.slice(0, 5)).toEqual([2, 2, 2, 8, 8]);
  });

  test("forced ids never stop, even one that is a stop id", async () => {
    const engine = open(scriptedModel([1, 1, 1, 1, 0], 1, 10));
    const budget = { end: [8], max: 2, cue: [0] };
    expect(await engine.submit({ ids: [1], maxTokens: 9, stop: [0], sampling: greedy, budget })).toMatchObject({
      ids: [1, 1, 8, 0],
      stop: "stop",
      stopId: 0,
      forced: 2,
    });
  });

  test("maxTokens cuts even forced ids", async () => {
    const engine = open(scriptedModel([1], 1, 10));
    const result = await engine.submit({ ids: [1], maxTokens: 3, sampling: greedy, budget: { end: [8, 9], max: 2 } });
    expect(result).toMatchObject({ ids: [1, 1, 8], stop: "length", forced: 1 });
  });
});

crowdSuite("reference", () => [openReference()]);

test("the plain form stores expanded keys, so that a step expands only its own rows", () => {
  const bytes = (absorbed?: boolean) => {
    const model = tinyDeepseek();
    let bytesPerToken = 0;
    const makeCache: Model["makeCache"] = (slots, length, form) => {
      const cache = model.makeCache(slots, length, form);
      bytesPerToken = cache.bytesPerToken;
      return cache;
    };
    open({ ...model, makeCache }, { absorbed });
    return bytesPerToken;
  };
  expect([bytes(), bytes(true), bytes(false)]).toEqual([4 * 2 * 12, 4 * 2 * 12, 4 * 2 * 2 * 16]);
});

test.skipIf(!sharedData)("stories260K: llama2.c's own 200 greedy ids, in a crowd", async () => {
  const root = path.join(sharedData as string, "models/stories260K");
  const folder = await openHfFolder(nodeFiles, path.join(root, "hf"));
  const model = await loadModel(openReference(), folder);
  await folder.close();
  const { prompt_ids, expected_ids } = JSON.parse(await nodeFiles.readText(path.join(root, "expected-greedy.json")));
  const engine = open(model, { slots: 2 });
  const [result] = await engine.generate([
    { ids: prompt_ids, maxTokens: expected_ids.length - prompt_ids.length, sampling: greedy },
    { ids: [1, 403], maxTokens: 20 },
  ]);
  expect([...prompt_ids, ...(result as GenerationResult).ids]).toEqual(expected_ids);
});

describe("traffic", () => {
  test("100 requests wait for 4 slots; all are answered, in order of arrival", async () => {
    const engine = open(scriptedModel([2, 3, 4], 1, 8), { slots: 4 });
    const progress: number[] = [];
    let most = 0;
    const requests = range(100).map((i) => ({ ids: [1], maxTokens: 3 + (i % 2), sampling: greedy }));
    const results = await engine.generate(requests, {
      onProgress: ({ finished, total }) => {
        progress.push(finished);
        most = Math.max(most, engine.counts.running);
        expect(total).toBe(100);
      },
    });
    expect(results.map(({ ids }) => ids.length)).toEqual(requests.map(({ maxTokens }) => maxTokens));
    expect(progress).toEqual(range(100).map((i) => i + 1));
    expect(most).toBeLessThanOrEqual(4);
    expect(engine.counts).toMatchObject({ emitted: 350, running: 0, waiting: 0, rows: 350 });
  });

  test("a thousand at once, over few pages, are answered in order of arrival", async () => {
    const engine = open(mockModel({ vocabSize: 50, byPosition: (p, id) => Math.sin(p * 7 + id) }), {
      slots: 16,
      pageSize: 4,
      cacheTokens: 100,
      prefillTokens: 32,
    });
    const finished: number[] = [];
    const answers = range(1000).map(async (i) => {
      const result = await engine.submit({ ids: range(1 + (i % 9)).map((t) => (i * 7 + t) % 50), maxTokens: 4, sampling: { seed: i } });
      finished.push(i);
      return result;
    });
    const results = await Promise.all(answers);
    for (const i of [0, 1, 8, 500, 999]) {
      const { ids } = await engine.submit({ ids: range(1 + (i % 9)).map((t) => (i * 7 + t) % 50), maxTokens: 4, sampling: { seed: i } });
      expect(results[i]?.ids).toEqual(ids);
    }
    // Nobody is overtaken by who came more than a batch later.
    for (const [place, i] of finished.entries()) expect(Math.abs(place - i)).toBeLessThanOrEqual(16);
    expect(engine.counts).toMatchObject({ running: 0, waiting: 0, freePages: 25, pages: 25 });
  });

  test("a long prompt does not hold up those who decode, and is cancelled in the middle", async () => {
    const rows: number[] = [];
    const engine = open(mockModel({ vocabSize: 8, contextLength: 500, onForward: (_, R) => rows.push(R) }), {
      prefillTokens: 16,
      pageSize: 8,
    });
    const control = new AbortController();
    let count = 0;
    const onToken = () => {
      if (++count === 5) control.abort(new Error("enough"));
    };
    const decoder = engine.submit({ ids: [1], maxTokens: 12, sampling: greedy }, { onToken });
    await expect(engine.submit({ ids: new Array(400).fill(2), maxTokens: 5 }, { signal: control.signal })).rejects.toThrow("enough");
    expect((await decoder).ids).toHaveLength(12);
    expect(rows).toEqual([...new Array(5).fill(17), ...new Array(7).fill(1)]);
    // What was computed of it is not lost: 4 of 5 steps had been read when it was cancelled, or all of them.
    expect(engine.reusable(new Array(400).fill(2))).toBe(80);
    expect(engine.counts.freePages).toBe(engine.counts.pages);
  });

  test("sequences join a batch that is under way", async () => {
    const rows: number[] = [];
    const engine = open(mockModel({ vocabSize: 8, onForward: (_, R) => rows.push(R) }), { slots: 3 });
    let late: Promise<GenerationResult> | undefined;
    let count = 0;
    const onToken = () => {
      if (++count === 3) late = engine.submit({ ids: [1, 2, 3], maxTokens: 2 });
    };
    await engine.submit({ ids: [1], maxTokens: 6 }, { onToken });
    await late;
    expect(rows).toEqual([1, 1, 1, 4, 2, 1]);
  });

  test("a long prompt is computed in chunks beside the decoders", async () => {
    const rows: number[] = [];
    const engine = open(mockModel({ vocabSize: 8, onForward: (_, R) => rows.push(R) }), { prefillTokens: 4 });
    await engine.generate([
      { ids: [1], maxTokens: 4 },
      { ids: range(10).map(() => 2), maxTokens: 1 },
    ]);
    expect(rows).toEqual([5, 5, 3, 1]);
  });

  test("requests after the first rest are served too", async () => {
    const engine = open(scriptedModel([2], 1, 8));
    for (let i = 0; i < 3; i++) {
      expect((await engine.submit({ ids: [1], maxTokens: 2, sampling: greedy })).ids).toEqual([2, 2]);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(await engine.generate([])).toEqual([]);
  });
});

describe("samples", () => {
  const prompt = range(21).map((t) => (t * 7) % 41);
  const request = { ids: prompt, maxTokens: 9, sampling: { temperature: 1.2, seed: 2 ** 53 - 2 }, logprobs: true };

  test("n answers to one prompt, which is computed once; its pages are shared", async () => {
    const engine = open(tinyLlama(), { slots: 5, pageSize: 4 });
    const results = await engine.samples(request, 5);
    expect(results.map(({ seed }) => seed)).toEqual([2 ** 53 - 2, 2 ** 53 - 1, 0, 1, 2]);
    expect(results.map(({ cachedTokens }) => cachedTokens)).toEqual([0, 20, 20, 20, 20]);
    expect(engine.counts.rows).toBe(21 + 4 + 5 * 8); // the last prompt id is computed for each
    expect(new Set(results.map(({ ids }) => ids.join())).size).toBe(5);
    const bare = new Engine(engine.model, { prefixCache: false });
    for (const { seed, ids, logprobs } of results) {
      expect(await bare.submit({ ...request, sampling: { ...request.sampling, seed } })).toMatchObject({ ids, logprobs });
    }
    await bare.dispose();
  });

  test("more than run at once take what the first computed, whenever they join", async () => {
    const engine = open(tinyLlama(), { slots: 2, pageSize: 4, cacheTokens: 64 });
    const results = await engine.samples(request, 9);
    expect(results.slice(1).every(({ cachedTokens }) => cachedTokens === 20)).toBe(true);
    expect(engine.counts.freePages).toBe(engine.counts.pages);
  });

  test.each([0, -1, 1.5, Number.NaN, 1e9])("n %d is refused", async (n) => {
    const engine = open(scriptedModel([2], 1, 8));
    await expect(engine.samples({ ids: [1], maxTokens: 1 }, n)).rejects.toThrow(/generate: n: .* from 1 to 65536/);
    await expect(engine.samples({ ids: [], maxTokens: 1 }, 2)).rejects.toBeInstanceOf(RequestError);
  });
});

describe("the cache", () => {
  const prompt = range(30).map((t) => (t * 7) % 41);

  test("tells what it spared, shares within a salt only, and forgets when asked", async () => {
    const engine = open(tinyDeepseek(), { pageSize: 8 });
    const ask = async (cacheSalt?: string) =>
      (await engine.submit({ ids: prompt, maxTokens: 2, sampling: greedy, ...(cacheSalt !== undefined && { cacheSalt }) })).cachedTokens;
    expect([await ask("A"), await ask("B"), await ask("A"), await ask("B"), await ask(), await ask("")]).toEqual([0, 0, 29, 29, 0, 29]);
    engine.clearPrefixes();
    expect(await ask("A")).toBe(0);
    expect(engine.counts.keptPages).toBe(4);
    engine.forget([...prompt, 40, 40, 40], "A"); // no answer began so
    expect(engine.reusable(prompt, "A")).toBe(29);
    engine.forget(prompt, "A");
    expect(engine.reusable(prompt, "A")).toBe(0);
  });

  test("after the weights changed the keys of before are of no use, and clearPrefixes makes sure of that", async () => {
    const model = tinyLlama();
    const engine = open(model, { pageSize: 4 });
    const request = { ids: prompt, maxTokens: 3, sampling: greedy, logprobs: true };
    await engine.submit(request);
    const weight = model.parameters.get("model.layers.0.self_attn.k_proj.weight") as Tensor;
    write(
      weight,
      [...(await read(weight))].map((x) => x * 1.5),
    );
    engine.clearPrefixes();
    const changed = await engine.submit(request);
    const bare = new Engine(model, { prefixCache: false });
    expect(changed).toEqual({ ...(await bare.submit(request)), seed: expect.any(Number) });
    await bare.dispose();
  });

  test("that cannot hold one sequence bounds it like the context, and says so", async () => {
    const engine = open(scriptedModel([3], 2, 8), { cacheTokens: 10, pageSize: 4 });
    expect(engine.contextLength).toBe(10);
    expect(await engine.submit({ ids: [1, 2], maxTokens: 100, sampling: greedy })).toMatchObject({
      ids: new Array(8).fill(3),
      stop: "length",
    });
    await expect(engine.submit({ ids: new Array(10).fill(1), maxTokens: 1 })).rejects.toThrow(
      /at most 9, one less than the cache of 10 ids/,
    );
  });

  test.each(["none", "mtp"] as const)("no row is read before it was written: stale pages hold NaN (speculation: %s)", async (kind) => {
    const model = tinyDeepseek(openReference(), 1);
    let cache: Cache | undefined;
    const makeCache: Model["makeCache"] = (slots, length, form) => {
      cache = model.makeCache(slots, length, form);
      return cache;
    };
    const engine = open(
      { ...model, makeCache },
      {
        ...{ slots: 4, pageSize: 4, cacheTokens: 80, prefillTokens: 7 },
        speculation: { kind, adapt: false },
      },
    );
    const ask = () =>
      engine.generate(range(16).map((i) => ({ ids: prompt.slice(i % 3, 5 + i), maxTokens: 3 + i, sampling: { seed: i }, logprobs: true })));
    const before = await ask();
    engine.clearPrefixes();
    const { drafted } = engine.counts;
    expect(engine.counts).toMatchObject({ keptPages: 0, freePages: 20 });
    for (const tensor of cache?.layers.flat() ?? [])
      write(tensor, new Float32Array(tensor.shape.reduce((a, b) => a * b, 1)).fill(Number.NaN));
    const after = await ask();
    expect(engine.counts.preemptions).toBeGreaterThan(0);
    expect(after.map(({ ids, logprobs }) => [ids, logprobs])).toEqual(before.map(({ ids, logprobs }) => [ids, logprobs]));
    // Nor by the next head: of keys that are NaN it would have no draft.
    expect(engine.counts.drafted).toBe(2 * drafted);
  });
});

describe("cancellation", () => {
  test("a signal frees the slot at any id, in the line, and before", async () => {
    const engine = open(scriptedModel([2], 1, 8), { slots: 1 });
    for (let at = 1; at <= 5; at++) {
      const control = new AbortController();
      let count = 0;
      const onToken = () => {
        if (++count === at) control.abort(new Error(`at ${at}`));
      };
      const doomed = engine.submit({ ids: [1], maxTokens: 50 }, { onToken, signal: control.signal });
      const next = engine.submit({ ids: [1], maxTokens: 2, sampling: greedy });
      await expect(doomed).rejects.toThrow(`at ${at}`);
      expect(count).toBe(at);
      expect((await next).ids).toEqual([2, 2]);
      expect(engine.counts).toMatchObject({ running: 0, waiting: 0 });
    }
    const control = new AbortController();
    const first = engine.submit({ ids: [1], maxTokens: 5, sampling: greedy });
    const waiting = engine.submit({ ids: [1], maxTokens: 5 }, { signal: control.signal });
    control.abort();
    await expect(waiting).rejects.toThrow("aborted");
    expect((await first).ids).toHaveLength(5);
    const before = engine.counts.steps;
    await expect(engine.submit({ ids: [1], maxTokens: 5 }, { signal: AbortSignal.abort() })).rejects.toThrow("aborted");
    expect(engine.counts.steps).toBe(before);
  });

  test("a timer is heard while the engine works", async () => {
    const engine = open(mockModel({ vocabSize: 8, contextLength: 5000 }), { contextLength: 4000 });
    const begun = performance.now();
    await expect(engine.submit({ ids: [1], maxTokens: 3999 }, { signal: AbortSignal.timeout(30) })).rejects.toThrow("timeout");
    expect(performance.now() - begun).toBeLessThan(130);
  });

  test("a signal given to generate cancels all of them", async () => {
    const engine = open(mockModel({ vocabSize: 8 }), { slots: 2 });
    const control = new AbortController();
    const all = engine.generate(
      range(10).map((i) => ({ ids: [1], maxTokens: 5 + i })),
      { signal: control.signal, onProgress: () => control.abort(new Error("enough")) },
    );
    await expect(all).rejects.toThrow("enough");
    expect(engine.counts).toMatchObject({ running: 0, waiting: 0 });
  });

  test("what onToken throws fails its own request alone", async () => {
    const engine = open(scriptedModel([2], 1, 8));
    const bad = engine.submit(
      { ids: [1], maxTokens: 5 },
      {
        onToken: () => {
          throw new Error("full pipe");
        },
      },
    );
    const good = engine.submit({ ids: [1], maxTokens: 5, sampling: greedy });
    await expect(bad).rejects.toThrow("full pipe");
    expect((await good).ids).toHaveLength(5);
  });
});

describe("errors", () => {
  test("a refused request never reaches the model", async () => {
    let steps = 0;
    const engine = open(mockModel({ vocabSize: 8, onForward: () => steps++ }));
    await expect(engine.submit({ ids: [8], maxTokens: 5 })).rejects.toBeInstanceOf(RequestError);
    await expect(
      engine.generate([
        { ids: [1], maxTokens: 5 },
        { ids: [-1], maxTokens: 5 },
      ]),
    ).rejects.toBeInstanceOf(RequestError);
    expect(steps).toBe(0);
    expect(engine.counts).toMatchObject({ running: 0, waiting: 0 });
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])("logits of %d fail the request that they belong to, by name", async (broken) => {
    const engine = open(mockModel({ vocabSize: 8, byId: (last, id) => (last === 7 && id === 3 ? broken : id === 5 ? 1 : 0) }));
    const good = engine.submit({ ids: [1], maxTokens: 5, sampling: greedy });
    const bad = engine.submit({ ids: [1, 7], maxTokens: 5 });
    await expect(bad).rejects.toBeInstanceOf(DeviceError);
    await expect(bad).rejects.toThrow(/request 2, id 1 .* of 8/);
    expect((await good).ids).toEqual([5, 5, 5, 5, 5]);
    expect((await engine.submit({ ids: [1], maxTokens: 1, sampling: greedy })).ids).toEqual([5]);
  });

  test.each([{ temperature: 0 }, { temperature: 1 }])(
    "a request that bans every id is refused by name, %j: the weights are not to blame",
    async (how) => {
      const engine = open(mockModel({ vocabSize: 8 }), { vocabLimit: 6 });
      const good = engine.submit({ ids: [1], maxTokens: 3, sampling: { ...how, bannedIds: [0, 1, 2, 3, 4] } });
      const bad = engine.submit({ ids: [1], maxTokens: 3, sampling: { ...how, bannedIds: [0, 1, 2, 3, 4, 5] } });
      await expect(bad).rejects.toBeInstanceOf(RequestError);
      await expect(bad).rejects.toThrow("bannedIds that leave no id");
      expect((await good).ids).toEqual([5, 5, 5]);
    },
  );

  test("a device that fails once loses who was in that step, not who waits", async () => {
    const fail = (step: number) => {
      if (step === 2) throw new DeviceError({ operation: "forward", got: "a trap", expected: "none", cure: "try again" });
    };
    const engine = open(scriptedModel([2], 1, 8, { onForward: fail }), { slots: 2 });
    const outcomes = await Promise.allSettled(range(4).map(() => engine.submit({ ids: [1], maxTokens: 3, sampling: greedy })));
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected", "fulfilled", "fulfilled"]);
    expect(engine.counts).toMatchObject({ running: 0, waiting: 0 });
  });

  test.each([
    { slots: 0 },
    { slots: 1.5 },
    { contextLength: 65 },
    { contextLength: Number.NaN },
    { prefillTokens: -1 },
    { cacheTokens: 1 },
    { cacheTokens: Number.NaN },
    { pageSize: 0 },
    { cacheType: "q4_0" as "f16" },
    { pageSize: 24 },
    { pageSize: 2048 },
    { vocabLimit: 9 },
    { bannedIds: [8] },
    { seed: -1 },
    { speculation: { kind: "mtp" } }, // a model without the head
    { speculation: { kind: "oracle" as "mtp" } },
    { speculation: { kind: "lookup", tokens: 0 } },
    { speculation: { kind: "lookup", tokens: 33 } },
  ] satisfies EngineOptions[])("option %j is refused before anything is allocated", (options) => {
    const model = mockModel({ vocabSize: 8 });
    cleanups.push(() => model.dispose());
    const before = liveStorageCount();
    expect(() => new Engine(model, options)).toThrow(ConfigError);
    expect(liveStorageCount()).toBe(before);
  });
});

describe("memory", () => {
  test("nothing is left after dispose, whatever happened before", async () => {
    const model = tinyLlama();
    cleanups.push(() => model.dispose());
    const before = liveStorageCount();
    const engine = new Engine(model, { slots: 3, prefillTokens: 5 });
    const own = liveStorageCount();
    const control = new AbortController();
    const requests = range(12).map((i) => ({ ids: range(9), maxTokens: 6, logprobs: i % 2 === 0 }));
    const some = requests.map((request, i) => engine.submit(request, i % 3 === 0 ? { signal: control.signal } : {}));
    setTimeout(() => control.abort(), 2);
    await Promise.allSettled(some);
    expect(liveStorageCount()).toBe(own);
    let told = 0;
    const onToken = () => {
      if (++told === 7) engine.dispose(); // in the middle of a step
    };
    const left = await Promise.allSettled(requests.map((request) => engine.submit(request, { onToken })));
    expect(left.every(({ status }) => status === "rejected")).toBe(true);
    expect(told).toBe(7);
    await engine.dispose();
    expect(liveStorageCount()).toBe(before);
    await expect(engine.submit({ ids: [1], maxTokens: 1 })).rejects.toThrow("disposed");
    await engine.dispose();
    expect(liveStorageCount()).toBe(before);
  });
});
