// From the words of a user to a task's prompt, for models that were trained on our tasks and know no chat. In: "3 5 7=22", "12+5*3". Out: the prompt
// as in training, `3,5,7=22<think>`.

import { ConfigError, quote } from "../core/errors.ts";
import { thinkOpen } from "./completion.ts";
import { type CountdownRow, createCountdown, parseCountdown } from "./countdown.ts";
import { parseExpression } from "./expression.ts";

/** An equation of numbers is countdown, an expression is arithmetic. Throws ConfigError for words that are neither. */
export function readProblem(words: string): { text: string; countdown?: CountdownRow } {
  const tidy = words
    .trim()
    .replace(/<think>$/, "")
    .replace(/\s*=\s*/, "=")
    .replace(/\s*,\s*/g, ",")
    .trim()
    .replace(/\s+/g, " ");
  if (/^[\d ,]+=\d+$/.test(tidy)) {
    const countdown = parseCountdown(tidy);
    return { text: createCountdown().prompt(countdown), countdown };
  }
  const expression = tidy.replaceAll(" ", "").replace(/=$/, "");
  if (parseExpression(expression) !== undefined) return { text: `${expression}=${thinkOpen}` };
  throw new ConfigError({
    operation: "the prompt",
    got: quote(words),
    expected: 'a countdown problem like "3 5 7=22", or an expression like "12+5*3"',
    cure: "write one, or send the text as it is (--raw, /v1/completions)",
  });
}
