// Pieces that the request schemas share, as zod: numbers with ranges, texts, the fields of sampling and of thinking. null counts as absent, as
// clients send it. `validate` turns a complaint of zod into a Refusal that names the field as OpenAI does, e.g. `messages[0].content`.

import { z } from "zod";
import { quote, show } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { type Limits, limitTable } from "./limits.ts";
import { badField } from "./refusal.ts";

/** Whatever is wrong with a number, its whole range is told. */
const range = (kind: string, least: number, most: number) => `Invalid input: expected ${kind} from ${least} to ${most}`;

export function integer(least: number, most: number) {
  const error = range("an integer", least, most);
  return z.int(error).min(least, error).max(most, error);
}

export function number(least: number, most: number) {
  const error = range("a number", least, most);
  return z.number(error).min(least, error).max(most, error);
}

const aboveZero = "Invalid input: expected a number above 0, at most 1";
export const fraction = z.number(aboveZero).gt(0, aboveZero).max(1, aboveZero);
export const maxTokens = integer(1, 2_147_483_647);

/** A JSON object of any content, e.g. a schema. */
export const anyObject = z.custom<JsonObject>((value) => typeof value === "object" && value !== null && !Array.isArray(value), {
  error: "Invalid input: expected an object",
});

export const stop = z
  .union([z.string().min(1), z.array(z.string().min(1))])
  .nullish()
  .describe("Texts that end the answer; they are not part of it.");

export const logitBias = z
  .record(z.string().regex(/^(?:0|[1-9]\d{0,8})$/, "Invalid input: expected a token id in digits"), number(-100, 100))
  .nullish();

export const samplingFields = {
  temperature: number(0, 2).nullish().describe("0 always takes the likeliest token."),
  top_p: fraction.nullish(),
  top_k: integer(-1, 2_147_483_647).nullish().describe("-1 and 0: from all tokens."),
  min_p: number(0, 1).nullish(),
  typical_p: fraction.nullish(),
  repetition_penalty: number(0.01, 100).nullish(),
  presence_penalty: number(-2, 2).nullish(),
  frequency_penalty: number(-2, 2).nullish(),
  logit_bias: logitBias,
  seed: integer(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER).nullish().describe("The same seed gives the same answer."),
  stop,
};

export const efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"] as const;
export type Effort = (typeof efforts)[number];
export const effort = z.enum(efforts);
const budget = integer(0, 2_147_483_647);

/** Every dialect's way to say how much a model may think; thinking.ts says what each means. */
export const thinkingFields = {
  thinking: z
    .object({ type: z.enum(["enabled", "disabled", "adaptive", "between_tools"]), budget_tokens: budget.nullish() })
    .nullish()
    .describe("DeepSeek, Anthropic."),
  reasoning_effort: effort.nullish().describe("OpenAI, DeepSeek."),
  reasoning: z
    .union([effort, z.object({ effort: effort.nullish(), max_tokens: budget.nullish(), enabled: z.boolean().nullish() })])
    .nullish()
    .describe("OpenAI Responses, OpenRouter, AI SDK."),
  output_config: z.object({ effort: effort.nullish() }).nullish().describe("Anthropic."),
  chat_template_kwargs: anyObject.nullish().describe("vLLM, llama.cpp: switches of the model's template."),
  enable_thinking: z.boolean().nullish().describe("Qwen."),
  thinking_budget: budget.nullish().describe("Qwen: tokens of thinking."),
  thinking_token_budget: budget.nullish().describe("vLLM: tokens of thinking."),
  thinking_extend: integer(0, 64)
    .nullish()
    .describe('Ours: so many ends of thinking are dropped and "Wait" put in their place, as s1 does it.'),
  reasoning_budget: integer(-1, 2_147_483_647).nullish().describe("llama.cpp: tokens of thinking; -1 without limit."),
};

/** What is cheap to refuse before a validator visits every element. */
export function checkSizes(body: JsonObject, limits: Limits): void {
  const lists: readonly [string, keyof Limits][] = [
    ["messages", "messages"],
    ["tools", "tools"],
    ["prompt", "promptIds"],
    ["input", "promptIds"],
    ["stop", "stops"],
    ["stop_sequences", "stops"],
  ];
  for (const [field, limit] of lists) {
    const value = body[field];
    if (Array.isArray(value) && value.length > limits[limit]) throw tooMany(field, value.length, limits, limit);
  }
  const bias = body.logit_bias;
  if (typeof bias === "object" && bias !== null) {
    const count = Object.keys(bias).length;
    if (count > limits.biases) throw tooMany("logit_bias", count, limits, "biases");
  }
}

export function tooMany(param: string, count: number, limits: Limits, limit: keyof Limits) {
  return badField(param, `${count} ${limitTable[limit].about}`, `at most ${limits[limit]}`, "send fewer");
}

/** Throws Refusal 400 for the first thing that is wrong. */
export function validate<S extends z.ZodType>(schema: S, body: JsonObject): z.output<S> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = deepest(result.error.issues[0] as Issue);
  const param = pathName(issue.path);
  const value = issue.path.reduce<unknown>(
    (at, key) => (typeof at === "object" && at !== null ? (at as JsonObject)[String(key)] : undefined),
    body,
  );
  throw badField(param === "" ? "body" : param, show(value), expectation(issue));
}

type Issue = z.core.$ZodIssue;

/** Of a union that failed, the branch that came furthest: its complaint is the one that helps. */
function deepest(issue: Issue, prefix: readonly PropertyKey[] = []): Issue {
  const path = [...prefix, ...issue.path];
  if (issue.code !== "invalid_union" || issue.errors.length === 0) return { ...issue, path } as Issue;
  let best: Issue | undefined;
  for (const [first] of issue.errors) {
    if (!first) continue;
    const found = deepest(first, path);
    if (!best || found.path.length > best.path.length) best = found;
  }
  return best && best.path.length > path.length ? best : ({ ...issue, path } as Issue);
}

function expectation(issue: Issue): string {
  if (issue.code === "invalid_union") return formsOf(issue);
  if (issue.code === "invalid_key") return expectation(issue.issues[0] as Issue);
  return issue.message
    .replace(/^(?:Invalid (?:input|option|string)|Too (?:small|big)|Unrecognized keys?): /, "")
    .replace(/^expected /, "") // Refusal says it itself
    .replace(/, received .*$/, "")
    .replace(/^record$/, "object");
}

/** What each branch of a union wants. */
function formsOf({ message, errors }: z.core.$ZodIssueInvalidUnion): string {
  const forms = errors.flatMap(([first]) => (first ? [expectation(first)] : []));
  if (forms.length > 0) return [...new Set(forms)].join(", or ");
  // A kind that nobody knows: "Invalid discriminator value. Expected 'text' | 'json_object'".
  return `one of ${message
    .replace(/^.*Expected /, "")
    .replaceAll("'", '"')
    .replaceAll(" | ", "|")}`;
}

export function pathName(path: readonly PropertyKey[]): string {
  let name = "";
  for (const key of path) name += typeof key === "number" ? `[${key}]` : name === "" ? printable(key) : `.${printable(key)}`;
  return name;
}

function printable(key: PropertyKey): string {
  const text = String(key);
  return /^[\w.-]{1,64}$/.test(text) ? text : quote(text, 64);
}
