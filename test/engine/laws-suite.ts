// The bitwise laws as properties: requests with much in common, in random order, on engines of random slots, page size, cache, chunk size and
// threads, some of them cancelled on the way, must answer exactly as each does alone on an engine that shares nothing. Afterwards every page is
// back and no tensor is left.

import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { EngineOptions } from "../../src/engine/options.ts";
import type { GenerationRequest, GenerationResult } from "../../src/engine/request.ts";
import type { Model } from "../../src/models/model.ts";
import { liveStorageCount } from "../../src/tensor/tensor.ts";

export type LawModel = readonly [label: string, make: (device: Device) => Model, form: Pick<EngineOptions, "absorbed" | "cacheType">];

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const stem = range(21).map((t) => (t * 7 + 1) % 40);

/** Prompts that part at every place, two that are equal, one that is the beginning of the others. */
const requests: GenerationRequest[] = range(12).map((i) => ({
  ids: i < 2 ? stem : [...stem.slice(0, (i * 2) % 21), ...range(1 + (i % 4)).map((t) => (i * 5 + t) % 40)],
  maxTokens: 3 + ((i * 7) % 17),
  sampling: i % 3 === 0 ? { temperature: 0 } : { seed: i, topK: 30 },
  stop: [40],
  logprobs: i % 4 !== 0,
  ...(i % 5 === 0 && { budget: { end: [39], max: 5, cue: [1, 2] } }),
  ...(i % 6 === 5 && { cacheSalt: "other" }),
}));

const longest = Math.max(...requests.map(({ ids, maxTokens }) => ids.length + maxTokens));

const scenario = fc.record({
  slots: fc.integer({ min: 1, max: 7 }),
  pageSize: fc.constantFrom(1, 2, 4, 8, 32),
  cacheTokens: fc.integer({ min: longest, max: 4 * longest }),
  prefillTokens: fc.constantFrom(1, 3, 8, 64),
  prefixCache: fc.constantFrom(true, true, false),
  order: fc.shuffledSubarray(range(requests.length), { minLength: requests.length }),
  /** Requests that are asked a second time and given up after so many ids. */
  cancelled: fc.array(fc.record({ which: fc.nat(requests.length - 1), after: fc.nat(6) }), { maxLength: 4 }),
  rounds: fc.integer({ min: 1, max: 2 }),
  device: fc.nat(7),
});

/** All but seeds that the engine drew and how much came from the cache. */
function answerOf({ cachedTokens: _, seed: __, ...answer }: GenerationResult): unknown {
  return answer;
}

export function lawsSuite(
  label: string,
  open: () => Device[] | Promise<Device[]>,
  models: readonly LawModel[],
  numRuns: number,
  seed = 5,
): void {
  describe.each(models)(`the laws on ${label}: %s`, (_, make, form) => {
    let devices: Device[] = [];
    beforeAll(async () => {
      devices = await open();
    });
    afterAll(async () => {
      for (const device of devices) await device.close();
    });

    test("an answer depends on its request alone", async () => {
      const loaded = devices.map((device) => make(device));
      const reasons = { preemptions: 0, cachedTokens: 0 };
      const bare = new Engine(loaded[0] as Model, { ...form, slots: 1, prefixCache: false });
      const alone: unknown[] = [];
      for (const request of requests) alone.push(answerOf(await bare.submit(request)));
      await bare.dispose();
      await fc.assert(
        fc.asyncProperty(scenario, async ({ order, cancelled, rounds, device, ...options }) => {
          const before = liveStorageCount();
          const engine = new Engine(loaded[device % loaded.length] as Model, { ...form, ...options });
          const own = liveStorageCount();
          for (let round = 0; round < rounds; round++) {
            const doomed = cancelled.map(async ({ which, after }) => {
              const control = new AbortController();
              let count = 0;
              const onToken = () => {
                if (++count >= after) control.abort(new Error("enough"));
              };
              if (after === 0) setImmediate(() => control.abort(new Error("enough")));
              return engine.submit(requests[which] as GenerationRequest, { onToken, signal: control.signal }).catch(() => undefined);
            });
            const answers = await Promise.all(order.map((i) => engine.submit(requests[i] as GenerationRequest)));
            await Promise.all(doomed);
            for (const [at, i] of order.entries()) expect(answerOf(answers[at] as GenerationResult)).toEqual(alone[i]);
            for (const { cachedTokens } of answers) reasons.cachedTokens += cachedTokens;
          }
          const { pages, freePages, running, waiting, preemptions } = engine.counts;
          expect({ freePages, running, waiting }).toEqual({ freePages: pages, running: 0, waiting: 0 });
          expect(liveStorageCount()).toBe(own);
          reasons.preemptions += preemptions;
          await engine.dispose();
          expect(liveStorageCount()).toBe(before);
        }),
        { seed, numRuns },
      );
      // The scenarios did what they are for.
      expect(reasons.preemptions).toBeGreaterThan(0);
      expect(reasons.cachedTokens).toBeGreaterThan(0);
      for (const model of loaded) model.dispose();
    }, 120_000);
  });
}
