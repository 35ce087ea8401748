import { expect, test } from "vitest";
import { ConfigError, FormatError } from "../../src/core/errors.ts";
import { Ledger } from "../../src/cost/ledger.ts";
import { formatPublished, publishedCosts } from "../../src/cost/published.ts";

const shape = { parameters: 1e6, attentionWidth: 1000 };

function example(): Ledger {
  const ledger = new Ledger({ hourlyUsd: 0.36 });
  ledger.train("pretrain", shape, 1000, 5000);
  ledger.train("pretrain", shape, 1000, 5000);
  ledger.time("pretrain", 100);
  ledger.infer("grpo", shape, 500, 2500);
  ledger.train("grpo", shape, 400, 0);
  ledger.time("grpo", 50.5);
  return ledger;
}

test("adds up tokens, FLOP, seconds and money, stage by stage", () => {
  const ledger = example();
  const pretrain = 2 * 3 * (2e6 * 1000 + 2000 * 5000);
  const grpo = 2e6 * 500 + 2000 * 2500 + 6e6 * 400;
  expect(ledger.stages).toEqual([
    { name: "pretrain", trainedTokens: 2000, inferredTokens: 0, flop: pretrain, seconds: 100 },
    { name: "grpo", trainedTokens: 400, inferredTokens: 500, flop: grpo, seconds: 50.5 },
  ]);
  expect(ledger.report()).toMatchObject({ hourly_usd: 0.36, tokens: 2900, flop: pretrain + grpo, seconds: 150.5 });
  expect(ledger.report().cost_usd).toBeCloseTo(0.01505, 12);
  expect(ledger.report().stages.map((stage) => stage.name)).toEqual(["pretrain", "grpo"]);
  expect(ledger.report().stages.reduce((sum, stage) => sum + stage.cost_usd, 0)).toBeCloseTo(0.01505, 12);
});

test("survives a checkpoint exactly", () => {
  const ledger = example();
  const again = Ledger.from(JSON.parse(JSON.stringify(ledger.state)));
  expect(again.report()).toEqual(ledger.report());
  again.train("grpo", shape, 1, 1);
  ledger.train("grpo", shape, 1, 1);
  expect(again.state).toEqual(ledger.state);
  const snapshot = ledger.state;
  ledger.time("grpo", 1);
  expect(snapshot.stages[1]?.seconds).toBe(50.5);
});

test("the cost line names ours and theirs, on one line", () => {
  const line = example().costLine();
  expect(line).toBe("2.9K tokens, 1.5e10 FLOP, 2 min 31 s, $0.015 at $0.36/h (DeepSeek-V3 $5.576M, DeepSeek-R1 $294K more, s1 under $50)");
  expect(new Ledger().costLine()).toContain("0 tokens, 0 FLOP, 0.0 s, $0 at $0.05/h");
});

test("published costs are the ones of the sources", () => {
  const text = Object.fromEntries(publishedCosts.map((cost) => [cost.name, formatPublished(cost)]));
  expect(text).toEqual({
    "DeepSeek-V3": "$5.576M",
    "DeepSeek-R1": "$294K",
    nanochat: "$100",
    "nanochat (2026)": "$15",
    s1: "under $50",
    TinyZero: "under $30",
  });
  const v3 = publishedCosts[0]!;
  expect(v3.hours! * 2).toBe(v3.usd);
});

test("bad numbers are errors, not a wrong bill", () => {
  expect(() => new Ledger({ hourlyUsd: -1 })).toThrow(ConfigError);
  expect(() => new Ledger({ hourlyUsd: Number.NaN })).toThrow(ConfigError);
  const ledger = new Ledger();
  expect(() => ledger.time("x", Number.NaN)).toThrow(ConfigError);
  expect(() => ledger.train("x", shape, -1, 0)).toThrow(ConfigError);
  expect(() => ledger.infer("x", shape, 1, Number.POSITIVE_INFINITY)).toThrow(ConfigError);
  expect(ledger.total.flop).toBe(0);
  const stage = { name: "x", trainedTokens: 1, inferredTokens: 0, flop: 1, seconds: -5 };
  expect(() => Ledger.from({ hourlyUsd: 1, stages: [stage] })).toThrow(FormatError);
});
