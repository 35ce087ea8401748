// From the words of a user to what a model continues. --raw: the text as it is. With a chat template: one message. A model that thinks and has no
// template is one of ours: its prompt is a task's, so `3 5 7=22` becomes `<bos>3,5,7=22<think>` as in training.

import type { ChatModel, ChatOptions } from "../chat/model.ts";
import { RequestError } from "../core/errors.ts";
import { type CountdownRow, createCountdown } from "../tasks/countdown.ts";
import { readProblem } from "../tasks/problem.ts";

export type Prompt = {
  /** As it is sent, but for what the tokenizer adds. */
  readonly text: string;
  readonly isChat: boolean;
  /** The problem, where the prompt is one that can be checked. */
  readonly countdown?: CountdownRow;
};

/** Throws ConfigError for a text that is no problem of ours, RequestError when it does not fit into the context. */
export async function makePrompt(chat: ChatModel, words: string, raw: boolean, options: ChatOptions): Promise<Prompt> {
  const prompt = readWords(chat, words, raw);
  const { ids } = prompt.isChat ? await chat.prepareChat(words, options) : chat.prepareText(prompt.text, options);
  if (ids.length >= chat.contextLength) {
    throw new RequestError({
      operation: "the prompt",
      got: `${ids.length} tokens`,
      expected: `at most ${chat.contextLength - 1}: the context is ${chat.contextLength}`,
      cure: "shorten the prompt, or give more room with --ctx-size where the model has it",
    });
  }
  if (ids.length === 0) {
    throw new RequestError({
      operation: "the prompt",
      got: "no tokens",
      expected: "at least one: this tokenizer adds none of its own",
      cure: "write a prompt",
    });
  }
  return prompt;
}

function readWords(chat: ChatModel, words: string, raw: boolean): Prompt {
  if (raw) return { text: words, isChat: false };
  if (chat.hasTemplate) return { text: words, isChat: true };
  return chat.thinkTags ? { ...readProblem(words), isChat: false } : { text: words, isChat: false };
}

/** Whether the answer uses the numbers and reaches the target. */
export function checkAnswer(row: CountdownRow, answer: string): boolean {
  return createCountdown().check(answer.trim(), row);
}
