// What the engine's thread and the grammar thread say to one another.

import type { GrammarSource } from "../chat/structure-check.ts";

export type Vocabulary = {
  /** By id, in GPT-2's byte alphabet; "" for ids that no grammar may use. */
  readonly tokens: readonly string[];
  readonly vocabSize: number;
  /** Ids that may come where the grammar may end. */
  readonly stopIds: readonly number[];
};

export type GrammarCall = { readonly serial: number } & (
  | { readonly kind: "open"; readonly vocabulary: Vocabulary }
  | { readonly kind: "begin"; readonly id: number; readonly source: GrammarSource; readonly accepted: readonly number[] }
  | { readonly kind: "next"; readonly id: number; readonly accepted: readonly number[] }
  | { readonly kind: "drop"; readonly id: number }
);

export type GrammarAnswer = {
  readonly serial: number;
  /** One bit an id, 1: may come. Empty: nothing may come any more. */
  readonly mask?: Int32Array;
  readonly error?: string;
  /** The library is broken; its thread must go. */
  readonly isTrap?: boolean;
};
