// GRPO (DeepSeekMath, R1) as TRL's GRPOTrainer defines it: groups of completions from the policy itself, advantages within the group, the clipped ratio, and
// optionally a divergence from a frozen copy. Rollouts come from the engine in this process, on the same device, kernels and weights, so the first
// update is exactly on-policy. Dropped: TRL's off-policy correction (nothing to correct), top_entropy_quantile, GSPO and the losses beyond the four
// of specs.md 1.9, sync_ref_model (R1-Zero renews its reference every 400 steps; end the stage and begin another), reward models. Balancing is off: the gate's bias stays
// as pretraining left it, and the prediction head is not trained, because rollouts are far fewer tokens than either needs.

import { ConfigError } from "../core/errors.ts";
import { isJsonObject, type JsonValue } from "../core/json.ts";
import { attendedKeys, causalKeys, flopShape } from "../cost/flop.ts";
import { Engine } from "../engine/engine.ts";
import { loadModel, saveModel } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import { affine } from "../ops/affine.ts";
import { sub } from "../ops/binary.ts";
import { entropy } from "../ops/entropy.ts";
import { sum } from "../ops/sum-axis.ts";
import { abs } from "../ops/unary.ts";
import { fromArray, type Tensor, write } from "../tensor/tensor.ts";
import { noGradients } from "../tensor/tracking.ts";
import { grpoLoss, type StepShape, tokenWeight } from "./grpo-loss.ts";
import { type Recorded, trainedParameters } from "./objective.ts";
import { adamwFields } from "./optimizer.ts";
import { flag, oneOf, orNull, real, resolveOptions, text, type Values, whole, withDefault } from "./options.ts";
import { makeRollouts, type Rollout } from "./rollout.ts";
import { forwardRollouts, packRollouts, type RolloutBatch, scoreRollouts } from "./rollout-batch.ts";
import { scheduleFields } from "./schedule.ts";
import type { StageContext, StageRunner, StepWork } from "./stage.ts";
import type { TrainingTask } from "./task-table.ts";
import { checkModelFits } from "./token-stage.ts";

export const grpoFields = {
  name: text("grpo"),
  /** Optimiser steps. */
  steps: whole(100, { min: 1, max: 1e9 }),
  /** Problems in a generation, and completions of each problem (G). */
  promptsPerGeneration: whole(16, { min: 1, max: 65536 }),
  numGenerations: whole(8, { min: 2, max: 65536 }),
  maxPromptLength: whole(64, { min: 1, max: 2 ** 20 }),
  maxCompletionLength: whole(256, { min: 1, max: 2 ** 20 }),
  temperature: real(1, { above: 0, max: 100 }),
  topP: real(1, { above: 0, max: 1 }),
  topK: whole(0, { min: 0, max: 2 ** 24 }),
  minP: real(0, { min: 0, max: 1 }),
  lossType: oneOf("dapo", ["grpo", "bnpo", "dapo", "dr_grpo"]),
  scaleRewards: oneOf("group", ["group", "batch", "none"]),
  epsilon: real(0.2, { above: 0, max: 1 }),
  /** null: as epsilon. DAPO: 0.28. */
  epsilonHigh: orNull(real(0.28, { above: 0, max: 1000 })),
  /** Weight of the divergence from the policy at the start of the stage; 0: no reference model is kept. */
  beta: real(0, { min: 0, max: 100 }),
  /** μ: how often each rollout is used. */
  numIterations: whole(1, { min: 1, max: 1000 }),
  /** Optimiser steps over which one pass through a generation is spread. */
  stepsPerGeneration: whole(1, { min: 1, max: 1000 }),
  /** Completions that ran into the limit do not count in the loss (DAPO's overlong filtering). */
  maskTruncatedCompletions: flag(false),
  /** Completions with advantage 0 are not computed when beta is 0: their gradient is exactly 0. Entropy and clip metrics then leave them out. */
  skipZeroAdvantage: flag(true),
  /** Sequences that the engine runs at once. */
  slots: whole(64, { min: 1, max: 65536 }),
  /** MLA: rollouts in the absorbed form; faster with long contexts, but no longer the trainer's bits. */
  absorbedRollouts: flag(false),
  /** Tokens of a microbatch. */
  microbatchTokens: whole(8192, { min: 2, max: 2 ** 28 }),
  /** Rollouts of each generation that go to samples.jsonl. */
  logSamples: whole(2, { min: 0, max: 1e6 }),
  ...scheduleFields,
  learningRate: withDefault(scheduleFields.learningRate, 1e-4),
  schedule: withDefault(scheduleFields.schedule, "constant"),
  ...adamwFields,
  weightDecay: withDefault(adamwFields.weightDecay, 0),
} as const;

export type GrpoOptions = Partial<Values<typeof grpoFields>>;
export type GrpoStage = { readonly kind: "grpo" } & Values<typeof grpoFields>;

/** A stage of a recipe, as plain data with every default filled in. Throws ConfigError. */
export function grpo(options: GrpoOptions = {}): GrpoStage {
  return { kind: "grpo", ...resolveOptions("grpo", grpoFields, options) };
}

export async function openGrpo(stage: GrpoStage, context: StageContext): Promise<StageRunner> {
  const { model, name, restored } = context;
  const { task } = context;
  if (!task)
    throw new ConfigError({
      operation: `open ${name}`,
      got: "no task",
      expected: "a task with a reward",
      cure: "name a task in the recipe",
    });
  const contextLength = stage.maxPromptLength + stage.maxCompletionLength;
  checkModelFits(context, contextLength);
  const reference = stage.beta > 0 ? await copyModel(model) : undefined;
  try {
    if (reference && restored) {
      for (const [key, tensor] of frozenTensors(reference)) write(tensor, await restored.readFrozen(key));
    }
    const engine = new Engine(model, {
      slots: stage.slots,
      contextLength,
      absorbed: stage.absorbedRollouts,
      vocabLimit: context.tokenizer.vocabSize,
    });
    return new GrpoRunner(stage, { ...context, task }, engine, reference, restored ? readRollouts(name, restored.state) : undefined);
  } catch (error) {
    reference?.dispose();
    throw error;
  }
}

class GrpoRunner implements StageRunner {
  readonly steps: number;
  readonly schedule: GrpoStage;
  readonly adamw: GrpoStage;
  readonly completions: number;
  readonly smaller: string;
  readonly biasRate = 0;
  readonly trained: ReadonlyMap<string, Tensor>;
  readonly #context: StageContext & { readonly task: TrainingTask };
  readonly #engine: Engine;
  readonly #reference: Model | undefined;
  #rollouts: readonly Rollout[];
  #isUsedUp = true;

  constructor(
    stage: GrpoStage,
    context: StageContext & { readonly task: TrainingTask },
    engine: Engine,
    reference: Model | undefined,
    rollouts: readonly Rollout[] | undefined,
  ) {
    this.steps = stage.steps;
    const half = (x: number) => Math.max(1, Math.floor(x / 2));
    this.smaller = `microbatchTokens ${half(stage.microbatchTokens)} and slots ${half(stage.slots)}`;
    this.completions = stage.promptsPerGeneration * stage.numGenerations;
    this.schedule = stage;
    this.adamw = stage;
    this.trained = trainedParameters(context.model, false);
    this.#context = context;
    this.#engine = engine;
    this.#reference = reference;
    this.#rollouts = rollouts ?? [];
    this.#isUsedUp = rollouts === undefined;
  }

  async prepare(step: number, detail: boolean): Promise<StepWork> {
    const { stepsPerGeneration, numIterations, logSamples } = this.schedule;
    const cycle = stepsPerGeneration * numIterations;
    const isFresh = step % cycle === 0;
    const made = isFresh ? await this.#generate(Math.floor(step / cycle)) : undefined;
    this.#isUsedUp = (step + 1) % cycle === 0;
    // Every n-th rollout: groups are spread over the steps, and no shuffle has to be remembered.
    const part = step % stepsPerGeneration;
    const mine = this.#rollouts.filter((_, i) => i % stepsPerGeneration === part);
    const seen = sumOf(this.#rollouts, lengthOf);
    return {
      microbatches: this.#record(mine, isFresh && part === 0, detail),
      tokens: made ? seen : 0,
      processed: (made ? seen : 0) + sumOf(mine, lengthOf),
      metrics: made?.metrics ?? {},
      samples: made?.samples.slice(0, logSamples) ?? [],
    };
  }

  state(): JsonValue {
    return { rollouts: this.#isUsedUp ? null : (this.#rollouts as unknown as JsonValue) };
  }

  frozen(): ReadonlyMap<string, Tensor> {
    return this.#reference ? frozenTensors(this.#reference) : new Map();
  }

  async dispose(): Promise<void> {
    await this.#engine.dispose();
    this.#reference?.dispose();
  }

  async #generate(generation: number) {
    const { model, tokenizer, random, task, ledger, name } = this.#context;
    const { promptsPerGeneration, temperature, microbatchTokens } = this.schedule;
    const made = await makeRollouts(
      this.#engine,
      task,
      tokenizer,
      { ...this.schedule, prompts: promptsPerGeneration },
      random.fork("generation").fork(generation),
    );
    let rollouts: Rollout[] = [...made.rollouts];
    // The engine's log-probabilities are those of temperature 1; the policy that sampled at another one is another policy.
    if (temperature !== 1) {
      const scores = await scoreRollouts(model, rollouts, temperature, microbatchTokens);
      rollouts = rollouts.map((rollout, i) => ({ ...rollout, logprobs: scores[i] as number[] }));
    }
    if (this.#reference) {
      const scores = await scoreRollouts(this.#reference, rollouts, temperature, microbatchTokens);
      rollouts = rollouts.map((rollout, i) => ({ ...rollout, reference: scores[i] as number[] }));
    }
    const passes = 1 + (temperature !== 1 ? 1 : 0) + (this.#reference ? 1 : 0);
    ledger.infer(
      name,
      flopShape(model),
      sumOf(rollouts, lengthOf) * passes,
      sumOf(rollouts, (rollout) => causalKeys(lengthOf(rollout))) * passes,
    );
    this.#rollouts = rollouts;
    return made;
  }

  /** `isOnPolicy`: the weights are those that sampled, so the difference of log-probabilities is logged: 0 unless the engine took another form. */
  #record(mine: readonly Rollout[], isOnPolicy: boolean, detail: boolean): (() => Recorded)[] {
    const { lossType, beta, stepsPerGeneration, maskTruncatedCompletions, skipZeroAdvantage, maxCompletionLength, microbatchTokens } =
      this.schedule;
    const counts = (rollout: Rollout) => !(maskTruncatedCompletions && rollout.truncated);
    const tokensOf = (rollouts: readonly Rollout[]) => sumOf(rollouts, ({ ids }) => ids.length);
    const active = mine.filter((rollout) => counts(rollout) && (beta > 0 || !skipZeroAdvantage || rollout.advantage !== 0));
    const batches = packRollouts(active, microbatchTokens);
    const shape: StepShape = {
      lossType,
      sequences: mine.length,
      tokensPerStep: tokensOf(this.#rollouts.filter(counts)) / stepsPerGeneration,
      microbatches: batches.length,
      maxCompletionLength,
    };
    const share = 1 / Math.max(1, tokensOf(active));
    return batches.map((batch) => () => this.#recordBatch(batch, shape, share, isOnPolicy, detail));
  }

  #recordBatch(part: RolloutBatch, shape: StepShape, share: number, isOnPolicy: boolean, detail: boolean): Recorded {
    const { model, ledger, name } = this.#context;
    const { temperature, epsilon, epsilonHigh, beta } = this.schedule;
    const { batch, rollouts } = part;
    const M = part.rows.length;
    ledger.train(name, flopShape(model), batch.used, attendedKeys(batch.first, batch.last) - (batch.B * batch.T - batch.used));
    const perToken = (value: (rollout: Rollout) => number) =>
      Float32Array.from(rollouts.flatMap((rollout) => new Array<number>(rollout.ids.length).fill(value(rollout))));
    const old = Float32Array.from(rollouts.flatMap(({ logprobs }) => logprobs));
    const { logits, logprobs } = forwardRollouts(model, part, temperature);
    const { loss, sums } = grpoLoss(
      {
        logprobs,
        old,
        ...(this.#reference && { reference: Float32Array.from(rollouts.flatMap(({ reference = [] }) => reference)) }),
        advantages: perToken(({ advantage }) => advantage),
        weights: perToken(({ ids }) => tokenWeight(shape, ids.length, M)),
      },
      { epsilon, epsilonHigh: epsilonHigh ?? epsilon, beta },
      share,
    );
    noGradients(() => {
      if (detail) sums.entropy = affine(sum(entropy(logits)), share);
      if (isOnPolicy)
        sums["sampling/sampling_logp_difference/mean"] = affine(sum(abs(sub(logprobs, fromArray(model.device, old, [M])))), share);
    });
    return { loss, sums, loads: [] };
  }
}

function lengthOf({ promptIds, ids }: Rollout): number {
  return promptIds.length + ids.length;
}

function sumOf(rollouts: readonly Rollout[], value: (rollout: Rollout) => number): number {
  return rollouts.reduce((total, rollout) => total + value(rollout), 0);
}

/** The same weights in other memory. */
async function copyModel(model: Model): Promise<Model> {
  const copy = await loadModel(model.device, saveModel(model), { contextLength: model.contextLength });
  for (const tensor of copy.parameters.values()) tensor.requiresGrad = false;
  return copy;
}

function frozenTensors(model: Model): ReadonlyMap<string, Tensor> {
  return new Map([...model.parameters, ...model.buffers]);
}

function readRollouts(name: string, state: JsonValue): readonly Rollout[] | undefined {
  const rollouts = isJsonObject(state) ? state.rollouts : undefined;
  if (rollouts === null) return undefined;
  if (Array.isArray(rollouts)) return rollouts as unknown as Rollout[];
  throw new ConfigError({
    operation: `resume ${name}`,
    got: "a state without rollouts",
    expected: "a checkpoint of this stage",
    cure: "resume from another checkpoint",
  });
}
