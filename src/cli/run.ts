// `gradually run [MODEL] [PROMPT]`: answers a prompt and shows the text as it comes, reasoning apart from the answer. Sampling defaults are those
// of generation_config.json, else greedy. Under --json one document holds text, reasoning, ids, counts and speed.

import type { Command } from "commander";
import type { ChatModel } from "../chat/model.ts";
import { numberAt, withDefaults } from "../chat/sampling-defaults.ts";
import { ConfigError } from "../core/errors.ts";
import { modelHelp } from "../platform/find-model.ts";
import { loadPath } from "../platform/load.ts";
import { nodeHost } from "../platform/node.ts";
import { answerPrinter } from "./answer-printer.ts";
import { findModel } from "./find-model.ts";
import { addGenerationFlags, chatOptions, defaultMaxTokens, type GenerationFlags, loadOptions } from "./generation-flags.ts";
import { note, shellWord, writeJson } from "./output.ts";
import { checkAnswer, makePrompt, type Prompt } from "./prompt.ts";
import { readInput } from "./stdin.ts";

type Flags = GenerationFlags & { readonly raw?: boolean; readonly json?: boolean; readonly verbose?: boolean };

export function runCommand(program: Command): void {
  const command = program
    .command("run")
    .description("Answer a prompt. Without MODEL the bundled model answers; without PROMPT it is read from standard input.")
    .argument("[model]", modelHelp)
    .argument("[prompt]", "the text; - reads standard input")
    .option("--raw", "send the text as it is, after what the tokenizer puts before every text");
  addGenerationFlags(command)
    .option("--verbose", "also show what the prompt took")
    .option("--json", "print one JSON document: text, reasoning, ids, counts, tok_s")
    .addHelpText(
      "after",
      `
Examples:
  $ gradually run "3 5 7=22"                                     the bundled model solves a countdown problem
  $ gradually run ./my-model "3 5 7=22" --thinking-budget 32     with a short reasoning
  $ gradually run ./my-model "Once upon a time" --raw --temperature 0.8 --seed 1
  $ gradually run ./my-model "" --raw --json                     from nothing but the beginning-of-text token`,
    )
    .action(run);
}

async function run(first: string | undefined, second: string | undefined, flags: Flags): Promise<void> {
  const [reference, words] = await sortArguments(first, second, flags);
  const host = nodeHost();
  const path = await findModel(host.files, reference);
  const options = await loadOptions(flags, (text) => note(`note: ${text}`));
  const chat = await loadPath(host, path, options);
  try {
    await generate(chat, path, words === "-" ? await readInput("run") : words, flags);
  } finally {
    await chat.close();
  }
}

/** One argument alone is the prompt for the bundled model when it can be no path; else it is MODEL. */
async function sortArguments(first: string | undefined, second: string | undefined, flags: Flags): Promise<[string | undefined, string]> {
  if (second !== undefined) return [first, second];
  const isPrompt = first !== undefined && (first === "-" || /[\s=]/.test(first)) && !first.includes("/");
  if (isPrompt) return [undefined, first];
  if (flags.raw && process.stdin.isTTY) return [first, ""];
  if (!process.stdin.isTTY) return [first, "-"];
  throw new ConfigError({
    operation: "run",
    got: "no prompt",
    expected: "one",
    cure: 'give it after MODEL, as in: gradually run MODEL "3 5 7=22"',
  });
}

async function generate(chat: ChatModel, path: string, words: string, flags: Flags): Promise<void> {
  const asked = await chatOptions(flags);
  refuseThinking(chat, flags);
  const maxTokens = asked.maxTokens ?? numberAt(chat.generationConfig, "max_new_tokens") ?? defaultMaxTokens;
  const options = { ...asked, maxTokens };
  const prompt = await makePrompt(chat, words, flags.raw ?? false, options);
  const response = prompt.isChat ? chat.respond(prompt.text, options) : chat.generate(prompt.text, options);
  if (!flags.json) {
    const printer = answerPrinter(chat.thinkTags, flags.hidethinking);
    for await (const part of response) printer.push(part);
    printer.end();
  }
  const { reasoning, content, ids, statistics } = await response.answer();
  const correct = prompt.countdown && checkAnswer(prompt.countdown, content);
  if (flags.json) {
    const { info } = chat.engine.model.device;
    writeJson({
      text: content,
      reasoning,
      ids,
      prompt_tokens: statistics.promptTokens,
      completion_tokens: statistics.completionTokens,
      ...(reasoning !== "" || flags.thinkingBudget !== undefined ? { thinking_tokens: statistics.thinkingTokens } : {}),
      stop: statistics.stop,
      ...(statistics.stopText !== undefined && { stop_text: statistics.stopText }),
      ...(correct !== undefined && { correct }),
      tok_s: statistics.generatedPerSecond,
      prompt_tok_s: statistics.promptPerSecond,
      first_token_s: statistics.timeToFirstToken,
      seconds: statistics.seconds,
      prompt: prompt.text,
      temperature: withDefaults(options, chat.generationConfig).temperature,
      seed: statistics.seed,
      forced: statistics.forcedTokens,
      drafted: statistics.draftedTokens,
      accepted: statistics.acceptedTokens,
      device: `${info.name} ${info.build}`,
      threads: info.threads,
      model: path,
    });
    return;
  }
  if (correct !== undefined) note(correct ? "checked: right" : "checked: wrong");
  if (flags.verbose) {
    const { cachedTokens, promptPerSecond, timeToFirstToken, thinkingTokens, seed } = statistics;
    note(
      `prompt: ${statistics.promptTokens} tokens (${cachedTokens} cached) at ${promptPerSecond.toFixed(0)} tok/s, first token after ${timeToFirstToken.toFixed(2)} s`,
    );
    note(`thinking: ${thinkingTokens} tokens; seed ${seed}`);
  }
  const { promptTokens, completionTokens, generatedPerSecond, stop, draftedTokens, acceptedTokens } = statistics;
  if (draftedTokens > 0) note(`drafts: ${acceptedTokens} of ${draftedTokens} tokens came true`);
  note(`${promptTokens} prompt tokens, ${completionTokens} tokens at ${generatedPerSecond.toFixed(0)} tok/s, ended by ${stop}`);
  note(`next: ${nextCommand(prompt, path)}`);
}

function nextCommand({ countdown }: Prompt, path: string): string {
  return countdown ? `gradually eval ${shellWord(path)} --task countdown` : `gradually inspect ${shellWord(path)}`;
}

/** Said before the prompt is looked at, with the name of the flag. */
function refuseThinking(chat: ChatModel, { thinkingBudget, wait }: Flags): void {
  if ((thinkingBudget === undefined && !wait) || chat.thinkTags) return;
  throw new ConfigError({
    operation: `run: ${thinkingBudget === undefined ? "--wait" : "--thinking-budget"}`,
    got: "a model whose chat template has no thinking and whose tokenizer has no </think>",
    expected: "a model that thinks",
    cure: "leave the flag out",
  });
}
