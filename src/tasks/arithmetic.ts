// Multi-step arithmetic: compute an expression, one step at a time.
//   prompt      12+7*3-4=<think>
//   completion  7*3=21,12+21=33,33-4=29</think>29
// Problems are made so that every intermediate result is an integer within limits. Unusual: the answer is one plain integer and nothing
// else; an expression that equals it (the prompt, repeated) earns nothing.

import { ConfigError, quote } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { splitCompletion, thinkClose, thinkOpen } from "./completion.ts";
import { type Expression, evaluateExpression, type Operator, parseExpression } from "./expression.ts";
import { rewards, type Task } from "./task.ts";

/** `expression` is the text before the `=` of the prompt. */
export type ArithmeticRow = { readonly expression: string };

export type ArithmeticOptions = {
  /** Operators in the expression, 1 to 8. Default 3. */
  readonly steps?: number;
  /** Range of the numbers, inclusive, within 0..9999. Default 1 to 20. */
  readonly min?: number;
  readonly max?: number;
  /** Which operators, at least one of + - * /. Default "+-*". */
  readonly operators?: string;
  /** Largest size of an intermediate result. Default 999. */
  readonly limit?: number;
  /** May intermediate results and the answer be below 0? Default false. */
  readonly negative?: boolean;
};

export type ArithmeticTask = Task<ArithmeticRow>;

type Settings = Required<ArithmeticOptions>;
const defaults: Settings = { steps: 3, min: 1, max: 20, operators: "+-*", limit: 999, negative: false };

/** Throws ConfigError for settings that make no sense or (nearly) no problem. */
export function createArithmetic(options: ArithmeticOptions = {}): ArithmeticTask {
  const told = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const settings = checkSettings({ ...defaults, ...told });

  function verdict(answer: string, row: ArithmeticRow): "right" | "wrong" | undefined {
    // 16 digits: longer numbers are no answers, and a double would round them.
    if (!/^(?:0|-?[1-9][0-9]{0,15})$/.test(answer)) return undefined;
    const expression = parseExpression(row.expression);
    const value = expression && evaluateExpression(expression);
    return value && value.denominator === 1n && value.numerator === BigInt(answer) ? "right" : "wrong";
  }

  return {
    name: "arithmetic",
    sample: (random) => sampleRow(settings, random),
    key: (row) => row.expression,
    prompt: (row) => `${row.expression}=${thinkOpen}`,
    trace(row) {
      const expression = parseExpression(row.expression);
      const worked = expression && work(expression);
      return worked && `${worked.steps.join(",")}${thinkClose}${worked.value}`;
    },
    check: (answer, row) => verdict(answer, row) === "right",
    reward(completion, row) {
      const parts = splitCompletion(completion);
      const found = parts && verdict(parts.answer, row);
      return found === "right" ? rewards.right : found === "wrong" ? rewards.wellFormed : rewards.none;
    },
  };
}

/** Steps from the inside out and from left to right; undefined when a division is not exact or a result is no safe integer. */
function work(expression: Expression): { value: number; steps: string[] } | undefined {
  if (expression.kind === "number") return { value: expression.value, steps: [] };
  const left = work(expression.left);
  const right = work(expression.right);
  const value = left && right && apply(left.value, expression.operator, right.value);
  if (value === undefined || !Number.isSafeInteger(value)) return undefined;
  const { value: a, steps: before } = left as { value: number; steps: string[] };
  const { value: b, steps: after } = right as { value: number; steps: string[] };
  return { value, steps: [...before, ...after, `${a}${expression.operator}${b}=${value}`] };
}

function apply(a: number, operator: Operator, b: number): number | undefined {
  if (operator === "+") return a + b;
  if (operator === "-") return a - b;
  // `|| 0`: no minus zero in a trace.
  if (operator === "*") return a * b || 0;
  return b !== 0 && a % b === 0 ? a / b || 0 : undefined;
}

const maxTries = 20_000;

/** Random numbers and operators; again until every step obeys the settings. */
function sampleRow(settings: Settings, random: Random): ArithmeticRow {
  const { steps, min, max, operators, limit, negative } = settings;
  for (let tries = 0; tries < maxTries; tries++) {
    let expression = "";
    for (let i = 0; i <= steps; i++) {
      if (i > 0) expression += operators[random.integer(operators.length)];
      expression += min + random.integer(max - min + 1);
    }
    const tree = parseExpression(expression) as Expression;
    if (everyResult(tree, (value) => Math.abs(value) <= limit && (negative || value >= 0))) return { expression };
  }
  throw new ConfigError({
    operation: "make an arithmetic problem",
    got: `no expression within the limits in ${maxTries} tries`,
    expected: `results of at most ${limit}${negative ? "" : " and at least 0"}`,
    cure: "raise limit, lower max or steps, or allow negative results",
  });
}

function everyResult(expression: Expression, allowed: (value: number) => boolean): boolean {
  function value(e: Expression): number | undefined {
    if (e.kind === "number") return e.value;
    const a = value(e.left);
    const b = value(e.right);
    const result = a === undefined || b === undefined ? undefined : apply(a, e.operator, b);
    return result !== undefined && allowed(result) ? result : undefined;
  }
  return value(expression) !== undefined;
}

function checkSettings(settings: Settings): Settings {
  const { steps, min, max, operators, limit, negative } = settings;
  const fail = (expected: string): never => {
    throw new ConfigError({
      operation: "set up arithmetic",
      got: quote(JSON.stringify(settings), 160),
      expected,
      cure: "mend that option",
    });
  };
  if (![steps, min, max, limit].every((n) => Number.isSafeInteger(n))) fail("integers for steps, min, max and limit");
  if (steps < 1 || steps > 8) fail("1 to 8 steps");
  if (min < 0 || max < min || max > 9999) fail("0 <= min <= max <= 9999");
  if (limit < 1 || limit > 999_999_999) fail("a limit of 1 to 999999999");
  if (typeof operators !== "string" || !/^[-+*/]+$/.test(operators)) fail("operators among + - * /");
  if (typeof negative !== "boolean") fail("true or false for negative");
  return settings;
}
