import { describe, expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { ConfigError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { GenerationRequest, GenerationResult } from "../../src/engine/request.ts";
import { type EvaluateOptions, evaluate, type Generate } from "../../src/eval/accuracy.ts";
import { budgetCurve } from "../../src/eval/budget-curve.ts";
import { wilson } from "../../src/eval/intervals.ts";
import { createModel } from "../../src/models/load.ts";
import { createArithmetic } from "../../src/tasks/arithmetic.ts";
import { distinctRows } from "../../src/tasks/split.ts";
import { readJson } from "../models/fixtures.ts";

const task = createArithmetic({ steps: 1 });
const rows = distinctRows(task, "test", 20, new Random(1));
const [open, close, bos, eos] = [1000, 1001, 1002, 1003];
const codec = {
  encode: (text: string) => [...text.replaceAll("<think>", "\u03e8").replaceAll("</think>", "\u03e9")].map((c) => c.codePointAt(0)!),
  decode: (ids: readonly number[]) =>
    ids.map((id) => (id === open ? "<think>" : id === close ? "</think>" : String.fromCodePoint(id))).join(""),
};
const options: EvaluateOptions = { maxTokens: 50, stop: [eos], bos, thinkEnd: [close] };

function result(request: GenerationRequest, text: string, changes: Partial<GenerationResult> = {}): GenerationResult {
  const common = { forced: 0, forcedAt: [], cachedTokens: 0, seed: request.sampling?.seed ?? 0 };
  return { ids: codec.encode(text), stop: "stop", stopId: eos, promptTokens: request.ids.length, ...common, ...changes };
}

/** Knows the answers; is wrong where `wrong` says so. */
function teacher(
  change: (request: GenerationRequest, right: string, place: number) => GenerationResult,
): Generate & { calls: GenerationRequest[][] } {
  let place = 0;
  const calls: GenerationRequest[][] = [];
  const generate = async (requests: readonly GenerationRequest[]) => {
    calls.push([...requests]);
    return requests.map((request) => {
      const prompt = codec.decode(request.ids.slice(1));
      const row = rows.find((one) => task.prompt(one) === prompt)!;
      return change(request, task.trace(row, new Random(0))!, place++);
    });
  };
  return Object.assign(generate, { calls });
}

describe("evaluate", () => {
  test("scores greedy and sampled answers with intervals", async () => {
    const generate = teacher((request, right, place) =>
      // Greedy: the first five are wrong. Sampled, four each: right where the place is a multiple of four.
      result(request, request.sampling?.temperature === 0 ? (place < 5 ? "</think>-1" : right) : place % 4 === 0 ? right : "nonsense"),
    );
    const found = await evaluate(generate, task, rows, codec, { ...options, samples: 4 });
    expect(found.task).toBe("arithmetic");
    expect(found.n).toBe(20);
    expect(found.greedy.accuracy).toEqual(wilson(15, 20));
    expect(found.greedy.meanReward).toBeCloseTo((15 + 0.5) / 20, 12);
    expect(found.sampled?.accuracy[0]).toBe(0.25);
    expect(found.sampled?.answers.map((answer) => answer.right)).toEqual(rows.map(() => true));
    expect(found.greedy.answers[0]).toMatchObject({ prompt: task.prompt(rows[0]!), completion: "</think>-1", right: false, reward: 0.1 });
    expect(found.greedy.truncated).toBe(0);
  });

  test("counts thinking tokens, all tokens and attended keys", async () => {
    const generate = teacher((request) => result(request, "<think>abc</think>1"));
    const { greedy } = await evaluate(generate, task, rows.slice(0, 2), codec, { ...options, samples: 0 });
    expect(greedy.meanThinkingTokens).toBe(4);
    const prompts = rows.slice(0, 2).map((row) => codec.encode(task.prompt(row)).length + 1);
    expect(greedy.promptTokens).toBe(prompts[0]! + prompts[1]!);
    expect(greedy.generatedTokens).toBe(12);
    expect(greedy.keys).toBe(prompts.map((n) => ((n + 6) * (n + 7)) / 2).reduce((a, b) => a + b));
    const endless = teacher((request) => result(request, "<think>abcdef", { stop: "length" }));
    expect((await evaluate(endless, task, rows, codec, { ...options, samples: 0 })).greedy.meanThinkingTokens).toBe(7);
  });

  test("a completion that was cut off is wrong, even if its text is right", async () => {
    const generate = teacher((request, right) => result(request, right, { stop: "length" }));
    const { greedy } = await evaluate(generate, task, rows, codec, { ...options, samples: 0 });
    expect(greedy.accuracy[0]).toBe(0);
    expect(greedy.truncated).toBe(1);
  });

  test("asks as the engine wants to be asked, whatever the chunk; every sample has its own seed", async () => {
    const seen: GenerationRequest[][] = [];
    for (const chunk of [7, 1000]) {
      const generate = teacher((request, right) => result(request, right));
      const progress: number[] = [];
      const onProgress = (done: number, total: number) => progress.push(done / total);
      await evaluate(generate, task, rows, codec, {
        ...options,
        samples: 2,
        sampling: { temperature: 0.7, topP: 0.9 },
        seed: 3,
        chunk,
        onProgress,
      });
      expect(generate.calls.every((call) => call.length <= chunk)).toBe(true);
      expect(progress.at(-1)).toBe(1);
      expect(progress).toEqual([...progress].sort((a, b) => a - b));
      seen.push(generate.calls.flat());
    }
    expect(seen[0]).toEqual(seen[1]);
    const [greedy, sampled] = [seen[0]!.slice(0, 20), seen[0]!.slice(20)];
    expect(greedy[0]).toEqual({
      ids: [bos, ...codec.encode(task.prompt(rows[0]!))],
      maxTokens: 50,
      stop: [eos],
      sampling: { temperature: 0, seed: 0 },
    });
    expect(sampled).toHaveLength(40);
    expect(sampled.every((request) => request.sampling?.temperature === 0.7 && request.sampling.topP === 0.9)).toBe(true);
    expect(new Set(sampled.map((request) => request.sampling?.seed)).size).toBe(40);
    expect(sampled[0]!.ids).toBe(sampled[1]!.ids);
  });

  test("refuses nonsense", async () => {
    const generate = teacher((request, right) => result(request, right));
    await expect(evaluate(generate, task, [], codec, options)).rejects.toThrow(ConfigError);
    await expect(evaluate(generate, task, rows, codec, { ...options, samples: -1 })).rejects.toThrow(ConfigError);
    await expect(evaluate(generate, task, rows, codec, { ...options, thinkEnd: [] })).rejects.toThrow(ConfigError);
    await expect(evaluate(async () => [], task, rows, codec, options)).rejects.toThrow(/0 results for 20 requests/);
  });
});

test("budgetCurve caps, frees and extends thinking", async () => {
  // Thinks 10 tokens; right when it had at least 8; each extension adds 2.
  const generate = teacher((request, right) => {
    const budget = request.budget;
    const thought = Math.min(10 + 2 * (budget?.extend?.times ?? 0), budget?.max ?? 99);
    const answer = thought >= 8 ? right.split("</think>")[1]! : "-1";
    return result(request, `${"x".repeat(thought)}</think>${answer}`);
  });
  const seen: number[] = [];
  const points = await budgetCurve(generate, task, rows, codec, {
    ...options,
    caps: [0, 4, 8],
    extensions: { times: [1, 3], ids: [88] },
    cue: [61],
    onPoint: (point, outcome) => seen.push(point.budget + outcome.answers.length),
  });
  expect(points.map((point) => [point.mode, point.budget, point.thinking_tokens, point.accuracy[0]])).toEqual([
    ["cap", 0, 0, 0],
    ["cap", 4, 4, 0],
    ["cap", 8, 8, 1],
    ["free", 0, 10, 1],
    ["extend", 1, 12, 1],
    ["extend", 3, 16, 1],
  ]);
  expect(seen).toEqual([20, 24, 28, 20, 21, 23]);
  const budgets = generate.calls.map((call) => call[0]!.budget);
  expect(budgets[1]).toEqual({ end: [close], max: 4, cue: [61] });
  expect(budgets[3]).toBeUndefined();
  expect(budgets[4]).toEqual({ end: [close], extend: { times: 1, ids: [88] }, cue: [61] });
});

test("with the engine itself: a random model solves nothing, and the batching changes nothing", async () => {
  const device = openReference({ precision: "f32" });
  const model = createModel(device, readJson("llama-gqa/config.json"), new Random(1));
  const letters = [..."0123456789+-*/=()"];
  const ids = { open: letters.length, close: letters.length + 1, bos: letters.length + 2, eos: letters.length + 3 };
  const own = {
    encode: (text: string) => [...text.replaceAll("<think>", "<")].map((c) => (c === "<" ? ids.open : letters.indexOf(c))),
    decode: (list: readonly number[]) => list.map((id) => (id === ids.close ? "</think>" : (letters[id] ?? "?"))).join(""),
  };
  const common = { maxTokens: 12, stop: [ids.eos], bos: ids.bos, thinkEnd: [ids.close], samples: 2, seed: 5 };
  const runs = [];
  for (const [slots, chunk] of [
    [1, 3],
    [8, 100],
  ]) {
    const engine = new Engine(model, { slots: slots!, contextLength: 40 });
    runs.push(await evaluate((requests) => engine.generate(requests), task, rows.slice(0, 6), own, { ...common, chunk: chunk! }));
    await engine.dispose();
  }
  expect(runs[0]).toEqual(runs[1]);
  expect(runs[0]!.greedy.accuracy[0]).toBeLessThan(0.5);
  expect(runs[0]!.sampled!.generatedTokens).toBeGreaterThan(12);
  model.dispose();
  await device.close();
});
