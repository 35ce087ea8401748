// Runs a recipe from its first step to its last, or on from where it was. In: a recipe, a folder, a device. Out: the run folder (recipe.json, metrics.jsonl,
// samples.jsonl, timing.jsonl, cost.json, checkpoints/) and the trained model. Whatever kills the process, `resume` goes on from the newest
// whole checkpoint and writes, bit for bit, the metrics.jsonl of a run that was never killed: nothing depends on the clock.

import type { Device } from "../backend/backend.ts";
import { ConfigError, DeviceError, quote } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import type { JsonValue } from "../core/json.ts";
import { Random } from "../core/random.ts";
import type { Ledger } from "../cost/ledger.ts";
import { createModel } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { pruneCheckpoints, type SavedCheckpoint, saveCheckpoint, stateFormat } from "./checkpoint.ts";
import { DivergenceWatch } from "./divergence.ts";
import { type StepReport, trainStage } from "./loop.ts";
import { sha256 } from "./manifest.ts";
import { AdamW, nonFinite } from "./optimizer.ts";
import { defineRecipe, openStage, type Recipe, type RecipeInput } from "./recipe.ts";
import { openRunFolder, type RunFolder } from "./run-folder.ts";
import { completeConfig, kernelsOf, openLedger, openSavedTensors, readModel, type SavedTensors, warnOfOtherKernels } from "./run-parts.ts";
import type { StageContext, StageRunner } from "./stage.ts";
import { openTask, type TrainingTask } from "./task-table.ts";
import { makeTokenizer, openTokenizer, readTokenizerFiles, type TokenizerFiles } from "./tokenizer-setup.ts";

export type RunProgress = {
  readonly stage: string;
  /** Steps of the stage that are done, and all of them. */
  readonly step: number;
  readonly total: number;
  readonly loss?: number;
  readonly reward?: number;
  readonly tokensPerSecond: number;
};

export type StageEvent = {
  /** "start" before the first step of a run from its beginning, else the name of the stage that ended. */
  readonly name: string;
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly task: TrainingTask | undefined;
  /** Steps of the whole run so far. */
  readonly step: number;
  readonly ledger: Ledger;
  readonly checkpoint: string | undefined;
};

export type RunOptions = {
  readonly out: string;
  /** Go on where the folder's run stopped; begins afresh when it has not got to a checkpoint. Default false: a folder with a run in it is refused. */
  readonly resume?: boolean;
  readonly host: Host;
  readonly device: Device;
  readonly onProgress?: (progress: RunProgress) => void;
  /**
   * Awaited between stages, e.g. to evaluate. A resumed run calls it again only where it goes on from the end of a stage: nobody knows whether the call
   * had come to its end. What it throws ends the run.
   */
  readonly onStage?: (event: StageEvent) => Promise<void> | void;
  /** One line that somebody should read: a damaged checkpoint, a skipped step. */
  readonly onWarning?: (text: string) => void;
  /** Ends the run after the present step, with a checkpoint. */
  readonly signal?: AbortSignal;
};

export type RunResult = {
  /** False when the signal ended the run early. */
  readonly finished: boolean;
  readonly checkpoint: string;
  readonly steps: number;
  readonly tokens: number;
  readonly skipped: number;
  readonly ledger: Ledger;
  /** The caller's to dispose. */
  readonly model: Model;
  readonly tokenizer: Tokenizer;
  readonly task: TrainingTask | undefined;
};

/** Throws ConfigError, FormatError or DeviceError; the folder then holds the run up to its last checkpoint. */
export async function runRecipe(input: RecipeInput | Recipe, options: RunOptions): Promise<RunResult> {
  const recipe = defineRecipe(input);
  const { files } = options.host;
  const folder = await openRunFolder(files, options.out, recipe, options.resume ?? false, options.onWarning ?? (() => {}));
  try {
    const run = await Run.open(recipe, folder, options);
    return await run.execute();
  } finally {
    await folder.close();
  }
}

class Run {
  readonly #recipe: Recipe;
  readonly #folder: RunFolder;
  readonly #options: RunOptions;
  readonly #random: Random;
  readonly #task: TrainingTask | undefined;
  readonly #files: TokenizerFiles;
  readonly #tokenizer: Tokenizer;
  readonly #model: Model;
  readonly #ledger: Ledger;
  readonly #inputs: Record<string, string>;
  #step: number;
  #counts: { tokens: number; skipped: number; consecutiveSkips: number };
  #stageEnds: number[];
  #lastCheckpoint: string | undefined;

  private constructor(
    recipe: Recipe,
    folder: RunFolder,
    options: RunOptions,
    parts: { task: TrainingTask | undefined; files: TokenizerFiles; tokenizer: Tokenizer; model: Model },
  ) {
    const { saved } = folder;
    this.#recipe = recipe;
    this.#folder = folder;
    this.#options = options;
    this.#random = new Random(recipe.seed);
    this.#task = parts.task;
    this.#files = parts.files;
    this.#tokenizer = parts.tokenizer;
    this.#model = parts.model;
    this.#ledger = openLedger(recipe, saved);
    this.#inputs = { ...saved?.state.inputs };
    this.#step = saved?.state.step ?? 0;
    const { tokens = 0, skipped = 0, consecutiveSkips = 0 } = saved?.state ?? {};
    this.#counts = { tokens, skipped, consecutiveSkips };
    this.#stageEnds = [...(saved?.state.stageEnds ?? [])];
    this.#lastCheckpoint = saved?.path;
  }

  static async open(recipe: Recipe, folder: RunFolder, options: RunOptions): Promise<Run> {
    const { host, device } = options;
    const random = new Random(recipe.seed);
    const task = recipe.task ? openTask(recipe.task) : undefined;
    const { saved } = folder;
    warnOfOtherKernels(saved, device, options.onWarning);
    const files = saved
      ? await readTokenizerFiles(host.files, saved.path)
      : await makeTokenizer(host.files, recipe.tokenizer, task, random.fork("tokenizer"));
    const tokenizer = openTokenizer(files);
    const path = saved?.path ?? recipe.model.path;
    const model =
      path === null ? createModel(device, completeConfig(recipe, tokenizer), random.fork("weights")) : await readModel(host, device, path);
    return new Run(recipe, folder, options, { task, files, tokenizer, model });
  }

  async execute(): Promise<RunResult> {
    const { saved } = this.#folder;
    const { signal } = this.#options;
    const { stage: start = 0, stageStep = 0 } = saved?.state ?? {};
    try {
      if (stageStep === 0) await this.#announce(start - 1);
      for (let index = start; index < this.#recipe.stages.length && !signal?.aborted; index++) {
        const ended = await this.#runStage(index, index === start ? saved : undefined);
        if (ended) await this.#announce(index);
      }
      await this.#writeCost();
      const finished = this.#stageEnds.length === this.#recipe.stages.length;
      if (this.#lastCheckpoint === undefined) {
        throw new ConfigError({
          operation: `train ${quote(this.#recipe.name)}`,
          got: "a signal to stop before the first step",
          expected: "a run",
          cure: "start it again",
        });
      }
      const { tokens, skipped } = this.#counts;
      return {
        finished,
        checkpoint: this.#lastCheckpoint,
        steps: this.#step,
        tokens,
        skipped,
        ledger: this.#ledger,
        model: this.#model,
        tokenizer: this.#tokenizer,
        task: this.#task,
      };
    } catch (error) {
      this.#model.dispose();
      throw error;
    }
  }

  /** Returns false when the signal ended it. */
  async #runStage(index: number, from: SavedCheckpoint | undefined): Promise<boolean> {
    const { device, signal, host } = this.#options;
    const { checkpointEvery, checkpointSeconds, detailEvery, maxSkipped, maxRise } = this.#recipe;
    const stage = this.#recipe.stages[index] as Recipe["stages"][number];
    const midway = from && from.state.stageStep > 0 ? from : undefined;
    const tensors = midway && (await openSavedTensors(midway));
    let runner: StageRunner | undefined;
    let optimizer: AdamW | undefined;
    try {
      runner = await openStage(stage, this.#context(index, midway, tensors));
      optimizer = new AdamW(device, runner.trained, runner.adamw);
      if (midway && tensors) await optimizer.restore(midway.state.optimizerSteps, tensors.optimizer);
      const position = { step: midway?.state.stageStep ?? 0, ...this.#counts };
      let began = host.now();
      let lastSave = began;
      const watch = new DivergenceWatch(maxRise, runner.completions, midway?.state.divergence);
      const lastCheckpoint = () => this.#lastCheckpoint;
      for await (const report of trainStage({
        name: stage.name,
        device,
        stage: runner,
        optimizer,
        from: position,
        detailEvery,
        maxSkipped,
        watch,
        lastCheckpoint,
      })) {
        const { step, ...counts } = report.position;
        this.#step++;
        this.#counts = counts;
        const seconds = host.now() - began;
        began = host.now();
        await this.#log(stage.name, report, runner.steps, seconds);
        if (step === runner.steps) continue; // the stage's end saves it
        const isTime = step % checkpointEvery === 0 || (checkpointSeconds !== null && began - lastSave >= checkpointSeconds);
        const isDue = isTime && !watch.isSuspicious; // weights that came apart must not push out good ones
        if (isDue || signal?.aborted) {
          await this.#save({ stage: index, stageStep: step, runner, optimizer, watch });
          lastSave = host.now();
        }
        if (signal?.aborted) return false;
      }
    } finally {
      optimizer?.dispose();
      await runner?.dispose();
      await tensors?.close();
    }
    this.#stageEnds.push(this.#step);
    await this.#save({ stage: index + 1, stageStep: 0 });
    await this.#writeCost();
    return true;
  }

  #context(index: number, midway: SavedCheckpoint | undefined, tensors: SavedTensors | undefined): StageContext {
    const { host, device } = this.#options;
    return {
      host,
      device,
      model: this.#model,
      tokenizer: this.#tokenizer,
      task: this.#task,
      random: this.#random.fork(`stage ${index}`),
      ledger: this.#ledger,
      name: (this.#recipe.stages[index] as Recipe["stages"][number]).name,
      noteInput: (path, bytes) => this.#noteInput(path, bytes),
      ...(midway && tensors && { restored: { state: midway.state.stageState, readFrozen: tensors.frozen } }),
    };
  }

  async #noteInput(path: string, bytes: Uint8Array): Promise<void> {
    const hash = await sha256(bytes);
    const before = this.#inputs[path];
    if (before !== undefined && before !== hash) {
      throw new ConfigError({
        operation: `resume ${quote(this.#folder.path, 300)}`,
        got: `${quote(path, 300)}, which has changed since`,
        expected: `the file with SHA-256 ${before}`,
        cure: "restore the file, or train into another folder",
      });
    }
    this.#inputs[path] = hash;
  }

  async #log(stage: string, report: StepReport, total: number, seconds: number): Promise<void> {
    const { log } = this.#folder;
    const { metrics, expertLoad, applied, nonFinite: broken, work, position } = report;
    const step = this.#step;
    const skippedAs = applied ? {} : { skipped: true, nonfinite: broken.slice(0, 8) };
    await log.append("metrics.jsonl", {
      step,
      stage,
      ...metrics,
      ...(expertLoad && { expert_load: expertLoad }),
      ...skippedAs,
    } as JsonValue);
    for (const sample of work.samples ?? []) await log.append("samples.jsonl", { step, stage, ...(sample as Record<string, JsonValue>) });
    const tokensPerSecond = seconds > 0 ? work.processed / seconds : 0;
    await log.append("timing.jsonl", { step, stage, seconds, tokens_per_second: tokensPerSecond });
    this.#ledger.time(stage, Math.max(0, seconds));
    if (!applied) {
      this.#options.onWarning?.(
        `${stage}: step ${position.step} was skipped: ${broken.length > 0 ? `NaN or infinity in ${broken.slice(0, 3).join(", ")}` : "the loss is not finite"}`,
      );
    }
    const { loss, reward } = metrics;
    this.#options.onProgress?.({
      stage,
      step: position.step,
      total,
      tokensPerSecond,
      ...(typeof loss === "number" && { loss }),
      ...(typeof reward === "number" && { reward }),
    });
  }

  /** A checkpoint of weights that are not finite is worse than none: within a stage it is left out, at its end it ends the run. */
  async #save(at: { stage: number; stageStep: number; runner?: StageRunner; optimizer?: AdamW; watch?: DivergenceWatch }): Promise<void> {
    const { runner, optimizer, watch, stage, stageStep } = at;
    const { host, device } = this.#options;
    const { log, checkpoints, recipeHash } = this.#folder;
    const broken = await nonFinite(device, [...this.#model.parameters, ...this.#model.buffers]);
    if (broken.length > 0) {
      if (optimizer) return;
      throw new DeviceError({
        operation: "save a checkpoint",
        got: `weights that are not finite (${broken.slice(0, 3).join(", ")})`,
        expected: "finite weights",
        cure: this.#lastCheckpoint ? `the last good checkpoint is ${this.#lastCheckpoint}` : "lower the learning rate",
      });
    }
    await log.sync();
    const frozen = runner?.frozen?.();
    this.#lastCheckpoint = await saveCheckpoint(host.files, checkpoints, {
      model: this.#model,
      tokenizer: this.#files,
      ...(optimizer && { optimizer }),
      ...(frozen && frozen.size > 0 && { frozen }),
      state: {
        format: stateFormat,
        step: this.#step,
        seed: this.#recipe.seed,
        stage,
        stageStep,
        ...this.#counts,
        optimizerSteps: optimizer?.steps ?? 0,
        stageState: runner?.state() ?? null,
        divergence: watch?.state ?? null,
        recipe: recipeHash,
        inputs: this.#inputs,
        stageEnds: this.#stageEnds,
        logs: { "metrics.jsonl": log.length("metrics.jsonl"), "samples.jsonl": log.length("samples.jsonl") },
      },
      timing: { length: log.length("timing.jsonl"), ledger: this.#ledger.state as unknown as JsonValue, device: kernelsOf(device) },
    });
    await pruneCheckpoints(host.files, checkpoints, this.#step, this.#recipe.keepCheckpoints, this.#stageEnds);
  }

  /** `ended`: the stage that has ended, by its place; -1 before the first. */
  async #announce(ended: number): Promise<void> {
    await this.#options.onStage?.({
      name: this.#recipe.stages[ended]?.name ?? "start",
      model: this.#model,
      tokenizer: this.#tokenizer,
      task: this.#task,
      step: this.#step,
      ledger: this.#ledger,
      checkpoint: this.#lastCheckpoint,
    });
  }

  async #writeCost(): Promise<void> {
    const { files } = this.#options.host;
    await files.writeAtomic(files.join(this.#folder.path, "cost.json"), `${JSON.stringify(this.#ledger.report(), null, 2)}\n`);
  }
}
