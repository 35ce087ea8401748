// The merge loop against the rule itself: the lowest rank first, leftmost first, found by a plain search.

import fc from "fast-check";
import { expect, test } from "vitest";
import { makeMergeTable, mergePiece } from "../../src/text/bpe-merge.ts";

/** The definition, in cubic time. */
function plainMerge(piece: string, merges: readonly (readonly [string, string])[]): string[] {
  const tokens = Array.from(piece);
  for (;;) {
    let best = merges.length;
    let at = -1;
    for (let i = 0; i + 1 < tokens.length; i++) {
      const rank = merges.findIndex(([left, right]) => left === tokens[i] && right === tokens[i + 1]);
      if (rank >= 0 && rank < best) [best, at] = [rank, i];
    }
    if (at < 0) return tokens;
    tokens.splice(at, 2, `${tokens[at]}${tokens[at + 1]}`);
  }
}

test("any merges, any piece", () => {
  // Grow a random list of merges over the letters a, b and c.
  const choices = fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 12 });
  fc.assert(
    fc.property(choices, fc.string({ unit: fc.constantFrom("a", "b", "c", "d", "😀"), maxLength: 40 }), (picks, piece) => {
      const tokens = ["a", "b", "c"];
      const merges: [string, string][] = [];
      for (const [i, j] of picks) {
        const pair: [string, string] = [tokens[i % tokens.length] as string, tokens[j % tokens.length] as string];
        if (tokens.includes(pair.join(""))) continue;
        tokens.push(pair.join(""));
        merges.push(pair);
      }
      const table = makeMergeTable(new Map(tokens.map((token, id) => [token, id])), merges);
      expect(mergePiece(piece, table)).toEqual(plainMerge(piece, merges));
    }),
    { numRuns: 3000 },
  );
});

test("empty and single pieces", () => {
  const table = makeMergeTable(new Map([["a", 0]]), []);
  expect(mergePiece("", table)).toEqual([]);
  expect(mergePiece("a", table)).toEqual(["a"]);
  expect(mergePiece("é", table)).toEqual(["é"]);
});
