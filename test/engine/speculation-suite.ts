// The law of speculation as a property: whatever is drafted, and however many at a time, requests with every kind of setting answer bit for bit as
// each does alone on an engine that never drafts; alone, in crowds, over few pages, with prefixes from the cache, cancelled on the way.
// Afterwards every page is back, no tensor is left, and the prefix cache holds no more than what was emitted.

import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import type { TokenConstraint } from "../../src/engine/constraint.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { EngineOptions } from "../../src/engine/options.ts";
import type { GenerationRequest, GenerationResult } from "../../src/engine/request.ts";
import type { SpeculationKind } from "../../src/engine/speculation.ts";
import type { Model } from "../../src/models/model.ts";
import { liveStorageCount } from "../../src/tensor/tensor.ts";

export type SpeculationModel = readonly [
  label: string,
  make: (device: Device) => Model,
  form: Pick<EngineOptions, "absorbed">,
  kinds: readonly SpeculationKind[],
];

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
/** Repeats itself, so that lookups have something to find. */
const stem = [3, 9, 4, 17, 3, 9, 4, 5, 3, 9, 4, 17, 22, 8, 3, 9];

/** Lets every third id pass, shifted by the ids so far, and ends after `length` of them; each mask waits for a turn of the event loop. */
function thirds(length: number): TokenConstraint {
  const taken: number[] = [];
  const shift = () => taken.reduce((sum, id) => sum + id, 0);
  let isPrepared = false;
  return {
    async prepare() {
      await new Promise((resolve) => setImmediate(resolve));
      isPrepared = true;
    },
    mask(logits, start, width) {
      expect(isPrepared).toBe(true);
      isPrepared = false;
      if (taken.length === length) return false;
      for (let id = 0; id < width; id++) if ((id + shift()) % 3 !== 0) logits[start + id] = Number.NEGATIVE_INFINITY;
      return true;
    },
    accept(id) {
      taken.push(id);
    },
  };
}

/** Made anew for each run: a constraint serves one request. */
const makeRequests: readonly (() => GenerationRequest)[] = [
  { sampling: { temperature: 0 } },
  { sampling: { temperature: 0, repetitionPenalty: 1.3, presencePenalty: 0.5, frequencyPenalty: 0.7 }, topLogprobs: 3 },
  { sampling: { seed: 5, temperature: 0.3 }, logprobs: true },
  { sampling: { seed: 6, topK: 4, logitBias: [[9, 2] as const, [4, -3] as const], bannedIds: [17] } },
  { sampling: { seed: 7, topP: 0.7, frequencyPenalty: 1 }, logprobs: true, budget: { end: [39, 38], max: 6, cue: [3, 9, 4] } },
  { sampling: { temperature: 0 }, budget: { end: [9], min: 3, max: 12, extend: { times: 2, ids: [3, 9, 4] } } },
  { sampling: { seed: 8, minP: 0.02, temperature: 0.5 }, stop: [4, 22, 30, 31] },
  { sampling: { temperature: 0 }, constraint: () => thirds(9), logprobs: true },
  { sampling: { seed: 9, temperature: 0.4 }, constraint: () => thirds(30), budget: { end: [9], max: 4 } },
  { sampling: { seed: 10, temperature: 0.2 }, cacheSalt: "other" },
].map((settings, i) => () => ({
  ids: [...stem.slice(0, 4 + ((i * 5) % 13)), ...(i % 3 === 0 ? [3, 9, 4] : [])],
  maxTokens: 6 + ((i * 11) % 19),
  stop: [40],
  ...settings,
  ...(settings.constraint ? { constraint: settings.constraint() } : { constraint: undefined }),
}));

const longest = Math.max(...makeRequests.map((make) => make().ids.length + make().maxTokens));

const scenario = (kinds: readonly SpeculationKind[]) =>
  fc.record({
    kind: fc.constantFrom(...kinds),
    tokens: fc.constantFrom(1, 2, 3, 8, 32),
    adapt: fc.boolean(),
    options: fc.record({
      slots: fc.integer({ min: 1, max: 7 }),
      pageSize: fc.constantFrom(1, 2, 4, 32),
      cacheTokens: fc.integer({ min: longest, max: 4 * longest }),
      prefillTokens: fc.constantFrom(1, 3, 64),
      prefixCache: fc.constantFrom(true, true, false),
    }),
    order: fc.shuffledSubarray(range(makeRequests.length), { minLength: makeRequests.length }),
    /** Requests that are asked a second time and given up after so many ids: by their signal, by what onToken returns, by what it throws. */
    doomed: fc.array(
      fc.record({
        which: fc.nat(makeRequests.length - 1),
        after: fc.integer({ min: 1, max: 6 }),
        how: fc.constantFrom("abort", "stop", "throw"),
      }),
      { maxLength: 4 },
    ),
    device: fc.nat(7),
  });

/** All but seeds that the engine drew, and what depends on the others: how much came from the cache, what was drafted. */
function answerOf({ cachedTokens: _, seed: __, drafted: ___, accepted: ____, ...answer }: GenerationResult): unknown {
  return answer;
}

async function giveUp(engine: Engine, request: GenerationRequest, after: number, how: string): Promise<void> {
  const control = new AbortController();
  let count = 0;
  const onToken = () => {
    expect(count).toBeLessThan(after);
    if (++count < after) return undefined;
    if (how === "throw") throw new Error("enough");
    if (how === "abort") control.abort(new Error("enough"));
    return how === "stop" ? "stop" : undefined;
  };
  await engine.submit(request, { onToken, signal: control.signal }).catch(() => undefined);
}

export function speculationSuite(
  label: string,
  open: () => Device[] | Promise<Device[]>,
  models: readonly SpeculationModel[],
  numRuns: number,
): void {
  describe.each(models)(`speculation on ${label}: %s`, (_, make, form, kinds) => {
    let devices: Device[] = [];
    beforeAll(async () => {
      devices = await open();
    });
    afterAll(async () => {
      for (const device of devices) await device.close();
    });

    test("changes no bit of any answer, and leaves no trace", async () => {
      const loaded = devices.map((device) => make(device));
      const bare = new Engine(loaded[0] as Model, { ...form, slots: 1, prefixCache: false });
      const alone: unknown[] = [];
      for (const request of makeRequests) alone.push(answerOf(await bare.submit(request())));
      await bare.dispose();
      const seen = { drafted: 0, accepted: 0, preemptions: 0, cachedTokens: 0 };
      await fc.assert(
        fc.asyncProperty(scenario(kinds), async ({ kind, tokens, adapt, options, order, doomed, device }) => {
          const before = liveStorageCount();
          const speculation = { kind, adapt, ...(kind === "lookup" && { tokens }) };
          const engine = new Engine(loaded[device % loaded.length] as Model, { ...form, ...options, speculation });
          const own = liveStorageCount();
          const lost = doomed.map(({ which, after, how }) =>
            giveUp(engine, (makeRequests[which] as () => GenerationRequest)(), after, how),
          );
          const answers = await Promise.all(order.map((i) => engine.submit((makeRequests[i] as () => GenerationRequest)())));
          await Promise.all(lost);
          for (const [at, i] of order.entries()) expect(answerOf(answers[at] as GenerationResult)).toEqual(alone[i]);
          const { pages, freePages, running, waiting, drafted, accepted, preemptions, emitted, rows } = engine.counts;
          expect({ freePages, running, waiting }).toEqual({ freePages: pages, running: 0, waiting: 0 });
          expect(accepted).toBeLessThanOrEqual(drafted);
          expect(accepted).toBeLessThanOrEqual(emitted);
          expect(rows).toBeGreaterThanOrEqual(drafted);
          // The next head may still be at work after the last answer.
          await expect.poll(liveStorageCount, { interval: 1 }).toBe(own);
          seen.drafted += drafted;
          seen.accepted += accepted;
          seen.preemptions += preemptions;
          for (const { cachedTokens } of answers) seen.cachedTokens += cachedTokens;
          await engine.dispose();
          expect(liveStorageCount()).toBe(before);
        }),
        { seed: 9, numRuns },
      );
      // The scenarios did what they are for.
      expect(seen.accepted).toBeGreaterThan(0);
      expect(seen.drafted).toBeGreaterThan(seen.accepted);
      expect(seen.preemptions).toBeGreaterThan(0);
      expect(seen.cachedTokens).toBeGreaterThan(0);
      for (const model of loaded) model.dispose();
    }, 120_000);
  });
}
