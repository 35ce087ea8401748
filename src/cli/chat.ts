// `gradually chat [MODEL]`: a conversation in the terminal, reasoning dimmed and apart. Works through a pipe too: one message a line, answers on standard
// output. A model of ours without a chat template takes each line as a problem of its own.

import type { Command } from "commander";
import type { ChatModel } from "../chat/model.ts";
import type { Statistics } from "../chat/response.ts";
import { numberAt } from "../chat/sampling-defaults.ts";
import { RequestError } from "../core/errors.ts";
import { modelHelp } from "../platform/find-model.ts";
import { loadPath } from "../platform/load.ts";
import { nodeHost } from "../platform/node.ts";
import { answerPrinter } from "./answer-printer.ts";
import { type ChatInput, openChatInput } from "./chat-input.ts";
import { Conversation } from "./conversation.ts";
import { findModel } from "./find-model.ts";
import { addGenerationFlags, chatOptions, defaultMaxTokens, type GenerationFlags, loadOptions } from "./generation-flags.ts";
import { explainError, note } from "./output.ts";
import { makePrompt } from "./prompt.ts";

type Flags = GenerationFlags & { readonly verbose?: boolean };

export function chatCommand(program: Command): void {
  const command = program
    .command("chat")
    .description("Talk with a model in the terminal. Without MODEL the bundled model answers. /help lists the commands inside.")
    .argument("[model]", modelHelp);
  addGenerationFlags(command)
    .option("--verbose", "show speed after each answer")
    .addHelpText(
      "after",
      `
Examples:
  $ gradually chat hf:Qwen/Qwen3-0.6B
  $ gradually chat ./my-model --system-prompt "Answer in one sentence." --think=false
  $ echo "3 5 7=22" | gradually chat`,
    )
    .action(chat);
}

async function chat(reference: string | undefined, flags: Flags): Promise<void> {
  const host = nodeHost();
  const path = await findModel(host.files, reference);
  const options = await chatOptions(flags);
  const model = await loadPath(host, path, await loadOptions(flags, (text) => note(`note: ${text}`)));
  const settings = { options, verbose: flags.verbose ?? false, hideThinking: flags.hidethinking ?? false };
  const conversation = new Conversation(model, reference ?? host.files.baseName(path), host.files, settings);
  const input = openChatInput();
  if (process.stdin.isTTY && process.stdout.isTTY) note(greeting(model, reference ?? host.files.baseName(path)));
  try {
    for (;;) {
      const line = await input.next();
      if (line === undefined) break;
      if (line.trim() === "") continue;
      try {
        if (!/^\/[a-z?]/.test(line.trim())) await answer(model, conversation, line, input);
        else {
          const outcome = await conversation.command(line);
          if (outcome.kind === "bye") break;
          note(outcome.text);
        }
      } catch (error) {
        note(explainError("chat", error));
      }
    }
  } finally {
    input.close();
    await model.close();
  }
}

function greeting(model: ChatModel, name: string): string {
  const kind = model.hasTemplate ? "Talk to it" : model.thinkTags ? 'Give it a problem, like "3 5 7=22"' : "It continues what you write";
  return `${name}, context ${model.contextLength} tokens.\n${kind}; /help lists commands, /bye leaves.\n`;
}

/** One turn. Ctrl-C stops it: what has been answered stays in the conversation. */
async function answer(model: ChatModel, conversation: Conversation, words: string, input: ChatInput): Promise<void> {
  const { options, hideThinking, verbose } = conversation.settings;
  const maxTokens = options.maxTokens ?? numberAt(model.generationConfig, "max_new_tokens") ?? defaultMaxTokens;
  const stop = new AbortController();
  const all = { ...options, maxTokens, signal: stop.signal };
  const messages = [...conversation.messages, { role: "user", content: words }];
  const response = model.hasTemplate
    ? model.respond(messages, all)
    : model.generate((await makePrompt(model, words, false, all)).text, all);
  const printer = answerPrinter(model.thinkTags, hideThinking);
  const interrupted = new Error("stopped");
  input.onInterrupt = () => {
    stop.abort(interrupted);
    return true;
  };
  let content = "";
  let statistics: Statistics | undefined;
  let isCut = false;
  try {
    for await (const part of response) {
      printer.push(part);
      content += part.content;
      statistics = part.statistics;
    }
  } catch (error) {
    if (error !== interrupted) throw inChat(error);
    isCut = true;
  } finally {
    input.onInterrupt = () => false;
  }
  printer.end(isCut);
  if (model.hasTemplate && (content !== "" || !isCut)) conversation.messages = [...messages, { role: "assistant", content }];
  if (statistics?.stop === "length") note(`(${whyCut(model, statistics)})`);
  if (statistics && verbose) note(speedOf(statistics));
  if (process.stdout.isTTY) note("");
}

function whyCut({ contextLength, hasTemplate }: ChatModel, { promptTokens, completionTokens }: Statistics): string {
  if (promptTokens + completionTokens < contextLength)
    return `stopped after ${completionTokens} tokens; /set parameter num_predict N allows more`;
  return `stopped: the context of ${contextLength} tokens is full${hasTemplate ? "; /clear forgets the conversation" : ""}`;
}

/** The same error, with a cure that can be typed here. */
function inChat(error: unknown): unknown {
  if (!(error instanceof RequestError) || error.complaint.operation !== "generate: ids") return error;
  const cure = "/clear forgets the conversation; --ctx-size N makes more room, where the model has it";
  return new RequestError({ ...error.complaint, operation: "chat", cure }, { cause: error });
}

function speedOf({
  promptTokens,
  cachedTokens,
  promptPerSecond,
  completionTokens,
  thinkingTokens,
  generatedPerSecond,
  timeToFirstToken,
}: Statistics): string {
  const thinking = thinkingTokens > 0 ? ` (${thinkingTokens} thinking)` : "";
  const cached = cachedTokens > 0 ? ` (${cachedTokens} cached)` : "";
  return `prompt ${promptTokens} tokens${cached} at ${promptPerSecond.toFixed(0)} tok/s, answer ${completionTokens}${thinking} at ${generatedPerSecond.toFixed(0)} tok/s, first token after ${timeToFirstToken.toFixed(2)} s`;
}
