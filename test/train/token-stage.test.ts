import { expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import type { JsonValue } from "../../src/core/json.ts";
import { Random } from "../../src/core/random.ts";
import { Ledger } from "../../src/cost/ledger.ts";
import { createModel } from "../../src/models/load.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { openPretrain, pretrain } from "../../src/train/pretrain.ts";
import { openSft, sft } from "../../src/train/sft.ts";
import type { StageContext } from "../../src/train/stage.ts";
import { openTask } from "../../src/train/task-table.ts";
import { makeTokenizer, openTokenizer } from "../../src/train/tokenizer-setup.ts";
import { llamaConfig } from "./tiny.ts";

const host = nodeHost();
const task = openTask({ name: "arithmetic", options: { steps: 1, max: 9, operators: "+" } });
const tokenizer = openTokenizer(await makeTokenizer(host.files, { vocabSize: 262, examples: 20 }, task, new Random(1)));
const device = openReference();
const model = createModel(device, { ...llamaConfig, vocab_size: tokenizer.vocabSize }, new Random(1));
const context = (over: Partial<StageContext> = {}): StageContext => ({
  host,
  device,
  model,
  tokenizer,
  task,
  random: new Random(5),
  ledger: new Ledger(),
  name: "stage",
  noteInput: async () => {},
  ...over,
});
const indexOf = (state: unknown) => (state as { index: number }).index;

test.each([
  [1, 1],
  [2.5, 1],
  [3, 2],
])("%d epochs in microbatches of %d: the last step, and not the one before, has seen them all", async (epochs, microbatches) => {
  const runner = await openSft(sft({ epochs, microbatches, batchSize: 2, sequenceLength: 24, data: { examples: 15 } }), context());
  const wanted = Math.round(15 * epochs);
  expect(runner.steps).toBeGreaterThan(1);
  for (let step = 0; step < runner.steps; step++) {
    expect(indexOf(runner.state())).toBeLessThan(wanted);
    await runner.prepare(step, false);
  }
  expect(indexOf(runner.state())).toBeGreaterThanOrEqual(wanted);
});

test("a restored stage goes on with the next document, and the ledger counts what was trained on", async () => {
  const ledger = new Ledger();
  const stage = pretrain({ steps: 6, batchSize: 2, sequenceLength: 24 });
  const whole = await openPretrain(stage, context({ ledger }));
  const tokens: number[] = [];
  const states: unknown[] = [];
  for (let step = 0; step < 6; step++) {
    const work = await whole.prepare(step, false);
    tokens.push(work.tokens);
    states.push(whole.state());
  }
  expect(ledger.total.trainedTokens).toBe(tokens.reduce((a, b) => a + b));
  expect(ledger.total.flop).toBeGreaterThan(6 * tokens.length * 1000);
  const rest = await openPretrain(
    stage,
    context({ restored: { state: JSON.parse(JSON.stringify(states[2])), readFrozen: async () => new Float32Array() } }),
  );
  for (let step = 3; step < 6; step++) {
    expect((await rest.prepare(step, false)).tokens).toBe(tokens[step]);
    expect(rest.state()).toEqual(states[step]);
  }
});

test("a state that is none is refused", async () => {
  for (const state of [null, {}, { index: -1 }, { index: "3" }] as JsonValue[]) {
    const restored = { state, readFrozen: async () => new Float32Array() };
    await expect(openPretrain(pretrain({ sequenceLength: 24 }), context({ restored }))).rejects.toThrow(/restore a data stream/);
  }
});

test("more examples than the task has", async () => {
  const few = openTask({ name: "arithmetic", options: { steps: 1, max: 2, operators: "+" } });
  await expect(openSft(sft({ data: { examples: 50 }, sequenceLength: 24 }), context({ task: few }))).rejects.toThrow(
    /only \d+ different problems/,
  );
});
