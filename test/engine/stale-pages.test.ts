// A90: no answer reads a cache row that its own sequence did not write. The whole cache holds NaN at the start, and again what was freed: one such number in
// a sum would make logits that the sampler refuses, and answers must have the bits that they have alone.

import { expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { Cache, Model } from "../../src/models/model.ts";
import { tinyDeepseek, tinyLlama } from "./mock-model.ts";

const device = openReference();

function poison(cache: Cache): void {
  for (const { storage, shape } of cache.layers.flat()) {
    const count = shape.reduce((product, size) => product * size, 1);
    device.write(storage.buffer, 0, new Float32Array(count).fill(Number.NaN));
  }
}

test.each([
  ["Llama", tinyLlama, false],
  ["DeepSeek, plain", tinyDeepseek, false],
  ["DeepSeek, absorbed", tinyDeepseek, true],
] as const)("A90: %s: pages full of NaN, taken and given back by 120 answers", async (_, make, absorbed) => {
  const own = make(device);
  const caches: Cache[] = [];
  const model: Model = {
    ...own,
    makeCache: (...args) => {
      const cache = own.makeCache(...args);
      caches.push(cache);
      poison(cache);
      return cache;
    },
  };
  const request = (i: number) => ({
    ids: Array.from({ length: 1 + (i % 17) }, (_, k) => (k * (i % 5) + i) % 40),
    maxTokens: 1 + ((i * 7) % 23),
    sampling: { seed: i, temperature: 1 },
    logprobs: true,
  });
  const answerOf = async (engine: Engine, i: number) => {
    const { ids, logprobs } = await engine.submit(request(i));
    return { ids, logprobs };
  };
  const solo = new Engine(own, { slots: 1, absorbed, prefixCache: false });
  const alone: unknown[] = [];
  for (let i = 0; i < 120; i++) alone.push(await answerOf(solo, i));
  await solo.dispose();
  const engine = new Engine(model, { slots: 5, absorbed, pageSize: 4, cacheTokens: 100, prefillTokens: 8 });
  for (let round = 0; round < 3; round++) {
    const crowd = Array.from({ length: 40 }, (_, i) => answerOf(engine, 40 * round + i));
    expect(await Promise.all(crowd)).toEqual(alone.slice(40 * round, 40 * round + 40));
    // Nobody runs: all pages are free, and what a prefix was kept in is forgotten.
    engine.clearPrefixes();
    for (const cache of caches) poison(cache);
  }
  await engine.dispose();
  own.dispose();
});
