import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { completionDocument, type Document, packBatch, splitDocument } from "../../src/data/pack.ts";

function supply(documents: readonly Document[]): () => Document | undefined {
  let i = 0;
  return () => documents[i++];
}

test("packs the documented layout", () => {
  const documents = [completionDocument([1, 2], [3, 4]), { ids: [5, 6, 7] }, completionDocument([8], [9])];
  const batch = packBatch(supply(documents), { B: 2, T: 6 }, 99);
  expect(batch.documents).toBe(3);
  expect(batch.used).toBe(9);
  // Row 0: [1 2 3 4] [8 9]; row 1: [5 6 7] and padding.
  expect([...batch.ids]).toEqual([1, 2, 3, 4, 8, 9, 5, 6, 7, 99, 99, 99]);
  expect([...batch.positions]).toEqual([0, 1, 2, 3, 0, 1, 0, 1, 2, 0, 0, 0]);
  expect([...batch.targets]).toEqual([-1, 3, 4, -1, 9, -1, 6, 7, -1, -1, -1, -1]);
  expect([...batch.nextIds]).toEqual([2, 3, 4, -1, 9, -1, 6, 7, -1, -1, -1, -1]);
  expect([...batch.mtpTargets]).toEqual([3, 4, -1, -1, -1, -1, 7, -1, -1, -1, -1, -1]);
  expect([...batch.first]).toEqual([0, 0, 0, 0, 4, 4, 6, 6, 6, 9, 10, 11]);
  expect([...batch.last]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  expect(batch.tokens).toBe(5);
});

test("stops before the first document that fits nowhere, and skips none", () => {
  const lengths = [4, 3, 2, 4, 1];
  const documents = lengths.map((n, d): Document => ({ ids: Array.from({ length: n }, (_, i) => 10 * d + i) }));
  const batch = packBatch(supply(documents), { B: 2, T: 5 });
  // 4 -> row 0, 3 -> row 1, 2 -> row 1, 4 fits nowhere: stop, although 1 would fit.
  expect(batch.documents).toBe(3);
  expect([...batch.ids]).toEqual([0, 1, 2, 3, 0, 10, 11, 12, 20, 21]);
});

const documentOf = (maxLength: number) =>
  fc.array(fc.tuple(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 0, max: 1 })), { minLength: 1, maxLength }).map(
    (pairs): Document => ({
      ids: pairs.map(([id]) => id),
      mask: pairs.map(([, bit]) => bit),
    }),
  );

test("for any documents: no token sees another document, every masked id is a target exactly once", () => {
  fc.assert(
    fc.property(fc.array(documentOf(9), { maxLength: 20 }), fc.integer({ min: 1, max: 4 }), (documents, B) => {
      const T = 9;
      const batch = packBatch(supply(documents), { B, T });
      const packed = documents.slice(0, batch.documents);
      expect(batch.used).toBe(packed.reduce((sum, d) => sum + d.ids.length, 0));
      expect(batch.tokens).toBe(packed.reduce((sum, d) => sum + d.mask!.slice(1).filter((bit) => bit === 1).length, 0));
      expect(batch.targets.filter((t) => t !== -1)).toHaveLength(batch.tokens);
      // Follow nextIds from every document start: that gives back the documents, as a multiset.
      const found: string[] = [];
      for (let r = 0; r < B * T; r++) {
        expect(Math.floor(batch.first[r]! / T)).toBe(Math.floor(r / T));
        expect(batch.last[r]).toBe(r);
        if (batch.ids[r] === 0) {
          expect([batch.first[r], batch.targets[r], batch.nextIds[r], batch.mtpTargets[r]]).toEqual([r, -1, -1, -1]);
          continue;
        }
        expect(batch.positions[r]).toBe(r - batch.first[r]!);
        if (batch.positions[r] !== 0) continue;
        const ids = [batch.ids[r]!];
        for (let s = r; batch.nextIds[s] !== -1; s++) {
          expect(batch.ids[s + 1]).toBe(batch.nextIds[s]);
          expect(batch.first[s + 1]).toBe(r);
          expect([-1, batch.nextIds[s]]).toContain(batch.targets[s]);
          // The second prediction of one token is the first prediction of the next.
          expect(batch.mtpTargets[s]).toBe(batch.targets[s + 1]);
          ids.push(batch.nextIds[s]!);
        }
        found.push(ids.join());
      }
      expect(found.sort()).toEqual(packed.map((d) => d.ids.join()).sort());
    }),
    { numRuns: 200, seed: 7 },
  );
});

describe("splitDocument", () => {
  test("predicts every id but the first exactly once", () => {
    for (let n = 1; n <= 40; n++) {
      const document = { ids: Array.from({ length: n }, (_, i) => i), mask: Array.from({ length: n }, (_, i) => i % 2) };
      for (const T of [2, 3, 7, 40]) {
        const pieces = splitDocument(document, T);
        expect(pieces.every((piece) => piece.ids.length <= T && piece.mask?.length === piece.ids.length)).toBe(true);
        expect(pieces.flatMap((piece, i) => piece.ids.slice(i === 0 ? 0 : 1))).toEqual(document.ids);
        expect(pieces.flatMap((piece, i) => piece.mask!.slice(i === 0 ? 0 : 1))).toEqual(document.mask);
      }
    }
  });
});

test.each<[string, Document, number, number]>([
  ["an empty document", { ids: [] }, 1, 4],
  ["a long document", { ids: [1, 2, 3, 4, 5] }, 1, 4],
  ["a mask of another length", { ids: [1, 2], mask: [1] }, 1, 4],
  ["no rows", { ids: [1] }, 0, 4],
  ["rows of one token", { ids: [1] }, 1, 1],
  ["a size that is no integer", { ids: [1] }, 1, 4.5],
  ["a size beyond memory", { ids: [1] }, 2 ** 20, 2 ** 20],
])("refuses %s", (_, document, B, T) => expect(() => packBatch(supply([document]), { B, T })).toThrow(ConfigError));
