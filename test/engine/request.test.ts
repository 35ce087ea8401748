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
      seed: undefined,
      budget: undefined,
      logprobs: false,
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
