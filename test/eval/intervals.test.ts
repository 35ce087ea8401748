import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { formatInterval, overlap, wilson, wilsonClustered } from "../../src/eval/intervals.ts";

describe("wilson", () => {
  test.each([
    [0, 10],
    [1, 10],
    [5, 10],
    [10, 10],
    [620, 1000],
  ])("the ends for %d of %d are the truths that lie just 1.96 standard errors away", (right, n) => {
    const [p, low, high] = wilson(right, n);
    expect(p).toBe(right / n);
    for (const truth of [low, high]) {
      // At 0 and n one end is the estimate itself.
      if (truth !== p) expect(Math.abs(p - truth) / Math.sqrt((truth * (1 - truth)) / n)).toBeCloseTo(1.959964, 5);
    }
    expect(low < p || right === 0).toBe(true);
    expect(high > p || right === n).toBe(true);
  });

  test("covers the truth about 95 times in 100", () => {
    const random = new Random(1);
    for (const p of [0.02, 0.3, 0.8]) {
      let covered = 0;
      for (let trial = 0; trial < 2000; trial++) {
        let right = 0;
        for (let i = 0; i < 200; i++) if (random.uniform() < p) right++;
        const [, low, high] = wilson(right, 200);
        if (low <= p && p <= high) covered++;
      }
      expect(Math.abs(covered / 2000 - 0.95)).toBeLessThan(0.025);
    }
  });

  test("always holds its estimate and stays in 0..1", () => {
    for (let n = 1; n <= 60; n++) {
      for (let right = 0; right <= n; right++) {
        const [p, low, high] = wilson(right, n);
        expect(0 <= low && low <= p && p <= high && high <= 1).toBe(true);
      }
    }
  });

  test.each([
    [1, 0],
    [3, 2],
    [-1, 5],
    [Number.NaN, 5],
    [1, Number.POSITIVE_INFINITY],
  ])("refuses %d of %d", (right, n) => expect(() => wilson(right, n)).toThrow(ConfigError));
});

describe("wilsonClustered", () => {
  test("samples that agree on each problem count once a problem", () => {
    expect(wilsonClustered([4, 0, 4, 0, 4, 0, 4, 4, 0, 4], 4)).toEqual(wilson(6, 10));
    expect(wilsonClustered([4, 4, 4], 4)).toEqual(wilson(3, 3));
    expect(wilsonClustered([1], 2)).toEqual(wilson(0.5, 1));
  });

  test("independent samples narrow the interval, and it still covers", () => {
    const random = new Random(2);
    let covered = 0;
    for (let trial = 0; trial < 1000; trial++) {
      const right = Array.from({ length: 100 }, () => [0, 1, 2, 3].filter(() => random.uniform() < 0.6).length);
      const [p, low, high] = wilsonClustered(right, 4);
      const [, lowAll, highAll] = wilson(p * 100, 100);
      expect(high - low).toBeLessThanOrEqual(highAll - lowAll);
      if (low <= 0.6 && 0.6 <= high) covered++;
    }
    expect(Math.abs(covered / 1000 - 0.95)).toBeLessThan(0.03);
  });
});

test("overlap and text", () => {
  expect(overlap([0.5, 0.4, 0.6], [0.65, 0.6, 0.7])).toBe(true);
  expect(overlap([0.65, 0.61, 0.7], [0.5, 0.4, 0.6])).toBe(false);
  expect(formatInterval([0.621, 0.5904, 0.6503])).toBe("62.1 % (59.0 to 65.0)");
});
