import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import type { Batch, Document } from "../../src/data/pack.ts";
import { DataStream, type DocumentSource, generatedSource, listSource } from "../../src/data/stream.ts";

const shape = { B: 3, T: 16 };
const list = Array.from({ length: 37 }, (_, d): Document => ({ ids: Array.from({ length: 1 + ((d * 7) % 12) }, () => d + 1) }));

/** The documents of a batch, as the id that each is made of. */
function documentsOf(batch: Batch): number[] {
  const found: number[] = [];
  for (let r = 0; r < batch.ids.length; r++) if (batch.positions[r] === 0 && batch.ids[r] !== 0) found.push(batch.ids[r]!);
  return found;
}

describe.each<[string, () => DocumentSource]>([
  [
    "generated",
    () => generatedSource((random) => ({ ids: Array.from({ length: 1 + random.integer(12) }, () => 1 + random.integer(9)) }), 5),
  ],
  ["shuffled list", () => listSource(list, { seed: 5, T: 16 }).source],
])("%s", (_, open) => {
  test("the same seed gives the same batches, without end", () => {
    const a = new DataStream(open(), shape);
    const b = new DataStream(open(), shape);
    for (let i = 0; i < 60; i++) {
      const batch = a.next();
      expect(batch).toEqual(b.next());
      expect(batch.documents).toBeGreaterThan(0);
    }
  });

  test("resumed at any point, it continues as if it had never stopped", () => {
    const whole = new DataStream(open(), shape);
    const batches = Array.from({ length: 40 }, () => whole.next());
    const random = new Random(9);
    let stream = new DataStream(open(), shape);
    for (const batch of batches) {
      expect(stream.next()).toEqual(batch);
      if (random.integer(2) === 0) {
        const state = JSON.parse(JSON.stringify(stream.state)) as { index: number };
        stream = new DataStream(open(), shape, { state });
      }
    }
    expect(stream.state).toEqual(whole.state);
  });
});

test("ten epochs with a hundred resumes: every row is seen ten times, each epoch in another order", () => {
  const random = new Random(4);
  let stream = new DataStream(listSource(list, { seed: 1, T: 16 }).source, shape);
  const seen: number[] = [];
  let resumes = 0;
  while (seen.length < list.length * 10) {
    seen.push(...documentsOf(stream.next()));
    if (resumes < 100 && random.integer(4) > 0) {
      stream = new DataStream(listSource(list, { seed: 1, T: 16 }).source, shape, { state: stream.state });
      resumes++;
    }
  }
  expect(resumes).toBeGreaterThan(40);
  // A batch reports its documents row by row, so compare counts over the consumed prefix of whole epochs.
  const source = listSource(list, { seed: 1, T: 16 }).source;
  const expected = Array.from({ length: stream.state.index }, (_, i) => source(i).ids[0]!);
  expect([...seen].sort()).toEqual([...expected].sort());
  for (let epoch = 0; epoch < 10; epoch++) {
    const part = expected.slice(epoch * list.length, (epoch + 1) * list.length);
    expect(new Set(part).size).toBe(list.length);
    expect(part).not.toEqual(expected.slice((epoch + 1) * list.length, (epoch + 2) * list.length));
  }
});

test("another seed gives another order; without shuffle the order is kept", () => {
  const order = (options: { seed: number; shuffle?: boolean }) => {
    const { source, count } = listSource(list, { ...options, T: 16 });
    return Array.from({ length: count * 2 }, (_, i) => source(i).ids[0]!);
  };
  expect(order({ seed: 1 })).not.toEqual(order({ seed: 2 }));
  expect(order({ seed: 1, shuffle: false })).toEqual([...list, ...list].map((d) => d.ids[0]));
});

test("any document of a generated source can be made alone", () => {
  const make = (random: Random, index: number): Document => ({ ids: [index + 1, random.integer(1000)] });
  const source = generatedSource(make, 3);
  const inOrder = [0, 1, 2, 3].map(source);
  expect([3, 1, 0, 2].map(source)).toEqual([inOrder[3], inOrder[1], inOrder[0], inOrder[2]]);
  expect(new Set(inOrder.map((d) => d.ids[1])).size).toBeGreaterThan(1);
  expect(generatedSource(make, 4)(0)).not.toEqual(inOrder[0]);
});

test("long documents are split, truncated or refused", () => {
  const long: Document[] = [{ ids: [1, 2, 3, 4, 5, 6, 7] }, { ids: [8, 9] }];
  expect(() => listSource(long, { seed: 0, T: 4 })).toThrow(/document 0 of 7 tokens/);
  const ids = (mode: "split" | "truncate") => {
    const { source, count } = listSource(long, { seed: 0, T: 4, long: mode, shuffle: false });
    return Array.from({ length: count }, (_, i) => source(i).ids);
  };
  expect(ids("truncate")).toEqual([
    [1, 2, 3, 4],
    [8, 9],
  ]);
  expect(ids("split")).toEqual([
    [1, 2, 3, 4],
    [4, 5, 6, 7],
    [8, 9],
  ]);
});

test("no data, a bad state and a bad shape are errors", () => {
  expect(() => listSource([], { seed: 0, T: 4 })).toThrow(ConfigError);
  const { source } = listSource(list, { seed: 0, T: 16 });
  expect(() => new DataStream(source, shape, { state: { index: -1 } })).toThrow(ConfigError);
  expect(() => new DataStream(source, shape, { state: { index: 0.5 } })).toThrow(ConfigError);
  expect(() => new DataStream(source, { B: 0, T: 4 })).toThrow(ConfigError);
});
