// The merge loop against the rule itself: the lowest rank first, leftmost first, found by a plain search.

import fc from "fast-check";
import { expect, test } from "vitest";
import { MergeTable, mergeIds } from "../../src/text/bpe-merge.ts";

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

/** The same by MergeTable and mergeIds; characters that no merge names are ids below 0. */
function ourMerge(piece: string, tokens: readonly string[], merges: readonly (readonly [string, string])[]): string[] {
  const idOf = (token: string) => tokens.indexOf(token);
  const ids = (side: (merge: readonly [string, string]) => string) => Int32Array.from(merges, (merge) => idOf(side(merge)));
  const table = new MergeTable({ left: ids(([left]) => left), right: ids(([, right]) => right), made: ids((merge) => merge.join("")) });
  const characters = Array.from(piece);
  const work = Int32Array.from(characters, (character, i) => (tokens.includes(character) ? idOf(character) : -2 - i));
  const count = mergeIds(work, work.length, table);
  return Array.from(work.subarray(0, count), (id) => (id < 0 ? (characters[-2 - id] as string) : (tokens[id] as string)));
}

// Pieces of up to 64 characters are merged without a queue, longer ones with it.
test.each([40, 200])("any merges, any piece of up to %i characters", (maxLength) => {
  // Grow a random list of merges over the letters a, b and c.
  const choices = fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 12 });
  const piece = fc.string({ unit: fc.constantFrom("a", "b", "c", "d", "😀"), minLength: Math.floor(maxLength / 3), maxLength });
  fc.assert(
    fc.property(choices, piece, (picks, text) => {
      const tokens = ["a", "b", "c"];
      const merges: [string, string][] = [];
      for (const [i, j] of picks) {
        const pair: [string, string] = [tokens[i % tokens.length] as string, tokens[j % tokens.length] as string];
        if (tokens.includes(pair.join(""))) continue;
        tokens.push(pair.join(""));
        merges.push(pair);
      }
      expect(ourMerge(text, tokens, merges)).toEqual(plainMerge(text, merges));
    }),
    { numRuns: 1500, seed: 1 },
  );
});

test.each([5, 100])("equal ranks: the leftmost of %i pairs first", (count) => {
  // ab and bc have one rank: whichever comes first in the text takes the b.
  const [left, right, made] = [Int32Array.of(0, 1), Int32Array.of(1, 2), Int32Array.of(3, 4)];
  const table = new MergeTable({ left, right, made, rank: Int32Array.of(7, 7) });
  const ids = Int32Array.from({ length: 3 * count }, (_, i) => i % 3);
  expect(mergeIds(ids, ids.length, table)).toBe(2 * count);
  expect(Array.from(ids.subarray(0, 4))).toEqual([3, 2, 3, 2]);
});

test("a merge of a pair that comes twice: the first counts; empty and single pieces", () => {
  const table = new MergeTable({ left: Int32Array.of(0, 0), right: Int32Array.of(0, 0), made: Int32Array.of(1, 2) });
  const ids = Int32Array.of(0, 0);
  expect([mergeIds(ids, 2, table), ids[0]]).toEqual([1, 1]);
  expect(mergeIds(ids, 1, table)).toBe(1);
  expect(mergeIds(ids, 0, table)).toBe(0);
});
