import { describe, expect, test } from "vitest";
import { Ledger } from "../../src/cost/ledger.ts";
import { formatPublished, publishedCosts } from "../../src/cost/published.ts";
import { wilson } from "../../src/eval/intervals.ts";
import { makeReport, type ReportInput } from "../../src/eval/report.ts";

const ledger = new Ledger({ hourlyUsd: 0.05 });
ledger.train("pretrain", { parameters: 1e6, attentionWidth: 1000 }, 5e6, 3e8);
ledger.time("pretrain", 360);
ledger.time("grpo", 211);
const { stages, tokens, flop, seconds, cost_usd } = ledger.report();
const both = (right: number) => ({ greedy: wilson(right, 1000), sampled: wilson(right - 20, 1000) });

const input: ReportInput = {
  results: {
    task: "countdown",
    test_problems: 1000,
    accuracy: { random: { greedy: wilson(0, 1000), sampled: wilson(0, 1000) }, pretrain: both(410), sft: both(620), grpo: both(850) },
    budget_curve: [
      { mode: "cap", budget: 16, thinking_tokens: 15.5, accuracy: wilson(300, 1000) },
      { mode: "free", budget: 0, thinking_tokens: 40, accuracy: wilson(850, 1000) },
      { mode: "extend", budget: 2, thinking_tokens: 70, accuracy: wilson(870, 1000) },
    ],
    seconds,
    peak_rss_mb: 812.4,
    steps: 1779,
    skipped: 2,
    tokens,
    flop,
    cost_usd,
    checkpoint: "runs/speedrun/checkpoints/checkpoint-900",
  },
  command: "gradually speedrun --seed 1",
  machine: "2 × Example CPU, wasm relaxed",
  model: "deepseek_v3, 4 layers, 1.2M parameters, 0.9M active",
  seed: 1,
  losses: [...Array(40).keys()].map((step) => ({ stage: step < 30 ? "pretrain" : "sft", step, loss: 3 / (1 + step) })),
  rewards: [...Array(20).keys()].map((step) => ({ step, reward: 0.5 + step / 50 })),
  stages,
  costLine: ledger.costLine(),
  published: publishedCosts.map((cost) => ({ ...cost, price: formatPublished(cost) })),
  samples: [
    { prompt: "3 5 7=22", completion: "<think>3*5=15,15+7=22!</think>(3*5)+7", right: true },
    { prompt: "1 1 1=9", completion: "```\n</think>````", right: false },
    { prompt: "2 4 6=12", completion: "<think></think>2+4+6", right: true },
  ],
  next: "gradually eval runs/speedrun/checkpoints/checkpoint-900 --task countdown",
};

describe("makeReport", () => {
  const files = makeReport(input);
  const report = files.get("report.md")!;

  test("has the report and four plots, and links every plot", () => {
    expect([...files.keys()]).toEqual(["report.md", "loss.svg", "reward.svg", "accuracy.svg", "budget.svg"]);
    for (const name of files.keys()) if (name.endsWith(".svg")) expect(report).toContain(`](${name})`);
    for (const [name, text] of files) if (name.endsWith(".svg")) expect(text).toMatch(/^<svg[\s\S]+<\/svg>\n$/);
    expect(files.get("budget.svg")).toContain(">thinking extended</text>");
    expect(files.get("accuracy.svg")).toContain(">85.0</text>");
  });

  test("says what the numbers say", () => {
    expect(report).toContain("After grpo the model solves **85.0 % (82.7 to 87.1)**");
    expect(report).toContain("+23.0 points against sft; the intervals do not overlap.");
    expect(report).toContain("| sft | 62.0 % (59.0 to 65.0) |");
    expect(report).toContain("| at most 16 | 15.5 | 30.0 %");
    expect(report).toContain("| extended 2 × | 70.0 | 87.0 %");
    expect(report).toContain("- **Steps**: 1,779, of which 2 skipped because a loss or gradient was not finite");
    expect(report).toContain(ledger.costLine());
    expect(report).toContain("| DeepSeek-V3 | $5.576M |");
    expect(report).toContain("| **all** | 5M |");
    expect(report).toContain("9 min 31 s");
    expect(report).toContain("812 MB");
    expect(report).toContain(`\`\`\`sh\n${input.next}\n\`\`\``);
  });

  test("shows the samples whole, whatever they hold", () => {
    for (const { prompt, completion } of input.samples) expect(report).toContain(`\n${prompt}${completion}\n`);
    expect(report).toContain("`````text\n1 1 1=9```\n</think>````\n`````");
    expect(report.match(/^Right:$/gm)).toHaveLength(2);
    expect(report.match(/^Wrong:$/gm)).toHaveLength(1);
  });

  test("says when it could be chance", () => {
    const accuracy = { sft: both(620), grpo: both(610) };
    const text = makeReport({ ...input, results: { ...input.results, accuracy } }).get("report.md");
    expect(text).toContain("−1.0 points against sft; the intervals overlap, so this could be chance.");
  });

  test("leaves out what a run does not have", () => {
    const bare = makeReport({
      ...input,
      losses: [],
      rewards: [],
      results: { ...input.results, accuracy: { random: both(30) }, budget_curve: [] },
    });
    expect([...bare.keys()]).toEqual(["report.md", "accuracy.svg"]);
    expect(bare.get("report.md")).not.toMatch(/loss\.svg|budget|undefined|NaN/);
  });
});
