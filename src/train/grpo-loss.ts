// The GRPO loss of one microbatch of completion tokens, as TRL defines it (specs.md 1.9): the clipped ratio of DeepSeekMath, per token, with a
// weight for each token that carries the normalisation of `lossType`, and the k3 estimator of the divergence from a reference model. In: log-probabilities [M]
// of M completion tokens (flat, no padding, so there is no mask). Out: the loss and shares of the clip metrics. Unusual: the
// logarithm of the ratio is bounded to ±20 before exp, so that no policy, however far, makes an infinity; within the bounds nothing changes.

import { affine } from "../ops/affine.ts";
import { add, less, minimum, mul, sub } from "../ops/binary.ts";
import { clamp } from "../ops/clamp.ts";
import { full } from "../ops/fill.ts";
import { sum } from "../ops/sum-axis.ts";
import { exp, neg } from "../ops/unary.ts";
import { fromArray, type Tensor } from "../tensor/tensor.ts";
import { noGradients } from "../tensor/tracking.ts";

export type LossType = "grpo" | "bnpo" | "dapo" | "dr_grpo";

export type GrpoLossInput = {
  /** [M], on the tape: log-probabilities of the tokens under the policy now. */
  readonly logprobs: Tensor;
  /** [M] each: under the policy that sampled, and under the reference (when beta > 0). */
  readonly old: Float32Array;
  readonly reference?: Float32Array;
  /** [M]: the advantage of the completion that each token belongs to. */
  readonly advantages: Float32Array;
  /** [M]: how much each token's loss counts. */
  readonly weights: Float32Array;
};

export type GrpoLossOptions = { readonly epsilon: number; readonly epsilonHigh: number; readonly beta: number };

const bound = 20;

/** `share`: 1 / tokens of the step; the sums are means over the step's tokens then. */
export function grpoLoss(input: GrpoLossInput, options: GrpoLossOptions, share: number): { loss: Tensor; sums: Record<string, Tensor> } {
  const { logprobs } = input;
  const { epsilon, epsilonHigh, beta } = options;
  const { device } = logprobs.storage;
  const M = logprobs.shape[0] as number;
  const constant = (data: Float32Array) => fromArray(device, data, [M]);
  const advantages = constant(input.advantages);

  const logRatio = clamp(sub(logprobs, constant(input.old)), -bound, bound);
  const ratio = exp(logRatio);
  const clipped = clamp(ratio, 1 - epsilon, 1 + epsilonHigh);
  let perToken = neg(minimum(mul(ratio, advantages), mul(clipped, advantages))); // [M]
  let kl: Tensor | undefined;
  if (input.reference && beta > 0) {
    // k3 (Schulman 2020): exp(d) - d - 1 with d = log ref/policy; never negative.
    const difference = clamp(neg(sub(logprobs, constant(input.reference))), -bound, bound);
    kl = affine(sub(exp(difference), difference), 1, -1);
    perToken = add(perToken, affine(kl, beta));
  }
  const loss = sum(mul(perToken, constant(input.weights)));
  const sums: Record<string, Tensor> = { loss, ...(kl && { kl: affine(sum(kl), share) }) };
  noGradients(() => {
    const isDown = constant(input.advantages.map((a) => (a < 0 ? 1 : 0)));
    const isUp = constant(input.advantages.map((a) => (a > 0 ? 1 : 0)));
    const low = mul(less(ratio, full(device, [], 1 - epsilon)), isDown);
    const high = mul(less(full(device, [M], 1 + epsilonHigh), ratio), isUp);
    sums["clip_ratio/low_mean"] = affine(sum(low), share);
    sums["clip_ratio/high_mean"] = affine(sum(high), share);
    sums["clip_ratio/region_mean"] = affine(sum(add(low, high)), share);
  });
  return { loss, sums };
}

/** What the weight of a token depends on. A sequence that counts but has no tokens (truncated and masked) has `tokens` 0. */
export type StepShape = {
  readonly lossType: LossType;
  /** Sequences of the step. */
  readonly sequences: number;
  /** Active tokens of all rollouts of the generation, over the steps that share them. */
  readonly tokensPerStep: number;
  /** Microbatches of the step. */
  readonly microbatches: number;
  readonly maxCompletionLength: number;
};

/**
 * The weight of each token of a sequence of `tokens` in a microbatch of `microbatchTokens`:
 * grpo: mean over the sequence, then over sequences · bnpo: mean over the microbatch's tokens, then over microbatches · dapo: mean over the step's tokens ·
 * dr_grpo: over a constant, sequences × maxCompletionLength.
 */
export function tokenWeight(
  { lossType, sequences, tokensPerStep, microbatches, maxCompletionLength }: StepShape,
  tokens: number,
  microbatchTokens: number,
): number {
  switch (lossType) {
    case "grpo":
      return 1 / (Math.max(1, tokens) * sequences);
    case "bnpo":
      return 1 / (Math.max(1, microbatchTokens) * microbatches);
    case "dapo":
      return 1 / Math.max(1, tokensPerStep);
    case "dr_grpo":
      return 1 / (sequences * maxCompletionLength);
  }
}

export type ScaleRewards = "group" | "batch" | "none";

/** Added to the standard deviation, as TRL does. */
const tiny = 1e-4;

/**
 * Advantages of rewards that lie in groups of `groupSize`: reward minus the group's mean, divided by the standard deviation (with Bessel's correction)
 * of the group or of all, or by nothing. Exactly 0 in a group whose rewards are all equal. `zeroStd`: share of rewards without spread.
 */
export function advantagesOf(
  rewards: readonly number[],
  groupSize: number,
  scale: ScaleRewards,
): { advantages: number[]; zeroStd: number } {
  const batchStd = standardDeviation(rewards);
  const advantages: number[] = [];
  let zero = 0;
  for (let start = 0; start < rewards.length; start += groupSize) {
    const group = rewards.slice(start, start + groupSize);
    const mean = meanOf(group);
    const isFlat = group.every((reward) => reward === group[0]);
    const std = scale === "batch" ? batchStd : standardDeviation(group);
    if (scale === "batch" ? batchStd === 0 : isFlat) zero += group.length;
    for (const reward of group) advantages.push(isFlat ? 0 : scale === "none" ? reward - mean : (reward - mean) / (std + tiny));
  }
  return { advantages, zeroStd: rewards.length === 0 ? 0 : zero / rewards.length };
}

export function meanOf(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** With Bessel's correction; 0 for fewer than two values. */
export function standardDeviation(values: readonly number[]): number {
  if (values.length < 2 || values.every((value) => value === values[0])) return 0;
  const mean = meanOf(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
}
