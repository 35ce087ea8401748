// From the words of a user to the ids that a model continues. --raw: the tokenizer's own encoding, special tokens and all. A model with a
// chat template gets them as a message. One that thinks and has no template is one of ours: its prompt is a task's, so `3 5 7=22` becomes
// `<bos>3,5,7=22<think>` as in training.

import { ConfigError, quote, RequestError } from "../core/errors.ts";
import { thinkClose, thinkOpen } from "../tasks/completion.ts";
import { type CountdownRow, createCountdown, parseCountdown } from "../tasks/countdown.ts";
import { parseExpression } from "../tasks/expression.ts";
import type { LoadedModel } from "./model.ts";

export type Prompt = {
  readonly ids: number[];
  /** What the ids spell, but for what the tokenizer adds. */
  readonly text: string;
  /** Whether the completion begins inside reasoning. */
  readonly thinking: boolean;
  /** The problem, where the prompt is one that can be checked. */
  readonly countdown?: CountdownRow;
};

/** Throws ConfigError for a text that is no problem of ours, RequestError when it does not fit into the context. */
export function makePrompt(loaded: Pick<LoadedModel, "tokenizer" | "model" | "chat">, words: string, raw: boolean): Prompt {
  const prompt = raw ? rawPrompt(loaded, words) : taskPrompt(loaded, words);
  const { contextLength } = loaded.model;
  if (prompt.ids.length >= contextLength) {
    throw new RequestError({
      operation: "run: the prompt",
      got: `${prompt.ids.length} tokens`,
      expected: `at most ${contextLength - 1}: the model's context is ${contextLength}`,
      cure: "shorten the prompt",
    });
  }
  if (prompt.ids.length === 0) {
    throw new RequestError({
      operation: "run: the prompt",
      got: "no tokens",
      expected: "at least one: this tokenizer adds none of its own",
      cure: "write a prompt",
    });
  }
  return prompt;
}

function rawPrompt({ tokenizer }: Pick<LoadedModel, "tokenizer">, text: string): Prompt {
  return { ids: tokenizer.encode(text), text, thinking: text.endsWith(thinkOpen) };
}

function taskPrompt(loaded: Pick<LoadedModel, "tokenizer" | "chat">, words: string): Prompt {
  const { tokenizer, chat } = loaded;
  if (chat) return chat.prompt({ messages: [{ role: "user", content: words }] });
  if (tokenizer.idOf(thinkClose) === undefined) return rawPrompt(loaded, words);
  const { bos } = tokenizer.specialIds;
  const { text, countdown } = readProblem(words);
  const ids = [...(bos === undefined ? [] : [bos]), ...tokenizer.encode(text, { addSpecialTokens: false })];
  return { ids, text, thinking: true, ...(countdown && { countdown }) };
}

/** The prompt of the task that the words belong to: an equation of numbers is countdown, an expression is arithmetic. */
function readProblem(words: string): { text: string; countdown?: CountdownRow } {
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
    operation: "run: the prompt",
    got: quote(words),
    expected: 'a countdown problem like "3 5 7=22", or an expression like "12+5*3"',
    cure: "write one, or add --raw to send the text as it is",
  });
}

/** Whether the answer uses the numbers and reaches the target. */
export function checkAnswer(row: CountdownRow, answer: string): boolean {
  return createCountdown().check(answer.trim(), row);
}
