import { expect, test } from "vitest";
import type { Repeater } from "../../src/backend/backend.ts";
import { openDevice } from "../../src/backend/open.ts";
import { Engine } from "../../src/engine/engine.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { crowdSuite } from "./crowd-suite.ts";
import { tinyDeepseek, tinyLlama } from "./mock-model.ts";

for (const build of ["relaxed", "simd128"] as const) {
  crowdSuite(`wasm ${build}, one thread and two`, async () => [
    await openDevice(nodeHost(), { threads: 1, build }),
    await openDevice(nodeHost(), { threads: 2, build }),
  ]);
}

test("a step whose layout came before is played, not recorded: on one device, with two engines that take turns", async () => {
  const device = await openDevice(nodeHost(), { threads: 2 });
  let recorded = 0;
  const repeater = (device.repeater as () => Repeater).bind(device);
  Object.assign(device, {
    repeater: (): Repeater => {
      const own = repeater();
      return {
        record: (body) => {
          recorded++;
          return own.record(body);
        },
        close: () => own.close(),
      };
    },
  });
  const models = [tinyLlama(device), tinyDeepseek(device)];
  const answersOf = async (withBoth: boolean) => {
    const engines = models.map((model) => new Engine(model, { slots: 2, pageSize: 8, prefixCache: false }));
    const run = (engine: Engine) => engine.submit({ ids: [1, 2, 3], maxTokens: 60, sampling: { temperature: 1, seed: 7 }, logprobs: true });
    const answers = withBoth ? await Promise.all(engines.map(run)) : [await run(engines[0] as Engine), await run(engines[1] as Engine)];
    const steps = engines.reduce((sum, { counts }) => sum + counts.steps, 0);
    for (const engine of engines) await engine.dispose();
    return { answers: answers.map(({ ids, logprobs }) => ({ ids, logprobs })), steps };
  };
  const alone = await answersOf(false);
  const before = recorded;
  const together = await answersOf(true);
  expect(together.answers).toEqual(alone.answers);
  expect(together.steps).toBeGreaterThan(100);
  // A prompt, and the widths of page tables that 63 ids go through, for each engine; the first steps make weights ready and are recorded twice.
  expect(recorded - before).toBeLessThan(40);
  for (const model of models) model.dispose();
  await device.close();
});

test("an engine that is disposed within a step: its memory is free once, and the next engine answers as always", async () => {
  const device = await openDevice(nodeHost(), { threads: 2 });
  const model = tinyLlama(device);
  const open = () => new Engine(model, { slots: 2, prefixCache: false });
  const ask = (engine: Engine, onToken?: () => void) =>
    engine.submit({ ids: [1, 2, 3], maxTokens: 12, sampling: { temperature: 0 } }, onToken && { onToken });
  const first = open();
  const { ids } = await ask(first);
  await first.dispose();
  const used = device.memory().used;
  for (const place of [1, 4]) {
    const engine = open();
    let tokens = 0;
    let gone: Promise<void> | undefined;
    const answer = ask(engine, () => {
      if (++tokens === place) gone = engine.dispose();
    });
    await expect(answer).rejects.toThrow("an engine that was disposed");
    await gone;
    expect([tokens, device.memory().used]).toEqual([place, used]);
    const next = open();
    expect((await ask(next)).ids).toEqual(ids);
    await next.dispose();
  }
  model.dispose();
  await device.close();
});
