// One request on its way through the engine: the ids so far, how many of them the cache holds, and what is needed to choose the next one.
// `ids` is the prompt followed by everything emitted; ids[cached ..] must still be fed. A plain record: the functions of scheduler.ts,
// choose.ts and settle.ts work on it, and engine.ts alone knows the promises behind it.

import { Random } from "../core/random.ts";
import { type BudgetState, startBudget } from "./budget.ts";
import type { Alternative, CheckedRequest, GenerationResult } from "./request.ts";

/** What a session keeps in its slot between two generations. */
export type Timeline = {
  /** -1: no slot; the keys were given up and will be computed again. */
  slot: number;
  /** The ids whose keys lie in the slot, from position 0. */
  ids: readonly number[];
  lastUse: number;
  isBusy: boolean;
};

export type Sequence = {
  /** Counts the engine's requests from 1; errors name it. */
  readonly number: number;
  readonly request: CheckedRequest;
  readonly seed: number;
  readonly budget: BudgetState | undefined;
  readonly timeline: Timeline | undefined;
  readonly ids: number[];
  readonly logprobs: number[];
  readonly alternatives: Alternative[][];
  readonly forcedAt: number[];
  stopLogprob: number | undefined;
  /** -1 while waiting. */
  slot: number;
  /** Ids whose keys are in the cache. */
  cached: number;
  /** Prompt ids found in the cache when the sequence joined. */
  reused: number;
  /** Rows in the present step. */
  feed: number;
  isDone: boolean;
};

export function startSequence(number: number, request: CheckedRequest, seed: number, timeline?: Timeline): Sequence {
  return {
    number,
    request,
    seed,
    budget: request.budget && startBudget(request.budget),
    timeline,
    ids: [...request.ids],
    logprobs: [],
    alternatives: [],
    forcedAt: [],
    stopLogprob: undefined,
    slot: -1,
    cached: 0,
    reused: 0,
    feed: 0,
    isDone: false,
  };
}

/** All 53 bits of the seed count. choose.ts says which block an id is drawn with. */
export function randomOf(seed: number): Random {
  return new Random(seed % 4294967296, Math.floor(seed / 4294967296));
}

export function emittedCount(sequence: Sequence): number {
  return sequence.ids.length - sequence.request.ids.length;
}

export function resultOf(sequence: Sequence, stop: "stop" | "length", stopId?: number): GenerationResult {
  const { request, budget } = sequence;
  return {
    ids: sequence.ids.slice(request.ids.length),
    stop,
    ...(stopId !== undefined && { stopId }),
    ...(request.logprobs && { logprobs: sequence.logprobs }),
    ...(request.topLogprobs > 0 && { topLogprobs: sequence.alternatives }),
    ...(sequence.stopLogprob !== undefined && { stopLogprob: sequence.stopLogprob }),
    forced: sequence.forcedAt.length,
    forcedAt: sequence.forcedAt,
    ...(budget && { thinkingTokens: budget.count }),
    promptTokens: request.ids.length,
    cachedTokens: sequence.reused,
    seed: sequence.seed,
  };
}
