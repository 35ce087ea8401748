// `gradually run [MODEL] [PROMPT]`: continues a prompt and shows the text as it comes, reasoning apart from the answer. Sampling defaults are those
// of generation_config.json, else greedy. Under --json one document holds text, reasoning, ids, counts and speed.

import type { Command } from "commander";
import { ConfigError } from "../core/errors.ts";
import { Engine } from "../engine/engine.ts";
import type { GenerationResult, Sampling, ThinkingBudget } from "../engine/request.ts";
import { thinkClose } from "../tasks/completion.ts";
import { streamDecoder } from "../text/stream-decoder.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { integer, real } from "./flags.ts";
import { addModelFlags, type LoadedModel, type ModelFlags, modelHelp, stopIds, withModel } from "./model.ts";
import { hasColour, note, shellWord, showControls, writeJson } from "./output.ts";
import { checkAnswer, makePrompt, type Prompt } from "./prompt.ts";
import { readInput } from "./stdin.ts";
import { type Piece, thinkStream } from "./think-stream.ts";

type Flags = ModelFlags & {
  readonly raw?: boolean;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly seed?: number;
  readonly thinkingBudget?: number;
  readonly wait?: number;
  readonly json?: boolean;
};

const defaultMaxTokens = 2048;

export function runCommand(program: Command): void {
  const command = program
    .command("run")
    .description("Continue a prompt. Without MODEL the bundled model answers; without PROMPT it is read from standard input.")
    .argument("[model]", modelHelp)
    .argument("[prompt]", "the text; - reads standard input")
    .option("--raw", "send the text as it is, after what the tokenizer puts before every text")
    .option(
      "-n, --max-tokens <n>",
      `most tokens to generate (default: what generation_config.json says, else ${defaultMaxTokens})`,
      integer(1),
    )
    .option("--temperature <t>", "0 always takes the likeliest token (default: generation_config.json, else 0)", real(0, 100))
    .option("--top-k <n>", "draw from the n likeliest tokens; 0: from all", integer(0))
    .option("--top-p <p>", "draw from the likeliest tokens that together have this probability", real(0, 1, true))
    .option("--min-p <p>", "draw from tokens at least this probable, relative to the likeliest", real(0, 1))
    .option("--seed <n>", "the same seed gives the same text", integer(0))
    .option("--thinking-budget <n>", "end the reasoning after n tokens", integer(0))
    .option("--wait <n>", 'the first n times that the model ends its reasoning, make it go on with "Wait"', integer(0, 1000))
    .option("--json", "print one JSON document: text, reasoning, ids, counts, tok_s");
  addModelFlags(command)
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
  await withModel(reference, flags, async (loaded) => {
    const prompt = makePrompt(loaded, words === "-" ? await readInput("run") : words, flags.raw ?? false);
    await generate(loaded, prompt, flags);
  });
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

async function generate(loaded: LoadedModel, prompt: Prompt, flags: Flags): Promise<void> {
  const { model, tokenizer, host, device } = loaded;
  const left = model.contextLength - prompt.ids.length;
  const maxTokens = Math.min(left, flags.maxTokens ?? configured(loaded, "max_new_tokens") ?? defaultMaxTokens);
  const budget = makeBudget(tokenizer, flags);
  const sampling = makeSampling(loaded, flags);
  const decoder = streamDecoder(tokenizer, { skipSpecialTokens: true });
  const split = thinkStream(prompt.thinking);
  const show = flags.json ? () => {} : printer();
  const parts = { reasoning: "", text: "" };
  const take = (pieces: readonly Piece[]) => {
    for (const piece of pieces) {
      parts[piece.kind] += piece.text;
      show(piece);
    }
  };

  const engine = new Engine(model, {
    slots: 1,
    contextLength: prompt.ids.length + maxTokens,
    vocabLimit: Math.min(tokenizer.vocabSize, model.vocabSize),
  });
  const start = host.now();
  let began = start;
  let result: GenerationResult;
  try {
    const request = { ids: prompt.ids, maxTokens, stop: stopIds(loaded), sampling, ...(budget && { budget }) };
    let count = 0;
    const onToken = (id: number) => {
      if (count++ === 0) began = host.now();
      take(split.push(decoder.push(id)));
    };
    result = await engine.submit(request, { onToken });
  } finally {
    await engine.dispose();
  }
  const seconds = host.now() - start;
  take(split.push(decoder.end()));
  take(split.end());
  if (!flags.json) show(undefined);

  const completion = result.ids.length;
  // The first token comes with the prompt's pass; the pace is that of the others.
  const decoding = host.now() - began;
  const tokensPerSecond = completion > 1 && decoding > 0 ? (completion - 1) / decoding : completion / Math.max(seconds, 1e-9);
  const correct = prompt.countdown && checkAnswer(prompt.countdown, parts.text);
  if (flags.json) {
    writeJson({
      text: parts.text,
      reasoning: parts.reasoning,
      ids: result.ids,
      prompt_tokens: result.promptTokens,
      completion_tokens: completion,
      ...(result.thinkingTokens !== undefined && { thinking_tokens: result.thinkingTokens }),
      stop: result.stop,
      ...(correct !== undefined && { correct }),
      tok_s: tokensPerSecond,
      seconds,
      prompt: prompt.text,
      temperature: sampling.temperature,
      seed: result.seed,
      forced: result.forced,
      device: `${device.info.name} ${device.info.build}`,
      threads: device.info.threads,
      model: loaded.path,
    });
    return;
  }
  if (correct !== undefined) note(correct ? "checked: right" : "checked: wrong");
  note(`${result.promptTokens} prompt tokens, ${completion} tokens at ${tokensPerSecond.toFixed(0)} tok/s, ended by ${result.stop}`);
  const next = prompt.countdown
    ? `gradually eval ${shellWord(loaded.path)} --task countdown`
    : `gradually inspect ${shellWord(loaded.path)}`;
  note(`next: ${next}`);
}

/** Shows pieces on standard output; undefined ends the text. On a terminal reasoning is dim; elsewhere it stands between its tags. */
function printer(): (piece: Piece | undefined) => void {
  const { stdout } = process;
  const isTerminal = stdout.isTTY === true;
  const colour = hasColour(stdout);
  let kind: Piece["kind"] | undefined;
  let trimming = false;
  const [open, close] = colour ? ["\u001b[2m", "\u001b[22m\n"] : ["<think>", `${thinkClose}\n`];
  return (piece) => {
    if (piece === undefined) {
      stdout.write(kind === "reasoning" ? close : "\n");
      return;
    }
    let { text } = piece;
    if (piece.kind !== kind) {
      if (kind === "reasoning") stdout.write(close);
      if (piece.kind === "reasoning") stdout.write(open);
      trimming = kind === "reasoning";
      kind = piece.kind;
    }
    if (trimming) text = text.trimStart();
    if (text !== "") trimming = false;
    stdout.write(isTerminal ? showControls(text) : text);
  };
}

function makeBudget(tokenizer: Tokenizer, { thinkingBudget, wait }: Flags): ThinkingBudget | undefined {
  if (thinkingBudget === undefined && !wait) return undefined;
  if (tokenizer.idOf(thinkClose) === undefined) {
    throw new ConfigError({
      operation: `run: ${thinkingBudget === undefined ? "--wait" : "--thinking-budget"}`,
      got: "a model whose tokenizer has no </think>",
      expected: "a model that thinks",
      cure: "leave the flag out",
    });
  }
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  return {
    end: encode(thinkClose),
    ...(thinkingBudget !== undefined && { max: thinkingBudget }),
    ...(wait && { extend: { times: wait, ids: encode("Wait") } }),
  };
}

/** Flags before generation_config.json before greedy. */
function makeSampling(loaded: LoadedModel, flags: Flags): Sampling & { temperature: number } {
  const { do_sample } = loaded.generationConfig;
  const draws = do_sample === true;
  const setting = (flag: number | undefined, key: string) => flag ?? (draws ? configured(loaded, key) : undefined);
  const [topK, topP, minP] = [setting(flags.topK, "top_k"), setting(flags.topP, "top_p"), setting(flags.minP, "min_p")];
  // Who filters wants to draw.
  const filters = [flags.topK, flags.topP, flags.minP].some((flag) => flag !== undefined);
  const temperature = setting(flags.temperature, "temperature") ?? (draws || filters ? 1 : 0);
  return {
    temperature,
    ...(topK !== undefined && { topK }),
    ...(topP !== undefined && { topP }),
    ...(minP !== undefined && { minP }),
    ...(flags.seed !== undefined && { seed: flags.seed }),
  };
}

function configured({ generationConfig }: LoadedModel, key: string): number | undefined {
  const value = generationConfig[key];
  return typeof value === "number" ? value : undefined;
}
