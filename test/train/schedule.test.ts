import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { resolveOptions } from "../../src/train/options.ts";
import { learningRateAt, scheduleFields } from "../../src/train/schedule.ts";

const options = (given: object) => resolveOptions("test", scheduleFields, given);

test("the cosine is that of transformers, and warm-up one step ahead of it", () => {
  const fixture = JSON.parse(readFileSync(new URL("../fixtures/train/schedule.json", import.meta.url), "utf8"));
  const { learningRate, warmupSteps, steps, rates } = fixture;
  const cosine = options({ learningRate, warmupSteps, schedule: "cosine" });
  for (let step = warmupSteps; step < steps; step++) expect(learningRateAt(step, steps, cosine)).toBeCloseTo(rates[step], 12);
  for (let step = 0; step < warmupSteps; step++) expect(learningRateAt(step, steps, cosine)).toBeCloseTo(rates[step + 1], 12);
});

test("WSD: warm-up, stable, linear decay to the final share", () => {
  const wsd = options({ learningRate: 2, warmupSteps: 2, schedule: "wsd", decayShare: 0.4, finalShare: 0.1 });
  const rates = Array.from({ length: 10 }, (_, step) => learningRateAt(step, 10, wsd));
  const expected = [1, 2, 2, 2, 2, 2, 2, 1.55, 1.1, 0.65];
  for (const [i, rate] of rates.entries()) expect(rate).toBeCloseTo(expected[i] as number, 12);
});

test("constant stays, and every rate is positive and at most the highest", () => {
  expect(learningRateAt(99, 100, options({ learningRate: 0.3, schedule: "constant" }))).toBe(0.3);
  for (const schedule of ["constant", "cosine", "wsd"]) {
    for (const warmupSteps of [0, 1, 7, 20, 50]) {
      for (let step = 0; step < 20; step++) {
        const rate = learningRateAt(step, 20, options({ schedule, warmupSteps, learningRate: 1 }));
        expect(rate).toBeGreaterThan(0);
        expect(rate).toBeLessThanOrEqual(1);
      }
    }
  }
});

test("a learning rate that is no rate is refused", () => {
  for (const learningRate of [Number.NaN, Number.POSITIVE_INFINITY, -1, 0, "fast", null]) {
    expect(() => options({ learningRate })).toThrow(ConfigError);
  }
  for (const learningRate of [Number.NaN, Number.POSITIVE_INFINITY, -1]) {
    expect(() => learningRateAt(0, 10, { ...options({}), learningRate })).toThrow(/finite/);
  }
});
