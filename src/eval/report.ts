// The report of a run: report.md and its plots, from the numbers of the run. In: plain data (the same numbers as `speedrun --json`, the
// curves, three samples). Out: file names and their contents; whoever calls writes them into the run folder, so one report is one commit.
// Unusual: it concludes by itself only what the intervals allow (whether reinforcement helped), and says so in words.

import { formatCount, formatDuration, formatScientific, formatUsd } from "../core/human.ts";
import type { BudgetPoint } from "./budget-curve.ts";
import { formatInterval, type Interval, overlap } from "./intervals.ts";
import { barPlot, linePlot } from "./plot.ts";

export type StageAccuracy = { readonly greedy: Interval; readonly sampled: Interval };

/** What `gradually speedrun --json` prints. */
export type SpeedrunResults = {
  readonly task: string;
  readonly test_problems: number;
  /** By stage, in order: random, pretrain, sft, grpo. */
  readonly accuracy: Readonly<Record<string, StageAccuracy>>;
  readonly budget_curve: readonly BudgetPoint[];
  readonly seconds: number;
  readonly peak_rss_mb: number;
  /** Training steps, and those of them that changed nothing because a loss or gradient was not finite. */
  readonly steps: number;
  readonly skipped: number;
  readonly tokens: number;
  readonly flop: number;
  readonly cost_usd: number;
  readonly checkpoint: string;
};

export type ReportInput = {
  readonly results: SpeedrunResults;
  /** What ran, e.g. `gradually speedrun --seed 1`. */
  readonly command: string;
  /** Processor, threads, device and build. */
  readonly machine: string;
  /** One line on the model: type, layers, parameters in all and active. */
  readonly model: string;
  readonly seed: number;
  /** One for each training step of the stages that have a loss; steps count on through the stages. */
  readonly losses: readonly { readonly stage: string; readonly step: number; readonly loss: number }[];
  /** One for each step of reinforcement. */
  readonly rewards: readonly { readonly step: number; readonly reward: number }[];
  readonly stages: readonly {
    readonly name: string;
    readonly tokens: number;
    readonly flop: number;
    readonly seconds: number;
    readonly cost_usd: number;
  }[];
  /** Ledger.costLine(). */
  readonly costLine: string;
  /** Price as text, e.g. `$5.576M`. */
  readonly published: readonly { readonly name: string; readonly price: string; readonly what: string; readonly source: string }[];
  /** Shown whole; three are asked for. */
  readonly samples: readonly { readonly prompt: string; readonly completion: string; readonly right: boolean }[];
  /** The next command to type. */
  readonly next: string;
};

/** report.md, loss.svg, reward.svg, accuracy.svg, budget.svg; plots without data are left out. */
export function makeReport(input: ReportInput): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  const { results } = input;
  const problems = `${results.task}, ${results.test_problems.toLocaleString("en-US")} held-out problems, 95 % intervals`;
  if (input.losses.length > 0) files.set("loss.svg", lossPlot(input));
  if (input.rewards.length > 0) {
    files.set(
      "reward.svg",
      linePlot({
        title: "Reward during reinforcement",
        subtitle: "mean over the completions of each step; 1 right, 0.1 well-formed but wrong, 0 otherwise",
        xLabel: "GRPO step",
        yLabel: "reward",
        yLow: 0,
        yHigh: 1,
        series: [
          {
            name: "reward",
            x: input.rewards.map((point) => point.step),
            y: input.rewards.map((point) => point.reward),
            smooth: Math.ceil(input.rewards.length / 15),
          },
        ],
      }),
    );
  }
  const stages = Object.keys(results.accuracy);
  if (stages.length > 0) files.set("accuracy.svg", accuracyPlot(results, problems));
  if (results.budget_curve.length > 0) files.set("budget.svg", budgetPlot(results, problems));
  return new Map([["report.md", markdown(input, new Set(files.keys()))], ...files]);
}

function lossPlot({ losses }: ReportInput): string {
  const stages = [...new Set(losses.map((point) => point.stage))];
  return linePlot({
    title: "Training loss",
    subtitle: "cross-entropy per predicted token; the stages learn from different texts, so a jump between them is no fault",
    xLabel: "step",
    yLabel: "loss (nats)",
    yLow: 0,
    series: stages.map((stage) => {
      const points = losses.filter((point) => point.stage === stage);
      return { name: stage, x: points.map((p) => p.step), y: points.map((p) => p.loss), smooth: Math.ceil(points.length / 40) };
    }),
  });
}

function accuracyPlot(results: SpeedrunResults, subtitle: string): string {
  const stages = Object.values(results.accuracy);
  return barPlot({
    title: "Accuracy after every stage",
    subtitle,
    yLabel: "accuracy",
    yFormat: "percent",
    yHigh: 1,
    groups: Object.keys(results.accuracy),
    series: (["greedy", "sampled"] as const).map((name) => ({
      name,
      values: stages.map((stage) => stage[name][0]),
      low: stages.map((stage) => stage[name][1]),
      high: stages.map((stage) => stage[name][2]),
    })),
  });
}

function budgetPlot(results: SpeedrunResults, subtitle: string): string {
  const curve = (name: string, modes: readonly BudgetPoint["mode"][]) => {
    const points = results.budget_curve.filter((point) => modes.includes(point.mode)).sort((a, b) => a.thinking_tokens - b.thinking_tokens);
    return {
      name,
      x: points.map((point) => point.thinking_tokens),
      y: points.map((point) => point.accuracy[0]),
      low: points.map((point) => point.accuracy[1]),
      high: points.map((point) => point.accuracy[2]),
      draw: "line and points" as const,
    };
  };
  const series = [curve("thinking capped", ["cap", "free"]), curve("thinking extended", ["free", "extend"])];
  return linePlot({
    title: "Accuracy by thinking budget",
    subtitle: `${subtitle}, greedy`,
    xLabel: "thinking tokens used (mean)",
    yLabel: "accuracy",
    yFormat: "percent",
    yLow: 0,
    yHigh: 1,
    series: results.budget_curve.some((point) => point.mode === "extend") ? series : series.slice(0, 1),
  });
}

function markdown(input: ReportInput, plots: ReadonlySet<string>): string {
  const { results } = input;
  const image = (name: string, alt: string) => (plots.has(name) ? [`![${alt}](${name})`, ""] : []);
  const budget = results.budget_curve.map((point) => [
    point.mode === "cap" ? `at most ${point.budget}` : point.mode === "free" ? "free" : `extended ${point.budget} ×`,
    point.thinking_tokens.toFixed(1),
    formatInterval(point.accuracy),
  ]);
  const lines = [
    `# ${results.task}: from random weights to a reasoner`,
    "",
    ...conclusion(results),
    "",
    `- **Command**: ${code(input.command)} (seed ${input.seed})`,
    `- **Machine**: ${input.machine}; peak memory ${Math.round(results.peak_rss_mb)} MB`,
    `- **Model**: ${input.model}; saved in ${code(results.checkpoint)}`,
    `- **Steps**: ${results.steps.toLocaleString("en-US")}, of which ${results.skipped} skipped because a loss or gradient was not finite; no rollbacks (a run that comes apart ends)`,
    `- **Cost**: ${input.costLine}`,
    "",
    "## Accuracy",
    "",
    `${results.test_problems.toLocaleString("en-US")} problems that no stage saw; 95 % Wilson intervals.`,
    "",
    ...table(
      ["after", "greedy", "sampled"],
      Object.entries(results.accuracy).map(([stage, accuracy]) => [
        stage,
        formatInterval(accuracy.greedy),
        formatInterval(accuracy.sampled),
      ]),
    ),
    "",
    ...image("accuracy.svg", "Accuracy after every stage"),
    ...(budget.length > 0
      ? [
          "## Thinking budget",
          "",
          ...table(["thinking tokens", "used (mean)", "accuracy (greedy)"], budget),
          "",
          ...image("budget.svg", "Accuracy by thinking budget"),
        ]
      : []),
    ...(plots.has("loss.svg") || plots.has("reward.svg") ? ["## Training", ""] : []),
    ...image("loss.svg", "Training loss"),
    ...image("reward.svg", "Reward"),
    "## Cost",
    "",
    ...table(
      ["stage", "tokens", "FLOP", "time", "cost"],
      [...input.stages, { name: "**all**", ...results }].map((stage) => [
        stage.name,
        formatCount(stage.tokens),
        formatScientific(stage.flop),
        formatDuration(stage.seconds),
        formatUsd(stage.cost_usd),
      ]),
    ),
    "",
    "What others published, for another size of problem (their claims, not measured here):",
    "",
    ...table(
      ["model", "cost", "what for", "source"],
      input.published.map((cost) => [cost.name, cost.price, cost.what, cost.source]),
    ),
    "",
    "## Samples",
    "",
    ...input.samples.flatMap((sample) => [`${sample.right ? "Right" : "Wrong"}:`, "", ...fenced(sample.prompt + sample.completion), ""]),
    "## Next",
    "",
    ...fenced(input.next, "sh"),
    "",
  ];
  return lines.join("\n");
}

/** One paragraph that says what the numbers say. */
function conclusion(results: SpeedrunResults): string[] {
  const stages = Object.entries(results.accuracy);
  const last = stages.at(-1);
  if (last === undefined) return [];
  const [name, accuracy] = last;
  const made = [`After ${name} the model solves **${formatInterval(accuracy.greedy)}** of problems it has never seen (greedy).`];
  const before = stages.at(-2);
  if (before !== undefined) {
    const points = (accuracy.greedy[0] - before[1].greedy[0]) * 100;
    const verdict = overlap(accuracy.greedy, before[1].greedy)
      ? "the intervals overlap, so this could be chance"
      : "the intervals do not overlap";
    const signed = `${points < 0 ? "−" : "+"}${Math.abs(points).toFixed(1)}`;
    made.push(`That is ${signed} points against ${before[0]}; ${verdict}.`);
  }
  made.push(`It took ${formatDuration(results.seconds)} and ${formatUsd(results.cost_usd)}.`);
  return [made.join(" ")];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  return [line(head), `|${head.map(() => "---").join("|")}|`, ...rows.map(line)];
}

/** A code block whose fence is longer than any run of backticks inside: models write what they like. */
function fenced(text: string, language = "text"): string[] {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return [`${fence}${language}`, text, fence];
}

function code(text: string): string {
  const longest = Math.max(0, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return longest === 0 ? `${fence}${text}${fence}` : `${fence} ${text} ${fence}`;
}
