// The allocator's free ranges against a plain map of bytes: what is taken was free and is nobody else's, and what was given back is one range again.

import fc from "fast-check";
import { expect, test } from "vitest";
import { FreeRanges } from "../../src/backend/wasm/free-ranges.ts";

const room = 256;

test("any order of taking and giving: no byte twice, none lost, best fit", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat({ max: 40 }), fc.nat()), { maxLength: 120 }), (steps) => {
      const ranges = new FreeRanges();
      ranges.give(0, room);
      const free = new Array<boolean>(room).fill(true);
      const taken: [number, number][] = [];
      const freeRuns = () => {
        const runs: number[] = [];
        for (let i = 0; i < room; i++) if (free[i]) runs.push(free[i - 1] ? (runs.pop() as number) + 1 : 1);
        return runs;
      };
      for (const [takes, size, pick] of steps) {
        if (takes) {
          const fitting = freeRuns().filter((run) => run >= size + 1);
          const at = ranges.take(size + 1);
          expect(at === undefined).toBe(fitting.length === 0);
          if (at === undefined) continue;
          // The range that it was taken from is the smallest that fits.
          let run = 0;
          for (let i = at; free[i]; i++) run++;
          expect(run).toBe(Math.min(...fitting));
          for (let i = at; i <= at + size; i++) {
            expect(free[i]).toBe(true);
            free[i] = false;
          }
          taken.push([at, at + size + 1]);
        } else if (taken.length > 0) {
          const [[start, end]] = taken.splice(pick % taken.length, 1) as [[number, number]];
          ranges.give(start, end);
          free.fill(true, start, end);
        }
      }
      for (const [start, end] of taken) ranges.give(start, end);
      expect(ranges.startBefore(room)).toBe(0);
      expect(ranges.take(room)).toBe(0);
    }),
    { seed: 11, numRuns: 300 },
  );
});

test("the range before an end can be looked at, and dropped", () => {
  const ranges = new FreeRanges();
  ranges.give(10, 20);
  ranges.give(30, 50);
  expect(ranges.startBefore(50)).toBe(30);
  expect(ranges.startBefore(20)).toBe(20); // not the last
  ranges.dropLast();
  expect(ranges.startBefore(50)).toBe(50);
  expect(ranges.take(10)).toBe(10);
  expect(ranges.startBefore(20)).toBe(20);
});
