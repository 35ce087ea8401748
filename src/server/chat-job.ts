// From a conversation to answers that can be computed, whatever dialect it came in. In: messages, tools, a wish about thinking, sampling. Out: what
// the engine is to do, once for each choice. Everything that a client can get wrong is refused here, before a place in the line is taken.

import type { ChatMessage } from "../chat/messages.ts";
import { numberAt, stopIdsOf, withDefaults } from "../chat/sampling-defaults.ts";
import { planThinking, type ThinkingOptions } from "../chat/thinking.ts";
import type { ToolStyle } from "../chat/tool-format.ts";
import { quote, RequestError } from "../core/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../core/json.ts";
import type { GenerationRequest, Sampling, ThinkingBudget } from "../engine/request.ts";
import type { Limits } from "./limits.ts";
import { badField, Refusal } from "./refusal.ts";
import type { ServedModel } from "./shelf.ts";
import type { Demand } from "./structures.ts";
import { checkTexts } from "./text-size.ts";
import { budgetOf, switchesOf, type ThinkingWish } from "./thinking.ts";
import type { Prepared } from "./work.ts";

export type ToolChoice = "none" | "auto" | "required" | { readonly name: string };

export type JobOptions = {
  readonly n: number;
  readonly maxTokens?: number;
  readonly sampling: Sampling;
  readonly stops: readonly string[];
  /** Beside the model's own. */
  readonly stopIds?: readonly number[];
  readonly logprobs?: boolean;
  readonly topLogprobs?: number;
  readonly structure?: Demand;
  readonly ignoreEos?: boolean;
  /** Keeps cached prefixes of different callers apart. */
  readonly cacheSalt?: string;
};

export type ChatJob = JobOptions & {
  /** Fields are named as in the client's dialect. */
  readonly messagesField: string;
  messages(style: ToolStyle | undefined): ChatMessage[];
  readonly tools: readonly JsonObject[];
  readonly toolChoice: ToolChoice;
  readonly wish: ThinkingWish;
  readonly templateSwitches?: JsonObject | null;
};

export async function prepareChat(model: ServedModel, job: ChatJob): Promise<Prepared[]> {
  const { chat } = model;
  const forced = job.toolChoice === "required" || typeof job.toolChoice === "object";
  checkToolChoice(job, forced, model);
  // Open WebUI and Continue offer their tools to every model. An offer may be left alone, so a model that knows no tools answers without them.
  const tools = job.toolChoice === "none" || !chat.toolStyle ? [] : job.tools;
  const messages = job.messages(chat.toolStyle);
  const texts = messages.flatMap(({ content }) => (typeof content === "string" ? [content] : []));
  await checkTexts(texts, model, job.messagesField);
  const prompt = chat.prompt({ messages, tools, switches: switchesOf(job.wish, job.templateSwitches) });
  const structure = forced ? callStructure(job) : job.structure;
  const plan = planIds(prompt, job, model, structure !== undefined);
  checkLength(plan.ids, model, job.messagesField);
  const format = forced ? "llama" : tools.length > 0 ? chat.toolStyle?.format : undefined;
  return choices(model, job, plan.ids, plan.budget, {
    begin: plan.begin,
    stops: job.stops,
    ...(model.thinkTags && { thinkTags: model.thinkTags }),
    ...(format && { toolFormat: format }),
    ...structured(model, structure),
  });
}

/** A text that is continued as it is; nothing of it is parsed. */
export function prepareText(model: ServedModel, ids: readonly number[], job: JobOptions): Prepared[] {
  checkLength(ids, model, "prompt");
  return choices(model, job, ids, undefined, {
    begin: "after",
    stops: job.stops,
    ...structured(model, job.structure),
  });
}

type Shape = Pick<Prepared, "begin" | "stops" | "thinkTags" | "toolFormat" | "constrain">;

function choices(
  model: ServedModel,
  job: JobOptions,
  ids: readonly number[],
  budget: ThinkingBudget | undefined,
  shape: Shape,
): Prepared[] {
  const { tokenizer, engine, generationConfig } = model;
  const stopIds = stopIdsOf(generationConfig, tokenizer.specialIds.eos, engine.model.vocabSize);
  const sampling = withDefaults(
    { ...job.sampling, ...(job.ignoreEos && { bannedIds: [...(job.sampling.bannedIds ?? []), ...stopIds] }) },
    generationConfig,
  );
  const request: GenerationRequest = {
    ids,
    maxTokens: job.maxTokens ?? numberAt(generationConfig, "max_new_tokens") ?? engine.contextLength,
    stop: [...(job.ignoreEos ? [] : stopIds), ...(job.stopIds ?? [])],
    ...(budget && { budget }),
    ...(job.logprobs && { logprobs: true }),
    ...(job.topLogprobs && { topLogprobs: job.topLogprobs }),
    ...(job.cacheSalt && { cacheSalt: job.cacheSalt }),
  };
  return Array.from({ length: job.n }, (_, i) => ({
    ...shape,
    request: {
      ...request,
      sampling: { ...sampling, ...(sampling.seed !== undefined && { seed: (sampling.seed + i) % Number.MAX_SAFE_INTEGER }) },
    },
  }));
}

type IdPlan = { readonly ids: readonly number[]; readonly begin: Shape["begin"]; readonly budget?: ThinkingBudget };

/** The ids of the prompt with what thinking adds to it. The text's own ids stay: they know strangers' words from special tokens. */
function planIds(prompt: { text: string; ids: number[] }, job: ChatJob, model: ServedModel, mustKnow: boolean): IdPlan {
  const { tokenizer, engine, thinkTags } = model;
  if (!thinkTags) return { ids: prompt.ids, begin: "after" };
  const room = Math.min(job.maxTokens ?? engine.contextLength, engine.contextLength - prompt.ids.length);
  const max = budgetOf(job.wish, Math.max(1, room));
  const asked = job.wish.thinking === false ? false : optionsOf(job.wish, max);
  const { suffix, begin, budget } = planThinking(prompt.text, asked, thinkTags, tokenizer, mustKnow);
  const added = suffix === "" ? [] : tokenizer.encode(suffix, { addSpecialTokens: false });
  return { ids: [...prompt.ids, ...added], begin, ...(budget && { budget }) };
}

/** A number of tokens or of extensions makes a budget; without either the wish is on, or nothing. */
function optionsOf({ thinking, extend }: ThinkingWish, max: number | undefined): ThinkingOptions | boolean | undefined {
  if (max === undefined && extend === undefined) return thinking;
  return { ...(max !== undefined && { max }), ...(extend !== undefined && { extend: { times: extend } }) };
}

export function checkLength(ids: readonly number[], { engine }: Pick<ServedModel, "engine">, field: string): void {
  if (ids.length === 0) throw badField(field, "an empty prompt", "at least one token", "write something");
  if (ids.length < engine.contextLength) return;
  throw new Refusal(`${ids.length} tokens`, `at most ${engine.contextLength - 1}: the context is ${engine.contextLength}`, "shorten it", {
    status: 400,
    code: "context_length_exceeded",
    param: field,
  });
}

function structured(model: ServedModel, demand: Demand | undefined): Pick<Prepared, "constrain"> {
  if (!demand) return {};
  const { field, structure } = demand;
  const refusal = badField(field, "a structure", "none: this server was built without grammars", "leave it out");
  if (!model.constrain) throw refusal;
  return {
    constrain: async ({ constrain }) => {
      if (!constrain) throw refusal;
      try {
        return await constrain(structure);
      } catch (error) {
        if (!(error instanceof RequestError)) throw error;
        const { operation, got, expected, cure } = error.complaint;
        const keyword = /: (\w+)$/.exec(operation.replace("generate: structure", ""))?.[1];
        throw badField(field, keyword === undefined ? got : `${keyword} ${got}`, expected, cure);
      }
    },
  };
}

function checkToolChoice({ tools, toolChoice }: ChatJob, forced: boolean, { chat }: ServedModel): void {
  const name = typeof toolChoice === "object" ? toolChoice.name : undefined;
  const names = tools.map((tool) => (tool.function as JsonObject).name);
  if (name !== undefined && !names.includes(name))
    throw badField("tool_choice", `the tool ${quote(name, 60)}`, names.length === 0 ? "tools" : `one of ${names.join(", ")}`);
  if (toolChoice === "required" && tools.length === 0) throw badField("tool_choice", '"required" without tools', "tools", "send tools");
  if (forced && !chat.toolStyle) {
    const expected = 'none, or "auto": this model\'s chat template knows no tools';
    throw badField("tool_choice", "a call that is demanded", expected, "use a model that was made for tools");
  }
}

/** One call of one of the tools, as an object; the reader of Llama's calls takes it. */
function callStructure({ tools, toolChoice }: ChatJob): Demand {
  const wanted = tools
    .map((tool) => tool.function as JsonObject)
    .filter(({ name }) => typeof toolChoice !== "object" || name === toolChoice.name);
  const calls = wanted.map(({ name }, i) => ({
    type: "object",
    properties: { name: { const: name }, arguments: { $ref: `#/$defs/${i}` } },
    required: ["name", "arguments"],
    additionalProperties: false,
  }));
  const $defs = Object.fromEntries(wanted.map(({ parameters }, i) => [i, moved(parameters as JsonValue, `/$defs/${i}`)]));
  return { field: "tools", structure: { schema: { ...(calls.length === 1 ? calls[0] : { anyOf: calls }), $defs } } };
}

/** A schema that is to lie at a place of another: its references lead there. */
function moved(schema: JsonValue, place: string): JsonValue {
  if (Array.isArray(schema)) return schema.map((item) => moved(item, place));
  if (!isJsonObject(schema)) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => {
      if (key === "$ref" && typeof value === "string") return [key, value.replace(/^#/, `#${place}`)];
      return [key, key === "const" || key === "enum" ? value : moved(value, place)];
    }),
  );
}

/** A seed below 0 is a seed too. */
export function seedOf(seed: number | null | undefined): number | undefined {
  if (seed === null || seed === undefined) return undefined;
  return seed >= 0 ? seed : seed + Number.MAX_SAFE_INTEGER;
}

/** `logit_bias` in pairs of ids and numbers. Throws Refusal for an id that the vocabulary has not. */
export function readBias(bias: Readonly<Record<string, number>> | null | undefined, vocabSize: number): [number, number][] | undefined {
  if (!bias) return undefined;
  return Object.entries(bias).map(([key, value]) => {
    const id = Number(key);
    if (id >= vocabSize)
      throw badField(`logit_bias.${key}`, `the id ${key}`, `ids from 0 to ${vocabSize - 1}`, "use this model's tokenizer");
    return [id, value];
  });
}

export function readStops(stop: string | readonly string[] | null | undefined, limits: Limits, field = "stop"): string[] {
  const stops = stop === null || stop === undefined ? [] : typeof stop === "string" ? [stop] : [...stop];
  if (stops.length > limits.stops) throw badField(field, `${stops.length} texts`, `at most ${limits.stops}`, "send fewer");
  for (const [i, text] of stops.entries()) {
    if (text === "") throw badField(`${field}[${i}]`, "an empty text", "a text of at least one character");
    if (text.length > limits.stopCharacters)
      throw badField(`${field}[${i}]`, `${text.length} characters`, `at most ${limits.stopCharacters}`, "shorten it");
  }
  return stops;
}
