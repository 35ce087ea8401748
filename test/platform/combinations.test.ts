// Everything at once, as users combine it: several answers to one prompt, structures, thinking budgets with extensions, speculation, log-probabilities,
// penalties, stop strings, few pages and preemption, answers given up at every moment. Each answer must be the one that its request gets alone, to the
// last bit of its log-probabilities; afterwards every page is back. The bundled model and the real grammars.

import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ChatModel, type RespondOptions } from "../../src/chat/model.ts";
import type { Answer } from "../../src/chat/response.ts";
import { r1Tags } from "../../src/chat/think-tags.ts";
import type { EngineOptions } from "../../src/engine/options.ts";
import { openGrammarThreads } from "../../src/platform/grammar-threads.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { type BundledModel, openBundledModel } from "../bundled-model.ts";

const host = nodeHost();
let bundled: BundledModel;
beforeAll(async () => {
  bundled = await openBundledModel();
});
afterAll(() => bundled.close());

const schema = { type: "object", properties: { a: { type: "integer" } }, required: ["a"], additionalProperties: false };
const asked: RespondOptions[] = [
  { temperature: 0, topLogprobs: 2 },
  { seed: 1, temperature: 0.8, logprobs: true, n: 2 },
  { seed: 3, structure: { schema }, n: 3, logprobs: true, thinking: { max: 14 } },
  { temperature: 0, structure: { regex: "[0-9]{3}(\\+[0-9]{1,2})*" }, thinking: { max: 9, min: 4, extend: { times: 2 } }, topLogprobs: 2 },
  { seed: 5, structure: { choice: ["yes", "no", "3*5+7"] }, n: 2, frequencyPenalty: 1.5, thinking: { max: 0 } },
  { seed: 6, thinking: { max: 20, cue: "!!" }, n: 2, repetitionPenalty: 1.2 },
  { seed: 7, thinking: { min: 30, extend: { times: 2, text: "Wait" } }, stop: ["=", "24"], typicalP: 0.9 },
  { temperature: 0, logitBias: [[5, 3] as const, [9, -100] as const], thinking: false },
].map((options, i) => ({ maxTokens: 24 + 4 * i, ...options }));
const prompts = ["3 5 7=22<think>", "3 5 7=2<think>"];
const jobs = asked.flatMap((options) => prompts.map((prompt) => ({ prompt, options })));

function open(engine: EngineOptions): ChatModel {
  return new ChatModel({
    model: bundled.model,
    tokenizer: bundled.tokenizer,
    thinkTags: r1Tags,
    generationConfig: { eos_token_id: 1 },
    now: host.now,
    engine: { contextLength: 128, ...engine },
    openGrammars: (...vocabulary) => openGrammarThreads(...vocabulary, { compileMilliseconds: 60_000 }),
  });
}

/** All but what depends on the clock and on the others. */
function lasting(answers: readonly Answer[]): unknown {
  return answers.map(({ statistics: { stop, stopText, thinkingTokens, forcedTokens, completionTokens }, ...answer }) => ({
    ...answer,
    counts: { stop, stopText, thinkingTokens, forcedTokens, completionTokens },
  }));
}

/** Reads so many parts, then leaves the loop or aborts; 0 parts: aborts before it listens. */
async function giveUp(chat: ChatModel, { prompt, options }: (typeof jobs)[number], parts: number, leaves: boolean): Promise<void> {
  const control = new AbortController();
  const enough = new Error("enough");
  const response = chat.generate(prompt, { ...options, signal: control.signal });
  if (parts === 0) control.abort(enough);
  let count = 0;
  try {
    for await (const _ of response) {
      if (++count < parts) continue;
      if (leaves) break;
      control.abort(enough);
    }
  } catch (error) {
    expect(error).toBe(enough);
  }
}

const scenario = fc.record({
  engine: fc.record({
    slots: fc.integer({ min: 1, max: 12 }),
    pageSize: fc.constantFrom(1, 4, 32),
    cacheTokens: fc.integer({ min: 128, max: 500 }),
    prefillTokens: fc.constantFrom(1, 5, 256),
    prefixCache: fc.boolean(),
    speculation: fc.constantFrom<NonNullable<EngineOptions["speculation"]>>(
      { kind: "none" },
      { kind: "lookup", adapt: false, tokens: 4 },
      { kind: "mtp", adapt: false },
      { kind: "mtp" },
    ),
  }),
  order: fc.shuffledSubarray(jobs, { minLength: 6 }),
  givenUp: fc.array(fc.record({ job: fc.constantFrom(...jobs), parts: fc.nat(20), leaves: fc.boolean() }), { maxLength: 5 }),
});

test("each answer is the one that its request gets alone", async () => {
  const bare = open({ slots: 1, prefixCache: false });
  const alone = new Map<(typeof jobs)[number], unknown>();
  for (const job of jobs) alone.set(job, lasting(await bare.generate(job.prompt, job.options).answers()));
  await bare.close();
  const seen = { preemptions: 0, accepted: 0 };
  await fc.assert(
    fc.asyncProperty(scenario, async ({ engine, order, givenUp }) => {
      const chat = open(engine);
      const lost = givenUp.map(({ job, parts, leaves }) => giveUp(chat, job, parts, leaves));
      const answers = await Promise.all(order.map(({ prompt, options }) => chat.generate(prompt, options).answers()));
      await Promise.all(lost);
      for (const [i, job] of order.entries()) expect(lasting(answers[i] as Answer[])).toEqual(alone.get(job));
      const { pages, freePages, running, waiting, preemptions, accepted } = chat.engine.counts;
      expect({ freePages, running, waiting }).toEqual({ freePages: pages, running: 0, waiting: 0 });
      seen.preemptions += preemptions;
      seen.accepted += accepted;
      await chat.close();
    }),
    { seed: 4, numRuns: 10 },
  );
  // The scenarios did what they are for.
  expect(seen.preemptions).toBeGreaterThan(0);
  expect(seen.accepted).toBeGreaterThan(0);
}, 120_000);
