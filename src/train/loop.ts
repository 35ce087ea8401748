// The one training loop. A stage supplies the work of each step; the loop records forward, backward and AdamW for it and waits once, for a small
// packed tensor: loss, norm, clip factor and everything that is logged. In: a stage and the position to start from. Out: one report
// for each step, as an async generator, so that logs and checkpoints are the caller's business. Unusual: a step whose loss or gradient
// is not finite changes nothing (decided on the device), is reported with the tensors at fault, and three in a row end the run; so does
// a loss that is finite but has come apart (divergence.ts).

import { type Device, noMemory } from "../backend/backend.ts";
import { DeviceError } from "../core/errors.ts";
import { backward } from "../tensor/autograd.ts";
import { dispose, empty, keep, read, scope, type Tensor, view } from "../tensor/tensor.ts";
import { trackGradients } from "../tensor/tracking.ts";
import type { DivergenceWatch } from "./divergence.ts";
import { BiasBalancer, type Recorded } from "./objective.ts";
import type { AdamW } from "./optimizer.ts";
import { learningRateAt } from "./schedule.ts";
import type { StageRunner, StepWork } from "./stage.ts";

/** Where a stage stands; all of it is in trainer_state.json. */
export type LoopPosition = {
  /** Steps of this stage that are done. */
  readonly step: number;
  /** Tokens seen by the whole run. */
  readonly tokens: number;
  /** Steps skipped by the whole run, and how many of the last ones in a row. */
  readonly skipped: number;
  readonly consecutiveSkips: number;
};

export type StepReport = {
  readonly position: LoopPosition;
  readonly applied: boolean;
  /** null stands for what is not finite. */
  readonly metrics: Readonly<Record<string, number | null>>;
  /** Of the steps with details: by layer, how many real rows chose each expert. */
  readonly expertLoad?: Readonly<Record<string, number[]>>;
  /** What held NaN or infinity when the step was skipped. */
  readonly nonFinite: readonly string[];
  readonly work: StepWork;
};

export type LoopOptions = {
  /** For errors. */
  readonly name: string;
  readonly device: Device;
  readonly stage: StageRunner;
  readonly optimizer: AdamW;
  readonly from: LoopPosition;
  /** Accuracy and entropy are computed every so many steps, and at the last. */
  readonly detailEvery: number;
  /** So many skipped steps in a row end the run. */
  readonly maxSkipped: number;
  readonly watch: DivergenceWatch;
  /** Names the last good checkpoint, for the error that ends a run. */
  readonly lastCheckpoint: () => string | undefined;
};

/**
 * Runs a stage to its end, one report for each step. Throws DeviceError after `maxSkipped` skipped steps in a row, when the watch says so, and when there is
 * not the memory for a step, which then changes nothing.
 */
export async function* trainStage(options: LoopOptions): AsyncGenerator<StepReport> {
  const { name, device, stage, optimizer, detailEvery, maxSkipped, watch } = options;
  const balancer = new BiasBalancer(stage.biasRate);
  const packed = new PackedScalars(device);
  let position = options.from;
  try {
    while (position.step < stage.steps) {
      const { step } = position;
      const learningRate = learningRateAt(step, stage.steps, stage.schedule);
      const detail = (step + 1) % detailEvery === 0 || step + 1 === stage.steps;
      const work = await inMemory(options, () => stage.prepare(step, detail));
      await inMemory(options, () => recordStep(work, optimizer, balancer, packed, learningRate));
      const values = await packed.read();
      const applied = values.factor >= 0;
      optimizer.settle(applied);
      const expertLoad = detail ? await balancer.loads() : undefined;
      if (applied) balancer.apply();
      position = {
        step: step + 1,
        tokens: position.tokens + work.tokens,
        skipped: position.skipped + (applied ? 0 : 1),
        consecutiveSkips: applied ? 0 : position.consecutiveSkips + 1,
      };
      const metrics = {
        ...(work.microbatches.length === 0 && { loss: 0 }),
        ...values.sums,
        grad_norm: finiteOrNull(Math.sqrt(values.sumSquares)),
        learning_rate: learningRate,
        num_tokens: position.tokens,
        ...mapValues(work.metrics, finiteOrNull),
      };
      const diverged = watch.observe(metrics);
      yield {
        position,
        applied,
        metrics,
        ...(expertLoad && { expertLoad }),
        nonFinite: applied ? [] : await optimizer.findNonFinite(),
        work,
      };
      if (position.consecutiveSkips >= maxSkipped) {
        const got = `${position.consecutiveSkips} steps in a row with a loss or gradient that is not finite, the last of them step ${position.step}`;
        throw givenUp(name, got, "finite numbers", options.lastCheckpoint(), "lower the learning rate or mend the data, then resume");
      }
      if (diverged !== undefined) {
        const cure = "lower learningRate (with a new folder), or set maxRise to null to go on regardless";
        throw givenUp(
          name,
          `${diverged}: step ${position.step}`,
          "training that does not fall behind where it began",
          options.lastCheckpoint(),
          cure,
        );
      }
    }
  } finally {
    packed.dispose();
    balancer.dispose();
  }
}

/** Records one optimiser step; nothing here waits. */
export function recordStep(work: StepWork, optimizer: AdamW, balancer: BiasBalancer, packed: PackedScalars, learningRate: number): void {
  optimizer.zeroGrads();
  balancer.clear();
  packed.clear();
  for (const record of work.microbatches) {
    scope(() => {
      const { loss, sums, loads }: Recorded = trackGradients(record);
      backward(loss);
      packed.add("", loss);
      for (const [name, sum] of Object.entries(sums)) packed.add(name, sum);
      balancer.add(loads);
    });
  }
  optimizer.step(learningRate, { guard: packed.at(0), sumSquares: packed.at(1), factor: packed.at(2) });
}

const fixed = 3;
const capacity = 64;

/** Scalars that add up on the device and are read together. 0: the loss that is descended, 1: Σ gradient², 2: clip factor, then whatever is logged. */
export class PackedScalars {
  readonly #tensor: Tensor;
  readonly #names: string[] = [];

  constructor(device: Device) {
    this.#tensor = keep(() => empty(device, [capacity]));
  }

  clear(): void {
    this.#names.length = 0;
    this.#tensor.storage.device.kernels.fill({ out: view(this.#tensor), n: capacity, value: 0 });
  }

  at(index: number): { readonly buffer: Tensor["storage"]["buffer"]; readonly offset: number } {
    return { buffer: this.#tensor.storage.buffer, offset: index };
  }

  /** Adds a [] tensor to the scalar of this name; "" is the loss. */
  add(name: string, scalar: Tensor): void {
    let index = 0;
    if (name !== "") {
      index = this.#names.indexOf(name);
      if (index < 0) index = this.#names.push(name) - 1;
      index += fixed;
    }
    scalar.storage.device.kernels.affine({ out: this.at(index), x: view(scalar), n: 1, scale: 1, shift: 0, accumulate: true });
  }

  /** The one await of a step. */
  async read(): Promise<{ loss: number; sumSquares: number; factor: number; sums: Record<string, number | null> }> {
    const values = await read(this.#tensor);
    const [loss, sumSquares, factor] = values as unknown as [number, number, number];
    const sums = Object.fromEntries(this.#names.map((name, i) => [name, finiteOrNull(values[fixed + i] as number)]));
    return { loss, sumSquares, factor, sums };
  }

  dispose(): void {
    dispose(this.#tensor);
  }
}

function finiteOrNull(x: number): number | null {
  return Number.isFinite(x) ? x : null;
}

function mapValues(record: Readonly<Record<string, number>>, f: (x: number) => number | null): Record<string, number | null> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]));
}

/** Memory is asked for while a step is recorded, before any of its updates is: a refusal leaves the weights as they were. */
async function inMemory<T>({ name, stage, lastCheckpoint }: LoopOptions, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof DeviceError) || error.complaint.operation !== noMemory) throw error;
    const { got, expected } = error.complaint;
    const failed = givenUp(name, got, expected, lastCheckpoint(), `${stage.smaller} takes about half as much for a step (in a new folder)`);
    throw new DeviceError(failed.complaint, { cause: error });
  }
}

function givenUp(name: string, got: string, expected: string, checkpoint: string | undefined, advice: string): DeviceError {
  const last = checkpoint === undefined ? "there is no checkpoint yet" : `the last good checkpoint is ${checkpoint}`;
  return new DeviceError({ operation: `train ${name}`, got, expected, cure: `${last}; ${advice}` });
}
