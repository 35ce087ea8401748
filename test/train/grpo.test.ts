import { describe, expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { Random } from "../../src/core/random.ts";
import { Ledger } from "../../src/cost/ledger.ts";
import { Engine } from "../../src/engine/engine.ts";
import { createModel } from "../../src/models/load.ts";
import type { Model } from "../../src/models/model.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { liveStorageCount, read, size, type Tensor, write } from "../../src/tensor/tensor.ts";
import { type GrpoOptions, type GrpoStage, grpo, openGrpo } from "../../src/train/grpo.ts";
import { PackedScalars, recordStep } from "../../src/train/loop.ts";
import { BiasBalancer } from "../../src/train/objective.ts";
import { AdamW } from "../../src/train/optimizer.ts";
import { makeRollouts, type Rollout } from "../../src/train/rollout.ts";
import { packRollouts, scoreRollouts } from "../../src/train/rollout-batch.ts";
import type { StageContext, StageRunner } from "../../src/train/stage.ts";
import { openTask, type TrainingTask } from "../../src/train/task-table.ts";
import { makeTokenizer, openTokenizer } from "../../src/train/tokenizer-setup.ts";
import { deepseekConfig, llamaConfig } from "./tiny.ts";

const host = nodeHost();
const task = openTask({ name: "arithmetic", options: { steps: 1, max: 3, operators: "+" } });
const tokenizer = openTokenizer(await makeTokenizer(host.files, { vocabSize: 260, examples: 5 }, task, new Random(1)));

/** A model that mostly says 2, 4, `</think>` or the end: all embeddings share a feature that the head turns against every other token. */
function talkative(config: object, precision: "f32" | "f64" = "f32"): Model {
  const model = createModel(openReference({ precision }), { ...config, vocab_size: tokenizer.vocabSize }, new Random(5));
  const likely = new Set(["2", "4", "</think>", "<|eos|>"].flatMap((text) => tokenizer.encode(text, { addSpecialTokens: false })));
  const random = new Random(9);
  for (const [name, first] of [
    ["model.embed_tokens.weight", () => 2],
    ["lm_head.weight", (id: number) => (likely.has(id) ? 0 : -6)],
  ] as const) {
    const tensor = model.parameters.get(name) as Tensor;
    const C = tensor.shape[1] as number;
    write(
      tensor,
      Array.from({ length: size(tensor) }, (_, i) => (i % C === 0 ? first(Math.floor(i / C)) : 0.1 * random.normal())),
    );
  }
  return model;
}

const fakeTask = (reward: (completion: string, row: unknown) => unknown): TrainingTask => ({
  ...task,
  task: { ...task.task, reward: reward as (completion: string) => number },
});

function contextOf(model: Model, over: Partial<StageContext> = {}): StageContext {
  return {
    host,
    device: model.device,
    model,
    tokenizer,
    task,
    random: new Random(3).fork("stage"),
    ledger: new Ledger(),
    name: "grpo",
    noteInput: async () => {},
    ...over,
  };
}

const small = {
  promptsPerGeneration: 3,
  numGenerations: 4,
  maxPromptLength: 12,
  maxCompletionLength: 6,
  slots: 5,
  microbatchTokens: 64,
  learningRate: 0.01,
};

/** Rewards that differ within a group: how often the completion says 2. */
const counting = fakeTask((completion) => completion.split("2").length - 1);

async function step(runner: StageRunner, optimizer: AdamW, index: number, learningRate = 0.01) {
  const packed = new PackedScalars(runner.trained.values().next().value!.storage.device);
  const balancer = new BiasBalancer(0);
  const work = await runner.prepare(index, true);
  recordStep(work, optimizer, balancer, packed, learningRate);
  const values = await packed.read();
  optimizer.settle(values.factor >= 0);
  packed.dispose();
  return { work, ...values };
}

async function open(
  options: GrpoOptions,
  context: StageContext,
): Promise<{ stage: GrpoStage; runner: StageRunner; optimizer: AdamW; close: () => Promise<void> }> {
  const stage = grpo({ ...small, ...options });
  const runner = await openGrpo(stage, context);
  const optimizer = new AdamW(context.device, runner.trained, runner.adamw);
  return {
    stage,
    runner,
    optimizer,
    close: async () => {
      optimizer.dispose();
      await runner.dispose();
    },
  };
}

describe.each([
  ["llama", llamaConfig],
  ["deepseek", deepseekConfig],
] as const)("%s", (_name, config) => {
  test("rollouts' log-probabilities are the trainer's, bit for bit", async () => {
    const model = talkative(config);
    const engine = new Engine(model, { slots: 5, absorbed: false });
    const settings = { ...grpo(small), prompts: 3 };
    const { rollouts, metrics } = await makeRollouts(engine, task, tokenizer, settings, new Random(1));
    expect(rollouts).toHaveLength(12);
    expect(new Set(rollouts.map(({ ids }) => ids.join())).size).toBeGreaterThan(6);
    for (const tokens of [20, 64, 4096])
      expect(await scoreRollouts(model, rollouts, 1, tokens)).toEqual(rollouts.map(({ logprobs }) => logprobs));
    expect(rollouts.every(({ ids, truncated }) => truncated === (ids.at(-1) !== 1) && ids.length <= 6 && ids.length > 0)).toBe(true);
    expect(metrics["completions/clipped_ratio"]).toBe(rollouts.filter(({ truncated }) => truncated).length / 12);
    // The same generator and weights: the same rollouts, whatever the number of slots.
    const other = new Engine(model, { slots: 1, absorbed: false });
    expect((await makeRollouts(other, task, tokenizer, settings, new Random(1))).rollouts).toEqual(rollouts);
    expect((await makeRollouts(other, task, tokenizer, settings, new Random(2))).rollouts).not.toEqual(rollouts);
    await engine.dispose();
    await other.dispose();
  });

  test("the first update is exactly on-policy, and reward goes up", async () => {
    const model = talkative(config);
    const before = liveStorageCount();
    const { runner, optimizer, close } = await open(
      { maxCompletionLength: 4, promptsPerGeneration: 6 },
      contextOf(model, { task: fakeTask((completion) => (completion.includes("2") ? 1 : 0)) }),
    );
    const rewards: number[] = [];
    for (let i = 0; i < 40; i++) {
      const { work, sums } = await step(runner, optimizer, i, 0.004);
      expect(sums["sampling/sampling_logp_difference/mean"] ?? 0).toBe(0);
      expect(sums["clip_ratio/region_mean"] ?? 0).toBe(0);
      rewards.push(work.metrics.reward as number);
    }
    const mean = (list: number[]) => list.reduce((a, b) => a + b, 0) / list.length;
    expect(mean(rewards.slice(-5))).toBeGreaterThan(mean(rewards.slice(0, 5)) + 0.3);
    await close();
    expect(liveStorageCount()).toBe(before);
  }, 60_000);
});

test("completions with advantage 0 add no gradient: leaving them out changes nothing", async () => {
  // One group of three has no spread.
  let calls = 0;
  const reward = () => (calls++ % 12 < 4 ? 0.5 : calls % 3);
  const gradients: number[][] = [];
  for (const skipZeroAdvantage of [true, false]) {
    calls = 0;
    const model = talkative(llamaConfig, "f64");
    const { runner, optimizer, close } = await open(
      { skipZeroAdvantage, maxCompletionLength: 3 },
      contextOf(model, { task: fakeTask(reward) }),
    );
    const { work } = await step(runner, optimizer, 0);
    expect(work.metrics.reward_std).toBeGreaterThan(0);
    gradients.push((await Promise.all([...model.parameters.values()].map(async (p) => Array.from(await read(p.grad!))))).flat());
    await close();
  }
  const [lean, full] = gradients as [number[], number[]];
  expect(Math.max(...full.map(Math.abs))).toBeGreaterThan(1e-6);
  for (const [i, g] of full.entries()) expect(Math.abs(g - lean[i]!)).toBeLessThan(1e-14);
});

test("microbatches of GRPO add up to one (dapo, grpo, dr_grpo)", async () => {
  for (const lossType of ["dapo", "grpo", "dr_grpo"] as const) {
    const gradients: number[][] = [];
    for (const microbatchTokens of [24, 8192]) {
      const model = talkative(deepseekConfig, "f64");
      const { runner, optimizer, close } = await open({ lossType, microbatchTokens, beta: 0.1 }, contextOf(model, { task: counting }));
      const { work } = await step(runner, optimizer, 0);
      expect(work.microbatches.length > 1).toBe(microbatchTokens === 24);
      gradients.push((await Promise.all([...runner.trained.values()].map(async (p) => Array.from(await read(p.grad!))))).flat());
      await close();
    }
    const [parts, whole] = gradients as [number[], number[]];
    const largest = Math.max(...whole.map(Math.abs));
    expect(largest).toBeGreaterThan(1e-6);
    for (const [i, g] of whole.entries()) expect(Math.abs(g - parts[i]!)).toBeLessThan(1e-9 * largest);
  }
});

describe("rewards that misbehave", () => {
  test.each([
    ["NaN", () => Number.NaN],
    ["infinity", () => Number.POSITIVE_INFINITY],
    ["a string", () => "1"],
    ["nothing", () => undefined],
    [
      "an error",
      () => {
        throw new Error("boom");
      },
    ],
  ])("%s counts as 0, is counted, and the run goes on", async (_name, reward) => {
    const model = talkative(llamaConfig);
    const { runner, optimizer, close } = await open(
      { maxCompletionLength: 30, maxPromptLength: 12 },
      contextOf(model, { task: fakeTask(reward) }),
    );
    const { work, factor } = await step(runner, optimizer, 0);
    expect(work.metrics).toMatchObject({ reward: 0, frac_reward_zero_std: 1 });
    expect(work.metrics["rewards/arithmetic/invalid"]).toBeGreaterThan(0);
    expect(work.microbatches).toHaveLength(0);
    expect(factor).toBe(1);
    await close();
  });

  test("equal rewards, most of them truncated: advantage 0, the group is counted, nothing breaks", async () => {
    const model = talkative(llamaConfig);
    for (const options of [
      { maskTruncatedCompletions: true, skipZeroAdvantage: false, maxCompletionLength: 1, beta: 0.1 },
      { maxCompletionLength: 1 },
    ]) {
      const { runner, optimizer, close } = await open(options, contextOf(model, { task: fakeTask(() => 0) }));
      const { work, sums, factor } = await step(runner, optimizer, 0);
      expect(Object.values(sums).every((x) => x !== null && Number.isFinite(x))).toBe(true);
      expect(work.metrics["completions/min_length"]).toBe(1);
      expect(factor).toBe(1);
      await close();
    }
  });
});

test("a truncated completion earns nothing even where the reward function would pay", async () => {
  const model = talkative(llamaConfig);
  const { runner, close } = await open({ maxCompletionLength: 2, logSamples: 12 }, contextOf(model, { task: fakeTask(() => 1) }));
  const { samples, metrics } = await runner.prepare(0, false);
  const rewards = (samples as { reward: number }[]).map(({ reward }) => reward);
  expect(rewards.filter((reward) => reward === 0).length / 12).toBe(metrics["completions/clipped_ratio"]);
  expect(new Set(rewards)).toEqual(new Set([0, 1]));
  await close();
});

test("rollouts are used numIterations times over stepsPerGeneration steps, then made anew", async () => {
  const model = talkative(llamaConfig);
  const { runner, optimizer, close } = await open(
    { numIterations: 2, stepsPerGeneration: 3, skipZeroAdvantage: false, beta: 0.01, steps: 12 },
    contextOf(model, { task: counting }),
  );
  const fresh: boolean[] = [];
  const tokens: number[] = [];
  for (let i = 0; i < 12; i++) {
    const { work } = await step(runner, optimizer, i);
    fresh.push("reward" in work.metrics);
    tokens.push(work.processed - work.tokens);
    expect((runner.state() as { rollouts: unknown }).rollouts === null).toBe(i % 6 === 5);
  }
  expect(fresh).toEqual(Array.from({ length: 12 }, (_, i) => i % 6 === 0));
  expect(tokens.slice(0, 3)).toEqual(tokens.slice(3, 6)); // the second pass sees the same thirds
  expect(runner.frozen?.().size).toBe(model.parameters.size + model.buffers.size);
  await close();
});

test("a state in the middle of a generation goes on exactly", async () => {
  const options = { numIterations: 3, beta: 0.05, steps: 6 };
  const results: number[][] = [];
  for (const breakAt of [undefined, 2]) {
    const model = talkative(llamaConfig);
    let { runner, optimizer, close } = await open(options, contextOf(model, { task: counting }));
    for (let i = 0; i < 5; i++) {
      if (i === breakAt) {
        const state = JSON.parse(JSON.stringify(runner.state()));
        const frozen = new Map(
          await Promise.all(
            Array.from(runner.frozen?.() ?? [], async ([name, tensor]) => [name, Float32Array.from(await read(tensor))] as const),
          ),
        );
        const moments = new Map(await Promise.all(optimizer.tensors().map(async ({ name, data }) => [name, await data()] as const)));
        const { steps } = optimizer;
        await close();
        const restored = { state, readFrozen: async (name: string) => frozen.get(name) as Float32Array };
        ({ runner, optimizer, close } = await open(options, contextOf(model, { task: counting, restored })));
        await optimizer.restore(steps, async (name) => moments.get(name) as Float32Array);
      }
      await step(runner, optimizer, i);
    }
    results.push((await Promise.all([...model.parameters.values()].map(async (p) => Array.from(await read(p))))).flat());
    await close();
  }
  expect(results[0]).toEqual(results[1]);
});

test("another temperature is another policy: its log-probabilities are computed anew, and the first ratio is 1", async () => {
  const model = talkative(llamaConfig);
  const { runner, optimizer, close } = await open({ temperature: 0.5 }, contextOf(model, { task: counting }));
  const { sums } = await step(runner, optimizer, 0);
  expect(sums["sampling/sampling_logp_difference/mean"]).toBe(0);
  await close();
});

test("packing keeps every token of every rollout in order", () => {
  const random = new Random(4);
  const rollouts = Array.from({ length: 30 }, (): Rollout => {
    const ids = (n: number) => Array.from({ length: n }, () => random.integer(99));
    return { promptIds: ids(1 + random.integer(5)), ids: ids(1 + random.integer(9)), logprobs: [], advantage: 0, truncated: false };
  });
  for (const tokens of [1, 20, 50, 4000]) {
    const batches = packRollouts(rollouts, tokens);
    expect(batches.flatMap((batch) => batch.rollouts)).toEqual(rollouts);
    for (const { batch, rollouts: mine, rows, targets } of batches) {
      expect(batch.B * batch.T).toBe(batch.ids.length);
      expect(batch.B * batch.T).toBeLessThanOrEqual(Math.max(tokens, batch.T));
      expect(Array.from(targets)).toEqual(mine.flatMap(({ ids }) => ids));
      // The row before each token is where the model has read everything up to it.
      for (const [m, row] of rows.entries()) expect(batch.nextIds[row]).toBe(targets[m]);
    }
  }
  expect(packRollouts([], 100)).toEqual([]);
});
