// generation_config.json is a stranger's file: what it may say, and what of it is passed over with a word.

import { describe, expect, test } from "vitest";
import { numberAt, soundDefaults, stopIdsOf, withDefaults } from "../../src/chat/sampling-defaults.ts";
import type { JsonObject, JsonValue } from "../../src/core/json.ts";
import { parseJson } from "../../src/core/json.ts";
import { checkRequest } from "../../src/engine/request.ts";

const vocabSize = 100;

describe("values that no request may ask for are passed over by name (T39)", () => {
  test.each<readonly [string, JsonValue]>([
    ["temperature", -1],
    ["temperature", "NaN"],
    ["temperature", 1e9],
    ["top_k", -1],
    ["top_k", 1.5],
    ["top_p", 0],
    ["top_p", 1.5],
    ["min_p", 2],
    ["typical_p", -0.5],
    ["repetition_penalty", 0],
    ["repetition_penalty", [1]],
    ["max_new_tokens", 0],
    ["max_new_tokens", 1e12],
    ["do_sample", "yes"],
    ["eos_token_id", vocabSize],
    ["eos_token_id", -1],
    ["eos_token_id", 1.5],
    ["eos_token_id", "</s>"],
    ["eos_token_id", [{}]],
  ])("%s: %j", (key, value) => {
    const given: JsonObject = { do_sample: true, temperature: 0.6, top_p: 0.95, ...{ [key]: value } };
    const { config, warnings } = soundDefaults(given, vocabSize);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(new RegExp(`^generation_config\\.json: ${key}: .* is passed over; expected .+`));
    expect(config).not.toHaveProperty([key]);
    const kept = Object.fromEntries(Object.entries(given).filter(([name]) => name !== key));
    expect({ ...config }).toEqual(kept);
    const maxTokens = numberAt(config, "max_new_tokens") ?? 1;
    expect(() => checkRequest({ ids: [1], maxTokens, sampling: withDefaults({}, config) }, { vocabSize, contextLength: 8 })).not.toThrow();
  });

  test("without an id of the vocabulary the tokenizer's end is used; of a list the known ids stay", () => {
    const { config } = soundDefaults({ eos_token_id: [7, 1e6, 8] }, vocabSize);
    expect(stopIdsOf(config, 2, vocabSize)).toEqual([7, 8]);
    expect(stopIdsOf(soundDefaults({ eos_token_id: 1e6 }, vocabSize).config, 2, vocabSize)).toEqual([2]);
  });

  test("10,000 ends are one line, and cost a request nothing that grows with each token", () => {
    const { config, warnings } = soundDefaults({ eos_token_id: Array.from({ length: 10_000 }, (_, id) => id) }, vocabSize);
    expect(warnings).toHaveLength(1);
    const stop = stopIdsOf(config, undefined, vocabSize);
    expect(stop).toHaveLength(vocabSize);
    expect(checkRequest({ ids: [1], maxTokens: 1, stop }, { vocabSize, contextLength: 8 }).stop).toBeInstanceOf(Set);
  });
});

test("a published file is taken as it is, nulls and keys of others too", () => {
  const text =
    '{"bos_token_id":1,"eos_token_id":[2,3],"do_sample":true,"temperature":0.6,"top_k":20,"top_p":0.95,"max_new_tokens":2048,"pad_token_id":0,"min_p":null,"transformers_version":"4.51"}';
  const given = parseJson(text, { source: "generation_config.json" }) as JsonObject;
  const { config, warnings } = soundDefaults(given, vocabSize);
  expect(warnings).toEqual([]);
  expect({ ...config }).toEqual(JSON.parse(text));
  expect(withDefaults({}, config)).toMatchObject({ temperature: 0.6, topK: 20, topP: 0.95 });
});

test("without do_sample a model is greedy; a request that names a filter draws", () => {
  expect(withDefaults({}, { temperature: 0.6, top_k: 20 })).toMatchObject({ temperature: 0, topK: undefined });
  expect(withDefaults({ topK: 5 }, { temperature: 0.6 })).toMatchObject({ temperature: 1, topK: 5 });
  expect(withDefaults({ temperature: 0 }, { do_sample: true, temperature: 0.6 })).toMatchObject({ temperature: 0 });
});
