// How an engine is set up, and the door for it: absurd options become a ConfigError before anything is allocated.

import { type CacheType, cacheTypes } from "../core/dtype.ts";
import { ConfigError } from "../core/errors.ts";
import type { Model } from "../models/model.ts";
import type { CheckedSpeculation, SpeculationKind, SpeculationOptions } from "./speculation.ts";

export type EngineOptions = {
  /** Sequences that run at once; more wait in line. Default 8. */
  readonly slots?: number;
  /** Ids (prompt and completion) that one sequence may have. Default: the model's context, at most 4,096. */
  readonly contextLength?: number;
  /**
   * Ids whose keys the cache holds, of all running sequences and of prefixes kept for later; its memory is this times bytesPerToken.
   * Default: slots · contextLength. With less, the newest sequences wait when it is full.
   */
  readonly cacheTokens?: number;
  /** Keys in a page, a power of two up to 1,024: the piece in which keys are given out and shared. Default 32. */
  readonly pageSize?: number;
  /** Keys of finished requests are kept, while there is room, for prompts that begin alike. Default true. */
  readonly prefixCache?: boolean;
  /**
   * MLA only: the absorbed form reads and holds less memory; the plain form, over expanded keys, has the bits of the training pass,
   * which RL rollouts need. Default: true for DeepSeek models.
   */
  readonly absorbed?: boolean;
  /** What keys and values are rounded to. Default f32, which alone has the bits of the training pass; f16 takes half of its memory, q8_0 28 %. */
  readonly cacheType?: CacheType;
  /** Prompt ids computed in one step, beside one row for each decoding sequence. Default 256. */
  readonly prefillTokens?: number;
  /** Ids from here on are never drawn: padding of the vocabulary beyond the tokenizer's last id. */
  readonly vocabLimit?: number;
  /** Ids that are never drawn. Forced ids may be among them. */
  readonly bannedIds?: readonly number[];
  /** Decodes several ids in a step where they can be foretold, with the bits of plain decoding. Default: none. */
  readonly speculation?: SpeculationOptions;
  /** Source of seeds for requests without one. Default: from the system. */
  readonly seed?: number;
};

/** Fills in the defaults. Throws ConfigError naming the option. */
export function checkOptions(options: EngineOptions, model: Model): Required<EngineOptions> & { readonly speculation: CheckedSpeculation } {
  const { vocabSize, modelType } = model;
  const slots = integer("slots", options.slots ?? 8, 1, 65536);
  const contextLength = integer("contextLength", options.contextLength ?? Math.min(model.contextLength, 4096), 2, model.contextLength);
  return {
    slots,
    contextLength,
    cacheTokens: integer("cacheTokens", options.cacheTokens ?? slots * contextLength, 2, 2 ** 31 - 1),
    pageSize: powerOfTwo("pageSize", options.pageSize ?? 32),
    prefixCache: options.prefixCache ?? true,
    absorbed: options.absorbed ?? modelType.startsWith("deepseek"),
    cacheType: cacheType(options.cacheType ?? "f32"),
    prefillTokens: integer("prefillTokens", options.prefillTokens ?? 256, 1, 1048576),
    vocabLimit: integer("vocabLimit", options.vocabLimit ?? vocabSize, 1, vocabSize),
    bannedIds: Array.from(options.bannedIds ?? [], (id) => integer("bannedIds", id, 0, vocabSize - 1)),
    speculation: checkSpeculation(options.speculation ?? { kind: "none" }, model),
    seed: integer("seed", options.seed ?? systemSeed(), 0, Number.MAX_SAFE_INTEGER),
  };
}

function checkSpeculation({ kind, tokens, adapt = true }: SpeculationOptions, model: Model): CheckedSpeculation {
  const kinds: readonly SpeculationKind[] = ["none", "lookup", "mtp"];
  if (!kinds.includes(kind)) refuse("speculation.kind", String(kind), kinds.join(", "), "name one of them");
  if (kind === "mtp" && !model.predictNext) {
    refuse("speculation.kind", `mtp with a ${model.modelType} model without a head for it`, "lookup", "use lookup, which fits every model");
  }
  const most = kind === "mtp" ? 1 : 32;
  return { kind, tokens: integer("speculation.tokens", tokens ?? (kind === "mtp" ? 1 : 8), 1, most), adapt };
}

function cacheType(value: CacheType): CacheType {
  if (cacheTypes.includes(value)) return value;
  throw new ConfigError({ operation: "engine: cacheType", got: String(value), expected: cacheTypes.join(", "), cure: "name one of them" });
}

function powerOfTwo(name: string, value: number): number {
  if ([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024].includes(value)) return value;
  refuse(name, String(value), "a power of two from 1 to 1024");
}

function integer(name: string, value: number, least: number, most: number): number {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return value;
  refuse(name, String(value), `an integer from ${least} to ${most}`);
}

function refuse(name: string, got: string, expected: string, cure = `change ${name}`): never {
  throw new ConfigError({ operation: `engine: ${name}`, got, expected, cure });
}

function systemSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] as number;
}
