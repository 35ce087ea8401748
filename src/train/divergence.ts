// Notices training that has come apart though every number is finite: a learning rate far too high leaves weights that are worse than those the stage began
// with, and they stay so. In: the metrics of each step. Out: what is wrong, as a text, once so many steps in a row say it. Unusual: the yardstick is the
// stage's first step, the only one that no update has touched. The rule changes no number of a run, so it may change or be off when a run resumes.

import { isJsonObject, type JsonValue } from "../core/json.ts";

/** Steps in a row: a hard batch or two are no divergence. */
const patience = 8;
/** A first step on fewer completions, or with less reward, says too little of what the policy can do. */
const fewestCompletions = 64;
const leastReward = 0.1;
/** Below this share of the first step's reward a policy counts as lost. */
const lostShare = 0.05;

/** Plain JSON for a checkpoint. `first`: the loss or reward of the stage's first step, null when there was none. */
export type DivergenceState = { readonly first: number | null; readonly streak: number };

export class DivergenceWatch {
  readonly #maxRise: number | null;
  readonly #completions: number | undefined;
  #first: number | null;
  #streak: number;

  /**
   * `maxRise`: nats above the first loss; null: nothing is ever wrong. `completions`: how many a generation has, for a stage of reinforcement: its loss says
   * nothing, so its reward is watched.
   */
  constructor(maxRise: number | null, completions?: number, state: JsonValue = null) {
    this.#maxRise = maxRise;
    this.#completions = completions;
    const { first, streak } = isJsonObject(state) ? state : {};
    this.#first = typeof first === "number" && Number.isFinite(first) ? first : null;
    this.#streak = typeof streak === "number" && Number.isSafeInteger(streak) && streak > 0 ? streak : 0;
  }

  get state(): DivergenceState {
    return { first: this.#first, streak: this.#streak };
  }

  /** True while the last steps were bad: weights that no checkpoint should hold. */
  get isSuspicious(): boolean {
    return this.#streak > 0;
  }

  /** What has gone wrong, or undefined. To be called once for each step, in order; null and missing values are passed over. */
  observe(metrics: Readonly<Record<string, number | null>>): string | undefined {
    const what = this.#completions === undefined ? "loss" : "reward";
    const value = metrics[what];
    if (this.#maxRise === null || value === null || value === undefined) return undefined;
    if (what === "loss" && value === 0) return undefined; // nothing to predict in this step
    this.#first ??= value;
    this.#streak = this.#isBad(value, this.#first, this.#maxRise) ? this.#streak + 1 : 0;
    if (this.#streak < patience) return undefined;
    return `a ${what} of ${value.toPrecision(3)} where the stage began with ${this.#first.toPrecision(3)}, and ${patience} steps in a row like it`;
  }

  /** The quarter of the first loss is for weights that begin badly, whose losses are large and scatter as much. */
  #isBad(value: number, first: number, maxRise: number): boolean {
    if (this.#completions === undefined) return value > first + Math.max(maxRise, first / 4);
    return this.#completions >= fewestCompletions && first >= leastReward && value < first * lostShare;
  }
}
