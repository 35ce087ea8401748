// What a byte-pair tokenizer is, whichever file it came from: checked values, typed. check-tokenizer.ts makes one from a
// tokenizer.json, gguf-tokenizer.ts from the metadata of a GGUF file; tokenizer.ts runs it, tokenizer-json.ts and
// gguf-tokenizer-writer.ts write it. The steps around the model keep the form that tokenizer.json gives them.

import type { JsonValue } from "../core/json.ts";
import type { Merges } from "./bpe-merge.ts";

export type AddedToken = {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  /** Looked for in the normalised text instead of the raw one. */
  readonly normalized: boolean;
  /** White space before or after it belongs to it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Only where no letter, digit or underscore touches it. */
  readonly singleWord: boolean;
};

export type TokenizerDefinition = {
  /** Of the base vocabulary, by id; holes are undefined. */
  readonly tokens: readonly (string | undefined)[];
  /** Of the base vocabulary; may also hold single characters without a token, with ids from `tokens.length` on, which merges name. */
  readonly idOf: ReadonlyMap<string, number>;
  readonly merges: Merges;
  readonly added: readonly AddedToken[];
  readonly unknown?: number;
  /** Neighbouring unknown characters make one unknown token. */
  readonly fuseUnknown: boolean;
  /** Unknown characters become their bytes, `<0x41>`. */
  readonly byteFallback: boolean;
  /** A piece that is a token is that token, whatever the merges make of it. */
  readonly ignoreMerges: boolean;
  readonly normalizer: JsonValue;
  readonly preTokenizer: JsonValue;
  readonly postProcessor: JsonValue;
  readonly decoder: JsonValue;
};
