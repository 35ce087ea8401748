import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PromptLookup } from "../../src/engine/draft-lookup.ts";
import { NextDrafter } from "../../src/engine/draft-next.ts";
import { Pace } from "../../src/engine/pace.ts";
import { PagePool } from "../../src/engine/pages.ts";
import { checkRequest } from "../../src/engine/request.ts";
import type { StepPlan } from "../../src/engine/scheduler.ts";
import { type Sequence, startSequence } from "../../src/engine/sequence.ts";

const range = (n: number, from = 0) => Array.from({ length: n }, (_, i) => from + i);

describe("lookup", () => {
  const propose = (ids: readonly number[], most = 4) => new PromptLookup().propose({ ids }, most);

  test("says what followed the longest match, the latest of equals", () => {
    expect(propose([1, 2, 3, 9, 1, 2])?.ids).toEqual([3, 9, 1, 2]);
    expect(propose([7, 1, 2, 3, 8, 1, 2, 4, 7, 1, 2])?.ids).toEqual([3, 8, 1, 2]); // 7 1 2 is longer than 1 2
    expect(propose([1, 2, 3, 8, 1, 2, 4, 7, 1, 2])?.ids).toEqual([4, 7, 1, 2]);
  });

  test("is silent where two ids never stood together before", () => {
    for (const ids of [[], [1], [1, 1], [1, 2, 3], [2, 1, 1, 2, 3, 2, 2]]) expect(propose(ids)).toBeUndefined();
  });

  test("a repetition goes on with itself", () => {
    expect(propose([5, 6, 5, 6, 5, 6], 7)?.ids).toEqual([5, 6, 5, 6, 5, 6, 5]);
    expect(propose([4, 4, 4], 3)?.ids).toEqual([4, 4, 4]);
  });

  test("a longer match has a higher grade", () => {
    const grade = (n: number) => propose([...range(n, 10), 1, 2, ...range(n, 10)])?.grade;
    expect([2, 3, 4, 5, 8, 9, 30].map(grade)).toEqual([0, 1, 1, 2, 2, 3, 3]);
  });

  test("as ids come in, says what a new index would say", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3), { minLength: 1, maxLength: 60 }), (all) => {
        const lookup = new PromptLookup();
        const ids: number[] = [];
        for (const id of all) {
          ids.push(id);
          const most = 1 + (ids.length % 5);
          const proposal = lookup.propose({ ids }, most);
          expect(proposal).toEqual(propose([...ids], most));
          if (!proposal) continue;
          expect(proposal.ids).toHaveLength(most);
          // The drafts follow a place where the last two ids stood before.
          const [a, b] = ids.slice(-2);
          expect(ids.some((_, i) => i + 2 < ids.length && ids[i] === a && ids[i + 1] === b && ids[i + 2] === proposal.ids[0])).toBe(true);
        }
      }),
      { seed: 3 },
    );
  });

  test("hostile ids cost no more than others", () => {
    const ids = new Array<number>(200_000).fill(7);
    const lookup = new PromptLookup();
    lookup.propose({ ids }, 32);
    const began = performance.now();
    for (let i = 0; i < 1000; i++) lookup.propose({ ids }, 32);
    expect(performance.now() - began).toBeLessThan(2000); // measured: 2 ms
  });
});

describe("pace", () => {
  /** Seconds by rows. */
  const measured = (seconds: (rows: number) => number, rows: readonly number[]) => {
    const pace = new Pace();
    for (let i = 0; i < 3; i++) for (const r of rows) pace.note(r, seconds(r));
    return pace;
  };

  test("measures plain steps before anything else, then tries what it does not know", () => {
    const pace = new Pace();
    expect(pace.choose(1, [0.9, 0.8]).n).toBe(0);
    pace.note(1, 1);
    pace.note(1, 1);
    expect(pace.choose(1, [0.9, 0.8]).n).toBe(2);
  });

  test("drafts where rows are nearly free, as many as pay, and none where each row costs a step", () => {
    const free = measured((rows) => 1 + 0.05 * rows, range(9, 1));
    expect(free.choose(1, [0.9, 0.8, 0.7, 0.6]).n).toBe(4);
    expect(free.choose(1, [0.9, 0.8, 0.02, 0.01]).n).toBe(2);
    expect(free.choose(1, [0.9]).worth).toBeCloseTo(1.9 / (1.1 / 1.05), 6);
    const dear = measured((rows) => rows, range(9, 1));
    expect(dear.choose(1, [0.9, 0.8, 0.7]).n).toBe(0);
  });

  test("rows that come in strips: a step that pays only with several drafts", () => {
    const strips = measured((rows) => (rows === 1 ? 1 : 2), range(8, 1));
    expect(strips.choose(1, [0.9]).n).toBe(0);
    expect(strips.choose(1, [0.9, 0.8, 0.7, 0.6, 0.5]).n).toBe(5);
  });

  test("the time that drafts take counts against them", () => {
    const pace = measured((rows) => 1 + 0.05 * rows, range(4, 1));
    expect(pace.choose(1, [0.5], () => 1).worth).toBeLessThan(1);
    expect(pace.choose(1, [0.9], () => 0.2).worth).toBeGreaterThan(1.4);
  });

  test("now and then gives the other answer, and one pause of the machine changes nothing", () => {
    const never = measured((rows) => rows, range(9, 1));
    never.note(1, 1000);
    expect(range(128).filter(() => never.choose(1, [0.9]).n > 0)).toHaveLength(2);
    const always = measured(() => 1, range(9, 1));
    expect(range(128).filter(() => always.choose(1, [0.9]).n === 0)).toHaveLength(2);
  });

  test("large batches compute and are left alone", () => {
    expect(measured(() => 1, range(300, 1)).choose(200, [0.9]).n).toBe(0);
  });
});

describe("next head", () => {
  const planOf = (...fed: Sequence[]): StepPlan => ({ fed, choosing: fed, outputRows: [], outputs: fed.length, rows: 0 });

  function sequence(ids: readonly number[], state: Partial<Sequence>): Sequence {
    return Object.assign(startSequence(1, checkRequest({ ids, maxTokens: 9 }, { vocabSize: 99, contextLength: 99 }), 0), state);
  }

  test("sees the keys that it wrote without a gap, through pages, copies and shared prefixes", () => {
    const drafter = new NextDrafter(new PagePool(9, 4));
    const first = (state: Partial<Sequence>) => drafter.begin(planOf(sequence(range(20), state)))?.[0]?.first;
    expect(first({ pages: [3, 1, 5], cached: 0, feed: 10 })).toBe(0);
    expect(first({ pages: [3, 1, 5], cached: 10, feed: 1 })).toBe(0);
    // Page 1 copied into page 2 as far as its second row, page 3 shared.
    expect(first({ pages: [3, 2], cached: 6, feed: 1, copy: { from: 1, to: 2, rows: 2 } })).toBe(0);
    // A page with keys of before the head was asked: it sees its own.
    expect(first({ pages: [3, 7], cached: 6, feed: 1 })).toBe(6);
    expect(first({ pages: [3, 7], cached: 7, feed: 3 })).toBe(6);
  });

  test("pauses when drafts do not pay, longer each time, and begins anew after the gap", () => {
    const drafter = new NextDrafter(new PagePool(9, 4));
    const step = (cached: number) => drafter.begin(planOf(sequence(range(9), { pages: [0, 1, 2], cached, feed: 1 })))?.[0]?.first;
    expect(step(0)).toBe(0);
    const pauseAfter = (worth: number) => {
      for (let i = 0; i < 16; i++) drafter.judge(worth);
      let steps = 0;
      while (step(1) === undefined) steps++;
      return steps;
    };
    expect([0.9, 0.9, 0.9, 1.2, 0.9].map(pauseAfter)).toEqual([64, 128, 256, 0, 64]);
    expect(step(2)).toBe(1);
    expect(step(4)).toBe(1);
  });

  test("is fed the id after each row, and asked after the last; says nothing of what is not finite", () => {
    const drafter = new NextDrafter(new PagePool(9, 4));
    const prompt = sequence(range(9, 10), { pages: [0, 1, 2], cached: 2, feed: 3 });
    const decoding = sequence(range(6, 50), { pages: [3, 4], cached: 5, feed: 3, drafts: [70, 71] });
    const done = sequence(range(3, 80), { pages: [5], cached: 2, feed: 1 });
    const spans = drafter.begin(planOf(prompt, decoding, done)) ?? [];
    decoding.ids.push(70, 60); // the first draft came true
    done.isDone = true;
    const rows = drafter.rowsOf(spans);
    expect(rows).toEqual({
      nextIds: [13, 14, 15, 70, 60, 0, 0],
      first: [2, 2, 2, 5, 5, 5, 2],
      outputRows: [4],
      sequences: [decoding],
    });
    drafter.note(rows.sequences, Float32Array.of(0, 3, 0, 9), 4, 3);
    expect(drafter.propose(decoding)).toEqual({ ids: [1], grade: 2 }); // e³ / (e³ + 2) = 0.91; id 3 may not be drawn
    decoding.ids.push(1);
    expect(drafter.propose(decoding)).toBeUndefined();
    drafter.note([prompt], Float32Array.of(0, Number.NaN, 0), 3, 3);
    expect(drafter.propose(prompt)).toBeUndefined();
  });
});
