// `gradually prompt MODEL --messages F.json`: the prompt that a model's chat template makes of a conversation, and its ids. Needs no
// weights. (What `run` sends is made in prompt.ts.)

import { type Command, InvalidArgumentError } from "commander";
import { readMessages, readTools } from "../chat/messages.ts";
import { ConfigError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { type JsonValue, parseJson } from "../core/json.ts";
import { modelHelp } from "../platform/find-model.ts";
import { nodeHost } from "../platform/node.ts";
import { openText } from "./model.ts";
import { note, say, showControls, writeJson } from "./output.ts";
import { readInput } from "./stdin.ts";

type Flags = {
  readonly messages: string;
  readonly tools?: string;
  readonly set: Readonly<Record<string, JsonValue>>;
  readonly generationPrompt: boolean;
  readonly json?: boolean;
};

export function promptCommand(program: Command): void {
  program
    .command("prompt")
    .description("Show the prompt that a model's chat template makes of messages.")
    .argument("<model>", `${modelHelp}; only its tokenizer files are read`)
    .requiredOption("--messages <file>", 'JSON: [{"role": "user", "content": "…"}, …]; - reads standard input')
    .option("--tools <file>", "JSON: a list of tools, as OpenAI's API has them")
    .option("--set <name=value>", "a switch of the template, e.g. enable_thinking=false; may be repeated", collectSwitch, {})
    .option("--no-generation-prompt", "do not open the assistant's turn at the end")
    .option("--json", 'print {"prompt": "…", "ids": […], "thinking": …}')
    .addHelpText(
      "after",
      `
Examples:
  $ gradually prompt ./my-model --messages chat.json
  $ echo '[{"role":"user","content":"Hi"}]' | gradually prompt ./my-model --messages - --json
  $ gradually prompt ./my-model --messages chat.json --tools tools.json --set enable_thinking=false`,
    )
    .action(runPrompt);
}

async function runPrompt(reference: string, flags: Flags): Promise<void> {
  const { files } = nodeHost();
  const messages = readMessages(await readJson(files, flags.messages), flags.messages);
  const tools = flags.tools === undefined ? [] : readTools(await readJson(files, flags.tools), flags.tools);
  const { path, chat } = await openText(files, reference);
  if (!chat) {
    throw new ConfigError({
      operation: `prompt: ${quote(path, 300)}`,
      got: "a model without a chat template",
      expected: "chat_template.jinja, or chat_template in tokenizer_config.json",
      cure: "use a model that was made for conversations, or gradually tokenize",
    });
  }
  const prompt = chat.prompt({ messages, tools, switches: flags.set, addGenerationPrompt: flags.generationPrompt });
  if (flags.json) writeJson({ prompt: prompt.text, ids: prompt.ids, thinking: prompt.thinking });
  else {
    say(showControls(prompt.text));
    note(`${prompt.ids.length} ids`);
  }
}

async function readJson(files: Files, path: string): Promise<JsonValue> {
  const text = path === "-" ? await readInput("prompt") : await files.readText(path, 50_000_000);
  return parseJson(text, { source: path === "-" ? "standard input" : path, unsafeIntegers: "round" });
}

/** `true`, `3`, `"low"` are JSON; any other value is text. */
function collectSwitch(text: string, before: Readonly<Record<string, JsonValue>>): Record<string, JsonValue> {
  const [, name, value] = /^([A-Za-z]\w*)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new InvalidArgumentError(`Expected name=value, got ${JSON.stringify(text)}.`);
  const isJson = /^(?:true|false|null|-?\d+(?:\.\d+)?|".*"|[[{].*)$/s.test(value);
  return { ...before, [name]: isJson ? parseJson(value, { source: `--set ${name}` }) : value };
}
