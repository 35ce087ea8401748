import { describe, expect, test } from "vitest";
import { fillStep, layoutOf } from "../../src/engine/layout.ts";
import { PagePool } from "../../src/engine/pages.ts";
import { PrefixCache } from "../../src/engine/prefix-cache.ts";
import { checkRequest } from "../../src/engine/request.ts";
import { Scheduler, type SchedulerOptions, type StepPlan } from "../../src/engine/scheduler.ts";
import { type Sequence, startSequence } from "../../src/engine/sequence.ts";

let number = 0;
function sequence(ids: readonly number[], cacheSalt = ""): Sequence {
  const request = checkRequest({ ids, maxTokens: 50, cacheSalt }, { vocabSize: 1000, contextLength: 500 });
  return startSequence(++number, request, 0);
}

const range = (n: number, from = 0) => Array.from({ length: n }, (_, i) => from + i);

function open(options: Partial<SchedulerOptions> & { pages?: number; pageSize?: number; shares?: boolean } = {}) {
  const { pages = 100, pageSize = 4, shares = true, ...rest } = options;
  const pool = new PagePool(pages, pageSize);
  const prefixes = shares ? new PrefixCache(pool) : undefined;
  const scheduler = new Scheduler({ slots: 8, prefillTokens: 16, pool, prefixes, ...rest });
  /** Plans a step and takes it as computed; every sequence that chooses emits `id`. */
  const step = (id = 900): StepPlan => {
    const plan = scheduler.plan();
    const feeds = plan.fed.map(({ feed }) => feed);
    scheduler.advance(plan);
    for (const chosen of plan.choosing) chosen.ids.push(id);
    return { ...plan, fed: plan.fed.map((fed, i) => ({ ...fed, feed: feeds[i] as number })) };
  };
  const join = (...sequences: Sequence[]) => {
    for (const each of sequences) scheduler.join(each);
    return sequences;
  };
  return { pool, prefixes, scheduler, step, join };
}

const feeds = ({ fed }: StepPlan) => fed.map(({ number, feed }) => [number, feed]);

describe("rows", () => {
  test("decoders have theirs first, prompts share the rest in order of arrival", () => {
    const { scheduler, step, join } = open({ prefillTokens: 10 });
    const [a, b, c] = join(sequence([1]), sequence(range(14, 100)), sequence(range(5, 200)), sequence([3])) as [
      Sequence,
      Sequence,
      Sequence,
    ];
    const d = c.number + 1;
    expect(feeds(step())).toEqual([
      [a.number, 1],
      [b.number, 10],
      [d, 1],
    ]);
    expect(feeds(step())).toEqual([
      [a.number, 1],
      [b.number, 4],
      [c.number, 5],
      [d, 1],
    ]);
    expect(feeds(step())).toEqual([
      [a.number, 1],
      [b.number, 1],
      [c.number, 1],
      [d, 1],
    ]);
    expect(scheduler.running.length).toBe(4);
  });

  test("lie flat: ids, positions, cache rows, table rows, output rows, the table, and what is copied", () => {
    const { scheduler, join } = open({ prefillTokens: 6 });
    const [first] = join(sequence([5, 6, 7, 8, 9])) as [Sequence];
    scheduler.advance(scheduler.plan());
    first.ids.push(10);
    const [second] = join(sequence([5, 6, 7, 8, 9, 20, 21, 22, 23, 24, 25, 26])) as [Sequence];
    const plan = scheduler.plan();
    expect(first.pages).toEqual([0, 1]);
    expect(second.pages).toEqual([0, 2, 3]);
    const layout = layoutOf(plan);
    expect(layout).toEqual({ R: 7, M: 1, tables: 2, width: 3, copies: 1, length: 4 * 7 + 1 + 6 + 2 });
    const out = new Int32Array(layout.length).fill(-1);
    fillStep(plan, layout, 4, out);
    expect([...out]).toEqual([
      ...[10, 20, 21, 22, 23, 24, 25],
      ...[5, 5, 6, 7, 8, 9, 10],
      ...[5, 9, 10, 11, 12, 13, 14],
      ...[0, 1, 1, 1, 1, 1, 1],
      0,
      ...[0, 1, -1, 0, 2, 3],
      4, // from the first row of page 1
      8, // to that of page 2
    ]);
  });

  test("when nobody chooses row 0 stands in", () => {
    const { scheduler, join } = open({ prefillTokens: 3 });
    join(sequence(range(10)));
    const plan = scheduler.plan();
    const layout = layoutOf(plan);
    const out = new Int32Array(layout.length).fill(77);
    fillStep(plan, layout, 4, out);
    expect([plan.choosing.length, layout.M, out[12]]).toEqual([0, 1, 0]);
  });
});

describe("admission", () => {
  test("first come, first served, as places become free", () => {
    const { scheduler, step, join } = open({ slots: 2 });
    const line = join(...range(4).map((i) => sequence([i])));
    step();
    expect(scheduler.running).toEqual(line.slice(0, 2));
    scheduler.leave(line[0] as Sequence, true);
    scheduler.leave(line[2] as Sequence, true); // cancelled while waiting
    step();
    expect(scheduler.running).toEqual([line[1], line[3]]);
    expect(scheduler.waiting).toBe(0);
  });

  test("a prompt for which there is no room waits, and those behind it with it", () => {
    const { scheduler, step, join } = open({ pages: 6, prefillTokens: 100 });
    const [a, b, c] = join(sequence(range(16)), sequence(range(12, 100)), sequence([7])) as [Sequence, Sequence, Sequence];
    step();
    expect([scheduler.running, scheduler.preemptions]).toEqual([[a], 0]);
    scheduler.leave(a, true);
    step();
    expect([scheduler.running, scheduler.preemptions]).toEqual([[b, c], 0]);
  });
});

describe("sharing", () => {
  test("a prompt that another is computing waits a step and takes its keys", () => {
    const { pool, step, join } = open({ prefillTokens: 100 });
    const prompt = range(18);
    const [a, b, c] = join(sequence(prompt), sequence(prompt), sequence([...prompt.slice(0, 10), 99, 98])) as [
      Sequence,
      Sequence,
      Sequence,
    ];
    expect(feeds(step())).toEqual([[a.number, 18]]);
    expect(feeds(step())).toEqual([
      [a.number, 1],
      [b.number, 1],
      [c.number, 2],
    ]);
    expect([b.reused, c.reused]).toEqual([17, 10]);
    expect(b.pages.slice(0, 4)).toEqual(a.pages.slice(0, 4));
    expect(c.pages.slice(0, 2)).toEqual(a.pages.slice(0, 2));
    expect(b.pages[4]).not.toBe(a.pages[4]);
    expect(pool.count - pool.free).toBe(5 + 1 + 1);
  });

  test("for a few ids, of another salt, or without a cache nobody waits", () => {
    const same = open({ prefillTokens: 100 });
    const prompt = range(18);
    const few = same.join(sequence(prompt), sequence([...prompt.slice(0, 7), 99, 98]), sequence(prompt, "b"));
    expect(feeds(same.step())).toEqual(few.map(({ number, ids }) => [number, ids.length - 1]));
    const none = open({ prefillTokens: 100, shares: false });
    none.join(sequence(prompt), sequence(prompt));
    expect(none.step().rows).toBe(36);
  });

  test("a waiting prompt goes on when the one it waited for leaves", () => {
    const { scheduler, step, join } = open({ prefillTokens: 8 });
    const [a, b] = join(sequence(range(40)), sequence(range(40))) as [Sequence, Sequence];
    expect(feeds(step())).toEqual([[a.number, 8]]);
    scheduler.leave(a, true);
    expect(feeds(step())).toEqual([[b.number, 8]]);
    expect(b.reused).toBe(8);
  });

  test("two that computed the same page keep one", () => {
    const { pool, prefixes, scheduler, step, join } = open({ prefillTokens: 100 });
    const [a, b] = join(sequence([...range(7), 50, 60]), sequence([...range(7), 51, 61])) as [Sequence, Sequence];
    expect(step().rows).toBe(18); // too little in common to wait
    expect(b.pages[0]).toBe(a.pages[0]);
    expect(pool.count - pool.free).toBe(5);
    for (const each of [a, b]) scheduler.leave(each, true);
    expect(pool.count - pool.free).toBe(prefixes?.idle);
    prefixes?.clear();
    expect(pool.free).toBe(pool.count);
  });
});

describe("drafts", () => {
  /** Every decoding sequence gets these drafts. */
  const withDrafts = (drafts: readonly number[], options: Parameters<typeof open>[0] = {}) =>
    open({
      prefillTokens: 100,
      ...options,
      draft: (decoding) => {
        for (const each of decoding) each.drafts = drafts;
      },
    });

  test("are rows with logits of their own after the last id, and take pages that are free", () => {
    const { pool, scheduler, join } = withDrafts([70, 71, 72]);
    const [a] = join(sequence([1, 2, 3])) as [Sequence];
    scheduler.advance(scheduler.plan());
    a.ids.push(4);
    const [b] = join(sequence([9, 8])) as [Sequence];
    const plan = scheduler.plan();
    expect(plan).toMatchObject({ fed: [a, b], choosing: [a, b], outputRows: [0, 4], outputs: 5, rows: 6 });
    expect([a.pages.length, a.cached, a.drafted, b.drafted]).toEqual([2, 3, 3, 0]);
    const layout = layoutOf(plan);
    const out = new Int32Array(layout.length);
    fillStep(plan, layout, 4, out);
    expect([...out.subarray(0, 12)]).toEqual([4, 70, 71, 72, 9, 8, 3, 4, 5, 6, 0, 1]);
    expect([...out.subarray(24, 29)]).toEqual([0, 1, 2, 3, 5]);
    scheduler.advance(plan);
    expect(a.cached).toBe(4);
    scheduler.endStep(plan);
    expect([a.pages.length, a.drafts, pool.count - pool.free]).toEqual([1, [], 2]);
  });

  test("that were chosen count as keys, the others are never in the prefix cache", () => {
    const { prefixes, scheduler, join } = withDrafts([70, 71, 72, 73, 74, 75]);
    const [a] = join(sequence([1, 2, 3])) as [Sequence];
    scheduler.advance(scheduler.plan());
    a.ids.push(4);
    const plan = scheduler.plan();
    scheduler.advance(plan);
    for (const id of [70, 71, 72, 73]) {
      a.ids.push(id);
      scheduler.accept(a);
    }
    a.ids.push(50); // 74 was wrong
    expect(prefixes?.find("", [1, 2, 3, 4, 70, 71, 72, 73, 74, 75], 10).length).toBe(8);
    scheduler.endStep(plan);
    expect([a.cached, a.pages.length, a.drafted, a.accepted]).toEqual([8, 2, 6, 4]);
    expect([scheduler.drafted, scheduler.accepted]).toEqual([6, 4]);
    scheduler.leave(a, true);
    expect(prefixes?.find("", [1, 2, 3, 4, 70, 71, 72, 73, 74], 9).length).toBe(8);
    expect(prefixes?.find("", [1, 2, 3, 4, 70, 71, 72, 73, 50], 9).length).toBe(8);
  });

  test("evict nothing and preempt nobody: without free pages there is only the room in a sequence's own", () => {
    const { prefixes, pool, scheduler, step, join } = withDrafts([70, 71, 72, 73, 74], { pages: 4 });
    const [old] = join(sequence(range(4, 100))) as [Sequence];
    step();
    scheduler.leave(old, true);
    const [a, b] = join(sequence([1]), sequence([2])) as [Sequence, Sequence];
    const plan = scheduler.plan();
    expect(feeds(plan)).toEqual([
      [a.number, 6],
      [b.number, 4],
    ]);
    expect([prefixes?.idle, pool.free]).toEqual([1, 0]);
    scheduler.leave(a, true); // cancelled while the step is computed
    scheduler.advance(plan);
    scheduler.endStep(plan);
    expect([pool.free, scheduler.preemptions]).toEqual([2, 0]);
  });

  test("where the last page is full and none is free there are none", () => {
    const { pool, scheduler, step, join } = withDrafts([70, 71], { pages: 2 });
    const [a] = join(sequence(range(7))) as [Sequence];
    step();
    expect([a.ids.length, pool.free]).toEqual([8, 0]);
    expect(feeds(scheduler.plan())).toEqual([[a.number, 1]]);
    expect([a.drafts, a.drafted]).toEqual([[], 0]);
  });
});

describe("a full pool", () => {
  test("the newest gives its pages back and comes back first, with what it emitted", () => {
    const { pool, scheduler, step, join } = open({ pages: 4, slots: 3, prefillTokens: 100, shares: false });
    const [a, b] = join(sequence([1, 2, 3]), sequence([4, 5, 6])) as [Sequence, Sequence];
    for (let i = 0; i < 5; i++) step(); // 7 ids cached of each: 2 pages each
    expect(pool.free).toBe(0);
    const c = join(sequence([9]))[0] as Sequence;
    step();
    step(); // a wants a third page
    expect(scheduler.running).toEqual([a]);
    expect(scheduler.preemptions).toBe(1);
    expect([b.ids.length, b.cached, b.pages]).toEqual([9, 0, []]);
    scheduler.leave(a, true);
    const plan = step();
    expect(plan.fed.map(({ number, feed }) => [number, feed])).toEqual([
      [b.number, 9],
      [c.number, 1],
    ]);
  });

  test("prefixes that nobody uses go first, the one left longest ago before all", () => {
    const { scheduler, step, join, prefixes } = open({ pages: 5, prefillTokens: 100 });
    for (const from of [100, 200]) {
      const [old] = join(sequence(range(8, from))) as [Sequence];
      step();
      scheduler.leave(old, true);
    }
    join(sequence(range(10, 300)));
    step();
    expect(scheduler.preemptions).toBe(0);
    expect(prefixes?.find("", range(8, 100), 8).length).toBe(0);
    expect(prefixes?.find("", range(8, 200), 8).length).toBe(8);
  });

  test("rows that were to be copied, but were not, are never taken for keys", () => {
    const { prefixes, scheduler, step, join } = open({ pages: 8, prefillTokens: 8 });
    const [old] = join(sequence(range(6))) as [Sequence];
    step();
    scheduler.leave(old, true);
    const [a, b] = join(sequence(range(16, 800)), sequence([...range(6), ...range(8, 700)])) as [Sequence, Sequence];
    step();
    step();
    expect(prefixes?.find("", b.ids, 13).length).toBe(6);
    // b shares a page and is to copy two rows into the last free one; their source goes for its next page, and there is no fourth.
    expect(scheduler.plan().fed).toEqual([a]);
    expect([scheduler.running, b.copy, b.pages]).toEqual([[a], undefined, []]);
    expect(prefixes?.find("", b.ids, 13).length).toBe(4);
  });

  test("a sequence that fills the whole pool alone ends", () => {
    const { pool, scheduler, step, join } = open({ pages: 3, prefillTokens: 100 });
    const [a, b] = join(sequence(range(5)), sequence(range(5, 100))) as [Sequence, Sequence];
    for (let i = 0; i < 8; i++) step();
    expect([a.ids.length, a.pages.length]).toEqual([13, 3]);
    expect(scheduler.running).toEqual([a]);
    scheduler.leave(a, true);
    while (b.ids.length < 13) expect(step().rows).toBeGreaterThan(0);
    scheduler.leave(b, true);
    expect(pool.free + 3).toBe(pool.count);
  });
});
