// `gradually speedrun`: from random weights to a small reasoner, measured after every stage, with a report. In: speedrun-recipe.ts. Out: a run folder with
// report.md, plots and the model as a Hugging Face folder; `--json` prints the numbers. All evaluation (speedrun-exams.ts) is on problems that no stage
// saw: held out by a hash of the problem, and checked against every problem that training drew. A signal ends it with a checkpoint, and --resume goes on.

import type { Command } from "commander";
import { openDevice } from "../backend/open.ts";
import { ConfigError, quote } from "../core/errors.ts";
import type { Host } from "../core/host.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import { formatPublished, publishedCosts } from "../cost/published.ts";
import { makeReport, type ReportInput, type SpeedrunResults } from "../eval/report.ts";
import { nodeHost } from "../platform/node.ts";
import { applyOverrides } from "../train/recipe-overrides.ts";
import { type RunResult, runRecipe, type StageEvent } from "../train/run.ts";
import { collect, integer, real } from "./flags.ts";
import { note, progressLine, shellWord, showControls, writeJson } from "./output.ts";
import { Examiner } from "./speedrun-exams.ts";
import { speedrunRecipe } from "./speedrun-recipe.ts";
import { listenForStop } from "./stop-signals.ts";

export type SpeedrunOptions = {
  readonly out?: string;
  readonly seed: number;
  readonly scale: number;
  readonly problems: number;
  readonly set: readonly string[];
  readonly resume: boolean;
  readonly json: boolean;
  readonly threads?: number;
};

/** How a checkout starts the command. */
const self = "npm run --silent gradually --";

export function speedrunCommand(program: Command): void {
  program
    .command("speedrun")
    .description(
      "From random weights to a small reasoner in ten minutes, with a report. Ctrl-C stops it with a checkpoint; --resume goes on, bit for bit as if it had never stopped.",
    )
    .option("--out <folder>", "the run folder, which must not hold another run (default: runs/speedrun, or the next free number)")
    .option("--resume", "go on from the newest whole checkpoint of the folder (default: of the last speedrun)", false)
    .option("--seed <n>", "all randomness follows from it", integer(0), 1)
    .option("--scale <x>", "length of pretraining and reinforcement; 1 is the ten-minute run", real(0, 1000, true), 1)
    .option("--problems <n>", "held-out problems for each evaluation", integer(1), 1024)
    .option("--set <path=value>", "change one setting of the recipe; may be given more than once", collect, [])
    .option("-t, --threads <n>", "threads (default: all cores)", integer(1, 256))
    .option("--json", "print the numbers as one JSON document", false)
    .addHelpText(
      "after",
      "\nExamples:\n  $ gradually speedrun\n  $ gradually speedrun --out runs/long --scale 4\n  $ gradually speedrun --seed 2 --json > numbers.json\n  $ gradually speedrun --resume\n",
    )
    .action(async (options: SpeedrunOptions) => {
      await speedrun(options);
    });
}

/** Runs everything and writes the report. Stopped by a signal, it says what goes on from there. */
export async function speedrun(options: SpeedrunOptions): Promise<void> {
  const host = nodeHost();
  const recipe = applyOverrides(speedrunRecipe(options.scale, options.seed), options.set);
  const out = options.out ?? (await (options.resume ? lastFolder(host) : freeFolder(host)));
  const began = host.now();
  const device = await openDevice(host, options.threads === undefined ? {} : { threads: options.threads });
  const line = progressLine(host.now);
  const stopping = listenForStop(() => line.log("stopping after this step; once more to stop at once"));
  const { signal } = stopping;
  let run: RunResult | undefined;
  try {
    const examiner = await Examiner.open({ out, host, line, seed: recipe.seed, problems: options.problems, signal }, options.resume);
    run = await runRecipe(recipe, {
      out,
      host,
      device,
      resume: options.resume,
      signal,
      onProgress: (progress) => line.update(progress),
      onStage: (event) => examiner.examine(event),
      onWarning: (text) => line.log(`warning: ${text}`),
    });
    line.finish();
    signal.throwIfAborted();
    const budget = await examiner.budgets({ ...run, step: run.steps });
    line.finish();
    const { name, build, threads } = device.info;
    const report = run.ledger.report();
    // What a resumed run took is what its ledger says: of the parts that were not lost.
    const seconds = options.resume ? report.seconds : host.now() - began;
    const results: SpeedrunResults = {
      task: recipe.task?.name ?? "",
      test_problems: options.problems,
      accuracy: examiner.accuracy,
      budget_curve: budget,
      seconds,
      peak_rss_mb: process.resourceUsage().maxRSS / 1024,
      steps: run.steps,
      skipped: run.skipped,
      tokens: report.tokens,
      flop: report.flop,
      cost_usd: run.ledger.usd(seconds),
      checkpoint: run.checkpoint,
    };
    const input: ReportInput = {
      results,
      command: commandOf({ seed: options.seed, scale: options.scale }, "gradually"),
      machine: `${(await import("node:os")).cpus()[0]?.model ?? "CPU"}, ${threads} threads, ${name} ${build}, Node ${process.versions.node}`,
      model: modelLine(run.model),
      seed: options.seed,
      ...(await curves(host, out)),
      stages: report.stages,
      costLine: run.ledger.costLine(),
      published: publishedCosts.map((cost) => ({ name: cost.name, price: formatPublished(cost), what: cost.what, source: cost.source })),
      samples: examiner.samples,
      next: `${self} run ${shellWord(run.checkpoint)} "3,5,7=22"`,
    };
    for (const [file, text] of makeReport(input)) await host.files.writeAtomic(host.files.join(out, file), text);
    // cost.json again: the last exams cost something too.
    for (const [file, content] of Object.entries({ "results.json": results, "cost.json": report })) {
      await host.files.writeAtomic(host.files.join(out, file), `${JSON.stringify(content, null, 2)}\n`);
    }
    if (options.json) writeJson(results);
    else conclude(results, input, out);
  } catch (error) {
    if (error !== signal.reason) throw error;
    line.finish();
    if (options.json) writeJson({ finished: false, out });
    note(`stopped; next: ${commandOf({ ...options, out, resume: true }, self)}`);
  } finally {
    line.finish();
    stopping.release();
    run?.model.dispose();
    await device.close();
  }
}

/** The words of a command line that asks for the same. */
function commandOf(options: Partial<SpeedrunOptions>, command: string): string {
  const { out, resume = false, seed = 1, scale = 1, problems = 1024, set = [], threads, json = false } = options;
  const words = [
    ...(out === undefined ? [] : ["--out", shellWord(out)]),
    "--seed",
    String(seed),
    ...(scale === 1 ? [] : ["--scale", String(scale)]),
    ...(problems === 1024 ? [] : ["--problems", String(problems)]),
    ...set.flatMap((setting) => ["--set", shellWord(setting)]),
    ...(threads === undefined ? [] : ["--threads", String(threads)]),
    ...(json ? ["--json"] : []),
    ...(resume ? ["--resume"] : []),
  ];
  return [command, "speedrun", ...words].join(" ");
}

/** runs/speedrun, or runs/speedrun-2, -3 … when that is taken. */
async function freeFolder({ files }: Host): Promise<string> {
  for (let n = 1; ; n++) {
    const path = numbered(files, n);
    if (!(await files.exists(path))) return path;
  }
}

/** The one that freeFolder gave last. */
async function lastFolder({ files }: Host): Promise<string> {
  let last: string | undefined;
  for (let n = 1; await files.exists(numbered(files, n)); n++) last = numbered(files, n);
  if (last !== undefined) return last;
  throw new ConfigError({
    operation: "resume the last speedrun",
    got: `no folder ${quote(numbered(files, 1))}`,
    expected: "a run",
    cure: "give --out, or leave --resume out",
  });
}

function numbered(files: Host["files"], n: number): string {
  return files.join("runs", n === 1 ? "speedrun" : `speedrun-${n}`);
}

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

function conclude(results: SpeedrunResults, input: ReportInput, out: string): void {
  const percent = (p: number) => `${(100 * p).toFixed(1)} %`;
  note("\nAccuracy on problems that no stage saw (95 % interval)");
  for (const [stage, { greedy, sampled }] of Object.entries(results.accuracy)) {
    note(
      `  ${stage.padEnd(9)} greedy ${percent(greedy[0]).padStart(7)} (${percent(greedy[1])} to ${percent(greedy[2])})   sampled ${percent(sampled[0]).padStart(7)}`,
    );
  }
  note("\nAccuracy by thinking budget (tokens)");
  for (const { mode, budget, accuracy, thinking_tokens } of results.budget_curve) {
    const label = mode === "cap" ? `at most ${budget}` : mode === "free" ? "free" : `Wait ×${budget}`;
    note(`  ${label.padEnd(11)} ${percent(accuracy[0]).padStart(7)}   thought ${thinking_tokens.toFixed(0)} on average`);
  }
  note("\nThree answers");
  for (const { prompt, completion, right } of input.samples) note(showControls(`  ${right ? "right" : "wrong"}  ${prompt}${completion}`));
  note(`\n${input.costLine}`);
  note(`report: ${out}/report.md`);
  note(`next:   ${input.next}`);
}
