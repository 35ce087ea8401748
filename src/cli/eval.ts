// `gradually eval [MODEL] --task NAME`: accuracy on problems that no training stage saw, greedy and sampled, free and under thinking budgets, with
// its cost. A model that came out of a run is asked what it was trained for: the task's options are read from the run's recipe.json.

import { type Command, Option } from "commander";
import { stopIdsOf } from "../chat/sampling-defaults.ts";
import { ConfigError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isJsonObject, type JsonValue, parseJson } from "../core/json.ts";
import { Random } from "../core/random.ts";
import { flopShape } from "../cost/flop.ts";
import { defaultHourlyUsd, Ledger } from "../cost/ledger.ts";
import { Engine } from "../engine/engine.ts";
import { type EvaluateOptions, evaluate, type Generate, type Outcome } from "../eval/accuracy.ts";
import type { BudgetPoint } from "../eval/budget-curve.ts";
import type { Interval } from "../eval/intervals.ts";
import { modelHelp } from "../platform/find-model.ts";
import { thinkClose } from "../tasks/completion.ts";
import { distinctRows, sampleFrom } from "../tasks/split.ts";
import { openTask, type TrainingTask, taskNames } from "../train/task-table.ts";
import { findModel } from "./find-model.ts";
import { integer, integers, real } from "./flags.ts";
import { type LoadedModel, withModel } from "./model.ts";
import { addModelFlags, type ModelFlags } from "./model-flags.ts";
import { note, progressLine, say, table, writeJson } from "./output.ts";

type Flags = ModelFlags & {
  readonly task?: string;
  readonly taskOptions?: string;
  readonly problems?: number;
  readonly samples: number;
  readonly temperature: number;
  readonly thinkingBudget?: number[];
  readonly maxTokens?: number;
  readonly parallel: number;
  readonly seed: number;
  readonly hourlyUsd: number;
  readonly json?: boolean;
};

const defaultProblems = 200;

export function evalCommand(program: Command): void {
  const command = program
    .command("eval")
    .description("Measure accuracy on held-out problems of a task. Without MODEL the bundled model is measured.")
    .argument("[model]", modelHelp)
    .addOption(new Option("--task <name>", "default: the task that the model was trained on, else countdown").choices(taskNames))
    .option("--task-options <json>", "e.g. '{\"count\":4}'; default: those of the run that made the model")
    .option("--problems <n>", `different held-out problems (default: all, at most ${defaultProblems})`, integer(1, 1_000_000))
    .option("--samples <k>", "sampled answers for each problem, beside the greedy one", integer(0, 10_000), 0)
    .option("--temperature <t>", "of the sampled answers", real(0, 100, true), 1)
    .option("--thinking-budget <list>", "also measure with the reasoning ended after so many tokens, e.g. 0,16,64", integers(0))
    .option("-n, --max-tokens <n>", "longest completion (default: what the context leaves)", integer(1))
    .option("-p, --parallel <n>", "sequences at once", integer(1, 4096), 64)
    .option("--seed <n>", "which problems, and the sampling", integer(0, 2 ** 32 - 1), 0)
    .option("--hourly-usd <usd>", "price of this machine for an hour", real(0, 1e6), defaultHourlyUsd)
    .option("--json", 'print {"task", "n", "accuracy": [p, low, high], "cost_usd", …}');
  addModelFlags(command)
    .addHelpText(
      "after",
      `
An accuracy is [share, low, high] with a 95 % interval. Held-out problems are those that no recipe draws for training.

Examples:
  $ gradually eval                                        the bundled model
  $ gradually eval runs/tiny/checkpoints/checkpoint-80 --problems 500 --samples 8
  $ gradually eval ./my-model --task countdown --thinking-budget 0,16,64 --json`,
    )
    .action(runEval);
}

async function runEval(reference: string | undefined, flags: Flags): Promise<void> {
  const given = parseTaskOptions(flags);
  await withModel(reference, flags, async (loaded) => {
    const { files } = loaded.host;
    const trained = await trainedTask(files, await findModel(files, reference));
    const name = flags.task ?? (trained?.name as string | undefined) ?? "countdown";
    const options = given ?? (trained?.name === name ? trained.options : undefined) ?? {};
    const testShare = trained?.name === name && !given ? trained.testShare : undefined;
    const task = openTask({ name, options, ...(testShare !== undefined && { testShare }) });
    const random = new Random(flags.seed).fork("eval");
    const rows =
      flags.problems === undefined
        ? upTo(task, defaultProblems, random)
        : distinctRows(task.task, "test", flags.problems, random, task.testShare);
    await measure(loaded, task.task, rows, flags);
  });
}

/** As distinctRows, but content with fewer when the task has not so many. */
function upTo({ task, testShare }: TrainingTask, most: number, random: Random): unknown[] {
  const rows = new Map<string, unknown>();
  for (let misses = 0; rows.size < most && misses < 2000; ) {
    const row = sampleFrom(task, "test", random, testShare);
    const key = task.key(row);
    misses = rows.has(key) ? misses + 1 : 0;
    if (misses === 0) rows.set(key, row);
  }
  return [...rows.values()];
}

async function measure(loaded: LoadedModel, task: TrainingTask["task"], rows: readonly unknown[], flags: Flags): Promise<void> {
  const { model, tokenizer, host, device, cacheType } = loaded;
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  if (tokenizer.idOf(thinkClose) === undefined && (flags.thinkingBudget?.length ?? 0) > 0) {
    throw new ConfigError({
      operation: "eval: --thinking-budget",
      got: "a model whose tokenizer has no </think>",
      expected: "a model that thinks",
      cure: "leave the flag out",
    });
  }
  const longest = Math.max(...rows.map((row) => encode(task.prompt(row)).length)) + 1;
  const room = model.contextLength - longest;
  if (room < 1) {
    throw new ConfigError({
      operation: "eval",
      got: `prompts of up to ${longest} tokens`,
      expected: `fewer than ${model.contextLength}, the model's context`,
      cure: "evaluate an easier task (--task-options) or another model",
    });
  }
  const maxTokens = Math.min(room, flags.maxTokens ?? 4096);
  const slots = Math.min(flags.parallel, rows.length * Math.max(1, flags.samples));
  const vocabLimit = Math.min(tokenizer.vocabSize, model.vocabSize);
  const engine = new Engine(model, { slots, contextLength: longest + maxTokens, vocabLimit, cacheType });
  const caps = flags.thinkingBudget ?? [];
  const total = rows.length * (1 + flags.samples + caps.length);
  const progress = progressLine(host.now);
  const start = host.now();
  let [done, tokens] = [0, 0];
  const generate: Generate = async (requests) => {
    const results = await engine.generate(requests, {
      onProgress: ({ finished, tokens: made }) =>
        progress.update({
          stage: "eval",
          step: done + finished,
          total,
          tokensPerSecond: (tokens + made) / Math.max(host.now() - start, 1e-9),
        }),
    });
    done += requests.length;
    for (const { ids } of results) tokens += ids.length;
    return results;
  };

  const { bos } = tokenizer.specialIds;
  const common: EvaluateOptions = {
    maxTokens,
    stop: stopIdsOf(loaded.generationConfig, loaded.tokenizer.specialIds.eos, loaded.model.vocabSize),
    thinkEnd: encode(thinkClose),
    seed: flags.seed,
    ...(bos !== undefined && { bos }),
  };
  const codec = { encode, decode: (ids: readonly number[]) => tokenizer.decode(ids, { skipSpecialTokens: true }) };
  const outcomes: Outcome[] = [];
  const curve: BudgetPoint[] = [];
  let free: Outcome;
  let sampled: Outcome | undefined;
  try {
    const whole = await evaluate(generate, task, rows, codec, {
      ...common,
      samples: flags.samples,
      sampling: { temperature: flags.temperature },
    });
    free = whole.greedy;
    sampled = whole.sampled;
    outcomes.push(free, ...(sampled ? [sampled] : []));
    for (const cap of caps) {
      const { greedy } = await evaluate(generate, task, rows, codec, { ...common, samples: 0, budget: { end: common.thinkEnd, max: cap } });
      outcomes.push(greedy);
      curve.push({ mode: "cap", budget: cap, thinking_tokens: greedy.meanThinkingTokens, accuracy: greedy.accuracy });
    }
  } finally {
    progress.finish();
    await engine.dispose();
  }
  if (caps.length > 0) curve.push({ mode: "free", budget: 0, thinking_tokens: free.meanThinkingTokens, accuracy: free.accuracy });

  const seconds = host.now() - start;
  const ledger = new Ledger({ hourlyUsd: flags.hourlyUsd });
  const shape = flopShape(model);
  for (const { promptTokens, generatedTokens, keys } of outcomes) ledger.infer("eval", shape, promptTokens + generatedTokens, keys);
  ledger.time("eval", seconds);
  const cost = ledger.report();
  const report = {
    task: task.name,
    n: rows.length,
    accuracy: free.accuracy,
    ...(sampled && { samples: flags.samples, sampled: sampled.accuracy }),
    mean_reward: free.meanReward,
    thinking_tokens: free.meanThinkingTokens,
    truncated: free.truncated,
    ...(caps.length > 0 && { budget_curve: curve }),
    tokens: cost.tokens,
    flop: cost.flop,
    seconds,
    cost_usd: cost.cost_usd,
    tok_s: tokens / Math.max(seconds, 1e-9),
    seed: flags.seed,
    max_tokens: maxTokens,
    device: `${device.info.name} ${device.info.build}`,
    threads: device.info.threads,
    model: loaded.path,
  };
  if (flags.json) {
    writeJson(report);
    return;
  }
  const percent = ([p, low, high]: Interval) => [`${(p * 100).toFixed(1)} %`, `${(low * 100).toFixed(1)} to ${(high * 100).toFixed(1)} %`];
  const lines = [["", "right", "95 % interval", "thinking tokens"]];
  const line = (name: string, { accuracy, meanThinkingTokens }: Outcome) =>
    lines.push([name, ...percent(accuracy), meanThinkingTokens.toFixed(1)]);
  line("greedy", free);
  if (sampled) line(`${flags.samples} sampled`, sampled);
  for (const { mode, budget, accuracy, thinking_tokens } of curve) {
    if (mode === "cap") lines.push([`at most ${budget} tokens`, ...percent(accuracy), thinking_tokens.toFixed(1)]);
  }
  say(`${task.name}, ${rows.length} held-out problems\n${table(lines, [1, 2, 3])}`);
  note(ledger.costLine());
}

function parseTaskOptions({ taskOptions }: Flags): JsonValue | undefined {
  if (taskOptions === undefined) return undefined;
  const value = parseJson(taskOptions, { source: "--task-options" });
  if (isJsonObject(value)) return value;
  throw new ConfigError({
    operation: "eval: --task-options",
    got: quote(taskOptions),
    expected: "a JSON object",
    cure: `write it like '{"count":4}'`,
  });
}

/** What recipe.json beside the weights, or of the run that the checkpoint lies in, says about the task. */
async function trainedTask(
  files: Files,
  folder: string,
): Promise<{ name: JsonValue; options?: JsonValue; testShare?: JsonValue } | undefined> {
  const candidates = [files.join(folder, "recipe.json")];
  if (/^checkpoint-\d+$/.test(files.baseName(folder))) candidates.push(files.join(folder, "..", "..", "recipe.json"));
  for (const path of candidates) {
    if (!(await files.exists(path))) continue;
    const recipe = parseJson(await files.readText(path, 10_000_000), { source: path });
    const task = isJsonObject(recipe) ? recipe.task : undefined;
    if (isJsonObject(task) && typeof task.name === "string") return { name: task.name, options: task.options, testShare: task.testShare };
  }
  return undefined;
}
