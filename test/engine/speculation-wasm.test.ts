import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openDevice } from "../../src/backend/open.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { GenerationRequest, GenerationResult } from "../../src/engine/request.ts";
import type { SpeculationOptions } from "../../src/engine/speculation.ts";
import type { Model } from "../../src/models/model.ts";
import { nodeHost } from "../../src/platform/node.ts";
import type { Tokenizer } from "../../src/text/tokenizer.ts";
import { openBundledModel } from "../bundled-model.ts";
import { tinyDeepseek, tinyLlama } from "./mock-model.ts";
import { speculationSuite } from "./speculation-suite.ts";

for (const build of ["relaxed", "simd128"] as const) {
  speculationSuite(
    `wasm ${build}, one thread and two`,
    async () => [await openDevice(nodeHost(), { threads: 1, build }), await openDevice(nodeHost(), { threads: 2, build })],
    [
      ["llama", tinyLlama, {}, ["lookup"]],
      ["deepseek, absorbed", (device) => tinyDeepseek(device, 1), { absorbed: true }, ["lookup", "mtp", "mtp"]],
      ["deepseek, plain", (device) => tinyDeepseek(device, 1), { absorbed: false }, ["lookup", "mtp", "mtp"]],
    ],
    16,
  );
}

describe("the bundled model", () => {
  const problems = ["3 5 7=22", "25 3 8 4=67", "11 2 9 6=48", "1 2 3 4=24"];
  let model: Model;
  let tokenizer: Tokenizer;
  let close: () => Promise<void>;
  beforeAll(async () => {
    ({ model, tokenizer, close } = await openBundledModel());
  });
  afterAll(() => close());

  const requests = (): GenerationRequest[] =>
    problems.flatMap((problem, i) =>
      [{ temperature: 0 }, { temperature: 0.8, seed: i }, { topP: 0.9, seed: 10 + i }].map((sampling) => ({
        ids: tokenizer.encode(problem),
        maxTokens: 120,
        stop: [1],
        sampling,
        logprobs: true,
      })),
    );

  async function run(speculation?: SpeculationOptions): Promise<{ answers: unknown[]; drafted: number; accepted: number }> {
    const engine = new Engine(model, { contextLength: 256, ...(speculation && { speculation }) });
    const answers: unknown[] = [];
    for (const request of requests()) answers.push(answerOf(await engine.submit(request)));
    for (const answer of await engine.generate(requests())) answers.push(answerOf(answer));
    for (const answer of await engine.samples(requests()[1] as GenerationRequest, 6)) answers.push(answerOf(answer));
    const { drafted, accepted } = engine.counts;
    await engine.dispose();
    return { answers, drafted, accepted };
  }

  test("says the same with drafts of its own head and of lookups, some of which come true", async () => {
    const plain = await run();
    for (const kind of ["mtp", "lookup"] as const) {
      const speculated = await run({ kind, adapt: false });
      expect(speculated.answers).toEqual(plain.answers);
      // How often a lookup comes true here is luck of the text; the next test has text that repeats.
      expect(speculated.accepted / speculated.drafted).toBeGreaterThan(kind === "mtp" ? 0.4 : 0);
    }
    expect((await run({ kind: "mtp" })).answers).toEqual(plain.answers);
  }, 120_000);

  test("lookups come true where the text repeats: a problem whose answer stands before it", async () => {
    const ask = async (ids: number[], speculation?: SpeculationOptions) => {
      const engine = new Engine(model, { contextLength: 512, ...(speculation && { speculation }) });
      const result = await engine.submit({ ids, maxTokens: 100, stop: [1], sampling: { temperature: 0 } });
      await engine.dispose();
      return result;
    };
    let [drafted, accepted] = [0, 0];
    for (const problem of problems) {
      const ids = tokenizer.encode(problem);
      const again = [...ids, ...(await ask(ids)).ids, ...ids];
      const plain = await ask(again);
      const speculated = await ask(again, { kind: "lookup", adapt: false });
      expect(speculated.ids).toEqual(plain.ids);
      drafted += speculated.drafted ?? 0;
      accepted += speculated.accepted ?? 0;
    }
    expect(accepted / drafted).toBeGreaterThan(0.1);
  }, 120_000);
});

function answerOf({ cachedTokens: _, seed: __, drafted: ___, accepted: ____, ...answer }: GenerationResult): unknown {
  return answer;
}
