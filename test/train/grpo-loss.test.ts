import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { openReference } from "../../src/backend/reference/open.ts";
import { crossEntropy } from "../../src/ops/cross-entropy.ts";
import { neg } from "../../src/ops/unary.ts";
import { backward } from "../../src/tensor/autograd.ts";
import { fromArray, keep, read, scope, type Tensor } from "../../src/tensor/tensor.ts";
import { trackGradients } from "../../src/tensor/tracking.ts";
import { advantagesOf, grpoLoss, type LossType, type StepShape, standardDeviation, tokenWeight } from "../../src/train/grpo-loss.ts";

type Sequence = { ids: number[]; truncated: boolean; logits: number[]; old: number[]; reference: number[]; gradient: number[] };
type Case = {
  lossType: LossType;
  microbatches: number;
  beta: number;
  epsilon: number;
  epsilonHigh: number;
  masked: boolean;
  maxCompletionLength: number;
  groupSize: number;
  V: number;
  rewards: number[];
  advantages: number[];
  sequences: Sequence[];
  loss: number;
  kl: number;
  low: number;
  high: number;
};

const fixture: { cases: Case[]; rewards: number[]; advantages: Record<"group" | "batch" | "none", number[]>; rewardStd: number } =
  JSON.parse(readFileSync(new URL("../fixtures/train/grpo.json", import.meta.url), "utf8"));

const device = openReference({ precision: "f64" });

describe.each(
  fixture.cases.map(
    (c) =>
      [
        `${c.lossType}, ${c.microbatches} microbatches, beta ${c.beta}, epsilon_high ${c.epsilonHigh}${c.masked ? ", truncated masked" : ""}`,
        c,
      ] as const,
  ),
)("%s", (_name, c) => {
  test("loss, clip shares and gradient are PyTorch's", async () => {
    const { advantages } = advantagesOf(c.rewards, c.groupSize, "group");
    const active = (s: Sequence) => !(c.masked && s.truncated);
    const tokens = c.sequences.filter(active).reduce((sum, s) => sum + s.ids.length, 0);
    const shape: StepShape = {
      lossType: c.lossType,
      sequences: c.sequences.length,
      tokensPerStep: tokens,
      microbatches: c.microbatches,
      maxCompletionLength: c.maxCompletionLength,
    };
    const size = c.sequences.length / c.microbatches;
    const totals: Record<string, number> = {};
    for (let start = 0; start < c.sequences.length; start += size) {
      const part = c.sequences
        .slice(start, start + size)
        .map((s, i) => ({ s, advantage: advantages[start + i] as number }))
        .filter(({ s }) => active(s));
      const M = part.reduce((sum, { s }) => sum + s.ids.length, 0);
      const logits = keep(() =>
        fromArray(
          device,
          part.flatMap(({ s }) => s.logits),
          [M, c.V],
        ),
      );
      logits.requiresGrad = true;
      const perToken = (value: (entry: (typeof part)[number]) => number) =>
        Float32Array.from(part.flatMap((entry) => entry.s.ids.map(() => value(entry))));
      const made = scope(() => {
        const { loss, sums } = trackGradients(() =>
          grpoLoss(
            {
              logprobs: neg(
                crossEntropy(
                  logits,
                  fromArray(
                    device,
                    part.flatMap(({ s }) => s.ids),
                    [M],
                    "i32",
                  ),
                ),
              ),
              old: Float32Array.from(part.flatMap(({ s }) => s.old)),
              ...(c.beta > 0 && { reference: Float32Array.from(part.flatMap(({ s }) => s.reference)) }),
              advantages: perToken(({ advantage }) => advantage),
              weights: perToken(({ s }) => tokenWeight(shape, s.ids.length, M)),
            },
            c,
            1 / tokens,
          ),
        );
        backward(loss);
        return sums;
      });
      for (const [name, sum] of Object.entries(made)) totals[name] = (totals[name] ?? 0) + ((await read(sum))[0] as number);
      const gradient = await read(logits.grad as Tensor);
      const expected = part.flatMap(({ s }) => s.gradient);
      const largest = Math.max(...expected.map(Math.abs));
      expect(largest).toBeGreaterThan(1e-4);
      for (const [i, g] of expected.entries()) expect(Math.abs((gradient[i] as number) - g)).toBeLessThan(1e-6 * largest);
    }
    // Old log-probabilities, advantages and weights pass through f32.
    expect(totals.loss).toBeCloseTo(c.loss, 6);
    expect(totals["clip_ratio/low_mean"]).toBeCloseTo(c.low, 10);
    expect(totals["clip_ratio/high_mean"]).toBeCloseTo(c.high, 10);
    expect(totals["clip_ratio/region_mean"]).toBeCloseTo(c.low + c.high, 10);
    if (c.beta > 0) expect(totals.kl).toBeCloseTo(c.kl, 6);
    else expect(totals.kl).toBeUndefined();
  });
});

test("most cases clip on both sides", () => {
  expect(fixture.cases.filter((c) => c.low > 0 && c.high > 0).length).toBeGreaterThan(fixture.cases.length / 2);
});

test.each(["group", "batch", "none"] as const)("advantages scaled by %s are TRL's", (scale) => {
  const { advantages, zeroStd } = advantagesOf(fixture.rewards, 3, scale);
  for (const [i, a] of fixture.advantages[scale].entries()) expect(advantages[i]).toBeCloseTo(a, 6);
  expect(zeroStd).toBeCloseTo(scale === "batch" ? 0 : 1 / 3, 12);
  expect(standardDeviation(fixture.rewards)).toBeCloseTo(fixture.rewardStd, 7);
});

test("a group without spread has advantage 0 exactly, and so has a group of one", () => {
  // The mean of seven times 0.1 is not 0.1: a difference divided by a spread of nothing would be noise.
  for (const scale of ["group", "batch", "none"] as const) {
    expect(advantagesOf(new Array(7).fill(0.1), 7, scale).advantages).toEqual(new Array(7).fill(0));
    expect(advantagesOf([0.3, 0.9], 1, scale).advantages).toEqual([0, 0]);
  }
});

test.each([100, -100, 1e9])("a log-ratio of %d gives a finite loss and gradient", async (far) => {
  for (const advantage of [1, -1]) {
    const logprobs = keep(() => fromArray(device, [-1, -2], [2]));
    logprobs.requiresGrad = true;
    const loss = scope(() => {
      const made = trackGradients(() =>
        grpoLoss(
          {
            logprobs,
            old: Float32Array.of(-1 - far, -2),
            reference: Float32Array.of(-1 + far, -2),
            advantages: Float32Array.of(advantage, advantage),
            weights: Float32Array.of(0.5, 0.5),
          },
          { epsilon: 0.2, epsilonHigh: 0.2, beta: 0.1 },
          0.5,
        ),
      );
      backward(made.loss);
      return made.loss;
    });
    expect(Number.isFinite((await read(loss))[0])).toBe(true);
    expect(Array.from(await read(logprobs.grad as Tensor)).every(Number.isFinite)).toBe(true);
  }
});
