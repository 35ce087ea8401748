// `gradually speedrun`: from random weights to a small reasoner, measured after every stage, with a report. In: speedrun-recipe.ts. Out: a run folder with
// report.md, plots and the model as a Hugging Face folder; `--json` prints the numbers. All evaluation is on problems that no stage
// saw: held out by a hash of the problem, and checked against every problem that training drew.

import type { Command } from "commander";
import { openDevice } from "../backend/open.ts";
import { ConfigError } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import { Random } from "../core/random.ts";
import { flopShape } from "../cost/flop.ts";
import { formatPublished, publishedCosts } from "../cost/published.ts";
import { Engine } from "../engine/engine.ts";
import { type Answer, evaluate, type Outcome } from "../eval/accuracy.ts";
import { type BudgetPoint, budgetCurve } from "../eval/budget-curve.ts";
import { makeReport, type ReportInput, type SpeedrunResults, type StageAccuracy } from "../eval/report.ts";
import { ProgressLine, wantsColour } from "../eval/terminal.ts";
import { nodeHost } from "../platform/node.ts";
import { assertDisjoint, distinctRows } from "../tasks/split.ts";
import type { Recipe } from "../train/recipe.ts";
import { applyOverrides } from "../train/recipe-overrides.ts";
import { runRecipe, type StageEvent } from "../train/run.ts";
import { collect, integer, real } from "./flags.ts";
import { speedrunRecipe } from "./speedrun-recipe.ts";

export type SpeedrunOptions = {
  readonly out?: string;
  readonly seed: number;
  readonly scale: number;
  readonly problems: number;
  readonly set: readonly string[];
  readonly json: boolean;
  readonly threads?: number;
};

const caps = [0, 12, 24, 48, 72, 96, 144, 192];
const maxTokens = 248;
const slots = 256;

export function speedrunCommand(program: Command): void {
  program
    .command("speedrun")
    .description("From random weights to a small reasoner in ten minutes, with a report.")
    .option("--out <folder>", "the run folder, which must not hold another run (default: runs/speedrun, or the next free number)")
    .option("--seed <n>", "all randomness follows from it", integer(0), 1)
    .option("--scale <x>", "length of pretraining and reinforcement; 1 is the ten-minute run", real(0, 1000, true), 1)
    .option("--problems <n>", "held-out problems for each evaluation", integer(1), 1024)
    .option("--set <path=value>", "change one setting of the recipe; may be given more than once", collect, [])
    .option("-t, --threads <n>", "threads (default: all cores)", integer(1, 256))
    .option("--json", "print the numbers as one JSON document", false)
    .addHelpText(
      "after",
      "\nExamples:\n  $ gradually speedrun\n  $ gradually speedrun --out runs/long --scale 4\n  $ gradually speedrun --seed 2 --json > numbers.json\n",
    )
    .action(async (options: SpeedrunOptions) => {
      await speedrun(options);
    });
}

/** Runs everything and writes the report; returns what `--json` prints. */
export async function speedrun(options: SpeedrunOptions): Promise<SpeedrunResults> {
  const host = nodeHost();
  const recipe = applyOverrides(speedrunRecipe(options.scale, options.seed), options.set);
  const out = options.out ?? (await freeFolder(host));
  const began = host.now();
  const device = await openDevice(host, options.threads === undefined ? {} : { threads: options.threads });
  const say = (text: string) => process.stderr.write(`${text}\n`);
  const interactive = process.stderr.isTTY === true;
  const line = new ProgressLine({
    write: (text) => process.stderr.write(text),
    interactive,
    colour: wantsColour(interactive, host.env),
    columns: process.stderr.columns ?? 80,
    now: host.now,
  });
  const examiner = new Examiner(recipe, options, host, line);
  try {
    const run = await runRecipe(recipe, {
      out,
      host,
      device,
      onProgress: (progress) => line.update(progress),
      onStage: (event) => examiner.examine(event),
      onWarning: (text) => line.log(`warning: ${text}`),
    });
    line.finish();
    const budget = await examiner.budgets(run);
    line.finish();
    const { name, build, threads } = device.info;
    const report = run.ledger.report();
    const results: SpeedrunResults = {
      task: recipe.task?.name ?? "",
      test_problems: options.problems,
      accuracy: examiner.accuracy,
      budget_curve: budget,
      seconds: host.now() - began,
      peak_rss_mb: process.resourceUsage().maxRSS / 1024,
      steps: run.steps,
      skipped: run.skipped,
      tokens: report.tokens,
      flop: report.flop,
      cost_usd: run.ledger.usd(host.now() - began),
      checkpoint: run.checkpoint,
    };
    const next = `npm run --silent gradually -- run ${run.checkpoint} "3,5,7=22"`;
    const input: ReportInput = {
      results,
      command: `gradually speedrun --seed ${options.seed}${options.scale === 1 ? "" : ` --scale ${options.scale}`}`,
      machine: `${(await import("node:os")).cpus()[0]?.model ?? "CPU"}, ${threads} threads, ${name} ${build}, Node ${process.versions.node}`,
      model: modelLine(run.model),
      seed: options.seed,
      ...(await curves(host, out)),
      stages: report.stages,
      costLine: run.ledger.costLine(),
      published: publishedCosts.map((cost) => ({ name: cost.name, price: formatPublished(cost), what: cost.what, source: cost.source })),
      samples: examiner.samples(),
      next,
    };
    for (const [file, text] of makeReport(input)) await host.files.writeAtomic(host.files.join(out, file), text);
    await host.files.writeAtomic(host.files.join(out, "results.json"), `${JSON.stringify(results, null, 2)}\n`);
    run.model.dispose();
    if (options.json) process.stdout.write(`${JSON.stringify(results)}\n`);
    else conclude(results, input, out, say);
    return results;
  } finally {
    line.finish();
    await device.close();
  }
}

/** runs/speedrun, or runs/speedrun-2, -3 … when that is taken. */
async function freeFolder({ files }: Host): Promise<string> {
  for (let n = 1; ; n++) {
    const path = files.join("runs", n === 1 ? "speedrun" : `speedrun-${n}`);
    if (!(await files.exists(path))) return path;
  }
}

/** Evaluates the model of each stage on the same held-out problems. */
class Examiner {
  readonly accuracy: Record<string, StageAccuracy> = {};
  readonly #recipe: Recipe;
  readonly #options: SpeedrunOptions;
  readonly #host: Host;
  readonly #line: ProgressLine;
  #answers: readonly Answer[] = [];

  constructor(recipe: Recipe, options: SpeedrunOptions, host: Host, line: ProgressLine) {
    this.#recipe = recipe;
    this.#options = options;
    this.#host = host;
    this.#line = line;
  }

  async examine(event: StageEvent): Promise<void> {
    const stage = event.name === "start" ? "random" : event.name;
    await this.#with(event, stage, async (engine, exam) => {
      const { task, rows, codec, options } = exam;
      const result = await evaluate((requests) => engine.generate(requests), task, rows, codec, {
        ...options,
        // Random weights never end an answer: the first tokens tell as much as all of them.
        maxTokens: event.name === "start" ? 32 : options.maxTokens,
        samples: 1,
        seed: this.#recipe.seed,
        onProgress: (done, total) => this.#line.update({ stage: `eval ${stage}`, step: done, total }),
      });
      this.accuracy[stage] = { greedy: result.greedy.accuracy, sampled: (result.sampled as Outcome).accuracy };
      this.#answers = result.greedy.answers;
      return [result.greedy, result.sampled as Outcome];
    });
  }

  /** The curve, on half as many problems. */
  async budgets(event: Omit<StageEvent, "name" | "step" | "checkpoint">): Promise<BudgetPoint[]> {
    let points: BudgetPoint[] = [];
    let done = 0;
    await this.#with(event, "budget", async (engine, { task, rows, codec, options }) => {
      const outcomes: Outcome[] = [];
      points = await budgetCurve((requests) => engine.generate(requests), task, rows.slice(0, Math.ceil(rows.length / 2)), codec, {
        ...options,
        caps,
        extensions: { times: [1, 2], ids: codec.encode("Wait") },
        onPoint: (_, outcome) => {
          outcomes.push(outcome);
          this.#line.update({ stage: "eval budget", step: ++done, total: caps.length + 3 });
        },
      });
      return outcomes;
    });
    return points;
  }

  /** Three greedy answers of the last evaluation: two right ones and a wrong one where there are such. */
  samples(): Answer[] {
    const right = this.#answers.filter((answer) => answer.right).slice(0, 2);
    return [...right, ...this.#answers.filter((answer) => !answer.right)].slice(0, 3);
  }

  async #with(
    event: Pick<StageEvent, "model" | "tokenizer" | "task" | "ledger">,
    stage: string,
    ask: (engine: Engine, exam: Exam) => Promise<Outcome[]>,
  ): Promise<void> {
    const { model, tokenizer, task, ledger } = event;
    if (!task) throw new ConfigError({ operation: "speedrun", got: "a recipe without a task", expected: "one", cure: "set task" });
    const began = this.#host.now();
    const rows = distinctRows(
      task.task,
      "test",
      this.#options.problems,
      new Random(this.#recipe.seed).fork("test problems"),
      task.testShare,
    );
    assertDisjoint(task.task, task.seenKeys, rows);
    const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
    const engine = new Engine(model, { slots, contextLength: 320, prefillTokens: 2048, absorbed: true, seed: this.#recipe.seed });
    try {
      const { bos, eos } = tokenizer.specialIds;
      const outcomes = await ask(engine, {
        task: task.task,
        rows,
        codec: { encode, decode: (ids) => tokenizer.decode(ids) },
        options: { maxTokens, stop: eos === undefined ? [] : [eos], ...(bos !== undefined && { bos }), thinkEnd: encode("</think>") },
      });
      const shape = flopShape(model);
      for (const { promptTokens, generatedTokens, keys } of outcomes)
        ledger.infer(`eval ${stage}`, shape, promptTokens + generatedTokens, keys);
      ledger.time(`eval ${stage}`, this.#host.now() - began);
    } finally {
      engine.dispose();
    }
  }
}

type Exam = {
  readonly task: NonNullable<StageEvent["task"]>["task"];
  readonly rows: unknown[];
  readonly codec: { readonly encode: (text: string) => readonly number[]; readonly decode: (ids: readonly number[]) => string };
  readonly options: {
    readonly maxTokens: number;
    readonly stop: readonly number[];
    readonly bos?: number;
    readonly thinkEnd: readonly number[];
  };
};

function modelLine({ modelType, config, parameterCount }: StageEvent["model"]): string {
  const millions = (n: number) => `${(n / 1e6).toFixed(2)} M`;
  return (
    `${modelType}, ${config.num_hidden_layers} layers of width ${config.hidden_size}, ${config.n_routed_experts} experts of which ${config.num_experts_per_tok} ` +
    `and a shared one work on a token; ${millions(parameterCount.total)} parameters, ${millions(parameterCount.active)} active`
  );
}

/** Losses and rewards from metrics.jsonl. */
async function curves(host: Host, out: string): Promise<Pick<ReportInput, "losses" | "rewards">> {
  const losses: { stage: string; step: number; loss: number }[] = [];
  const rewards: { step: number; reward: number }[] = [];
  const path = host.files.join(out, "metrics.jsonl");
  for (const text of (await host.files.readText(path)).trim().split("\n")) {
    const row = parseJson(text, { source: path });
    if (!isJsonObject(row) || typeof row.step !== "number") continue;
    if (typeof row.reward === "number") rewards.push({ step: rewards.length + 1, reward: row.reward });
    else if (typeof row.loss === "number") losses.push({ stage: String(row.stage), step: row.step, loss: row.loss });
  }
  return { losses, rewards };
}

function conclude(results: SpeedrunResults, input: ReportInput, out: string, say: (text: string) => void): void {
  const percent = (p: number) => `${(100 * p).toFixed(1)} %`;
  say("\nAccuracy on problems that no stage saw (95 % interval)");
  for (const [stage, { greedy, sampled }] of Object.entries(results.accuracy)) {
    say(
      `  ${stage.padEnd(9)} greedy ${percent(greedy[0]).padStart(7)} (${percent(greedy[1])} to ${percent(greedy[2])})   sampled ${percent(sampled[0]).padStart(7)}`,
    );
  }
  say("\nAccuracy by thinking budget (tokens)");
  for (const { mode, budget, accuracy, thinking_tokens } of results.budget_curve) {
    const label = mode === "cap" ? `at most ${budget}` : mode === "free" ? "free" : `Wait ×${budget}`;
    say(`  ${label.padEnd(11)} ${percent(accuracy[0]).padStart(7)}   thought ${thinking_tokens.toFixed(0)} on average`);
  }
  say("\nThree answers");
  for (const { prompt, completion, right } of input.samples) say(`  ${right ? "right" : "wrong"}  ${prompt}${completion}`);
  say(`\n${input.costLine}`);
  say(`report: ${out}/report.md`);
  say(`next:   ${input.next}`);
}
