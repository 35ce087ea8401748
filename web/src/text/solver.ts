// The Countdown solver's answers, judged and made readable. In: the problem as it was asked, what the model wrote. Out: whether the answer is right,
// its value for the vote, its thinking with one attempt a line. The rules are those of training (src/tasks), not a second copy.

import { type CountdownRow, createCountdown } from "../../../src/tasks/countdown.ts";
import { evaluateExpression, parseExpression } from "../../../src/tasks/expression.ts";
import { readProblem } from "../../../src/tasks/problem.ts";

/** Problems that the bundled model solves (an end-to-end test asks them all). */
export const examples = ["3 5 7=22", "2 9 11=31", "6 7 8=50", "2 3 11=35"] as const;

export function problemOf(text: string): CountdownRow | undefined {
  try {
    return readProblem(text).countdown;
  } catch {
    return undefined;
  }
}

export type Verdict = { readonly isRight: boolean; readonly value?: string };

export function judge(problem: CountdownRow, answer: string): Verdict {
  const expression = answer.trim();
  const value = valueIn(expression);
  return { isRight: createCountdown().check(expression, problem), ...(value !== undefined && { value }) };
}

function valueIn(text: string): string | undefined {
  const expression = parseExpression(text);
  const value = expression && evaluateExpression(expression);
  if (value === undefined) return undefined;
  return value.denominator === 1n ? String(value.numerator) : `${value.numerator}/${value.denominator}`;
}

/** A line for each attempt: marks end it, "Wait" begins one. */
export function attempts(reasoning: string): string {
  return reasoning.replace(/([<>!])(?=[^<>!\n])/g, "$1\n").replace(/([^\n])(?=Wait)/g, "$1\n");
}
