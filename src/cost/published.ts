// What others published about the cost of their models, for the line beside ours. Every figure is somebody else's claim; `source` says whose.

import { formatUsd } from "../core/human.ts";

export type PublishedCost = {
  readonly name: string;
  /** US dollars; with `atMost`, the bound that the authors name. */
  readonly usd: number;
  readonly atMost: boolean;
  /** Accelerator hours where they are known. */
  readonly hours?: number;
  readonly hardware: string;
  readonly what: string;
  readonly source: string;
};

export const publishedCosts: readonly PublishedCost[] = [
  {
    name: "DeepSeek-V3",
    usd: 5_576_000,
    atMost: false,
    hours: 2_788_000,
    hardware: "H800",
    what: "pre-training, context extension and post-training of 671B parameters on 14.8T tokens, at $2 an hour",
    source: "DeepSeek-V3 technical report, table 1",
  },
  {
    name: "DeepSeek-R1",
    usd: 294_000,
    atMost: false,
    hours: 147_000,
    hardware: "H800",
    what: "reinforcement and distillation data on top of V3, at $2 an hour",
    source: "Nature paper as reported; hours derived",
  },
  {
    name: "nanochat",
    usd: 100,
    atMost: false,
    hours: 31,
    hardware: "H100",
    what: "first release, 561M parameters from pre-training to RL, 3 h 51 min on 8 GPUs",
    source: "nanochat README",
  },
  {
    name: "nanochat (2026)",
    usd: 15,
    atMost: false,
    hours: 13,
    hardware: "H100",
    what: "GPT-2 grade pre-training, 1.65 h on 8 GPUs at spot price",
    source: "nanochat README",
  },
  {
    name: "s1",
    usd: 50,
    atMost: true,
    hours: 7,
    hardware: "H100",
    what: "1,000 distilled samples into Qwen2.5-32B-Instruct, 26 minutes on 16 GPUs",
    source: "s1 paper; price as quoted in the press",
  },
  {
    name: "TinyZero",
    usd: 30,
    atMost: true,
    hardware: "H100 or similar",
    what: "reinforcement on Countdown, 3B parameters",
    source: "TinyZero README",
  },
];

/** `$5.58M`, or `under $50` where the authors give a bound. */
export function formatPublished(cost: PublishedCost): string {
  // The V3 figure is known by its four digits.
  const price = cost.usd === 5_576_000 ? "$5.576M" : formatUsd(cost.usd);
  return cost.atMost ? `under ${price}` : price;
}
