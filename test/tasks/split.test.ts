import { expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { createArithmetic } from "../../src/tasks/arithmetic.ts";
import { createCountdown } from "../../src/tasks/countdown.ts";
import { assertDisjoint, distinctRows, hashText, sampleFrom, splitOf } from "../../src/tasks/split.ts";

const task = createCountdown();

test("the split is a stable function of the key", () => {
  // Pinned: a change would mix the splits of earlier runs.
  expect([hashText(""), hashText("3 5 7=22"), hashText("12+7*3-4")]).toEqual([2872998923, 957335335, 2000179473]);
  for (const key of ["", "3 5 7=22", "12+7*3-4", "1,1,1=3"]) expect(hashText(key)).toBe(hashes(key));
  expect(splitOf("3 5 7=22", 1e-9)).toBe("train");
  expect(splitOf("3 5 7=22", 1)).toBe("test");
});

/** The same hash with BigInt arithmetic instead of Math.imul. */
function hashes(text: string): number {
  const low = (x: bigint) => x & 0xffffffffn;
  let h = 0x811c9dc5n;
  for (const c of text) h = low((h ^ BigInt(c.charCodeAt(0))) * 0x01000193n);
  h = low((h ^ (h >> 16n)) * 0x85ebca6bn);
  h = low((h ^ (h >> 13n)) * 0xc2b2ae35n);
  return Number(h ^ (h >> 16n));
}

test("the test share is what was asked for, and splits nest", () => {
  const keys = Array.from({ length: 20_000 }, (_, i) => `${i % 12} ${i % 7} ${i % 11}=${i}`);
  for (const share of [0.05, 0.125, 0.5]) {
    const held = keys.filter((key) => splitOf(key, share) === "test");
    expect(Math.abs(held.length / keys.length - share)).toBeLessThan(0.01);
    expect(held.every((key) => splitOf(key, share + 0.1) === "test")).toBe(true);
  }
});

test("rows of the two splits never share a problem; test rows are distinct", () => {
  const random = new Random(1);
  const seen = new Set<string>();
  for (let i = 0; i < 5000; i++) seen.add(task.key(sampleFrom(task, "train", random)));
  const test = distinctRows(task, "test", 500, random);
  expect(new Set(test.map(task.key)).size).toBe(500);
  expect(() => assertDisjoint(task, seen, test)).not.toThrow();
  expect(test.every((row) => splitOf(task.key(row)) === "test")).toBe(true);
  seen.add(task.key(test[7]!));
  expect(() => assertDisjoint(task, seen, test)).toThrow(/1 of 500 test problems/);
});

test("the default countdown holds out at least 1,000 problems", () => {
  expect(distinctRows(task, "test", 1000, new Random(2))).toHaveLength(1000);
  const all = task.problems().map(task.key);
  expect(new Set(all).size).toBe(all.length);
  expect(all.filter((key) => splitOf(key) === "test").length).toBeGreaterThan(1000);
});

test("more rows than there are is an error", () => {
  const tiny = createArithmetic({ steps: 1, min: 1, max: 2, operators: "+" });
  expect(() => distinctRows(tiny, "train", 100, new Random(0), 0.5)).toThrow(ConfigError);
});
