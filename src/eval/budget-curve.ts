// Accuracy against the thinking budget, by budget forcing as in s1: thinking is capped (the end is forced after so many tokens), or
// extended (the end is dropped and "Wait" put in its place, so many times). In: what evaluate takes, and the budgets. Out: one point each.

import type { Task } from "../tasks/task.ts";
import { type Codec, type EvaluateOptions, evaluate, type Generate, type Outcome } from "./accuracy.ts";
import type { Interval } from "./intervals.ts";

export type BudgetPoint = {
  /** "cap": at most `budget` thinking tokens. "free": no budget. "extend": the end was dropped `budget` times. */
  readonly mode: "cap" | "free" | "extend";
  readonly budget: number;
  readonly thinking_tokens: number;
  /** Greedy. */
  readonly accuracy: Interval;
};

export type BudgetCurveOptions = Omit<EvaluateOptions, "samples" | "sampling" | "budget" | "onProgress"> & {
  /** Caps in thinking tokens, 0 or more. */
  readonly caps: readonly number[];
  /** Numbers of extensions, 1 or more, and the ids that replace each dropped end. */
  readonly extensions?: { readonly times: readonly number[]; readonly ids: readonly number[] };
  /** Forced after a forced end, such as a final-answer cue. */
  readonly cue?: readonly number[];
  readonly onPoint?: (point: BudgetPoint, outcome: Outcome) => void;
};

/** Points in the order caps, free, extensions. */
export async function budgetCurve<Row>(
  generate: Generate,
  task: Task<Row>,
  rows: readonly Row[],
  codec: Codec,
  options: BudgetCurveOptions,
): Promise<BudgetPoint[]> {
  const { caps, extensions, cue, onPoint, ...common } = options;
  const end = common.thinkEnd;
  const plans: Pick<BudgetPoint, "mode" | "budget">[] = [
    ...caps.map((budget) => ({ mode: "cap" as const, budget })),
    { mode: "free" as const, budget: 0 },
    ...(extensions?.times ?? []).map((budget) => ({ mode: "extend" as const, budget })),
  ];
  const points: BudgetPoint[] = [];
  for (const { mode, budget } of plans) {
    const forcing =
      mode === "cap"
        ? { budget: { end, max: budget, ...(cue ? { cue } : {}) } }
        : mode === "extend"
          ? { budget: { end, extend: { times: budget, ids: extensions?.ids ?? [] }, ...(cue ? { cue } : {}) } }
          : {};
    const { greedy } = await evaluate(generate, task, rows, codec, { ...common, ...forcing, samples: 0 });
    const point = { mode, budget, thinking_tokens: greedy.meanThinkingTokens, accuracy: greedy.accuracy };
    points.push(point);
    onPoint?.(point, greedy);
  }
  return points;
}
