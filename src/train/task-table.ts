// The tasks that a recipe can name, opened from plain data. In: { name, options, testShare }. Out: the task and the one door through which
// training gets its problems: every row drawn here is checked to be none of the held-out ones.

import { ConfigError, quote } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { type ArithmeticOptions, createArithmetic } from "../tasks/arithmetic.ts";
import { type CountdownOptions, createCountdown } from "../tasks/countdown.ts";
import type { CountdownTrace } from "../tasks/countdown-trace.ts";
import { defaultTestShare, sampleFrom, splitOf } from "../tasks/split.ts";
import { rewards, type Task } from "../tasks/task.ts";
import { object, real, refuseUnknown, resolveOptions, text, type Values } from "./options.ts";

const tasks = {
  countdown: {
    create: (options: object): Task<unknown> => createCountdown(options as CountdownOptions),
    options: [
      "count",
      "min",
      "max",
      "targetMin",
      "targetMax",
      "resultMin",
      "resultMax",
      "divideByOne",
      "trace",
    ] satisfies (keyof CountdownOptions)[],
    trace: ["proposals", "order", "sharpness", "maxAttempts", "waits", "waitShare", "giveUp", "drill"] satisfies (keyof CountdownTrace)[],
  },
  arithmetic: {
    create: (options: object): Task<unknown> => createArithmetic(options as ArithmeticOptions),
    options: ["steps", "min", "max", "operators", "limit", "negative"] satisfies (keyof ArithmeticOptions)[],
    trace: [],
  },
} as const;

export const taskNames = Object.keys(tasks);

export const taskFields = {
  name: text("countdown"),
  /** As the task takes them. */
  options: object<Readonly<Record<string, unknown>>>({}),
  /** Share of all problems that no stage sees. */
  testShare: real(defaultTestShare, { above: 0, below: 1 }),
} as const;

export type TaskConfig = Values<typeof taskFields>;

export type TrainingTask = {
  readonly task: Task<unknown>;
  readonly testShare: number;
  /** Keys of the problems that training drew in this process. */
  readonly seenKeys: Set<string>;
  /** A problem of the training split. */
  draw(random: Random): unknown;
  /** A problem of the training split with a worked solution; `verified`: one that earns the full reward. Trace options as the task takes them. */
  drawTrace(
    random: Random,
    traceOptions: object,
    verified: boolean,
  ): { readonly row: unknown; readonly prompt: string; readonly completion: string };
};

/** Throws ConfigError for an unknown task, unknown options or options that make no sense. */
export function openTask(config: unknown): TrainingTask {
  const { name, options, testShare } = resolveOptions("recipe: task", taskFields, config);
  const entry = taskEntry(name);
  refuseUnknown(`recipe: task.options of ${name}`, Object.keys(options), entry.options);
  const task = entry.create(options);
  const seenKeys = new Set<string>();

  function draw(random: Random): unknown {
    const row = sampleFrom(task, "train", random, testShare);
    const key = task.key(row);
    if (splitOf(key, testShare) !== "train") throw new Error(`a held-out problem was drawn: ${key}`); // by construction this cannot be
    seenKeys.add(key);
    return row;
  }

  function drawTrace(random: Random, traceOptions: object, verified: boolean) {
    for (let tries = 0; tries < 10_000; tries++) {
      const row = draw(random);
      const completion = task.trace(row, random, traceOptions);
      if (completion === undefined || (verified && task.reward(completion, row) !== rewards.right)) continue;
      return { row, prompt: task.prompt(row), completion };
    }
    throw new ConfigError({
      operation: `make a worked example of ${name}`,
      got: "none in 10,000 problems",
      expected: "traces that the solver can find",
      cure: "allow more attempts (trace.maxAttempts) or easier problems",
    });
  }

  return { task, testShare, seenKeys, draw, drawTrace };
}

/** Refuses trace options that the task does not know. */
export function checkTraceOptions(operation: string, taskName: string, options: object): void {
  refuseUnknown(operation, Object.keys(options), taskEntry(taskName).trace);
}

function taskEntry(name: string): (typeof tasks)[keyof typeof tasks] {
  if (Object.hasOwn(tasks, name)) return tasks[name as keyof typeof tasks];
  throw new ConfigError({ operation: "recipe: task.name", got: quote(name), expected: taskNames.join(" or "), cure: "choose one of them" });
}
