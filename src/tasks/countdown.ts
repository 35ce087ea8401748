// Countdown as TinyZero defines it: reach a target with + - * / and parentheses, using every given number exactly once.
//   prompt      3,5,7=22<think>
//   completion  7*3=21,21+5=26>5*3=15,15+7=22!</think>(5*3)+7
// The trace guesses a complete attempt, works it out, holds the result against the target (`>` too large, `<` too small, `!` right), and tries
// another until one is right. Saying which side it missed on teaches the comparison at every attempt; with one mark for all misses it was not learned.
// Unusual: a target is drawn from the values that the numbers reach, so every problem has a solution, and every problem is as likely as
// every other (orderings counted apart): training and held-out rows have the same distribution.

import { ConfigError, quote } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { splitCompletion, thinkClose, thinkOpen } from "./completion.ts";
import { formatAttempt, type Rules, reachableValues } from "./countdown-search.ts";
import { type CountdownTrace, checkTrace, searchCountdown } from "./countdown-trace.ts";
import { equalsInteger, evaluateExpression, formatExpression, numbersOf, parseExpression } from "./expression.ts";
import { rewards, type Task } from "./task.ts";

export type CountdownRow = { readonly numbers: readonly number[]; readonly target: number };

export type CountdownOptions = Rules & {
  /** How many numbers, 2 to 5. Default 3. */
  readonly count?: number;
  /** Range of the numbers, inclusive, within 1..999. Default 1 to 12. */
  readonly min?: number;
  readonly max?: number;
  /** Range of the target, inclusive. Default 1 to 99. */
  readonly targetMin?: number;
  readonly targetMax?: number;
  /** How traces are written unless `trace` is told otherwise. */
  readonly trace?: CountdownTrace;
};

export type CountdownTask = Task<CountdownRow, CountdownTrace> & {
  /** Every problem, numbers in ascending order. ConfigError when that would take too long. */
  problems(): CountdownRow[];
};

type Settings = Required<Omit<CountdownOptions, "trace">>;
const defaults: Settings = { count: 3, min: 1, max: 12, targetMin: 1, targetMax: 99, resultMin: 1, resultMax: 99, divideByOne: false };

/** Throws ConfigError for ranges that make no sense or (nearly) no problem. */
export function createCountdown(options: CountdownOptions = {}): CountdownTask {
  const { trace: traceOptions = {}, ...ranges } = options;
  const settings = checkSettings({ ...defaults, ...withoutUndefined(ranges) });
  checkTrace(traceOptions);
  const targets = targetTable(settings);

  function verdict(answer: string, row: CountdownRow): "right" | "wrong" | undefined {
    const expression = parseExpression(answer);
    if (expression === undefined || !sameNumbers(numbersOf(expression), row.numbers)) return undefined;
    const value = evaluateExpression(expression);
    return value === undefined ? undefined : equalsInteger(value, row.target) ? "right" : "wrong";
  }

  return {
    name: "countdown",
    sample: (random) => sampleRow(settings, targets, random),
    key: (row) => `${sorted(row.numbers).join(",")}=${row.target}`,
    prompt: (row) => `${row.numbers.join(",")}=${row.target}${thinkOpen}`,
    trace(row, random, told = {}) {
      const search = searchCountdown(row.numbers, row.target, settings, { ...traceOptions, ...withoutUndefined(told) }, random);
      const last = search?.attempts.at(-1);
      if (search === undefined || last === undefined) return undefined;
      const parts = search.attempts.map((attempt, i) => {
        const end = attempt.value === row.target ? "!" : attempt.value > row.target ? ">" : "<";
        return `${search.waitsAfter.includes(i) ? "Wait" : ""}${formatAttempt(attempt)}${end}`;
      });
      return `${parts.join("")}${thinkClose}${formatExpression(last.expression)}`;
    },
    check: (answer, row) => verdict(answer, row) === "right",
    reward(completion, row) {
      const parts = splitCompletion(completion);
      const found = parts && verdict(parts.answer, row);
      return found === "right" ? rewards.right : found === "wrong" ? rewards.wellFormed : rewards.none;
    },
    problems: () => listProblems(settings, targets),
  };
}

/** A problem from its written form `3,5,7=22` (spaces for commas, and the prompt's `<think>`, are taken too); ConfigError when it is none. */
export function parseCountdown(text: string): CountdownRow {
  const match = /^([1-9][0-9]{0,2}(?:[ ,][1-9][0-9]{0,2}){1,4})=(0|[1-9][0-9]{0,8})(?:<think>)?$/.exec(text);
  if (match === null) {
    throw new ConfigError({
      operation: "read a countdown problem",
      got: quote(text),
      expected: "2 to 5 numbers of 1 to 999 and a target, like 3,5,7=22",
      cure: "write one comma between the numbers and = before the target",
    });
  }
  return { numbers: (match[1] as string).split(/[ ,]/).map(Number), target: Number(match[2]) };
}

type TargetTable = (numbers: readonly number[]) => readonly number[];

/** The targets in range that numbers reach, ascending; remembered by the sorted numbers, of which a task has few hundred or thousand. */
function targetTable(settings: Settings): TargetTable {
  const known = new Map<string, readonly number[]>();
  return (numbers) => {
    const key = sorted(numbers).join();
    let targets = known.get(key);
    if (targets === undefined) {
      const inRange = (value: number) => value >= settings.targetMin && value <= settings.targetMax;
      targets = sorted([...reachableValues(numbers, settings)].filter(inRange));
      if (known.size >= 50_000) known.clear();
      known.set(key, targets);
    }
    return targets;
  };
}

/** Attempts that 2, 3, 4 and 5 numbers have at most, so no more targets either. */
const mostAttempts = [0, 0, 4, 48, 1152, 46_080] as const;

/** Random numbers, kept with a chance in proportion to how many targets they reach; then one of those targets. */
function sampleRow(settings: Settings, targets: TargetTable, random: Random): CountdownRow {
  const { count, min, max, targetMin, targetMax } = settings;
  const most = Math.min(targetMax - targetMin + 1, mostAttempts[count] as number);
  for (let tries = 0; tries < (count < 5 ? 20_000 : 1000); tries++) {
    const numbers = Array.from({ length: count }, () => min + random.integer(max - min + 1));
    const reached = targets(numbers);
    const place = random.integer(most);
    if (place < reached.length) return { numbers, target: reached[place] as number };
  }
  throw new ConfigError({
    operation: "make a countdown problem",
    got: `(nearly) no target in ${targetMin}..${targetMax} that ${count} numbers of ${min}..${max} reach`,
    expected: "ranges with problems in them",
    cure: "widen targetMin..targetMax or resultMin..resultMax, or change min, max and count",
  });
}

function listProblems(settings: Settings, targets: TargetTable): CountdownRow[] {
  const { count, min, max } = settings;
  // Multisets of `count` out of `max - min + 1` numbers.
  let sets = 1;
  for (let i = 1; i <= count; i++) sets = (sets * (max - min + i)) / i;
  if (sets > (count < 5 ? 100_000 : 1000)) {
    throw new ConfigError({
      operation: "list all countdown problems",
      got: `${Math.round(sets)} sets of numbers`,
      expected: "at most 100,000 (1,000 of five numbers)",
      cure: "narrow min..max or count, or draw rows with sample",
    });
  }
  const rows: CountdownRow[] = [];
  const extend = (numbers: readonly number[], from: number) => {
    if (numbers.length === count) rows.push(...targets(numbers).map((target) => ({ numbers, target })));
    else for (let next = from; next <= max; next++) extend([...numbers, next], next);
  };
  extend([], min);
  return rows;
}

function checkSettings(settings: Settings): Settings {
  const { count, min, max, targetMin, targetMax, resultMin, resultMax, divideByOne } = settings;
  const fail = (expected: string): never => {
    throw new ConfigError({ operation: "set up countdown", got: quote(JSON.stringify(settings), 200), expected, cure: "mend that option" });
  };
  const numbers = [count, min, max, targetMin, targetMax, resultMin, resultMax];
  if (!numbers.every((n) => Number.isSafeInteger(n))) fail("integers");
  if (count < 2 || count > 5) fail("a count of 2 to 5");
  if (min < 1 || max < min || max > 999) fail("1 <= min <= max <= 999");
  if (targetMin < 0 || targetMax < targetMin || targetMax > 999_999_999) fail("0 <= targetMin <= targetMax < 1e9");
  // 5 numbers of 999 stay below 2^53 without any limit.
  if (resultMin < 0 || resultMax < resultMin) fail("0 <= resultMin <= resultMax");
  if (typeof divideByOne !== "boolean") fail("true or false for divideByOne");
  return settings;
}

/** A spread must not let an explicit undefined hide a default. */
function withoutUndefined<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

function sameNumbers(a: readonly number[], b: readonly number[]): boolean {
  const left = sorted(a);
  return a.length === b.length && sorted(b).every((n, i) => n === left[i]);
}

function sorted(numbers: readonly number[]): number[] {
  return [...numbers].sort((a, b) => a - b);
}
