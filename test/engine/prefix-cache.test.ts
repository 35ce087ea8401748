import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PagePool } from "../../src/engine/pages.ts";
import { PrefixCache } from "../../src/engine/prefix-cache.ts";

const range = (n: number, from = 0) => Array.from({ length: n }, (_, i) => from + i);

function open(count = 20, pageSize = 4) {
  const pool = new PagePool(count, pageSize);
  const cache = new PrefixCache(pool);
  /** A sequence that computed all of these ids and left. */
  const leave = (ids: readonly number[], salt = "") => {
    const pages = Array.from({ length: pool.pagesFor(ids.length) }, () => pool.take() as number);
    cache.store(salt, ids, ids.length, pages);
    cache.release(pages);
    return pages;
  };
  return { pool, cache, leave };
}

describe("what is found", () => {
  test("whole pages, and the beginning of the next", () => {
    const { cache, leave } = open();
    const pages = leave(range(10));
    const find = (ids: readonly number[], limit = ids.length) => cache.find("", ids, limit);
    expect(find(range(10))).toEqual({ pages: pages.slice(0, 2), tail: { page: pages[2], rows: 2 }, length: 10 });
    expect(find(range(8))).toEqual({ pages: pages.slice(0, 2), tail: undefined, length: 8 });
    expect(find(range(8), 7)).toEqual({ pages: pages.slice(0, 1), tail: { page: pages[1], rows: 3 }, length: 7 });
    expect(find([0, 1, 2, 3, 4, 5, 99])).toEqual({ pages: pages.slice(0, 1), tail: { page: pages[1], rows: 2 }, length: 6 });
    expect(find([7])).toEqual({ pages: [], tail: undefined, length: 0 });
    expect(find([])).toEqual({ pages: [], tail: undefined, length: 0 });
  });

  test("the child that has most in common", () => {
    const { cache, leave } = open();
    leave([1, 2, 3, 4]);
    const [best] = leave([1, 2, 9, 9]);
    expect(cache.find("", [1, 2, 9, 5], 4)).toEqual({ pages: [], tail: { page: best, rows: 3 }, length: 3 });
  });

  test("nothing of another salt", () => {
    const { cache, leave, pool } = open();
    leave(range(8), "a");
    expect(cache.find("b", range(8), 8).length).toBe(0);
    leave(range(8), "b");
    expect(pool.count - pool.free).toBe(4);
    expect(cache.find("b", range(8), 8).length).toBe(8);
  });
});

describe("what is kept", () => {
  test("the same ids once", () => {
    const { cache, leave, pool } = open();
    const first = leave(range(8));
    const pages = [pool.take() as number, pool.take() as number];
    cache.store("", range(8), 8, pages);
    expect(pages).toEqual(first);
    expect(cache.idle).toBe(0);
    cache.release(pages);
    expect([pool.count - pool.free, cache.idle]).toEqual([2, 2]);
  });

  test("a page that fills up keeps its node; one that was copied and filled by another goes", () => {
    const { cache, leave, pool } = open();
    const pages = [pool.take() as number];
    cache.store("", range(4), 2, pages);
    expect(cache.find("", range(4), 4)).toEqual({ pages: [], tail: { page: pages[0], rows: 2 }, length: 2 });
    cache.store("", range(4), 4, pages);
    expect(cache.find("", range(4), 4)).toEqual({ pages, tail: undefined, length: 4 });
    cache.release(pages);
    leave([7, 8]);
    leave([7, 8, 9]);
    expect(pool.count - pool.free).toBe(2);
  });

  test("two that fill the same page, one noted half full before: one page is given back", () => {
    const { cache, pool } = open();
    const [a, b] = [[pool.take() as number], [pool.take() as number]];
    cache.store("", range(4), 2, a);
    cache.store("", range(4), 4, b);
    const kept = [...b];
    cache.store("", range(4), 4, a);
    expect([a, b]).toEqual([kept, kept]);
    expect(pool.count - pool.free).toBe(1);
    for (const pages of [a, b]) cache.release(pages);
    expect([pool.count - pool.free, cache.idle]).toEqual([1, 1]);
  });

  test("the end of what was used longest ago goes first, what is held never", () => {
    const { cache, leave } = open();
    leave([...range(4), ...range(4, 10)]);
    leave([...range(4), ...range(4, 20)]);
    leave(range(4, 30));
    const match = cache.find("", [...range(4), ...range(4, 10)], 8);
    cache.share(match);
    expect(cache.idle).toBe(2);
    const lengths = () => [10, 20].map((from) => cache.find("", [...range(4), ...range(4, from)], 8).length);
    expect(cache.evict()).toBe(true);
    expect([...lengths(), cache.find("", range(4, 30), 4).length]).toEqual([8, 4, 4]);
    expect(cache.evict()).toBe(true);
    expect(cache.evict()).toBe(false);
    cache.release(match.pages);
    expect(lengths()).toEqual([8, 4]);
    cache.evict();
    expect(lengths()).toEqual([4, 4]);
  });

  test("what is forgotten are these ids and what follows, not what others begin with", () => {
    const { cache, leave, pool } = open();
    leave([...range(8), 50]);
    leave([...range(4), 60, 61]);
    cache.forget("", [...range(8), 50]);
    expect(cache.find("", [...range(8), 50], 9).length).toBe(4);
    expect(pool.count - pool.free).toBe(2);
    cache.forget("", [...range(4), 60]);
    expect(pool.free).toBe(pool.count);
    leave(range(20));
    leave([...range(10), 77]);
    const match = cache.find("", range(20), 20);
    cache.share(match);
    cache.forget("", range(3));
    expect([pool.count - pool.free, cache.find("", [...range(10), 77], 11).length]).toEqual([5, 10]);
    cache.release(match.pages);
    cache.forget("", []);
    expect(pool.free).toBe(pool.count);
  });
});

/** Sequences of few different ids come, compute, share, copy, leave, are evicted and forgotten; the pages hold what was written into them. */
test("whatever happens, what is found is there, and no page is lost", () => {
  const action = fc.record({
    kind: fc.constantFrom("start", "start", "grow", "grow", "grow", "leave", "drop", "evict", "forget", "clear"),
    which: fc.nat(20),
    ids: fc.array(fc.nat(1), { minLength: 1, maxLength: 14 }),
    salt: fc.constantFrom("", "s"),
  });
  fc.assert(
    fc.property(
      fc.array(action, { maxLength: 120 }),
      fc.constantFrom(1, 2, 4),
      fc.integer({ min: 1, max: 24 }),
      (actions, pageSize, count) => {
        const { pool, cache } = open(count, pageSize);
        /** The key of a row: salt and all ids up to it. */
        const memory: (string | undefined)[] = new Array(count * pageSize).fill(undefined);
        const key = (salt: string, ids: readonly number[], j: number) => `${salt}:${ids.slice(0, j + 1)}`;
        const row = (pages: readonly number[], j: number) => (pages[Math.floor(j / pageSize)] as number) * pageSize + (j % pageSize);
        const alive: { salt: string; ids: number[]; pages: number[]; cached: number }[] = [];
        const take = () => {
          let page = pool.take();
          while (page === undefined && cache.evict()) page = pool.take();
          return page;
        };
        for (const { kind, which, ids, salt } of actions) {
          const at = alive.length > 0 ? which % alive.length : -1;
          const one = alive[at];
          if (kind === "start") {
            const match = cache.find(salt, ids, ids.length);
            for (let j = 0; j < match.pages.length * pageSize; j++) expect(memory[row(match.pages, j)]).toBe(key(salt, ids, j));
            cache.share(match);
            const pages = [...match.pages];
            let cached = pages.length * pageSize;
            if (match.tail) {
              const { page: from, rows } = match.tail;
              const copied = memory.slice(from * pageSize, from * pageSize + rows);
              const page = take();
              if (page !== undefined) {
                pages.push(page);
                for (let i = 0; i < rows; i++) memory[page * pageSize + i] = copied[i];
                for (let i = 0; i < rows; i++) expect(copied[i]).toBe(key(salt, ids, cached + i));
                cached += rows;
              }
            }
            alive.push({ salt, ids, pages, cached });
          } else if (kind === "grow" && one) {
            for (const id of ids) {
              if (one.cached === one.ids.length) one.ids.push(id);
              if (one.pages.length < pool.pagesFor(one.cached + 1)) {
                const page = take();
                if (page === undefined) break;
                one.pages.push(page);
              }
              const target = row(one.pages, one.cached);
              expect(pool.holders(Math.floor(target / pageSize)), "a page that others share is not written").toBeLessThanOrEqual(2);
              memory[target] = key(one.salt, one.ids, one.cached++);
            }
            if (which % 2 === 0) cache.store(one.salt, one.ids, one.cached, one.pages);
          } else if ((kind === "leave" || kind === "drop") && one) {
            if (kind === "leave") cache.store(one.salt, one.ids, one.cached, one.pages);
            cache.release(one.pages);
            alive.splice(at, 1);
          } else if (kind === "evict") {
            const [idle, free] = [cache.idle, pool.free];
            expect([cache.evict(), pool.free]).toEqual([idle > 0, free + (idle > 0 ? 1 : 0)]);
          }
          if (kind === "forget") cache.forget(salt, ids);
          else if (kind === "clear" && which === 0) cache.clear();
          for (const { salt, ids, pages, cached } of alive) {
            for (let j = 0; j < cached; j++) expect(memory[row(pages, j)]).toBe(key(salt, ids, j));
          }
          const held = new Set(alive.flatMap(({ pages }) => pages));
          expect(pool.free + cache.idle).toBe(count - held.size);
        }
        for (const { pages } of alive) cache.release(pages);
        while (cache.evict());
        expect(pool.free).toBe(count);
      },
    ),
    { seed: 2, numRuns: 400 },
  );
});
