// The turn of the event loop that falls into a step: whatever happens to sequences in it while the device works on them, the others answer what they answer
// alone, and nothing is left.

import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { GenerationRequest } from "../../src/engine/request.ts";
import { liveStorageCount } from "../../src/tensor/tensor.ts";
import { openWandering } from "../backend/begun-device.ts";
import { lawsSuite } from "./laws-suite.ts";
import { tinyDeepseek, tinyLlama } from "./mock-model.ts";

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const requests: GenerationRequest[] = range(6).map((i) => ({
  ids: range(2 + 3 * i).map((t) => (i * 11 + t * 3) % 41),
  maxTokens: 6 + i,
  sampling: { seed: i, topK: 30 },
  logprobs: i % 2 === 0,
}));

describe("a turn in every step", () => {
  let inTurn: (() => void) | undefined;
  const device = openReference();
  let begun = 0;
  device.begin = () => {
    begun++;
    setImmediate(() => inTurn?.());
    return true;
  };
  const plain = tinyLlama(device);
  // Longer than the engine lets the event loop wait.
  const model = {
    ...plain,
    forward(input: Parameters<typeof plain.forward>[0]) {
      const end = performance.now() + 2.5;
      while (performance.now() < end);
      return plain.forward(input);
    },
  };
  let alone: readonly (readonly number[])[] = [];
  beforeAll(async () => {
    const engine = new Engine(plain, { slots: 1, prefixCache: false });
    alone = (await engine.generate(requests)).map(({ ids }) => ids);
    await engine.dispose();
  });
  afterAll(() => plain.dispose());

  test("sequences that leave and come in it", async () => {
    const before = liveStorageCount();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ turn: fc.integer({ min: 1, max: 12 }), which: fc.nat(5) }), { minLength: 1, maxLength: 4 }),
        fc.constantFrom(1, 4, 64),
        fc.constantFrom(60, 200),
        async (gone, prefillTokens, cacheTokens) => {
          const engine = new Engine(model, { slots: 4, pageSize: 4, contextLength: 40, cacheTokens, prefillTokens });
          const running = new Map(requests.map((request, i) => [i, engine.begin(request)]));
          const late: Promise<unknown>[] = [];
          const left = new Set<number>();
          let turn = 0;
          begun = 0;
          inTurn = () => {
            turn++;
            for (const { turn: at, which } of gone) {
              if (at !== turn) continue;
              left.add(which);
              running.get(which)?.cancel(new Error("gone"));
              late.push(engine.submit(requests[which] as GenerationRequest).then(({ ids }) => expect(ids).toEqual(alone[which])));
            }
          };
          const answers = await Promise.allSettled([...running.values()].map(({ answer }) => answer));
          await Promise.all(late);
          inTurn = undefined;
          expect(begun).toBeGreaterThan(5);
          for (const [i, answer] of answers.entries()) {
            if (answer.status === "fulfilled") expect(answer.value.ids).toEqual(alone[i]);
            else {
              expect(left.has(i)).toBe(true);
              expect(String(answer.reason)).toContain("gone");
            }
          }
          expect(engine.counts).toMatchObject({ running: 0, waiting: 0, freePages: engine.counts.pages });
          await engine.dispose();
          expect(liveStorageCount()).toBe(before);
        },
      ),
      { numRuns: 12, seed: 3 },
    );
  }, 60_000);

  test("an engine that is disposed in it", async () => {
    const before = liveStorageCount();
    const engine = new Engine(model, { slots: 4 });
    const answers = Promise.allSettled(requests.map((request) => engine.submit(request)));
    let turn = 0;
    let disposed: Promise<void> | undefined;
    inTurn = () => {
      if (++turn === 3) disposed = engine.dispose();
    };
    expect((await answers).every(({ status }) => status === "rejected")).toBe(true);
    inTurn = undefined;
    expect(turn).toBe(3);
    await disposed;
    expect(liveStorageCount()).toBe(before);
  });
});

lawsSuite(
  "wasm, two and three threads that begin without the caller",
  async () => [(await openWandering(2, 1)).device, (await openWandering(3, 2)).device],
  [
    ["llama", tinyLlama, {}],
    ["deepseek, absorbed, f16", tinyDeepseek, { absorbed: true, cacheType: "f16" }],
  ],
  8,
);
