// Mutated GGUF files, alone and as parts of a split model: refused properly, or read without harm and written again. The mutations know where
// the format's lengths, counts, types and offsets lie, found by the walk below, which shares nothing with the reader.

import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Gguf, openGguf, readGguf } from "../../src/formats/gguf.ts";
import { writeGguf } from "../../src/formats/gguf-writer.ts";
import { type Field, fuzzOptions, fuzzTimeout, mutate, mutations, survives } from "./fuzz.ts";
import { array, entry, makeGguf, pair, text, u8, u32, u64 } from "./gguf-bytes.ts";
import { memoryFiles, memoryFolder } from "./memory-files.ts";
import { concatBytes, memorySource } from "./memory-source.ts";

const fixture = (name: string) => new Uint8Array(readFileSync(new URL(`../fixtures/blocks/${name}`, import.meta.url)));

/** Where the numbers of a valid file lie. */
function fieldsOf(bytes: Uint8Array): Field[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const fields: Field[] = [];
  let at = 0;
  const number = (width: Field["width"]): number => {
    fields.push({ at, width });
    const value = width === 8 ? Number(view.getBigUint64(at, true)) : width === 4 ? view.getUint32(at, true) : 0;
    at += width;
    return value;
  };
  const string = () => {
    const length = number(8);
    at += length;
  };
  const value = (type: number): void => {
    const width = ([1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8] as const)[type];
    if (type === 8) string();
    else if (type === 9) {
      const of = number(4);
      const count = number(8);
      for (let i = 0; i < count; i++) value(of);
    } else if (width) number(width);
  };
  number(4);
  number(4);
  const tensors = number(8);
  const pairs = number(8);
  for (let i = 0; i < pairs; i++) {
    string();
    value(number(4));
  }
  for (let i = 0; i < tensors; i++) {
    string();
    const rank = number(4);
    for (let j = 0; j < rank; j++) number(8);
    number(4);
    number(8);
  }
  return fields;
}

const small = makeGguf({
  pairs: [
    pair("general.alignment", "u32", u32(32)),
    pair("a", "string", text("b")),
    pair("t", "array", array("string", 3, text("x"), text("世"), text(""))),
    pair("n", "array", array("array", 2, array("bool", 2, u8(0, 1)), array("u64", 1, u64(5)))),
  ],
  entries: [entry("w", [256, 2], 12, 0), entry("z", [0], 0, 288), entry("v", [3, 2], 0, 288)],
  data: 288 + 24,
});
const bases = [fixture("values.gguf"), small, small, fixture("split-00001-of-00003.gguf")].map((bytes) => ({
  bytes,
  fields: fieldsOf(bytes),
}));

/**
 * Everything a caller may ask of an accepted file. Only strings may still be refused (for their UTF-8); tensors can be read, and what is written
 * of it opens again: a failure there is a fault of ours, not of the file.
 */
async function useAll(gguf: Gguf): Promise<void> {
  try {
    const entries = [];
    for (const tensor of gguf.tensors.values()) {
      entries.push({ ...tensor, data: await gguf.readBytes(tensor) });
      await gguf.readF32(tensor);
    }
    const metadata = new Map([...gguf.metadata].filter(([key]) => !key.startsWith("split.")));
    const chunks: Uint8Array[] = [];
    for await (const chunk of writeGguf(metadata, entries)) chunks.push(chunk);
    const again = await readGguf(memorySource(concatBytes(...chunks)));
    expect([again.tensors.size, again.metadata.size]).toEqual([gguf.tensors.size, metadata.size]);
  } catch (thrown) {
    throw new Error("an accepted file that cannot be used", { cause: thrown });
  }
  for (const value of gguf.metadata.values()) {
    if (value.type === "array" && value.of === "string") value.value.toArray();
  }
}

test("the walk finds the fields", () => {
  for (const { bytes, fields } of bases) {
    const last = fields.at(-1) as Field;
    expect(bytes.length - last.at).toBeGreaterThan(7);
    expect(fields.every(({ at, width }) => at + width <= bytes.length)).toBe(true);
  }
  expect(bases.map(({ fields }) => fields.length).every((count) => count > 20)).toBe(true);
});

test("mutated files", { timeout: fuzzTimeout }, async () => {
  const counts = { accepted: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(fc.nat(bases.length - 1), mutations, async (which, changes) => {
      const { bytes, fields } = bases[which] as (typeof bases)[number];
      const source = memorySource(mutate(bytes, fields, changes));
      const accepted = await survives([source], async () => useAll(await readGguf(source)));
      counts[accepted ? "accepted" : "refused"]++;
    }),
    fuzzOptions,
  );
  // Both happen, or the mutations would be too wild or too tame.
  expect(Math.min(counts.accepted, counts.refused)).toBeGreaterThan(fuzzOptions.numRuns / 50);
});

test("mutated parts of a split model", { timeout: fuzzTimeout }, async () => {
  const names = [1, 2, 3].map((i) => `split-0000${i}-of-00003.gguf`);
  const parts = names.map((name) => {
    const bytes = fixture(name);
    return { bytes, fields: fieldsOf(bytes) };
  });
  const counts = { accepted: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(fc.nat(2), fc.nat(2), mutations, async (which, opened, changes) => {
      const content = new Map(
        names.map((name, i) => {
          const { bytes, fields } = parts[i] as (typeof parts)[number];
          return [name, i === which ? mutate(bytes, fields, changes) : bytes];
        }),
      );
      const { files, sources } = memoryFiles(content);
      const accepted = await survives(sources, async () => useAll(await openGguf(files, `${memoryFolder}/${names[opened]}`)));
      counts[accepted ? "accepted" : "refused"]++;
    }),
    { ...fuzzOptions, numRuns: Math.ceil(fuzzOptions.numRuns / 4) },
  );
  expect(Math.min(counts.accepted, counts.refused)).toBeGreaterThan(0);
});
