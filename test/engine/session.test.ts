import { afterEach, describe, expect, test } from "vitest";
import { RequestError } from "../../src/core/errors.ts";
import { Engine } from "../../src/engine/engine.ts";
import type { EngineOptions } from "../../src/engine/options.ts";
import type { GenerationResult } from "../../src/engine/request.ts";
import { Session } from "../../src/engine/session.ts";
import type { Model } from "../../src/models/model.ts";
import { mockModel, tinyDeepseek, tinyLlama } from "./mock-model.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function open(model: Model, options: EngineOptions = {}): Engine {
  const engine = new Engine(model, options);
  cleanups.push(
    () => engine.dispose(),
    () => model.dispose(),
  );
  return engine;
}

/** All but how much of it came from the cache. */
const answerOf = ({ cachedTokens: _, ...answer }: GenerationResult) => answer;
const request = (ids: readonly number[], seed = 1) => ({ ids, maxTokens: 6, sampling: { seed }, logprobs: true });

describe.each([
  ["llama", tinyLlama],
  ["deepseek", tinyDeepseek],
])("%s", (_, make) => {
  test("a turn computes only what is new, and has the bits of a fresh start", async () => {
    const engine = open(make(), { slots: 2 });
    const session = new Session(engine);
    const first = await session.generate(request([1, 2, 3, 4]));
    expect(first.cachedTokens).toBe(0);
    const second = [1, 2, 3, 4, ...first.ids, 7, 8];
    // The last emitted id was never fed, so its key is not there.
    expect(session.reusable(second)).toBe(9);
    const rows = engine.counts.rows;
    const answer = await session.generate(request(second));
    expect(answer.cachedTokens).toBe(9);
    expect(engine.counts.rows - rows).toBe(3 + 5);
    const fresh = new Engine(engine.model, { prefixCache: false });
    expect(answerOf(answer)).toEqual(answerOf(await fresh.submit(request(second))));
    await fresh.dispose();
  });

  test("an edited prefix reuses what comes before the edit", async () => {
    const engine = open(make(), { slots: 4 });
    const session = new Session(engine);
    await session.generate(request([1, 2, 3, 4, 5]));
    const edited = await session.generate(request([1, 2, 9, 4, 5]));
    expect(edited.cachedTokens).toBe(2);
    const same = await session.generate(request([1, 2, 9, 4, 5]));
    expect(same.cachedTokens).toBe(4);
    expect(answerOf(same)).toEqual(answerOf(edited));
    session.reset(); // what the first version of the conversation shares with it stays
    expect(session.reusable([1, 2, 9, 4, 5])).toBe(2);
    expect(await session.generate(request([1, 2, 9, 4, 5]))).toEqual(edited);
  });

  test("others take the room of an idle session; it computes again and answers alike", async () => {
    const engine = open(make(), { slots: 1, contextLength: 32 });
    const [a, b] = [new Session(engine), new Session(engine)];
    const before = await a.generate(request([1, 2, 3]));
    await b.generate(request([4, 5, 6]));
    expect(a.reusable([1, 2, 3])).toBe(0);
    expect(b.reusable([4, 5, 6])).toBe(2);
    expect(await a.generate(request([1, 2, 3]))).toEqual(before);
    await engine.submit(request([4, 5, 6]));
    expect(await a.generate(request([1, 2, 3]))).toEqual(before);
  });

  test("an aborted turn keeps what it computed", async () => {
    const engine = open(make());
    const session = new Session(engine);
    const control = new AbortController();
    let count = 0;
    const onToken = () => {
      if (++count === 3) control.abort();
    };
    await expect(session.generate(request([1, 2, 3]), { onToken, signal: control.signal })).rejects.toThrow("aborted");
    const again = await session.generate(request([1, 2, 3]));
    expect(again.cachedTokens).toBe(2);
    const fresh = new Engine(engine.model, { prefixCache: false });
    expect(answerOf(again)).toEqual(answerOf(await fresh.submit(request([1, 2, 3]))));
    await fresh.dispose();
  });

  test("sessions of one salt share what they have in common, those of another do not", async () => {
    const engine = open(make(), { pageSize: 4 });
    const [a, b, c] = [new Session(engine), new Session(engine), new Session(engine, { cacheSalt: "c" })];
    await a.generate(request([1, 2, 3, 4, 5, 6, 7]));
    expect((await b.generate(request([1, 2, 3, 4, 5, 9, 9]))).cachedTokens).toBe(5);
    expect(c.reusable([1, 2, 3, 4, 5, 6, 7])).toBe(0);
    expect((await c.generate(request([1, 2, 3, 4, 5, 6, 7]))).cachedTokens).toBe(0);
    expect((await c.generate(request([1, 2, 3, 4, 5, 6, 7]))).cachedTokens).toBe(6);
  });
});

describe("a session", () => {
  test("takes one request at a time", async () => {
    const session = new Session(open(mockModel({ vocabSize: 8 })));
    const first = session.generate(request([1]));
    await expect(session.generate(request([1]))).rejects.toBeInstanceOf(RequestError);
    expect(() => session.reset()).toThrow(RequestError);
    expect((await first).ids).toHaveLength(6);
    session.dispose();
    await expect(session.generate(request([1]))).rejects.toThrow("disposed");
  });

  test("trusts nothing after logits that were not finite or a step that failed", async () => {
    let mustFail = false;
    const engine = open(
      mockModel({
        vocabSize: 8,
        byId: (last) => (last === 7 ? Number.NaN : 0),
        onForward: () => {
          if (mustFail) throw new Error("trap");
        },
      }),
      { bannedIds: [7] },
    );
    const session = new Session(engine);
    await expect(session.generate(request([1, 2, 7]))).rejects.toThrow("NaN");
    expect(session.reusable([1, 2, 7])).toBe(0);
    await session.generate(request([1, 2]));
    expect(session.reusable([1, 2])).toBe(1);
    mustFail = true;
    await expect(session.generate(request([1, 2]))).rejects.toThrow("trap");
    expect(session.reusable([1, 2])).toBe(0);
    mustFail = false;
    expect((await session.generate(request([1, 2]))).ids).toHaveLength(6);
  });

  test("many sessions over few slots answer as alone", async () => {
    const engine = open(tinyLlama(), { slots: 2, prefillTokens: 3 });
    const turn = async (session: Session, i: number) => {
      let ids = [i, i + 1];
      for (let round = 0; round < 3; round++) ids = [...ids, ...(await session.generate(request(ids, i))).ids, i];
      return ids;
    };
    const together = await Promise.all([0, 1, 2, 3, 4].map((i) => turn(new Session(engine), i)));
    for (const [i, ids] of together.entries()) {
      const alone = new Session(engine);
      expect(await turn(alone, i)).toEqual(ids);
      alone.dispose();
    }
  });
});
