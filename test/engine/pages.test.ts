import * as fc from "fast-check";
import { expect, test } from "vitest";
import { PagePool } from "../../src/engine/pages.ts";

test("pages are taken, held by several, and free after the last", () => {
  const pool = new PagePool(2, 32);
  expect([pool.pagesFor(0), pool.pagesFor(1), pool.pagesFor(32), pool.pagesFor(33)]).toEqual([0, 1, 1, 2]);
  const a = pool.take() as number;
  const b = pool.take() as number;
  expect(new Set([a, b])).toEqual(new Set([0, 1]));
  expect(pool.take()).toBeUndefined();
  pool.hold(a);
  expect([pool.holders(a), pool.release(a), pool.free, pool.release(a), pool.free]).toEqual([2, 1, 0, 0, 1]);
  expect(pool.take()).toBe(a);
});

test("no page is ever given to two, and none is lost", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.array(fc.nat(99), { maxLength: 200 }), (count, actions) => {
      const pool = new PagePool(count, 4);
      const held: number[] = [];
      for (const action of actions) {
        if (action % 3 === 0) {
          const page = pool.take();
          expect(page === undefined).toBe(new Set(held).size === count);
          if (page === undefined) continue;
          expect(held).not.toContain(page);
          held.push(page);
        } else if (held.length > 0) {
          const at = action % held.length;
          const page = held[at] as number;
          if (action % 3 === 1) {
            pool.hold(page);
            held.push(page);
          } else {
            held.splice(at, 1);
            expect(pool.release(page)).toBe(held.filter((other) => other === page).length);
          }
        }
        expect(pool.free).toBe(count - new Set(held).size);
      }
    }),
    { seed: 1, numRuns: 200 },
  );
});
