import { describe, expect, test } from "vitest";
import { DeviceError } from "../../src/core/errors.ts";
import type { Model } from "../../src/models/model.ts";
import { affine } from "../../src/ops/affine.ts";
import { add } from "../../src/ops/binary.ts";
import { sum } from "../../src/ops/sum-axis.ts";
import { sqrt } from "../../src/ops/unary.ts";
import { liveStorageCount, read, type Tensor, write } from "../../src/tensor/tensor.ts";
import type { StepReport } from "../../src/train/loop.ts";
import type { StepWork } from "../../src/train/stage.ts";
import { deepseekConfig, llamaConfig, runStage, type Sabotage, stageOf, tinyModel, weightsOf } from "./tiny.ts";

describe.each([
  ["llama", llamaConfig],
  ["deepseek", deepseekConfig],
] as const)("%s", (_name, config) => {
  test("overfits one batch", async () => {
    const model = tinyModel(config);
    const before = liveStorageCount();
    const reports = await runStage(model, stageOf(model, 60, { biasRate: 1e-3 }));
    const losses = reports.map((report) => report.metrics.loss as number);
    expect(losses[0]).toBeGreaterThan(2);
    expect(losses.at(-1)).toBeLessThan(0.1);
    const last = reports.at(-1)?.metrics;
    expect(last?.mean_token_accuracy).toBe(1);
    expect(last?.entropy).toBeLessThan(0.3);
    expect(last).toMatchObject({ extra: 59, learning_rate: 0.02, num_tokens: 60 * (reports[0]?.work.tokens ?? 0) });
    expect(reports[0]?.metrics.entropy).toBeUndefined(); // only every fifth step
    expect(liveStorageCount()).toBe(before);
  });

  test("two runs are the same, bit for bit", async () => {
    const [a, b] = [tinyModel(config), tinyModel(config)];
    const rows = await Promise.all(
      [a, b].map(async (model) => (await runStage(model, stageOf(model, 6, { biasRate: 1e-2 }))).map(({ metrics }) => metrics)),
    );
    expect(rows[0]).toEqual(rows[1]);
    expect(await weightsOf(a)).toEqual(await weightsOf(b));
  });
});

/** A further microbatch whose loss is 0 and whose gradient is NaN: sqrt at 0. */
const poisonGradient = (model: Model) => (): ReturnType<StepWork["microbatches"][number]> => {
  const weight = model.parameters.get("model.norm.weight") as Tensor;
  return { loss: sqrt(affine(sum(weight), 0)), sums: {}, loads: [] };
};
const poisonLoss = (model: Model) => () => {
  const weight = model.parameters.get("model.norm.weight") as Tensor;
  return { loss: add(affine(sum(weight), 0), affine(sum(weight), Number.POSITIVE_INFINITY)), sums: {}, loads: [] };
};

describe.each([
  ["a gradient", poisonGradient],
  ["the loss", poisonLoss],
] as const)("NaN or infinity in %s", (_name, poison) => {
  test("skips that step, changes no weight, and training goes on", async () => {
    const model = tinyModel(deepseekConfig);
    const sabotage: Sabotage = (step, work) =>
      step === 2 || step === 4 || step === 5 ? { ...work, microbatches: [...work.microbatches, poison(model)] } : work;
    const states: number[][] = [];
    const reports = await runStage(model, stageOf(model, 8, { biasRate: 0.01, sabotage }), async () => {
      states.push(await weightsOf(model));
    });
    expect(reports.map(({ applied }) => applied)).toEqual([true, true, false, true, false, false, true, true]);
    expect(states[2]).toEqual(states[1]);
    expect(states[4]).toEqual(states[3]);
    expect(states[5]).toEqual(states[3]);
    expect(states[6]).not.toEqual(states[5]);
    expect(reports.at(-1)?.position).toMatchObject({ step: 8, skipped: 3, consecutiveSkips: 0 });
    expect(reports[2]?.metrics.grad_norm).toBeNull();
    expect(reports[2]?.nonFinite).toContain("gradient of model.norm.weight");
    expect(states.flat().every(Number.isFinite)).toBe(true);
  });

  test("three in a row end the run and name the last checkpoint", async () => {
    const model = tinyModel(llamaConfig);
    const sabotage: Sabotage = (step, work) => (step >= 3 ? { ...work, microbatches: [...work.microbatches, poison(model)] } : work);
    let before: number[] = [];
    const seen: StepReport[] = [];
    const attempt = runStage(model, stageOf(model, 20, { sabotage }), async (report) => {
      seen.push(report);
      if (report.position.step === 3) before = await weightsOf(model);
    });
    await expect(attempt).rejects.toThrow(DeviceError);
    await expect(attempt).rejects.toThrow(/3 steps in a row.*runs\/x\/checkpoint-7/);
    expect(seen).toHaveLength(6); // every one of them was reported before the end
    expect(await weightsOf(model)).toEqual(before);
  });
});

test("NaN in a weight is found by name", async () => {
  const model = tinyModel(llamaConfig);
  const weight = model.parameters.get("model.layers.1.mlp.up_proj.weight") as Tensor;
  const numbers = Array.from(await read(weight));
  write(weight, numbers.with(5, Number.NaN));
  const reports: StepReport[] = [];
  await expect(runStage(model, stageOf(model, 9), (report) => void reports.push(report))).rejects.toThrow(DeviceError);
  expect(reports).toHaveLength(3);
  expect(reports[0]?.nonFinite[0]).toBe("model.layers.1.mlp.up_proj.weight");
  expect(reports[0]?.metrics.loss).toBeNull();
});

test("a step without microbatches is a step with zero gradients", async () => {
  const model = tinyModel(llamaConfig);
  const before = await weightsOf(model);
  const reports = await runStage(model, stageOf(model, 2, { sabotage: (_step, work) => ({ ...work, microbatches: [] }) }));
  expect(reports.map(({ metrics }) => [metrics.loss, metrics.grad_norm])).toEqual([
    [0, 0],
    [0, 0],
  ]);
  expect(await weightsOf(model)).toEqual(before);
});

test("a spike of the gradient is held by the clip", async () => {
  const calm = tinyModel(llamaConfig);
  const hit = tinyModel(llamaConfig);
  const spike: Sabotage = (step, work) =>
    step === 10
      ? { ...work, microbatches: work.microbatches.map((record) => () => ({ ...record(), loss: affine(record().loss, 100) })) }
      : work;
  const a = await runStage(calm, stageOf(calm, 60));
  const b = await runStage(hit, stageOf(hit, 60, { sabotage: spike }));
  expect(b[10]?.metrics.grad_norm as number).toBeGreaterThan(50 * (a[10]?.metrics.grad_norm as number));
  expect(Math.abs((b.at(-1)?.metrics.loss as number) - (a.at(-1)?.metrics.loss as number))).toBeLessThan(0.02);
});
