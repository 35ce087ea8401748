// Supervised fine-tuning: cross-entropy of the completion only; the prompt is read, never learned. As DeepSeek-R1's cold start and s1 do it: a fixed
// set of verified traces, several epochs. Dropped: R1's summary format and language rule (no such text here) and reward-model filtering (the task's own check
// is the filter). DeepSeek-V3's extras stay on, so a model with a prediction head keeps it in step with the trunk.

import { checkDataConfig, type DataConfig } from "./data-source.ts";
import { object, orNull, real, resolveOptions, text, type Values, whole, withDefault } from "./options.ts";
import type { StageContext, StageRunner } from "./stage.ts";
import { openTokenStage, tokenStageFields } from "./token-stage.ts";

/** s1's number. */
const defaultExamples = 1000;

export const sftFields = {
  name: text("sft"),
  /** Passes over the examples; s1: 5, R1: 2 to 3. */
  epochs: real(3, { above: 0, max: 1e6 }),
  /** Optimiser steps instead of epochs. */
  steps: orNull(whole(1, { min: 1, max: 1e9 })),
  /** See data-source.ts; default: `defaultExamples` verified examples of the task. */
  data: object<Partial<DataConfig>>({}),
  ...tokenStageFields,
  learningRate: withDefault(tokenStageFields.learningRate, 3e-4),
} as const;

export type SftOptions = Partial<Values<typeof sftFields>>;
export type SftStage = { readonly kind: "sft" } & Omit<Values<typeof sftFields>, "data"> & { readonly data: DataConfig };

/** A stage of a recipe, as plain data with every default filled in. Throws ConfigError. */
export function sft(options: SftOptions = {}, taskName?: string): SftStage {
  const values = resolveOptions("sft", sftFields, options);
  const examples = values.data.kind === "file" ? null : defaultExamples;
  return { kind: "sft", ...values, data: checkDataConfig("sft: data", { examples, ...values.data }, taskName) };
}

export function openSft(stage: SftStage, context: StageContext): Promise<StageRunner> {
  const length = stage.steps === null ? { epochs: stage.epochs } : { steps: stage.steps };
  return openTokenStage(stage, length, false, context);
}
