// Trains a byte-level BPE vocabulary. In: texts. Out: the text of a tokenizer.json that Hugging Face's libraries open.
// The same merges as the trainer of Rust's `tokenizers` (most frequent pair first; among equals the lowest ids), whatever the
// order of the texts. Unusual: the texts are cut into pieces by the very tokenizer that is being made, before it has merges,
// so training and use cannot disagree; counts are updated where a merge changes something, never counted again.

import { ConfigError } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { byteToChar } from "./byte-alphabet.ts";
import { PairCounts } from "./pair-counts.ts";
import { patternFault } from "./pattern-check.ts";
import { makePreTokenizer } from "./pre-tokenizer.ts";

/** A run of digits, a word with the space before it, other signs with it, white space: a whole number can become one token. */
export const defaultPattern = "\\p{N}+| ?\\p{L}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

export type SpecialToken =
  | string
  | { readonly content: string /** Left out by skipSpecialTokens; default true. */; readonly special?: boolean };

export type TrainBpeOptions = {
  /** All tokens: special ones, the 256 bytes, merges. Fewer come out when the texts have no more pairs. */
  readonly vocabSize: number;
  /** They get the ids from 0 on, in this order; the trainer never looks inside them. */
  readonly specialTokens?: readonly SpecialToken[];
  /** Merges stay within what this cuts out; null: no cutting, merges may span anything. */
  readonly pattern?: string | null;
  /** A pair that is seen less often is not merged; default 2. */
  readonly minFrequency?: number;
};

/** Throws ConfigError for options that make no sense. */
export function trainBpe(texts: Iterable<string>, options: TrainBpeOptions): string {
  const { vocabSize, pattern = defaultPattern, minFrequency = 2 } = options;
  const special = (options.specialTokens ?? []).map((token) =>
    typeof token === "string" ? { content: token, special: true } : { special: true, ...token },
  );
  checkOptions(vocabSize, special, pattern, minFrequency);

  // Bytes in the order of their characters, as the Rust trainer has them: ids decide between equal counts.
  const tokens = [...special.map(({ content }) => content), ...[...byteToChar].sort()];
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const counts = new PairCounts(countPieces(texts, special, pattern), (char) => idOf.get(char) as number);
  const merges: [string, string][] = [];
  while (tokens.length < vocabSize) {
    const best = counts.best();
    if (!best || best.count < minFrequency) break;
    const [left, right] = [tokens[best.left] as string, tokens[best.right] as string];
    const made = left + right;
    const known = idOf.get(made);
    if (known !== undefined && known < special.length) {
      // Plain text must never merge into a special token.
      counts.forbid(best);
      continue;
    }
    const id = known ?? tokens.push(made) - 1;
    idOf.set(made, id);
    merges.push([left, right]);
    counts.merge(best, id);
  }
  return tokenizerJson(idOf, merges, special, pattern);
}

type Special = { readonly content: string; readonly special: boolean };

function refuse(got: string, expected: string, cure: string): never {
  throw new ConfigError({ operation: "train a tokenizer", got, expected, cure });
}

function checkOptions(vocabSize: number, special: readonly Special[], pattern: string | null, minFrequency: number): void {
  const least = special.length + 256;
  if (!Number.isSafeInteger(vocabSize) || vocabSize < least || vocabSize >= 2 ** 20) {
    refuse(
      `vocabSize ${vocabSize}`,
      `an integer from ${least} (256 bytes and the special tokens) to ${2 ** 20 - 1}`,
      "choose another size",
    );
  }
  if (!(minFrequency >= 1)) refuse(`minFrequency ${minFrequency}`, "1 or more", "leave it out for 2");
  const contents = special.map(({ content }) => content);
  const bad = contents.find(
    (content, i) => content === "" || byteToChar.includes(content) || !content.isWellFormed() || contents.indexOf(content) !== i,
  );
  if (bad !== undefined) refuse(`special token ${JSON.stringify(bad)}`, "texts of more than one character, each once", "rename it");
  const fault = pattern === null ? undefined : patternFault(pattern);
  if (fault !== undefined) refuse(`pattern ${JSON.stringify(pattern)} with ${fault}`, "a pattern that cannot hang", "simplify it");
}

function preTokenizerConfig(pattern: string | null): JsonObject {
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
  if (pattern === null) return bytes;
  return { type: "Sequence", pretokenizers: [{ type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false }, bytes] };
}

/** How often each piece occurs, in the alphabet of bytes; special tokens are cut out of the texts first. */
function countPieces(texts: Iterable<string>, special: readonly Special[], pattern: string | null): Map<string, number> {
  const split = makePreTokenizer(preTokenizerConfig(pattern));
  // Longest first, as the tokenizer itself prefers them.
  const contents = special.map(({ content }) => content).sort((a, b) => b.length - a.length);
  const escaped = contents.map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  const cut = escaped.length > 0 ? new RegExp(escaped.join("|"), "u") : undefined;
  const pieces = new Map<string, number>();
  for (const text of texts) {
    for (const part of cut ? text.split(cut) : [text]) {
      if (part === "") continue;
      for (const piece of split(part)) pieces.set(piece, (pieces.get(piece) ?? 0) + 1);
    }
  }
  return pieces;
}

function tokenizerJson(
  idOf: ReadonlyMap<string, number>,
  merges: readonly [string, string][],
  special: readonly Special[],
  pattern: string | null,
): string {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  return JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special.map(({ content, special: isSpecial }, id) => ({ id, content, ...flags, special: isSpecial })),
    normalizer: null,
    pre_tokenizer: preTokenizerConfig(pattern),
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(idOf),
      merges,
    },
  });
}
