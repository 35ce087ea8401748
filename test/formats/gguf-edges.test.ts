// A GGUF file at the very edges of what is read: cut in each field, where the message must say how many bytes of what are missing; ending with its last field; limits
// from both sides; and every type of ggml that is not decoded, by its name.

import { describe, expect, test } from "vitest";
import { FormatError } from "../../src/core/errors.ts";
import { readGguf } from "../../src/formats/gguf.ts";
import { depthLimit, valueLimit } from "../../src/formats/gguf-metadata.ts";
import { type GgufStrings, ggufStrings } from "../../src/formats/gguf-values.ts";
import { array, entry, makeGguf, pair, text, u8, u32, u64 } from "./gguf-bytes.ts";
import { concatBytes, memorySource } from "./memory-source.ts";

const F32 = 0;
const head = 24; // magic, version, two counts
const open = async (file: Uint8Array) => await readGguf(memorySource(file));

describe("a file that is cut", () => {
  const key = pair("key", "string", text("four"));
  const list = pair("list", "array", array("string", 2, text("a"), text("bcd")));
  const tensor = entry("name", [8, 2], F32, 0);
  const whole = makeGguf({ pairs: [key, list], entries: [tensor], data: 64 });
  const [second, third] = [head + key.length, head + key.length + list.length];
  test.each([
    [head + 11, 3, 4, 'the type of "key"'],
    [head + 15, 7, 8, 'the length of "key"'],
    [second, 7, 8, "the length of metadata key 1"],
    [second + 12, 3, 4, 'the type of "list"'],
    [second + 16, 3, 4, 'the type of "list"'],
    [second + 20, 7, 8, 'the length of "list"'],
    [third, 7, 8, "the name of tensor 0"],
    [third + 8, 7, 8, "the name of tensor 0"],
    [third + 16, 27, 28, 'tensor "name"'],
  ])("at byte %d, %d bytes further: %d bytes of %s are missed", async (begin, more, count, what) => {
    // Counts are held against the file's size first: the file announces no more than what comes before the cut.
    const pairs = begin < second ? [key] : [key, list];
    const file = begin < third ? makeGguf({ pairs }) : whole;
    const failure = await open(file.subarray(0, begin + more)).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(FormatError);
    expect((failure as FormatError).message).toMatch(
      new RegExp(`a file that ends at byte ${begin + more}; expected ${count} bytes of ${what} at byte ${begin}`),
    );
  });

  test("in the strings of a list: the list cannot be as long as it says, or its string", async () => {
    const strings = second + 28;
    await expect(open(whole.subarray(0, strings + 15))).rejects.toThrow('"list", an array of string of length 2; expected an end within');
    // The list has room for two empty strings; the first says that it is longer.
    const longer = concatBytes(whole.subarray(0, strings), u64(9), u64(0));
    await expect(open(longer)).rejects.toThrow('"list", string 0 of length 9; expected an end within');
    const last = concatBytes(whole.subarray(0, strings), text("a"), u64(1));
    await expect(open(last)).rejects.toThrow('"list", string 1 of length 1; expected an end within');
  });
});

test("a file may end with the last field of its last tensor", async () => {
  const file = makeGguf({ pairs: [pair("general.alignment", "u32", u32(1))], alignment: 1, entries: [entry("", [0], F32, 0)] });
  const { tensors } = await open(file);
  expect([...tensors.values()]).toMatchObject([{ name: "", shape: [0], bytes: 0, offset: file.length }]);
  await expect(open(concatBytes(file, u8(0)))).rejects.toThrow("1 follow the last tensor");
});

test("empty tensors lie before, between and behind others, in whatever order they are listed", async () => {
  const at = (name: string, size: number, offset: number) => entry(name, [size], F32, offset);
  for (const [entries, data] of [
    [[at("b", 8, 0), at("a", 0, 0), at("c", 0, 32)], 32],
    [[at("c", 0, 32), at("a", 0, 0), at("b", 8, 0)], 32],
    [[at("d", 8, 32), at("c", 0, 32), at("b", 8, 0)], 64],
  ] as const)
    expect((await open(makeGguf({ entries, data }))).tensors.size).toBe(3);
});

// Their numbers in ggml.h, written down a second time: a wrong one would name a user the wrong type.
test.each([
  [9, "q8_1"],
  [15, "q8_k"],
  [16, "iq2_xxs"],
  [17, "iq2_xs"],
  [18, "iq3_xxs"],
  [19, "iq1_s"],
  [21, "iq3_s"],
  [22, "iq2_s"],
  [24, "i8"],
  [25, "i16"],
  [26, "i32"],
  [27, "i64"],
  [28, "f64"],
  [29, "iq1_m"],
  [34, "tq1_0"],
  [35, "tq2_0"],
  [40, "nvfp4"],
  [41, "q1_0"],
])("type %d is %s, and not decoded", async (number, name) => {
  await expect(open(makeGguf({ entries: [entry("a", [256], number, 0)], data: 1024 }))).rejects.toThrow(
    `tensor "a" of the unsupported type ${name}; expected one of f32, `,
  );
});

describe("limits", () => {
  const value = (bytes: Uint8Array) => makeGguf({ pairs: [pair("k", "array", bytes)] });

  test("arrays within arrays: as deep as the limit less one, and no deeper", async () => {
    const nested = (depth: number) => concatBytes(...Array.from({ length: depth }, () => array("array", 1)), array("u8", 1, u8(5)));
    expect((await open(value(nested(depthLimit - 1)))).metadata.size).toBe(1);
    await expect(open(value(nested(depthLimit)))).rejects.toThrow(`arrays nested deeper than ${depthLimit}`);
  });

  test("strings of a list: as many bytes as the limit, and not one more", async () => {
    const half = new Uint8Array(valueLimit / 2).fill(97);
    const { metadata } = await open(value(array("string", 2, text(half), text(half))));
    const strings = metadata.get("k")?.value as GgufStrings;
    expect([strings.length, strings.bytesAt(1).length, strings.bytesAt(1).at(-1)]).toEqual([2, valueLimit / 2, 97]);
    const more = value(array("string", 3, text(half), text(half), text("x")));
    await expect(open(more)).rejects.toThrow(`strings of ${valueLimit + 1} bytes or more; expected at most ${valueLimit} bytes`);
  });

  test("a list that grows from short strings to long ones keeps them all", async () => {
    const texts = Array.from({ length: 300 }, (_, i) => "é".repeat(i * i));
    const { metadata } = await open(value(array("string", texts.length, ...texts.map((one) => text(one)))));
    expect(ggufStrings(metadata, "k")).toEqual(texts);
  });
});
