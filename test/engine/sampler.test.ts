import { describe, expect, test } from "vitest";
import { Random } from "../../src/core/random.ts";
import { argmax, makeFilter, type SamplerSettings, unusable } from "../../src/engine/filters.ts";
import { draw, makeSampler } from "../../src/engine/sampler.ts";

const free: SamplerSettings = { temperature: 1, topK: 0, topP: 1, minP: 0, typicalP: 1 };

/** The documented rule, by sorting: probabilities of all ids after temperature, top-k, top-p, min-p, typical, in this order. */
function distribution(logits: ArrayLike<number>, { temperature, topK, topP, minP, typicalP }: SamplerSettings): number[] {
  const scaled = Array.from(logits, (x) => x / temperature);
  const max = Math.max(...scaled);
  const weights = scaled.map((x) => Math.exp(x - max));
  let ranking = weights.map((_, id) => id).sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b);
  if (topK > 0) ranking = ranking.slice(0, topK);
  const mass = (ids: readonly number[]) => ids.reduce((sum, id) => sum + (weights[id] as number), 0);
  if (topP < 1) {
    const whole = mass(ranking);
    const last = ranking.findIndex((_, i) => mass(ranking.slice(0, i + 1)) >= topP * whole);
    ranking = ranking.slice(0, last + 1);
  }
  ranking = ranking.filter((id) => (weights[id] as number) >= minP);
  if (typicalP < 1) {
    const whole = mass(ranking);
    const surprise = (id: number) => Math.log(whole) - Math.log(weights[id] as number);
    const entropy = ranking.reduce((sum, id) => sum + ((weights[id] as number) / whole) * surprise(id), 0);
    ranking = ranking.sort((a, b) => Math.abs(surprise(a) - entropy) - Math.abs(surprise(b) - entropy) || a - b);
    const last = ranking.findIndex((_, i) => mass(ranking.slice(0, i + 1)) >= typicalP * whole);
    ranking = ranking.slice(0, last + 1);
  }
  const total = mass(ranking);
  return weights.map((weight, id) => (ranking.includes(id) ? weight / total : 0));
}

function draws(logits: Float32Array, settings: SamplerSettings, count: number, seed: number): number[] {
  const sample = makeSampler(logits.length);
  const random = new Random(seed);
  return Array.from({ length: count }, () => sample(logits, 0, logits.length, settings, random));
}

/** Chi-square of observed counts, as a standard normal deviate (Wilson and Hilferty 1931). */
function deviate(counts: readonly number[], probabilities: readonly number[], total: number): number {
  let chi = 0;
  let cells = 0;
  for (const [id, p] of probabilities.entries()) {
    if (p === 0) {
      expect(counts[id]).toBe(0);
      continue;
    }
    chi += ((counts[id] as number) - p * total) ** 2 / (p * total);
    cells++;
  }
  const freedom = cells - 1;
  const spread = 2 / (9 * freedom);
  return ((chi / freedom) ** (1 / 3) - (1 - spread)) / Math.sqrt(spread);
}

describe("greedy", () => {
  test("takes the largest logit, the lowest id among equals, and draws nothing", () => {
    const logits = new Float32Array([0, 3, -1, 3, 3]);
    const random = new Random(1);
    expect(makeSampler(5)(logits, 0, 5, { ...free, temperature: 0 }, random)).toBe(1);
    expect(random.state.counter).toBe(0);
  });

  test("reads the row at `start` and only `width` of it", () => {
    const logits = new Float32Array([9, 9, 9, 0, 1, 5, 7]);
    expect(makeSampler(4)(logits, 3, 3, { ...free, temperature: 0 }, new Random(1))).toBe(2);
  });
});

describe("drawing", () => {
  const random = new Random(2024);
  const logits = Float32Array.from({ length: 20 }, () => random.normal() * 2);
  const cases: readonly (readonly [string, SamplerSettings])[] = [
    ["temperature 1", free],
    ["temperature 0.7", { ...free, temperature: 0.7 }],
    ["temperature 3", { ...free, temperature: 3 }],
    ["top-k 5", { ...free, topK: 5 }],
    ["top-p 0.8", { ...free, topP: 0.8 }],
    ["min-p 0.1", { ...free, minP: 0.1 }],
    ["typical 0.7", { ...free, typicalP: 0.7 }],
    ["everything", { temperature: 1.3, topK: 12, topP: 0.9, minP: 0.05, typicalP: 0.9 }],
  ];
  test.each(cases)("%s: 1,000,000 draws agree with the distribution (chi-square, p > 0.001)", (_, settings) => {
    const counts = new Array<number>(20).fill(0);
    for (const id of draws(logits, settings, 1_000_000, 5)) counts[id] = (counts[id] as number) + 1;
    expect(deviate(counts, distribution(logits, settings), 1_000_000)).toBeLessThan(3.09);
  });

  test("the chi-square test itself refuses a wrong temperature", () => {
    const counts = new Array<number>(20).fill(0);
    for (const id of draws(logits, { ...free, temperature: 1.03 }, 100_000, 5)) counts[id] = (counts[id] as number) + 1;
    expect(deviate(counts, distribution(logits, free), 100_000)).toBeGreaterThan(3.09);
  });

  test("selection without a sort keeps what sorting keeps, ties included", () => {
    const source = new Random(99);
    const sample = makeSampler(300);
    for (let round = 0; round < 2000; round++) {
      const width = 1 + source.integer(source.integer(10) === 0 ? 300 : 12);
      const coarse = source.integer(2) === 0; // many equal logits
      const row = Float32Array.from({ length: width }, () => (coarse ? source.integer(3) : source.normal() * 3));
      const settings = {
        temperature: [0.5, 1, 2][source.integer(3)] as number,
        topK: source.integer(2) * (1 + source.integer(width + 2)),
        topP: source.integer(2) === 0 ? 1 : 0.01 + source.uniform() * 0.98,
        minP: source.integer(2) * source.uniform(),
        typicalP: source.integer(2) === 0 || coarse ? 1 : 0.01 + source.uniform() * 0.98,
      };
      const probabilities = distribution(row, settings);
      const here = source.fork(round);
      const uniform = (here.uint32() * 2 ** 21 + (here.uint32() >>> 11)) / 2 ** 53;
      let mass = 0;
      const expected = probabilities.findIndex((p) => {
        mass += p;
        return mass > uniform;
      });
      expect(sample(row, 0, width, settings, source.fork(round))).toBe(expected);
    }
  });

  test("equal ids are cut at the lower ids (Q13)", () => {
    const equal = new Float32Array(10);
    expect(new Set(draws(equal, { ...free, topP: 0.35 }, 2000, 1))).toEqual(new Set([0, 1, 2, 3]));
    expect(new Set(draws(equal, { ...free, topK: 3 }, 2000, 1))).toEqual(new Set([0, 1, 2]));
  });

  test("a row of 150,000 falling, rising or equal logits is cut in linear time", () => {
    const V = 150_000;
    const sample = makeSampler(V);
    for (const slope of [-1e-5, 1e-5, 0]) {
      const row = Float32Array.from({ length: V }, (_, i) => i * slope);
      const begun = performance.now();
      sample(row, 0, V, { ...free, topK: 1000, topP: 0.9 }, new Random(3));
      expect(performance.now() - begun).toBeLessThan(1000);
    }
  });

  test("one draw takes one block of the generator, so the n-th id of a request is block n", () => {
    const generator = new Random(4);
    const sample = makeSampler(20);
    for (let n = 1; n <= 5; n++) {
      sample(logits, 0, 20, free, generator);
      expect(generator.state.counter).toBe(2 * n);
    }
    expect(draws(logits, free, 50, 4)).toEqual(draws(logits, free, 50, 4));
    expect(draws(logits, free, 50, 4)).not.toEqual(draws(logits, free, 50, 5));
  });

  test("temperatures at the edges still give ids", () => {
    expect(new Set(draws(logits, { ...free, temperature: 1e-320 }, 100, 1))).toEqual(new Set([argmax(logits, 0, 20)]));
    expect(new Set(draws(logits, { ...free, temperature: 100 }, 5000, 1)).size).toBe(20);
    expect(new Set(draws(logits, { ...free, topP: 1e-300 }, 100, 1))).toEqual(new Set([argmax(logits, 0, 20)]));
    expect(new Set(draws(logits, { ...free, minP: 1 }, 100, 1))).toEqual(new Set([argmax(logits, 0, 20)]));
  });
});

describe("the filtered distribution", () => {
  const source = new Random(77);
  const settings: readonly (readonly [string, Partial<SamplerSettings>])[] = [
    ["temperature 1e-6", { temperature: 1e-6 }],
    ["temperature 1e-320", { temperature: 1e-320 }],
    ["temperature 100", { temperature: 100 }],
    ["temperature 0", { temperature: 0 }],
    ["topP 1e-300", { topP: 1e-300 }],
    ["topP just below 1", { topP: 1 - 2 ** -53 }],
    ["minP 1", { minP: 1 }],
    ["typicalP 1e-300", { typicalP: 1e-300 }],
    ["topK 1", { topK: 1 }],
    ["topK 2^53-1", { topK: Number.MAX_SAFE_INTEGER }],
    ["all at once", { temperature: 1e-6, topK: 1, topP: 1e-9, minP: 1, typicalP: 1e-9 }],
  ];
  const rows: readonly (readonly [string, Float32Array])[] = [
    ["normal", Float32Array.from({ length: 500 }, () => source.normal() * 4)],
    ["equal", new Float32Array(500)],
    ["huge", Float32Array.from({ length: 500 }, (_, i) => (i % 2 === 0 ? 3e38 : -3e38))],
    ["one alone", Float32Array.from({ length: 500 }, (_, i) => (i === 250 ? -3 : Number.NEGATIVE_INFINITY))],
  ];
  test.each(settings)("%s leaves finite probabilities that sum to 1", (_, change) => {
    for (const [, row] of rows) {
      const kept = makeFilter(500)(row, 0, 500, { ...free, ...change });
      expect(kept).toBeDefined();
      if (!kept) continue;
      expect(kept.count).toBeGreaterThan(0);
      const probabilities = Array.from(kept.weights.subarray(0, kept.count), (weight) => weight / kept.total);
      for (const p of probabilities) expect(p >= 0 && p <= 1).toBe(true);
      expect(probabilities.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12);
      const drawn = draw(kept, new Random(1));
      expect(row[drawn]).toBeGreaterThan(Number.NEGATIVE_INFINITY);
    }
  });

  test("a free draw is the draw from the unfiltered list", () => {
    const row = Float32Array.from({ length: 5000 }, () => source.normal() * 3);
    const [sample, filter] = [makeSampler(5000), makeFilter(5000)];
    for (let seed = 0; seed < 200; seed++) {
      const kept = filter(row, 0, 5000, { ...free, temperature: 1.5 });
      expect(sample(row, 0, 5000, { ...free, temperature: 1.5 }, new Random(seed))).toBe(kept && draw(kept, new Random(seed)));
    }
  });
});

describe("rows that are not finite (Q14 to Q17)", () => {
  const { NaN: nan, POSITIVE_INFINITY: up, NEGATIVE_INFINITY: down } = Number;
  test.each([[[0, nan, 1]], [[nan, 0, 1]], [[1, 0, nan]], [[0, up, 1]], [[down, down]], [[nan]]])("%j has no id", (row) => {
    for (const temperature of [0, 1]) {
      expect(makeSampler(4)(new Float32Array(row), 0, row.length, { ...free, temperature, topP: 0.9 }, new Random(1))).toBe(unusable);
    }
  });

  test("-Infinity is an id that is never drawn", () => {
    const row = new Float32Array([down, 1, down, 0]);
    expect(new Set(draws(row, free, 1000, 1))).toEqual(new Set([1, 3]));
    expect(new Set(draws(row, { ...free, topK: 3 }, 1000, 1))).toEqual(new Set([1, 3]));
    expect(new Set(draws(new Float32Array([down, down, -5]), free, 10, 1))).toEqual(new Set([2]));
  });
});
