// One request on its way through the engine: the ids so far, how many of them the cache holds and where, and what is needed to choose the next
// one. `ids` is the prompt followed by everything emitted; ids[cached ..] must still be fed. A plain record: the functions of scheduler.ts,
// choose.ts and settle.ts work on it, and engine.ts alone knows the promises behind it.

import { Random } from "../core/random.ts";
import { type BudgetState, startBudget } from "./budget.ts";
import type { Alternative, CheckedRequest, GenerationResult } from "./request.ts";

export type Sequence = {
  /** Counts the engine's requests from 1; errors name it. */
  readonly number: number;
  readonly request: CheckedRequest;
  readonly seed: number;
  readonly budget: BudgetState | undefined;
  readonly ids: number[];
  readonly logprobs: number[];
  readonly alternatives: Alternative[][];
  readonly forcedAt: number[];
  stopLogprob: number | undefined;
  /** Page i holds the keys of ids i·pageSize and following. */
  pages: number[];
  /** Ids whose keys are in the pages. */
  cached: number;
  /** Prompt ids found in the cache when the sequence was first computed; undefined before that. */
  reused: number | undefined;
  /** Rows in the present step, drafts included. */
  feed: number;
  /** What may follow `ids`, fed in the present step to be verified (speculation.ts); never part of `ids` unless chosen too. */
  drafts: readonly number[];
  /** Drafts fed so far, and of these the ones that were chosen. */
  drafted: number;
  accepted: number;
  /** Rows that the present step copies from the page of others into its own last page, before anything else. */
  copy: { readonly from: number; readonly to: number; readonly rows: number } | undefined;
  isDone: boolean;
};

export function startSequence(number: number, request: CheckedRequest, seed: number): Sequence {
  return {
    number,
    request,
    seed,
    budget: request.budget && startBudget(request.budget),
    ids: [...request.ids],
    logprobs: [],
    alternatives: [],
    forcedAt: [],
    stopLogprob: undefined,
    pages: [],
    cached: 0,
    reused: undefined,
    feed: 0,
    drafts: [],
    drafted: 0,
    accepted: 0,
    copy: undefined,
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
    cachedTokens: sequence.reused ?? 0,
    ...(sequence.drafted > 0 && { drafted: sequence.drafted, accepted: sequence.accepted }),
    seed: sequence.seed,
  };
}
