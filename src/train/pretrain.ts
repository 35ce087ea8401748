// Pretraining: next-token cross-entropy over whole documents, with DeepSeek-V3's multi-token prediction and balancing where the model has them.
// Dropped from the paper: the batch-size ramp and fill-in-the-middle (too little data here to matter), the node limit (one machine), FP8
// (f32 everywhere). Kept apart from it: documents do not see one another (V3 packs without a mask), since a small model learns the border as noise.

import { checkDataConfig, type DataConfig } from "./data-source.ts";
import { object, resolveOptions, text, type Values, whole } from "./options.ts";
import type { StageContext, StageRunner } from "./stage.ts";
import { openTokenStage, tokenStageFields } from "./token-stage.ts";

export const pretrainFields = {
  name: text("pretrain"),
  steps: whole(1000, { min: 1, max: 1e9 }),
  /** See data-source.ts; default: endless worked examples of the task. */
  data: object<Partial<DataConfig>>({}),
  ...tokenStageFields,
} as const;

export type PretrainOptions = Partial<Values<typeof pretrainFields>>;
export type PretrainStage = { readonly kind: "pretrain" } & Omit<Values<typeof pretrainFields>, "data"> & { readonly data: DataConfig };

/** A stage of a recipe, as plain data with every default filled in. Throws ConfigError. */
export function pretrain(options: PretrainOptions = {}, taskName?: string): PretrainStage {
  const values = resolveOptions("pretrain", pretrainFields, options);
  return { kind: "pretrain", ...values, data: checkDataConfig("pretrain: data", values.data, taskName) };
}

export function openPretrain(stage: PretrainStage, context: StageContext): Promise<StageRunner> {
  return openTokenStage(stage, { steps: stage.steps }, true, context);
}
