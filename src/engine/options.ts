// How an engine is set up, and the door for it: absurd options become a ConfigError before anything is allocated.

import { ConfigError } from "../core/errors.ts";
import type { Model } from "../models/model.ts";

export type EngineOptions = {
  /** Sequences that run at once; more wait in line. Default 8. */
  readonly slots?: number;
  /**
   * Ids (prompt and completion) that one sequence may have. Default: the model's context, at most 4,096. The cache takes
   * slots · contextLength · bytesPerToken.
   */
  readonly contextLength?: number;
  /**
   * MLA only: the absorbed form reads and holds less memory; the plain form, over expanded keys, has the bits of the training pass,
   * which RL rollouts need. Default: true for DeepSeek models.
   */
  readonly absorbed?: boolean;
  /** Prompt ids computed in one step, beside one row for each decoding sequence. Default 256. */
  readonly prefillTokens?: number;
  /** Ids from here on are never drawn: padding of the vocabulary beyond the tokenizer's last id. */
  readonly vocabLimit?: number;
  /** Ids that are never drawn. Forced ids may be among them. */
  readonly bannedIds?: readonly number[];
  /** Source of seeds for requests without one. Default: from the system. */
  readonly seed?: number;
};

/** Fills in the defaults. Throws ConfigError naming the option. */
export function checkOptions(options: EngineOptions, model: Model): Required<EngineOptions> {
  const { contextLength, vocabSize, modelType } = model;
  return {
    slots: integer("slots", options.slots ?? 8, 1, 65536),
    contextLength: integer("contextLength", options.contextLength ?? Math.min(contextLength, 4096), 2, contextLength),
    absorbed: options.absorbed ?? modelType.startsWith("deepseek"),
    prefillTokens: integer("prefillTokens", options.prefillTokens ?? 256, 1, 1048576),
    vocabLimit: integer("vocabLimit", options.vocabLimit ?? vocabSize, 1, vocabSize),
    bannedIds: Array.from(options.bannedIds ?? [], (id) => integer("bannedIds", id, 0, vocabSize - 1)),
    seed: integer("seed", options.seed ?? systemSeed(), 0, Number.MAX_SAFE_INTEGER),
  };
}

function integer(name: string, value: number, least: number, most: number): number {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw new ConfigError({
    operation: `engine: ${name}`,
    got: String(value),
    expected: `an integer from ${least} to ${most}`,
    cure: `change ${name}`,
  });
}

function systemSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] as number;
}
