// The learning rate of each step: linear warm-up, then constant, cosine, or WSD (warm-up, stable, linear decay; MiniCPM 2024, DeepSeek-V3's
// shape in spirit). In: the number of the step, from 0. Out: the rate. Unusual: step 0 already trains, with 1/warmupSteps of the
// rate (Hugging Face's schedules spend it on rate 0); as there, the decay would reach its end one step after the last.

import { ConfigError } from "../core/errors.ts";
import { oneOf, real, type Values, whole } from "./options.ts";

export const scheduleFields = {
  /** Highest learning rate. */
  learningRate: real(1e-3, { above: 0, max: 100 }),
  schedule: oneOf("cosine", ["constant", "cosine", "wsd"]),
  /** Steps of linear warm-up. */
  warmupSteps: whole(0, { min: 0, max: 1e9 }),
  /** WSD: share of all steps that the decay takes. */
  decayShare: real(0.2, { min: 0, max: 1 }),
  /** Rate at the end of cosine and WSD, as a share of `learningRate`. */
  finalShare: real(0, { min: 0, max: 1 }),
} as const;

export type ScheduleOptions = Values<typeof scheduleFields>;

/** Rate of step 0..steps-1. Throws ConfigError for settings that make no sense (checked here again: not every caller comes through a recipe). */
export function learningRateAt(step: number, steps: number, options: ScheduleOptions): number {
  const { learningRate, schedule, warmupSteps, decayShare, finalShare } = options;
  for (const [key, value] of Object.entries({ learningRate, warmupSteps, decayShare, finalShare })) {
    if (!Number.isFinite(value) || value < 0) {
      throw new ConfigError({
        operation: "learning rate schedule",
        got: `${key} ${value}`,
        expected: "a finite number of 0 or more",
        cure: `correct ${key}`,
      });
    }
  }
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  if (schedule === "constant") return learningRate;
  const length = schedule === "cosine" ? steps - warmupSteps : Math.min(Math.round(steps * decayShare), steps - warmupSteps);
  const through = length <= 0 ? 0 : Math.min(1, Math.max(0, (step - (steps - length)) / length));
  const share = schedule === "cosine" ? (1 + Math.cos(Math.PI * through)) / 2 : 1 - through;
  return learningRate * (finalShare + (1 - finalShare) * share);
}
