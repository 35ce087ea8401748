import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.ts";
import { makeFilter } from "../../src/engine/filters.ts";
import { applyPenalties, type PenaltySettings } from "../../src/engine/penalties.ts";
import type { GenerationRequest, Sampling } from "../../src/engine/request.ts";
import { mockModel } from "./mock-model.ts";

const none: PenaltySettings = { repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, logitBias: new Map(), bannedIds: [] };

function apply(logits: readonly number[], ids: readonly number[], promptLength: number, settings: Partial<PenaltySettings>): number[] {
  const row = Float32Array.from([99, ...logits, 99]); // neighbours that nobody may touch
  applyPenalties(row, 1, logits.length, ids, promptLength, { ...none, ...settings });
  expect([row[0], row.at(-1)]).toEqual([99, 99]);
  return [...row.subarray(1, -1)];
}

describe("penalties", () => {
  test("repetition divides what is positive, multiplies what is negative, once an id, prompt and completion", () => {
    expect(apply([4, -4, 4, -4, 0], [0, 0, 1, 4], 3, { repetitionPenalty: 2 })).toEqual([2, -8, 4, -4, 0]);
  });

  test("presence counts once, frequency each time, and only the completion counts", () => {
    expect(apply([0, 0, 0], [0, 1, 1, 1, 2], 2, { presencePenalty: 0.5, frequencyPenalty: 0.25 })).toEqual([0, -1, -0.75]);
    expect(apply([0, 0, 0], [0, 1, 2], 3, { presencePenalty: 2, frequencyPenalty: 2 })).toEqual([0, 0, 0]);
  });

  test("bias is added before the repetition penalty; banned ids stay banned", () => {
    const settings = {
      logitBias: new Map([
        [0, 3],
        [1, 100],
      ]),
      bannedIds: [1],
      repetitionPenalty: 2,
    };
    expect(apply([1, 5], [0, 1], 2, settings)).toEqual([2, Number.NEGATIVE_INFINITY]);
  });

  test("ids outside the row are passed over", () => {
    expect(apply([1, 1], [7, 7], 1, { presencePenalty: 1, repetitionPenalty: 2 })).toEqual([1, 1]);
  });
});

describe("probabilities after penalties and filters are those of transformers", () => {
  type Case = { logits: number[]; ids: number[]; settings: Partial<Sampling>; probabilities: number[] };
  const url = new URL("../fixtures/engine/sampling.json", import.meta.url);
  const { cases } = JSON.parse(readFileSync(url, "utf8")) as { cases: Case[] };
  test.each(cases.map((each, index) => [index, JSON.stringify(each.settings), each] as const))("case %i %s", (_, _settings, each) => {
    const { logits, ids, settings, probabilities } = each;
    const row = Float32Array.from(logits);
    const { repetitionPenalty = 1, temperature = 1, topK = 0, topP = 1, minP = 0, typicalP = 1 } = settings;
    applyPenalties(row, 0, row.length, ids, ids.length, { ...none, repetitionPenalty });
    const kept = makeFilter(row.length)(row, 0, row.length, { temperature, topK, topP, minP, typicalP });
    const ours = new Array<number>(row.length).fill(0);
    for (let i = 0; kept && i < kept.count; i++) ours[kept.ids[i] as number] = (kept.weights[i] as number) / kept.total;
    for (const [id, p] of probabilities.entries()) expect(Math.abs((ours[id] as number) - p)).toBeLessThan(1e-6);
  });
});

describe("in the engine", () => {
  const engines: Engine[] = [];
  afterEach(async () => {
    for (const engine of engines.splice(0)) {
      await engine.dispose();
      engine.model.dispose();
    }
  });
  const open = (vocabLimit?: number) => {
    const model = mockModel({ vocabSize: 12, byPosition: (p, id) => Math.sin(p * 3 + id * 2) + (id === 11 ? 50 : 0) });
    const engine = new Engine(model, { ...(vocabLimit && { vocabLimit }) });
    engines.push(engine);
    return engine;
  };
  const ask = (sampling: Sampling, more: Partial<GenerationRequest> = {}): GenerationRequest => ({
    ids: [1, 2],
    maxTokens: 12,
    sampling: { seed: 3, ...sampling },
    ...more,
  });

  test("padded ids are never drawn, not even with a bias", async () => {
    const { ids } = await open(11).submit(ask({ temperature: 50, logitBias: [[11, 100]] }));
    expect(ids).not.toContain(11);
  });

  test("a bias of 100 decides, a ban of the request forbids", async () => {
    const engine = open(11);
    expect((await engine.submit(ask({ temperature: 0, logitBias: [[4, 100]] }))).ids).toEqual(new Array(12).fill(4));
    expect((await engine.submit(ask({ temperature: 0, logitBias: [[4, 100]], bannedIds: [4] }))).ids).not.toContain(4);
  });

  test("a frequency penalty ends a loop", async () => {
    const engine = open(11);
    const looping = await engine.submit(ask({ temperature: 0, logitBias: [[4, 4]] }));
    expect(new Set(looping.ids).size).toBe(1);
    const varied = await engine.submit(ask({ temperature: 0, logitBias: [[4, 4]], frequencyPenalty: 2 }));
    expect(new Set(varied.ids).size).toBeGreaterThan(4);
  });

  test("the id at a place depends on seed and place, not on how the ones before were chosen", async () => {
    const flat = mockModel({ vocabSize: 50 });
    const engine = new Engine(flat);
    const free = await engine.submit({ ids: [1], maxTokens: 12, sampling: { seed: 9 } });
    const forced = await engine.submit({ ids: [1], maxTokens: 12, sampling: { seed: 9 }, budget: { end: [3], max: 4, cue: [5] } });
    expect(forced.forced).toBe(2);
    expect(forced.ids.slice(6)).toEqual(free.ids.slice(6));
    await engine.dispose();
    flat.dispose();
  });

  test("alternatives are the likeliest ids, with log-probabilities that agree with the emitted id's", async () => {
    const engine = open(11);
    const result = await engine.submit(ask({ temperature: 0, bannedIds: [0] }, { topLogprobs: 3, maxTokens: 4 }));
    expect(result.topLogprobs).toHaveLength(4);
    for (const [i, list] of (result.topLogprobs ?? []).entries()) {
      const place = 1 + i;
      const row = Array.from({ length: 12 }, (_, id) => Math.sin(place * 3 + id * 2) + (id === 11 ? 50 : 0));
      const lse = Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0));
      const expected = row
        .slice(0, 11)
        .map((x, id) => ({ id, logprob: x - lse }))
        .sort((a, b) => b.logprob - a.logprob)
        .slice(0, 3);
      expect(list.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
      for (const [k, { logprob }] of list.entries()) expect(logprob).toBeCloseTo(expected[k]?.logprob as number, 4);
      const emitted = list.find(({ id }) => id === result.ids[i]);
      if (emitted) expect(emitted.logprob).toBeCloseTo(result.logprobs?.[i] as number, 5);
    }
  });

  test("no log-probabilities, no alternatives, unless asked", async () => {
    const result = await open(11).submit(ask({}));
    expect(result).not.toHaveProperty("logprobs");
    expect(result).not.toHaveProperty("topLogprobs");
  });
});
