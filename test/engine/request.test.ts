import { describe, expect, test } from "vitest";
import { RequestError } from "../../src/core/errors.ts";
import { checkRequest, type GenerationRequest } from "../../src/engine/request.ts";

const limits = { vocabSize: 10, contextLength: 8 };
const good: GenerationRequest = { ids: [1, 2], maxTokens: 3 };

describe("checkRequest", () => {
  test("fills in the defaults and copies the ids", () => {
    const ids = [1, 2];
    const checked = checkRequest({ ids, maxTokens: 3 }, limits);
    ids[0] = 9;
    expect(checked).toEqual({
      ids: [1, 2],
      limit: 3,
      stop: new Set(),
      temperature: 1,
      topK: 0,
      topP: 1,
      minP: 0,
      typicalP: 1,
      repetitionPenalty: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
      logitBias: new Map(),
      bannedIds: [],
      seed: undefined,
      budget: undefined,
      logprobs: false,
      topLogprobs: 0,
      constraint: undefined,
      salt: "",
    });
  });

  test("the context bounds prompt and completion together", () => {
    expect(checkRequest({ ids: [1, 2], maxTokens: 1e9 }, limits).limit).toBe(6);
    expect(checkRequest({ ids: [1, 2, 3, 4, 5, 6, 7], maxTokens: 5 }, limits).limit).toBe(1);
  });

  test("so does a cache that holds less than the context", () => {
    const small = { ...limits, cacheTokens: 5 };
    expect(checkRequest({ ids: [1, 2], maxTokens: 1e9 }, small).limit).toBe(3);
    expect(() => checkRequest({ ids: [1, 2, 3, 4, 5], maxTokens: 1 }, small)).toThrow(/cache of 5 ids; .*cacheTokens/);
  });

  test("edges are accepted", () => {
    const edges = { temperature: 100, topK: 1e9, topP: Number.MIN_VALUE, minP: 1, seed: Number.MAX_SAFE_INTEGER };
    expect(checkRequest({ ...good, sampling: edges }, limits)).toMatchObject(edges);
    expect(checkRequest({ ...good, sampling: { temperature: 1e-320, topP: 1, minP: 0, seed: 0 } }, limits).temperature).toBe(1e-320);
  });

  const end = [3];
  const cases: readonly (readonly [string, object, string])[] = [
    ["empty prompt", { ids: [] }, "BOS"],
    ["no ids", { ids: undefined }, "array"],
    ["prompt as text", { ids: "abc" }, "encode"],
    ["prompt as long as the context", { ids: new Array(8).fill(1) }, "contextLength"],
    ["id -1", { ids: [1, -1] }, "0 to 9"],
    ["id at the vocabulary's size", { ids: [10] }, "0 to 9"],
    ["id 1.5", { ids: [1.5] }, "0 to 9"],
    ["id NaN", { ids: [Number.NaN] }, "0 to 9"],
    ["nested ids", { ids: [[1], [2]] }, "0 to 9"],
    ["sparse ids", { ids: new Array(3) }, "0 to 9"],
    ["maxTokens 0", { maxTokens: 0 }, "maxTokens"],
    ["maxTokens -1", { maxTokens: -1 }, "maxTokens"],
    ["maxTokens NaN", { maxTokens: Number.NaN }, "maxTokens"],
    ["maxTokens text", { maxTokens: "5" }, "maxTokens"],
    ["maxTokens missing", { maxTokens: undefined }, "maxTokens"],
    ["stop outside", { stop: [10] }, "stop"],
    ["temperature -1", { sampling: { temperature: -1 } }, "temperature"],
    ["temperature NaN", { sampling: { temperature: Number.NaN } }, "temperature"],
    ["temperature 999999", { sampling: { temperature: 999999 } }, "temperature"],
    ["topP 0", { sampling: { topP: 0 } }, "topP"],
    ["topP -1", { sampling: { topP: -1 } }, "topP"],
    ["topP 1.0001", { sampling: { topP: 1.0001 } }, "topP"],
    ["topP NaN", { sampling: { topP: Number.NaN } }, "topP"],
    ["topK -5", { sampling: { topK: -5 } }, "topK"],
    ["topK 1.5", { sampling: { topK: 1.5 } }, "topK"],
    ["minP 2", { sampling: { minP: 2 } }, "minP"],
    ["seed 2^64", { sampling: { seed: 2 ** 64 } }, "seed"],
    ["seed -1", { sampling: { seed: -1 } }, "seed"],
    ["A34: maxTokens 2^31", { maxTokens: 2 ** 31 }, "from 1 to 2147483647"],
    ["A34: maxTokens 10^12", { maxTokens: 1e12 }, "maxTokens"],
    ["A43: presence penalty 1e30", { sampling: { presencePenalty: 1e30 } }, "presencePenalty"],
    ["A43: frequency penalty -1e30", { sampling: { frequencyPenalty: -1e30 } }, "frequencyPenalty"],
    ["frequency penalty NaN", { sampling: { frequencyPenalty: Number.NaN } }, "frequencyPenalty"],
    ["repetition penalty 0", { sampling: { repetitionPenalty: 0 } }, "repetitionPenalty"],
    ["repetition penalty 1e30", { sampling: { repetitionPenalty: 1e30 } }, "repetitionPenalty"],
    ["typicalP 0", { sampling: { typicalP: 0 } }, "typicalP"],
    ["A46: bias on 100,000 ids", { sampling: { logitBias: Array.from({ length: 100_000 }, (_, i) => [i, 1]) } }, "logitBias"],
    ["A47: bias on id -1", { sampling: { logitBias: [[-1, 1]] } }, "logitBias"],
    ["A47: bias on the id behind the last", { sampling: { logitBias: [[10, 1]] } }, "logitBias"],
    ["A47: bias on a text", { sampling: { logitBias: [["1e3", 1]] } }, "logitBias"],
    ["A48: bias 1e9", { sampling: { logitBias: [[1, 1e9]] } }, "-100 to 100"],
    ["A48: bias null", { sampling: { logitBias: [[1, null]] } }, "-100 to 100"],
    ["bias as an object", { sampling: { logitBias: { 1: 2 } } }, "pairs"],
    ["bannedIds outside", { sampling: { bannedIds: [10] } }, "bannedIds"],
    ["A53: a prompt of 10^7 ids", { ids: new Array(1e7).fill(1) }, "contextLength"],
    ["A58: topLogprobs 21", { topLogprobs: 21 }, "topLogprobs"],
    ["A58: topLogprobs 10^6", { topLogprobs: 1e6 }, "0 to 20"],
    ["A58: topLogprobs -1", { topLogprobs: -1 }, "topLogprobs"],
    [
      "constraint beside a cue",
      { budget: { end, cue: [1] }, constraint: { prepare: () => undefined, mask: () => true, accept: () => {} } },
      "cue",
    ],
    ["budget without end", { budget: { end: [] } }, "budget.end"],
    ["budget end outside", { budget: { end: [11] } }, "budget.end"],
    ["budget end that stops", { budget: { end }, stop: [3] }, "stop"],
    ["budget max -1", { budget: { end, max: -1 } }, "budget.max"],
    ["budget min above max", { budget: { end, min: 3, max: 2 } }, "min <= max"],
    ["budget times 0.5", { budget: { end, extend: { times: 0.5, ids: [1] } } }, "times"],
    ["budget extension outside", { budget: { end, extend: { times: 1, ids: [99] } } }, "extend"],
    ["salt 5", { cacheSalt: 5 }, "cacheSalt"],
    ["salt of 257 characters", { cacheSalt: "x".repeat(257) }, "256"],
    ["budget cue outside", { budget: { end, cue: [-2] } }, "cue"],
  ];
  test.each(cases)("%s is refused with the cure", (_, change, names) => {
    const wrong = { ...good, ...change } as GenerationRequest;
    expect(() => checkRequest(wrong, limits)).toThrow(RequestError);
    expect(() => checkRequest(wrong, limits)).toThrow(names);
  });

  test("no request at all", () => {
    expect(() => checkRequest(null as unknown as GenerationRequest, limits)).toThrow(RequestError);
  });
});
