// Small models, batches and hosts for the training tests.

import { recipe } from "../../recipes/tiny.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import type { Files, Host } from "../../src/core/host.ts";
import { Random } from "../../src/core/random.ts";
import { type Batch, type Document, packBatch } from "../../src/data/pack.ts";
import { createModel } from "../../src/models/load.ts";
import type { Model } from "../../src/models/model.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { read } from "../../src/tensor/tensor.ts";
import { DivergenceWatch } from "../../src/train/divergence.ts";
import { type StepReport, trainStage } from "../../src/train/loop.ts";
import { recordTokenLoss, totalsOf } from "../../src/train/objective.ts";
import { AdamW, adamwFields } from "../../src/train/optimizer.ts";
import { resolveOptions } from "../../src/train/options.ts";
import { scheduleFields } from "../../src/train/schedule.ts";
import type { StageRunner, StepWork } from "../../src/train/stage.ts";

export const llamaConfig = {
  model_type: "llama",
  vocab_size: 13,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  initializer_range: 0.2,
  rope_theta: 10000,
  tie_word_embeddings: false,
};

/** The shape of the tiny recipe: mixture, gate bias, prediction head. */
export const deepseekConfig = { ...recipe.model.config, vocab_size: 13, initializer_range: 0.2, tie_word_embeddings: false };

export function tinyModel(config: object, precision: "f32" | "f64" = "f32", seed = 1): Model {
  return createModel(openReference({ precision }), config, new Random(seed));
}

/** `count` documents of random ids, the first half of each a prompt when `masked`. */
export function documents(count: number, masked: boolean, seed = 3): Document[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const ids = Array.from({ length: 4 + random.integer(8) }, () => random.integer(13));
    return masked ? { ids, mask: ids.map((_, i) => (i < ids.length / 2 ? 0 : 1)) } : { ids };
  });
}

export function pack(list: readonly Document[], B: number, T: number): Batch {
  let i = 0;
  const batch = packBatch(() => list[i++], { B, T });
  if (batch.documents !== list.length) throw new Error(`only ${batch.documents} of ${list.length} documents fit`);
  return batch;
}

/** Every number of every parameter. */
export async function weightsOf(model: Model): Promise<number[]> {
  const all: number[] = [];
  for (const tensor of [...model.parameters.values(), ...model.buffers.values()]) all.push(...(await read(tensor)));
  return all;
}

export async function gradientsOf(model: Model): Promise<Map<string, number[]>> {
  const all = new Map<string, number[]>();
  for (const [name, tensor] of model.parameters) if (tensor.grad) all.set(name, Array.from(await read(tensor.grad)));
  return all;
}

/** The Node host with some file operations replaced. */
export function hostWith(files: Partial<Files>): Host {
  const host = nodeHost();
  return { ...host, files: { ...host.files, ...files } };
}

export type Sabotage = (step: number, work: StepWork) => StepWork;

/** Two microbatches again and again. `sabotage` may replace what a step does. */
export function stageOf(
  model: Model,
  steps: number,
  options: { learningRate?: number; biasRate?: number; eps?: number; sabotage?: Sabotage } = {},
): StageRunner {
  const batches = [pack(documents(4, true), 3, 16), pack(documents(3, true, 8), 3, 16)];
  const totals = totalsOf(batches);
  const { learningRate = 0.02, biasRate = 0, eps = 1e-8, sabotage } = options;
  return {
    steps,
    schedule: resolveOptions("test", scheduleFields, { learningRate, schedule: "constant" }),
    adamw: resolveOptions("test", adamwFields, { weightDecay: 0, eps }),
    smaller: "less",
    biasRate,
    trained: model.parameters,
    async prepare(step, detail) {
      const work = {
        microbatches: batches.map((batch) => () => recordTokenLoss(model, batch, totals, { mtpWeight: 0.3, balanceWeight: 1e-3 }, detail)),
        tokens: batches.reduce((n, batch) => n + batch.used, 0),
        processed: 0,
        metrics: { extra: step },
      };
      return sabotage?.(step, work) ?? work;
    },
    state: () => null,
    dispose() {},
  };
}

/** Runs a stage to its end. */
export async function runStage(
  model: Model,
  stage: StageRunner,
  each: (report: StepReport) => void | Promise<void> = () => {},
  maxSkipped = 3,
): Promise<StepReport[]> {
  const optimizer = new AdamW(model.device, stage.trained, stage.adamw);
  const from = { step: 0, tokens: 0, skipped: 0, consecutiveSkips: 0 };
  const reports: StepReport[] = [];
  try {
    for await (const report of trainStage({
      name: "test",
      device: model.device,
      stage,
      optimizer,
      from,
      detailEvery: 5,
      maxSkipped,
      watch: new DivergenceWatch(3),
      lastCheckpoint: () => "runs/x/checkpoint-7",
    })) {
      reports.push(report);
      await each(report);
    }
  } finally {
    optimizer.dispose();
  }
  return reports;
}
