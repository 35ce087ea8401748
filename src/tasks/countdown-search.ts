// Every way to combine the numbers of a Countdown problem down to one, with positive integers all along: the solver, and the supply of
// attempts from which traces are written. Numbers in; attempts (steps, value, expression tree) out, in one fixed order.
// A step replaces two items by their result, which goes to the front: `5*3=15` turns [3, 5, 7] into [15, 7].

import type { Expression, Operator } from "./expression.ts";

export type Step = { readonly left: number; readonly operator: Operator; readonly right: number; readonly result: number };

/** One complete chain of count - 1 steps. `expression` is the same computation as one tree. */
export type Attempt = { readonly steps: readonly Step[]; readonly value: number; readonly expression: Expression };

/** What a step may look like. The larger number always comes first, so 5*3 and 3*5 are one step, and differences are never negative. */
export type Rules = {
  /** Range of every result, inclusive; default 1 to 99, the numbers that have a token of their own. */
  readonly resultMin?: number;
  readonly resultMax?: number;
  /** May a step divide by 1, which changes nothing? Default false. */
  readonly divideByOne?: boolean;
};

type Item = { readonly value: number; readonly expression: Expression };

/** All attempts, without those that would be written the same. Without limits 3 numbers give up to 48, 4 up to 1,152, 5 up to 46,080. */
export function enumerateAttempts(numbers: readonly number[], rules: Rules = {}): Attempt[] {
  const found: Attempt[] = [];
  const items = numbers.map((value): Item => ({ value, expression: { kind: "number", value } }));
  combine(items, [], rules, found);
  return found;
}

/** The attempts that reach the target; [] when none does. */
export function solveCountdown(numbers: readonly number[], target: number, rules: Rules = {}): Attempt[] {
  return enumerateAttempts(numbers, rules).filter((attempt) => attempt.value === target);
}

/** Every value that some attempt has, without building the attempts: what a problem's target can be. */
export function reachableValues(numbers: readonly number[], rules: Rules = {}, into = new Set<number>()): Set<number> {
  if (numbers.length === 1) return into.add(numbers[0] as number);
  for (let i = 0; i < numbers.length; i++) {
    for (let j = i + 1; j < numbers.length; j++) {
      const rest = numbers.filter((_, k) => k !== i && k !== j);
      for (const { result } of stepsOf(numbers[i] as number, numbers[j] as number, rules)) reachableValues([result, ...rest], rules, into);
    }
  }
  return into;
}

/** `5*3=15,15+7=22` */
export function formatAttempt(attempt: Attempt): string {
  return attempt.steps.map(formatStep).join(",");
}

export function formatStep(step: Step): string {
  return `${step.left}${step.operator}${step.right}=${step.result}`;
}

function combine(items: readonly Item[], steps: readonly Step[], rules: Rules, found: Attempt[]): void {
  if (items.length === 1) {
    const only = items[0] as Item;
    found.push({ steps, value: only.value, expression: only.expression });
    return;
  }
  const written = new Set<string>();
  for (let i = 0; i < items.length; i++) {
    for (let j = i + 1; j < items.length; j++) {
      const [a, b] = [items[i] as Item, items[j] as Item];
      const [large, small] = a.value >= b.value ? [a.expression, b.expression] : [b.expression, a.expression];
      const rest = items.filter((_, k) => k !== i && k !== j);
      for (const step of stepsOf(a.value, b.value, rules)) {
        const text = formatStep(step);
        if (written.has(text)) continue;
        written.add(text);
        const expression: Expression = { kind: "operation", operator: step.operator, left: large, right: small };
        combine([{ value: step.result, expression }, ...rest], [...steps, step], rules, found);
      }
    }
  }
}

/** Sum, difference, product and exact quotient of two items, as far as the rules allow. */
function stepsOf(a: number, b: number, { resultMin = 1, resultMax = 99, divideByOne = false }: Rules): Step[] {
  const [left, right] = a >= b ? [a, b] : [b, a];
  const steps: Step[] = [
    { left, operator: "+", right, result: left + right },
    { left, operator: "-", right, result: left - right },
    { left, operator: "*", right, result: left * right },
  ];
  if (right > (divideByOne ? 0 : 1) && left % right === 0) steps.push({ left, operator: "/", right, result: left / right });
  return steps.filter((step) => step.result >= resultMin && step.result <= resultMax);
}
