// Flags of the verbs that generate, under the names that llama.cpp, Ollama and vLLM taught, and what they mean to the door: `run` and `chat` agree.

import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { Structure } from "../chat/grammar.ts";
import type { ChatOptions } from "../chat/model.ts";
import type { ThinkingOptions } from "../chat/thinking.ts";
import type { CacheType } from "../core/dtype.ts";
import { ConfigError, quote, RequestError } from "../core/errors.ts";
import { parseJson } from "../core/json.ts";
import type { LoadOptions } from "../platform/load.ts";
import { collect, integer, real } from "./flags.ts";
import {
  addDeviceFlags,
  addSpeculationFlags,
  cacheTypeOption,
  type DeviceFlags,
  type SpeculationFlags,
  speculationOf,
} from "./model-flags.ts";

export type GenerationFlags = DeviceFlags &
  SpeculationFlags & {
    readonly ctxSize?: number;
    readonly cacheType?: CacheType;
    readonly chatTemplate?: string;
    readonly maxTokens?: number;
    readonly temperature?: number;
    readonly topK?: number;
    readonly topP?: number;
    readonly minP?: number;
    readonly typicalP?: number;
    readonly repeatPenalty?: number;
    readonly presencePenalty?: number;
    readonly frequencyPenalty?: number;
    readonly logitBias?: readonly string[];
    readonly seed?: number;
    readonly stop?: readonly string[];
    readonly systemPrompt?: string;
    readonly think?: boolean;
    readonly hidethinking?: boolean;
    readonly thinkingBudget?: number;
    readonly wait?: number;
    readonly jsonSchema?: string;
    readonly regex?: string;
  };

export const defaultMaxTokens = 2048;

export function addGenerationFlags(command: Command): Command {
  command
    .option(
      "-n, --max-tokens <n>",
      `most tokens to generate (default: what generation_config.json says, else ${defaultMaxTokens})`,
      integer(1, 2147483647),
    )
    .option("--temperature <t>", "0 always takes the likeliest token (default: generation_config.json, else 0)", real(0, 100))
    .option("--top-k <n>", "draw from the n likeliest tokens; 0: from all", integer(0))
    .option("--top-p <p>", "draw from the likeliest tokens that together have this probability", real(0, 1, true))
    .option("--min-p <p>", "draw from tokens at least this probable, relative to the likeliest", real(0, 1))
    .option("--typical-p <p>", "draw from the tokens nearest to the expected surprise, with this probability together", real(0, 1, true))
    .option("--repeat-penalty <x>", "divide the logits of tokens that were there already; 1: off", real(0.01, 100))
    .option("--presence-penalty <x>", "take this from the logits of tokens in the answer", real(-2, 2))
    .option("--frequency-penalty <x>", "take this for each time that a token is in the answer", real(-2, 2))
    .option("--logit-bias <id=x>", "add x (-100 to 100) to the logit of a token id; may be given more than once", collect)
    .option("--seed <n>", "the same seed gives the same text", integer(0))
    .option("--stop <text>", "end the answer before this text; up to 4 times", collect)
    .option("--system-prompt <text>", "what the model is told first")
    .addOption(new Option("--think <on>", "--think: reason first; --think=false: answer at once").argParser(readSwitch))
    .option("--hidethinking", "do not show the reasoning")
    .option("--thinking-budget <n>", "end the reasoning after n tokens (also --reasoning-budget)", integer(0))
    .option("--wait <n>", 'the first n times that the model ends its reasoning, make it go on with "Wait"', integer(0, 1000))
    .option("--json-schema <file>", "the answer is JSON of this schema")
    .option("--regex <pattern>", "the answer matches this regular expression")
    .option("-c, --ctx-size <n>", "longest context in tokens, prompt and answer together", integer(2, 2 ** 24))
    .addOption(cacheTypeOption())
    .option("--chat-template <file>", "a Jinja template in place of the model's");
  addSpeculationFlags(command, "lookup, where it pays");
  return addDeviceFlags(command);
}

function readSwitch(text: string): boolean {
  if (["true", "on", "1", "yes"].includes(text)) return true;
  if (["false", "off", "0", "no"].includes(text)) return false;
  throw new InvalidArgumentError("Expected --think, --think=true or --think=false.");
}

export async function loadOptions(flags: GenerationFlags, onWarning: (text: string) => void): Promise<LoadOptions> {
  const speculation = speculationOf(flags);
  return {
    device: flags.device,
    ...(flags.threads !== undefined && { threads: flags.threads }),
    ...(flags.ctxSize !== undefined && { contextLength: flags.ctxSize }),
    ...(flags.cacheType !== undefined && { cacheType: flags.cacheType }),
    ...(flags.chatTemplate !== undefined && { chatTemplate: await readText("--chat-template", flags.chatTemplate) }),
    ...(speculation && { speculation }),
    parallel: 1,
    onWarning,
  };
}

export async function chatOptions(flags: GenerationFlags): Promise<ChatOptions> {
  const { maxTokens, temperature, topK, topP, minP, typicalP, repeatPenalty, presencePenalty, frequencyPenalty, seed } = flags;
  const thinking = thinkingOptions(flags);
  const structure = await structureOf(flags);
  return {
    ...(maxTokens !== undefined && { maxTokens }),
    ...(temperature !== undefined && { temperature }),
    ...(topK !== undefined && { topK }),
    ...(topP !== undefined && { topP }),
    ...(minP !== undefined && { minP }),
    ...(typicalP !== undefined && { typicalP }),
    ...(repeatPenalty !== undefined && { repetitionPenalty: repeatPenalty }),
    ...(presencePenalty !== undefined && { presencePenalty }),
    ...(frequencyPenalty !== undefined && { frequencyPenalty }),
    ...(flags.logitBias && { logitBias: flags.logitBias.map(readBias) }),
    ...(seed !== undefined && { seed }),
    ...(flags.stop && { stop: flags.stop }),
    ...(flags.systemPrompt !== undefined && { system: flags.systemPrompt }),
    ...(thinking !== undefined && { thinking }),
    ...(structure && { structure }),
  };
}

function thinkingOptions({ think, thinkingBudget, wait }: GenerationFlags): boolean | ThinkingOptions | undefined {
  if (think === false || (thinkingBudget === undefined && !wait)) return think;
  return { ...(thinkingBudget !== undefined && { max: thinkingBudget }), ...(wait && { extend: { times: wait } }) };
}

async function structureOf({ jsonSchema, regex }: GenerationFlags): Promise<Structure | undefined> {
  if (jsonSchema !== undefined && regex !== undefined) {
    throw new ConfigError({
      operation: "--regex",
      got: "--json-schema beside it",
      expected: "one of them",
      cure: "leave one out",
    });
  }
  if (regex !== undefined) return { regex };
  if (jsonSchema === undefined) return undefined;
  return { schema: parseJson(await readText("--json-schema", jsonSchema), { source: jsonSchema, unsafeIntegers: "round" }) };
}

function readBias(text: string): readonly [number, number] {
  const [, id, value] = /^(\d{1,9})=([+-]?\d+(?:\.\d+)?)$/.exec(text) ?? [];
  if (id !== undefined && value !== undefined) return [Number(id), Number(value)];
  throw new RequestError({ operation: "--logit-bias", got: quote(text), expected: "ID=BIAS, as in 42=-5", cure: "change it" });
}

async function readText(flag: string, path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const got = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError({ operation: flag, got, expected: "a file that can be read", cure: "check the path" }, { cause });
  }
}
