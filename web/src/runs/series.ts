// From rows of logs to lines of charts. In: rows of one run or of several. Out: one table for each chart: x is the step, each line a column, null
// where a run has no value at that step. Lines of one run are named by the metric, lines of several by the run.

import type { WordName } from "../words/words.ts";
import type { Row, RunRows } from "./log.ts";

export type ChartKind = {
  readonly name: WordName;
  readonly log: "metrics" | "timing";
  /** The first is the main one: it alone is compared between runs. */
  readonly metrics: readonly string[];
  /** A setting and no measurement: there is nothing to smooth. */
  readonly isSet?: boolean;
};

export const chartKinds: readonly ChartKind[] = [
  { name: "loss", log: "metrics", metrics: ["loss", "mtp_loss"] },
  { name: "reward", log: "metrics", metrics: ["reward", "reward_std"] },
  { name: "accuracy", log: "metrics", metrics: ["mean_token_accuracy"] },
  { name: "entropy", log: "metrics", metrics: ["entropy"] },
  { name: "length", log: "metrics", metrics: ["completions/mean_length", "completions/max_length"] },
  { name: "tokensPerSecond", log: "timing", metrics: ["tokens_per_second"] },
  { name: "gradNorm", log: "metrics", metrics: ["grad_norm"] },
  { name: "learningRate", log: "metrics", metrics: ["learning_rate"], isSet: true },
];

export type Chart = {
  readonly kind: ChartKind;
  readonly x: readonly number[];
  readonly lines: readonly { readonly name: string; readonly run: number; readonly values: readonly (number | null)[] }[];
};

/** Charts without a value are left out. */
export function chartsOf(runs: readonly RunRows[]): Chart[] {
  return chartKinds.map((kind) => chartOf(kind, runs)).filter(({ lines }) => lines.length > 0);
}

function chartOf(kind: ChartKind, runs: readonly RunRows[]): Chart {
  const isOne = runs.length === 1;
  const parts = runs.flatMap((run, index) =>
    (isOne ? kind.metrics : kind.metrics.slice(0, 1)).map((metric) => ({
      name: isOne ? metric : run.id,
      run: isOne ? kind.metrics.indexOf(metric) : index,
      points: pointsOf(run[kind.log], metric),
    })),
  );
  const filled = parts.filter(({ points }) => points.size > 0);
  const x = [...new Set(filled.flatMap(({ points }) => [...points.keys()]))].sort((a, b) => a - b);
  return { kind, x, lines: filled.map(({ name, run, points }) => ({ name, run, values: x.map((step) => points.get(step) ?? null) })) };
}

/** The loss of reinforcement is no cross-entropy: near 0 by construction, it would say nothing among the losses of other stages. */
function pointsOf(rows: readonly Row[], metric: string): Map<number, number> {
  const points = new Map<number, number>();
  const reinforced = metric === "loss" ? new Set(rows.filter((row) => "reward" in row).map(({ stage }) => stage)) : undefined;
  for (const row of rows) {
    const value = row[metric];
    if (typeof value !== "number" || !Number.isFinite(value)) continue;
    if (reinforced?.has(row.stage)) continue;
    points.set(row.step, value);
  }
  return points;
}

/**
 * Exponential moving average without a bias to its first value (divided by the weight that was given out so far, as TensorBoard does). In: values,
 * null where there is none; weight of the past, 0 to below 1. Out: as many; null where there was none.
 */
export function smoothed(values: readonly (number | null)[], weight: number): (number | null)[] {
  let [sum, given] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    given = weight * given + (1 - weight);
    return sum / given;
  });
}

/** Steps at which another stage begins, with its name. */
export function stagesOf(rows: readonly Row[]): { readonly step: number; readonly name: string }[] {
  const stages: { step: number; name: string }[] = [];
  for (const { step, stage } of rows) if (stages.at(-1)?.name !== stage) stages.push({ step, name: stage });
  return stages;
}

export type LoadTable = {
  readonly layer: string;
  readonly steps: readonly number[];
  /** By measurement, then expert: the share of even load; 1 is even. */
  readonly shares: readonly (readonly number[])[];
};

export function loadTables(rows: readonly Row[]): LoadTable[] {
  const tables = new Map<string, { steps: number[]; shares: number[][] }>();
  for (const { step, expert_load: load } of rows) {
    if (typeof load !== "object" || load === null) continue;
    for (const [layer, counts] of Object.entries(load)) {
      if (!Array.isArray(counts) || counts.length > 4096 || !counts.every((one) => typeof one === "number" && one >= 0)) continue;
      const total = (counts as number[]).reduce((sum, one) => sum + one, 0);
      if (total === 0) continue;
      const table = tables.get(layer) ?? { steps: [], shares: [] };
      tables.set(layer, table);
      table.steps.push(step);
      table.shares.push((counts as number[]).map((one) => (one * counts.length) / total));
    }
  }
  return [...tables].map(([layer, table]) => narrow({ layer, ...table })).sort((a, b) => Number(a.layer) - Number(b.layer));
}

/** More columns than a screen has pixels would be drawn over each other, and no canvas is as wide as a long run: neighbours share one, by their mean. */
const mostColumns = 600;

function narrow(table: LoadTable): LoadTable {
  const width = Math.ceil(table.steps.length / mostColumns);
  if (width <= 1) return table;
  const steps = table.steps.filter((_, i) => i % width === 0);
  const shares = steps.map((_, column) => {
    const part = table.shares.slice(column * width, (column + 1) * width);
    return (part[0] ?? []).map((_share, expert) => part.reduce((sum, row) => sum + (row[expert] ?? 0), 0) / part.length);
  });
  return { ...table, steps, shares };
}

/** Two to four digits that matter. */
export function short(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1);
  return size >= 100 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));
}
