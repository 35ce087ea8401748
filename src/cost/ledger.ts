// The cost of a run, stage by stage: tokens, FLOP (flop.ts), seconds, money. In: what each step did. Out: totals, JSON for cost.json,
// and one line beside the published costs. Unusual: the ledger is part of a checkpoint (`state`), so a resumed run reports the whole cost.

import { ConfigError, FormatError } from "../core/errors.ts";
import { formatCount, formatDuration, formatScientific, formatUsd } from "../core/human.ts";
import { type FlopShape, forwardFlop, trainingFlop } from "./flop.ts";
import { formatPublished, publishedCosts } from "./published.ts";

/** US dollars for an hour of a 2-core cloud machine. */
export const defaultHourlyUsd = 0.05;

export type StageCost = {
  readonly name: string;
  /** Tokens that went forward and backward. */
  readonly trainedTokens: number;
  /** Tokens that went forward only: prompts and generated tokens. */
  readonly inferredTokens: number;
  readonly flop: number;
  readonly seconds: number;
};

/** Plain data for a checkpoint. */
export type LedgerState = { readonly hourlyUsd: number; readonly stages: readonly StageCost[] };

/** What cost.json holds. */
export type CostReport = {
  readonly hourly_usd: number;
  readonly stages: readonly { name: string; tokens: number; flop: number; seconds: number; cost_usd: number }[];
  readonly tokens: number;
  readonly flop: number;
  readonly seconds: number;
  readonly cost_usd: number;
};

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export class Ledger {
  readonly hourlyUsd: number;
  readonly #stages = new Map<string, Mutable<StageCost>>();

  /** Price in US dollars per hour, 0 or more. */
  constructor(options: { readonly hourlyUsd?: number } = {}) {
    this.hourlyUsd = options.hourlyUsd ?? defaultHourlyUsd;
    if (!Number.isFinite(this.hourlyUsd) || this.hourlyUsd < 0) {
      throw new ConfigError({
        operation: "open the cost ledger",
        got: `${this.hourlyUsd} USD an hour`,
        expected: "a finite price of 0 or more",
        cure: "set the price of this machine for an hour",
      });
    }
  }

  /** Continues from a checkpoint. */
  static from(state: LedgerState): Ledger {
    const ledger = new Ledger({ hourlyUsd: state.hourlyUsd });
    for (const stage of state.stages) {
      const { name, ...numbers } = stage;
      const fields = [numbers.trainedTokens, numbers.inferredTokens, numbers.flop, numbers.seconds];
      if (typeof name !== "string" || !fields.every((n) => Number.isFinite(n) && n >= 0)) {
        throw new FormatError({
          operation: "read the cost ledger of a checkpoint",
          got: JSON.stringify(stage).slice(0, 200),
          expected: "a stage with name, trainedTokens, inferredTokens, flop and seconds of 0 or more",
          cure: "resume from another checkpoint",
        });
      }
      ledger.#stages.set(name, { ...stage });
    }
    return ledger;
  }

  get state(): LedgerState {
    return { hourlyUsd: this.hourlyUsd, stages: this.stages };
  }

  get stages(): readonly StageCost[] {
    return [...this.#stages.values()].map((stage) => ({ ...stage }));
  }

  /** A training step: `tokens` tokens forward and backward that attend to `keys` key rows in all (flop.ts, attendedKeys). */
  train(stage: string, shape: FlopShape, tokens: number, keys: number): void {
    const entry = this.#open(stage);
    entry.trainedTokens += checked(tokens, "tokens");
    entry.flop += trainingFlop(shape, tokens, checked(keys, "keys"));
  }

  /** Generation or scoring: `tokens` tokens, prompts included, forward only. */
  infer(stage: string, shape: FlopShape, tokens: number, keys: number): void {
    const entry = this.#open(stage);
    entry.inferredTokens += checked(tokens, "tokens");
    entry.flop += forwardFlop(shape, tokens, checked(keys, "keys"));
  }

  /** Wall-clock seconds spent in a stage. */
  time(stage: string, seconds: number): void {
    this.#open(stage).seconds += checked(seconds, "seconds");
  }

  get total(): StageCost {
    const sum = (field: "trainedTokens" | "inferredTokens" | "flop" | "seconds") =>
      [...this.#stages.values()].reduce((all, stage) => all + stage[field], 0);
    return {
      name: "total",
      trainedTokens: sum("trainedTokens"),
      inferredTokens: sum("inferredTokens"),
      flop: sum("flop"),
      seconds: sum("seconds"),
    };
  }

  /** US dollars of so many seconds. */
  usd(seconds: number): number {
    return (seconds / 3600) * this.hourlyUsd;
  }

  report(): CostReport {
    const line = (stage: StageCost) => ({
      tokens: stage.trainedTokens + stage.inferredTokens,
      flop: stage.flop,
      seconds: stage.seconds,
      cost_usd: this.usd(stage.seconds),
    });
    return { hourly_usd: this.hourlyUsd, stages: this.stages.map((stage) => ({ name: stage.name, ...line(stage) })), ...line(this.total) };
  }

  /** One line: `6.31M tokens, 2.1e14 FLOP, 9 min 31 s, $0.0079 at $0.05/h (DeepSeek-V3 $5.576M, DeepSeek-R1 $294K more, s1 under $50)`. */
  costLine(): string {
    const { trainedTokens, inferredTokens, flop, seconds } = this.total;
    const price = (name: string) => formatPublished(publishedCosts.find((cost) => cost.name === name) as (typeof publishedCosts)[number]);
    const ours = `${formatCount(trainedTokens + inferredTokens)} tokens, ${formatScientific(flop)} FLOP, ${formatDuration(seconds)}`;
    const others = `DeepSeek-V3 ${price("DeepSeek-V3")}, DeepSeek-R1 ${price("DeepSeek-R1")} more, s1 ${price("s1")}`;
    return `${ours}, ${formatUsd(this.usd(seconds))} at $${this.hourlyUsd}/h (${others})`;
  }

  #open(name: string): Mutable<StageCost> {
    let entry = this.#stages.get(name);
    if (entry === undefined) {
      entry = { name, trainedTokens: 0, inferredTokens: 0, flop: 0, seconds: 0 };
      this.#stages.set(name, entry);
    }
    return entry;
  }
}

function checked(value: number, what: string): number {
  if (Number.isFinite(value) && value >= 0) return value;
  throw new ConfigError({
    operation: "write to the cost ledger",
    got: `${value} ${what}`,
    expected: "a finite number of 0 or more",
    cure: "report this: a trainer counted wrongly",
  });
}
