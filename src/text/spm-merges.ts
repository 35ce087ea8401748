// SentencePiece's merges. Its models list no pairs: any two neighbours merge whose text together is a piece, highest score first, then
// leftmost (Kudo & Richardson 2018; llama.cpp's llm_tokenizer_spm). In: pieces and scores. Out: all such pairs with their rank.

import { FormatError } from "../core/errors.ts";
import type { Merges } from "./bpe-merge.ts";

/** Llama 2 has 2 million, Gemma's 262,144 pieces 20 million. */
const workLimit = 200_000_000;

/**
 * All ways to make a piece out of two, or out of single characters. A character that is no piece itself gets an id from `tokens.length` on, put
 * into `idOf`. Pieces for which `isByte` holds stand for bytes, not for their text.
 */
export function spmMerges(
  tokens: readonly (string | undefined)[],
  idOf: Map<string, number>,
  scores: ArrayLike<number>,
  isByte: (id: number) => boolean,
): Merges {
  const work = tokens.reduce((sum, token) => sum + (token?.length ?? 0) ** 2, 0);
  if (work > workLimit) {
    throw new FormatError({
      operation: "find the merges of a SentencePiece vocabulary",
      got: `${tokens.length} pieces whose squared lengths add up to ${work}`,
      expected: `at most ${workLimit}`,
      cure: "use the tokenizer of the model's publisher",
    });
  }
  const rankOf = ranks(tokens, scores);
  const pairs: { left: number; right: number; made: number }[] = [];
  let next = tokens.length;
  const idOfHalf = (half: string): number | undefined => {
    const known = idOf.get(half);
    if (known !== undefined) return known < tokens.length && isByte(known) ? undefined : known;
    // Only what has merged, which is a piece, and single characters can meet another.
    if (half.length > 2 || (half.codePointAt(0) as number) > 0xffff !== (half.length === 2)) return undefined;
    idOf.set(half, next);
    return next++;
  };
  for (const [made, token] of tokens.entries()) {
    if (token === undefined || isByte(made)) continue;
    for (let cut = 1; cut < token.length; cut++) {
      if (isLowSurrogate(token.charCodeAt(cut))) continue;
      const left = idOfHalf(token.slice(0, cut));
      const right = left === undefined ? undefined : idOfHalf(token.slice(cut));
      if (left !== undefined && right !== undefined) pairs.push({ left, right, made });
    }
  }
  pairs.sort((a, b) => (rankOf[a.made] as number) - (rankOf[b.made] as number));
  return {
    left: Int32Array.from(pairs, ({ left }) => left),
    right: Int32Array.from(pairs, ({ right }) => right),
    made: Int32Array.from(pairs, ({ made }) => made),
    rank: Int32Array.from(pairs, ({ made }) => rankOf[made] as number),
  };
}

/** Of each token: how many different scores are higher. */
function ranks(tokens: readonly unknown[], scores: ArrayLike<number>): Int32Array {
  const order = tokens.map((_, id) => id).sort((a, b) => (scores[b] as number) - (scores[a] as number));
  const rankOf = new Int32Array(tokens.length);
  let rank = 0;
  for (const [i, id] of order.entries()) {
    if (i > 0 && scores[id] !== scores[order[i - 1] as number]) rank++;
    rankOf[id] = rank;
  }
  return rankOf;
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
