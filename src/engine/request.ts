// What the engine is asked and what it answers, and the door: every absurd request becomes a RequestError here, before anything is
// allocated or reaches a kernel. Out comes a request with all defaults filled in, in copies that the caller can no longer change.

import { quote, RequestError } from "../core/errors.ts";
import type { TokenConstraint } from "./constraint.ts";

/**
 * How the next id is drawn; penalties.ts and filters.ts say in which order and with what meaning. temperature 0..100 (0 = greedy; default 1),
 * topK >= 0 (0 = off), topP in (0, 1], minP in [0, 1], typicalP in (0, 1], repetitionPenalty in 0.01..100 (1 = off), presencePenalty
 * and frequencyPenalty in -2..2, seed an integer in 0..2^53-1.
 */
export type Sampling = {
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly typicalP?: number;
  readonly repetitionPenalty?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  /** [id, -100..100] pairs, at most 1,024, each id once. */
  readonly logitBias?: Iterable<readonly [number, number]>;
  /** Ids that are never drawn. The budget may force them. */
  readonly bannedIds?: readonly number[];
  /** Left out: the engine draws one; the result names it, so every answer can be replayed. */
  readonly seed?: number;
};

/** Budget forcing (s1); see budget.ts. All counts are ids. */
export type ThinkingBudget = {
  /** The ids that end thinking, e.g. those of `</think>`. */
  readonly end: readonly number[];
  readonly max?: number;
  readonly min?: number;
  /** Each of the first `times` ends is dropped and `ids` ("Wait") put in its place; without ids another id is drawn. */
  readonly extend?: { readonly times: number; readonly ids: readonly number[] };
  /** Forced after a forced `end`, e.g. a final-answer cue. */
  readonly cue?: readonly number[];
};

export type GenerationRequest = {
  readonly ids: readonly number[];
  /** Upper limit of emitted ids, forced ones included. Prompt and completion together never exceed the engine's context length, nor its cache. */
  readonly maxTokens: number;
  /** Ids that end the generation when they are drawn; they are not part of the result's ids. Forced ids never stop. */
  readonly stop?: readonly number[];
  readonly sampling?: Sampling;
  readonly budget?: ThinkingBudget;
  /** Log-probabilities (natural, temperature 1, over the whole vocabulary) of the emitted ids. */
  readonly logprobs?: boolean;
  /** So many likeliest ids beside each emitted one, 0..20, with their log-probabilities; implies `logprobs`. */
  readonly topLogprobs?: number;
  /** What the ids after thinking must obey; see constraint.ts. Used by this request alone. Goes with no budget.cue. */
  readonly constraint?: TokenConstraint;
  /**
   * Keys are shared only among requests of the same salt, e.g. of one tenant: nobody learns from a quick answer what others asked.
   * At most 256 characters; default: all requests without one.
   */
  readonly cacheSalt?: string;
};

/** An id that might have been emitted. */
export type Alternative = { readonly id: number; readonly logprob: number };

export type GenerationResult = {
  ids: number[];
  stop: "stop" | "length";
  stopId?: number;
  /** One for each of `ids`, from the device's crossEntropy kernel: the trainer's own numbers. */
  logprobs?: number[];
  /** One list for each of `ids`, likeliest first, before bias, penalties and filters. */
  topLogprobs?: Alternative[][];
  /** Log-probability of stopId. */
  stopLogprob?: number;
  /** How many of `ids` the budget forced, and where. */
  forced: number;
  forcedAt: number[];
  /** Ids before the end of thinking; only when a budget was given. */
  thinkingTokens?: number;
  promptTokens: number;
  /** Prompt ids whose keys were there already, from other requests of the same salt, and were not computed again. */
  cachedTokens: number;
  /** Drafts that were verified, and of these the ones that came true; absent when there were none. They change the time, not the ids. */
  drafted?: number;
  accepted?: number;
  seed: number;
};

export type EngineLimits = {
  readonly vocabSize: number;
  readonly contextLength: number;
  /** Ids that the whole cache holds. Default: no limit. */
  readonly cacheTokens?: number;
};

export type CheckedBudget = {
  readonly end: readonly number[];
  readonly max: number;
  readonly min: number;
  readonly times: number;
  readonly extension: readonly number[];
  readonly cue: readonly number[];
};

export type CheckedRequest = {
  readonly ids: readonly number[];
  /** Ids to emit at most: maxTokens, or what is left of the context. */
  readonly limit: number;
  readonly stop: ReadonlySet<number>;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly typicalP: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly logitBias: ReadonlyMap<number, number>;
  readonly bannedIds: readonly number[];
  readonly seed: number | undefined;
  readonly budget: CheckedBudget | undefined;
  readonly logprobs: boolean;
  readonly topLogprobs: number;
  readonly constraint: TokenConstraint | undefined;
  readonly salt: string;
};

/** Throws RequestError with the cure when any part of the request makes no sense. */
export function checkRequest(request: GenerationRequest, limits: EngineLimits): CheckedRequest {
  const { vocabSize, contextLength, cacheTokens = contextLength } = limits;
  if (typeof request !== "object" || request === null)
    refuse("the request", request, "an object with ids and maxTokens", "pass { ids, maxTokens }");
  // The length first: a prompt of millions is refused without a look at each of its ids.
  if (Array.isArray(request.ids) && request.ids.length >= contextLength) {
    refuse(
      "ids",
      `${request.ids.length} prompt ids`,
      `at most ${contextLength - 1}, one less than the context of ${contextLength}`,
      "shorten the prompt or open the engine with a larger contextLength",
    );
  }
  const ids = checkIds("ids", request.ids, vocabSize);
  if (ids.length === 0) refuse("ids", "an empty prompt", "at least one id", "begin with the BOS id");
  if (ids.length >= cacheTokens) {
    refuse(
      "ids",
      `${ids.length} prompt ids`,
      `at most ${cacheTokens - 1}, one less than the cache of ${cacheTokens} ids`,
      "shorten the prompt or open the engine with more cacheTokens",
    );
  }
  const maxTokens = checkInteger("maxTokens", request.maxTokens, 1, 2147483647);
  const stop = new Set(checkIds("stop", request.stop ?? [], vocabSize));
  const budget = request.budget === undefined ? undefined : checkBudget(request.budget, stop, vocabSize);
  const topLogprobs = checkInteger("topLogprobs", request.topLogprobs ?? 0, 0, 20);
  if (request.constraint && budget && budget.cue.length > 0) {
    refuse("budget.cue", "a cue beside a constraint", "one of them", "leave the cue out: the constraint says how the answer begins");
  }
  const sampling = request.sampling ?? {};
  if (typeof sampling !== "object" || sampling === null) refuse("sampling", sampling, "an object", "leave it out for the defaults");
  return {
    ids,
    limit: Math.min(maxTokens, Math.min(contextLength, cacheTokens) - ids.length),
    stop,
    temperature: checkNumber("temperature", sampling.temperature ?? 1, (t) => t >= 0 && t <= 100, "a number from 0 (greedy) to 100"),
    topK: checkInteger("topK", sampling.topK ?? 0, 0),
    topP: checkNumber("topP", sampling.topP ?? 1, (p) => p > 0 && p <= 1, "a number above 0, at most 1"),
    minP: checkNumber("minP", sampling.minP ?? 0, (p) => p >= 0 && p <= 1, "a number from 0 to 1"),
    typicalP: checkNumber("typicalP", sampling.typicalP ?? 1, (p) => p > 0 && p <= 1, "a number above 0, at most 1"),
    repetitionPenalty: checkNumber(
      "repetitionPenalty",
      sampling.repetitionPenalty ?? 1,
      (p) => p >= 0.01 && p <= 100,
      "a number from 0.01 to 100 (1: none)",
    ),
    presencePenalty: checkNumber("presencePenalty", sampling.presencePenalty ?? 0, (p) => p >= -2 && p <= 2, "a number from -2 to 2"),
    frequencyPenalty: checkNumber("frequencyPenalty", sampling.frequencyPenalty ?? 0, (p) => p >= -2 && p <= 2, "a number from -2 to 2"),
    logitBias: checkBias(sampling.logitBias, vocabSize),
    bannedIds: checkIds("bannedIds", sampling.bannedIds ?? [], vocabSize),
    seed: sampling.seed === undefined ? undefined : checkInteger("seed", sampling.seed, 0),
    budget,
    logprobs: request.logprobs === true || topLogprobs > 0,
    topLogprobs,
    constraint: request.constraint,
    salt: checkSalt(request.cacheSalt ?? ""),
  };
}

const mostBiases = 1024;

function checkBias(pairs: Sampling["logitBias"], vocabSize: number): ReadonlyMap<number, number> {
  const bias = new Map<number, number>();
  if (pairs === undefined) return bias;
  if (typeof pairs !== "object" || pairs === null || typeof pairs[Symbol.iterator] !== "function")
    refuse("logitBias", pairs, "pairs [id, bias]", "pass a Map or a list of pairs");
  for (const pair of pairs as Iterable<unknown>) {
    if (!Array.isArray(pair) || pair.length !== 2) refuse("logitBias", show(pair), "pairs [id, bias]", "pass a Map or a list of pairs");
    const [id, value] = pair as [number, number];
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize)
      refuse("logitBias", show(id), `ids from 0 to ${vocabSize - 1}`, "use this model's tokenizer");
    checkNumber(`logitBias of id ${id}`, value, (b) => b >= -100 && b <= 100, "a number from -100 to 100");
    bias.set(id, value);
    if (bias.size > mostBiases) refuse("logitBias", `more than ${mostBiases} ids`, `at most ${mostBiases}`, "name fewer ids");
  }
  return bias;
}

function checkSalt(salt: unknown): string {
  if (typeof salt !== "string") refuse("cacheSalt", salt, "text", "leave it out to share prefixes with all");
  if (salt.length > 256) refuse("cacheSalt", `${salt.length} characters`, "at most 256 characters", "give a hash of it");
  return salt;
}

/** Throws RequestError unless `n` answers to one prompt can be asked for. */
export function checkSampleCount(n: number): void {
  checkNumber("n", n, (x) => Number.isSafeInteger(x) && x >= 1 && x <= 65536, "an integer from 1 to 65536");
}

/** The seed of answer i to one request: the request's plus i, modulo 2^53, without a sum that a double cannot hold. Throws RequestError as for any seed. */
export function sampleSeed(seed: number, i: number): number {
  checkInteger("seed", seed, 0);
  return seed <= Number.MAX_SAFE_INTEGER - i ? seed + i : seed - (Number.MAX_SAFE_INTEGER - i) - 1;
}

function checkBudget(budget: ThinkingBudget, stop: ReadonlySet<number>, vocabSize: number): CheckedBudget {
  if (typeof budget !== "object" || budget === null) refuse("budget", budget, "an object with `end`", "leave it out for free thinking");
  const end = checkIds("budget.end", budget.end, vocabSize);
  if (end.length === 0) refuse("budget.end", "no ids", "the ids that end thinking", "encode the end-of-thinking text");
  const stopping = end.find((id) => stop.has(id));
  if (stopping !== undefined) {
    refuse(
      "budget.end",
      `id ${stopping}, which is also a stop id`,
      "ids that do not stop the generation",
      "take it out of `stop`: the answer comes after it",
    );
  }
  const max = budget.max === undefined ? Number.POSITIVE_INFINITY : checkInteger("budget.max", budget.max, 0);
  const min = checkInteger("budget.min", budget.min ?? 0, 0);
  if (min > max) refuse("budget.min", `${min} with max ${max}`, "min <= max", "raise max or lower min");
  const extension = checkIds("budget.extend.ids", budget.extend?.ids ?? [], vocabSize);
  const times = checkInteger("budget.extend.times", budget.extend?.times ?? 0, 0);
  return { end, max, min, times, extension, cue: checkIds("budget.cue", budget.cue ?? [], vocabSize) };
}

/** A copy of the ids, each an integer in the vocabulary. */
export function checkIds(name: string, ids: readonly number[], vocabSize: number): number[] {
  if (!Array.isArray(ids)) refuse(name, ids, "an array of ids", "encode the text first");
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i] as number;
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
      refuse(name, `${show(id)} at place ${i}`, `ids from 0 to ${vocabSize - 1}`, "use this model's tokenizer");
    }
  }
  return ids.slice();
}

function checkInteger(name: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER): number {
  const expected = most === Number.MAX_SAFE_INTEGER ? `an integer of ${least} or more, below 2^53` : `an integer from ${least} to ${most}`;
  return checkNumber(name, value, (x) => Number.isSafeInteger(x) && x >= least && x <= most, expected);
}

function checkNumber(name: string, value: number, fits: (value: number) => boolean, expected: string): number {
  if (typeof value !== "number" || !fits(value)) refuse(name, value, expected, `change ${name}`);
  return value;
}

function refuse(name: string, got: unknown, expected: string, cure: string): never {
  throw new RequestError({ operation: `generate: ${name}`, got: typeof got === "string" ? got : show(got), expected, cure });
}

function show(value: unknown): string {
  return typeof value === "string" ? quote(value) : typeof value === "object" && value !== null ? "an object" : String(value);
}
