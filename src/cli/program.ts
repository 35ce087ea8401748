// The verbs of the `gradually` command. In: its arguments. Out: exit code 0 (done), 1 (failed: one line says why), 2 (usage). Only the module of the verb
// that was asked for is loaded; the others appear in the help by the summaries below.

import { readFileSync } from "node:fs";
import { Command, CommanderError, Help, type Option } from "commander";
import { withoutAliases } from "./aliases.ts";
import { explainError } from "./output.ts";

type Verb = { readonly summary: string; readonly load: () => Promise<(program: Command) => void> };

const verbs: Readonly<Record<string, Verb>> = {
  speedrun: {
    summary: "from random weights to a reasoning model, with a report",
    load: async () => (await import("./speedrun.ts")).speedrunCommand,
  },
  run: { summary: "continue a prompt", load: async () => (await import("./run.ts")).runCommand },
  chat: { summary: "talk with a model in the terminal", load: async () => (await import("./chat.ts")).chatCommand },
  serve: {
    summary: "serve models to clients of OpenAI, Ollama and Anthropic",
    load: async () => (await import("./serve.ts")).serveCommand,
  },
  train: { summary: "train a model by a recipe", load: async () => (await import("./train.ts")).trainCommand },
  eval: { summary: "measure accuracy on a task, and what it cost", load: async () => (await import("./eval.ts")).evalCommand },
  bench: { summary: "measure speed: generation, kernels, training", load: async () => (await import("./bench.ts")).benchCommand },
  logits: { summary: "print a model's logits for given ids", load: async () => (await import("./logits.ts")).logitsCommand },
  tokenize: { summary: "turn text into ids", load: async () => (await import("./tokenize.ts")).tokenizeCommand },
  prompt: {
    summary: "show the prompt that a model's chat template makes of messages",
    load: async () => (await import("./chat-prompt.ts")).promptCommand,
  },
  inspect: {
    summary: "show what is in a model's files and what running it needs",
    load: async () => (await import("./inspect.ts")).inspectCommand,
  },
  perplexity: {
    summary: "measure how well a model predicts a text",
    load: async () => (await import("./perplexity.ts")).perplexityCommand,
  },
  quantize: { summary: "write a model with fewer bits for a weight", load: async () => (await import("./quantize.ts")).quantizeCommand },
  convert: {
    summary: "turn a GGUF file into a Hugging Face folder, or back",
    load: async () => (await import("./convert.ts")).convertCommand,
  },
  pull: { summary: "fetch a model from the Hugging Face Hub", load: async () => (await import("./pull.ts")).pullCommand },
  ls: { summary: "list the models that are here", load: async () => (await import("./ls.ts")).lsCommand },
  rm: { summary: "remove a fetched model", load: async () => (await import("./rm.ts")).rmCommand },
  doctor: { summary: "check this machine", load: async () => (await import("./doctor.ts")).doctorCommand },
};

export async function runProgram(args: readonly string[]): Promise<number> {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
  const program = new Command("gradually")
    .description("Own your reasoning model: train, reinforce, evaluate and run DeepSeek-style models on any CPU.")
    .version(version)
    .enablePositionalOptions() // `bench kernels --json`: the flag is that of kernels, not of bench
    .showHelpAfterError(false)
    .exitOverride()
    .configureHelp({ optionDescription: describeOption })
    .configureOutput({ outputError: (text, write) => write(`${usageLine(text)}\n`) })
    .addHelpText("after", '\nStart here:\n  $ gradually doctor\n  $ gradually speedrun\n  $ gradually run MODEL "3 5 7=22"');
  const asked = args[0] === "help" ? args[1] : args[0];
  try {
    for (const [name, { summary, load }] of Object.entries(verbs)) {
      if (name === asked) (await load())(program);
      else program.command(name);
      program.commands.find((command) => command.name() === name)?.summary(summary);
    }
    if (args.length === 0) program.outputHelp();
    else await program.parseAsync(asked === "run" || asked === "chat" ? withoutAliases(args) : [...args], { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 || error.code === "commander.help" ? 0 : 2;
    process.stderr.write(`${explainError(asked ?? "gradually", error)}\n`);
    return 1;
  }
}

/** As Commander has it, but without a default that says nothing: an empty list, an empty object, "false". */
function describeOption(option: Option): string {
  const isEmpty = ["[]", "{}", "false"].includes(JSON.stringify(option.defaultValue) ?? "");
  const shown = isEmpty ? (Object.create(option, { defaultValue: { value: undefined } }) as Option) : option;
  return Help.prototype.optionDescription(shown);
}

/** Commander's complaint, a hint on its second line included, as one line. */
function usageLine(text: string): string {
  return `${text.trim().replaceAll(/\s*\n\s*/g, " ")}; see --help`;
}
