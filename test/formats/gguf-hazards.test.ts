// Every row G01 to G50 and G70 to G73 of hazards.md section 1.3, each by its id: refused with a FormatError that says why, or accepted. Each is
// refused within a second, without a read outside the file, and having read at most the file.

import { readFileSync } from "node:fs";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FormatError } from "../../src/core/errors.ts";
import { openGguf, readGguf } from "../../src/formats/gguf.ts";
import { type GgufValue, ggufInteger } from "../../src/formats/gguf-values.ts";
import { writeGguf } from "../../src/formats/gguf-writer.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { array, entry, type Made, makeGguf, pair, text, u8, u32, u64 } from "./gguf-bytes.ts";
import { concatBytes, type MemorySource, memorySource, sparseSource } from "./memory-source.ts";

const F32 = 0;
const Q4_K = 12;
const max64 = 2n ** 64n - 1n;

const withPairs = (...pairs: Uint8Array[]) => makeGguf({ pairs });
const withEntries = (entries: readonly Uint8Array[], data: number, rest: Made = {}) => makeGguf({ entries, data, ...rest });
const value = (type: number, bytes: Uint8Array) => withPairs(pair("k", type, bytes));
const alignment = (type: "u32" | "i32" | "string", bytes: Uint8Array) => withPairs(pair("general.alignment", type, bytes));
const nested = (depth: number) => concatBytes(...Array.from({ length: depth }, () => array("array", 1)), array("u8", 0));
const name = (length: number) => "n".repeat(length);

const refused: [id: string, what: string, file: Uint8Array | MemorySource, message: RegExp][] = [
  ["G01", "bad magic", makeGguf({ magic: "GGML" }), /begins with "GGML"; expected "GGUF"/],
  ["G01", "a ZIP file", makeGguf({ magic: "PK\x03\x04" }), /got a ZIP archive.*expected "GGUF"/],
  ["G01", "an HTML page", makeGguf({ magic: "<htm" }), /begins with "<htm"/],
  ["G02", "version 0", makeGguf({ version: 0 }), /version 0; expected version 2 or 3/],
  ["G03", "version 1", makeGguf({ version: 1 }), /version 1; expected version 2 or 3/],
  ["G04", "version 4", makeGguf({ version: 4 }), /version 4; expected version 2 or 3/],
  ["G05", "big-endian", makeGguf({ version: 0x03000000 }), /a big-endian file/],
  ["G06", "n_tensors -1", makeGguf({ tensorCount: -1 }), /a number of tensors of 18446744073709551615/],
  ["G07", "n_kv -1", makeGguf({ pairCount: -1 }), /a number of metadata keys of 18446744073709551615/],
  ["G08", "n_tensors 2^61 / 56", makeGguf({ tensorCount: 2n ** 61n / 56n }), /a number of tensors of 41175768021673106/],
  ["G08", "n_tensors 2^40", makeGguf({ tensorCount: 2n ** 40n }), /1099511627776 tensors .* in a file of 32 bytes/],
  [
    "G08",
    "as many tensors as the file has room for, in a large one",
    sparseSource([[0, makeGguf({ tensorCount: 1e6 })]], 1e9),
    /1000000 tensors .*; expected at most 100000/,
  ],
  ["G09", "n_kv 10^9 in a small file", makeGguf({ pairCount: 1e9, data: 64 }), /1000000000 metadata keys in a file of 96 bytes/],
  ["G10", "key length -1", withPairs(concatBytes(u64(-1), new Uint8Array(20))), /key 0 of length 18446744073709551615/],
  [
    "G11",
    "key length 2^53",
    withPairs(concatBytes(u64(2 ** 53), new Uint8Array(20))),
    /key 0 of length 9007199254740992; expected less than 2\^53/,
  ],
  ["G12", "empty key", withPairs(pair("", "u8", u8(1))), /key 0 without characters/],
  ["G13", "key of 65,536 bytes", withPairs(pair(name(65_536), "u8", u8(1))), /key 0 of 65536 bytes; expected at most 65535/],
  ["G14", "key not UTF-8", withPairs(pair(u8(0x61, 0xff), "u8", u8(1))), /not UTF-8/],
  ["G15", "duplicate key", withPairs(pair("k", "u8", u8(1)), pair("k", "u8", u8(2))), /key "k" a second time/],
  ["G17", "value type 13", value(13, new Uint8Array(16)), /"k" of type 13; expected a type from 0 to 12/],
  ["G17", "value type 2^32-1", value(2 ** 32 - 1, new Uint8Array(16)), /"k" of type 4294967295/],
  ["G18", "bool 2", value(7, u8(2)), /"k" with the bool 2; expected 0 or 1/],
  ["G18", "bool 255 in an array", value(9, array("bool", 3, u8(0, 1, 255))), /"k" with the bool 255/],
  ["G19", "string past the end", value(8, text("abc", 100)), /"k", a string of length 100; expected an end within the file's/],
  ["G19", "string of length -1", value(8, text("abc", -1)), /"k" of length 18446744073709551615/],
  [
    "G20",
    "string of 2^29 characters in a file that has them",
    sparseSource([[0, value(8, text("", 2 ** 29))]], 2 ** 30),
    /"k", a string of 536870912 bytes or more; expected at most 67108864/,
  ],
  ["G21", "array length 2^60", value(9, array("u8", 2n ** 60n)), /"k", an array of length 1152921504606846976; expected less than 2\^53/],
  [
    "G21",
    "array length 2^52 of f64",
    value(9, array("f64", 2n ** 52n)),
    /"k", an array of f64 of length 4503599627370496; expected an end within/,
  ],
  ["G22", "arrays 1,000 deep", value(9, nested(1000)), /nested deeper than 8/],
  [
    "G22",
    "100,000 arrays within an array",
    value(9, array("array", 100_000, new Uint8Array(12 * 100_000))),
    /100000 arrays within arrays; expected at most 65536/,
  ],
  ["G23", "array of type 255", value(9, array(255, 1, new Uint8Array(64))), /"k" of type 255/],
  [
    "G24",
    "10^8 empty strings",
    sparseSource([[0, value(9, array("string", 1e8))]], 900e6),
    /"k", an array of string of 800000000 bytes or more; expected at most 67108864/,
  ],
  ["G25", "alignment 0", alignment("u32", u32(0)), /general.alignment 0; expected a power of two from 1 to 1048576/],
  ["G26", "alignment 13", alignment("u32", u32(13)), /general.alignment 13/],
  ["G27", "alignment 0x80000000", alignment("u32", u32(0x80000000)), /general.alignment 2147483648/],
  ["G28", "alignment as i32", alignment("i32", u32(32)), /general.alignment of type i32; expected u32/],
  ["G29", "alignment as a string", alignment("string", text("32")), /general.alignment of type string; expected u32/],
  [
    "G31",
    "tensor name of 64 bytes",
    withEntries([entry(name(64), [1], F32, 0)], 4),
    /tensor 0, a name of 64 bytes; expected fewer than 64/,
  ],
  [
    "G31",
    "tensor name of length 2^62",
    withEntries([concatBytes(u64(2n ** 62n), new Uint8Array(40))], 4),
    /tensor 0, a name of length 4611686018427387904/,
  ],
  ["G31", "tensor name not UTF-8", withEntries([entry(u8(0xc0, 0x80), [1], F32, 0)], 4), /not UTF-8/],
  ["G32", "duplicate tensor name", withEntries([entry("a", [8], F32, 0), entry("a", [8], F32, 32)], 64), /tensor "a" a second time/],
  ["G34", "5 dimensions", withEntries([entry("a", [1, 1, 1, 1, 1], F32, 0)], 4), /"a" of 5 dimensions; expected 1 to 4/],
  ["G34", "2^32-1 dimensions", withEntries([entry("a", [1], F32, 0, 2 ** 32 - 1)], 4), /"a" of 4294967295 dimensions/],
  ["G35", "no dimensions", withEntries([entry("a", [], F32, 0)], 4), /"a" of 0 dimensions/],
  ["G36", "dimension -1", withEntries([entry("a", [-1], F32, 0)], 4), /"a", a dimension of 18446744073709551615/],
  [
    "G38",
    "dimensions whose product overflows",
    withEntries([entry("a", [2n ** 31n, 2n ** 31n, 2n ** 31n, 1], F32, 0)], 4),
    /"a" of shape \[1, 2147483648, 2147483648, 2147483648\] and type f32; expected fewer than 2\^53/,
  ],
  [
    "G39",
    "product that fits, bytes that do not",
    withEntries([entry("a", [2n ** 51n], F32, 0)], 4),
    /"a" of shape \[2251799813685248\] .*overflows/,
  ],
  [
    "G40",
    "two tensors whose sum wraps",
    withEntries([entry("a", [0x7fffffffffffffc0n], F32, 0), entry("b", [0x7fffffffffffffc0n], F32, 0)], 4),
    /"a", a dimension of 9223372036854775744/,
  ],
  [
    "G40",
    "two tensors whose sum passes 2^53",
    withEntries([entry("a", [2n ** 50n], F32, 0), entry("b", [2n ** 50n], F32, 2n ** 52n)], 4),
    /"a" at bytes 96 to 4503599627370592; expected an end within the file's 100 bytes/,
  ],
  [
    "G41",
    "q4_k with rows of 128",
    withEntries([entry("a", [128, 2], Q4_K, 0)], 144),
    /"a" of q4_k with rows of 128; expected rows of whole blocks of 256/,
  ],
  ["G42", "type 4, removed", withEntries([entry("a", [32], 4, 0)], 32), /"a" of type number 4; expected a type that ggml has/],
  ["G42", "type 5, removed", withEntries([entry("a", [32], 5, 0)], 32), /"a" of type number 5/],
  ["G42", "type 1000", withEntries([entry("a", [32], 1000, 0)], 32), /"a" of type number 1000/],
  [
    "G43",
    "iq2_xxs",
    withEntries([entry("a", [256], 16, 0)], 96),
    /"a" of the unsupported type iq2_xxs; expected one of f32, .*; fetch another quantisation/,
  ],
  ["G43", "i32", withEntries([entry("a", [8], 26, 0)], 32), /"a" of the unsupported type i32/],
  [
    "G44",
    "offset beyond the file",
    withEntries([entry("a", [8], F32, 4096)], 32),
    /"a" at bytes 4160 to 4192; expected an end within the file's 96 bytes/,
  ],
  [
    "G45",
    "one byte beyond the file",
    withEntries([entry("a", [8], F32, 0)], 31),
    /"a" at bytes 64 to 96; expected an end within the file's 95 bytes/,
  ],
  [
    "G45",
    "ten times the file, f16",
    withEntries([entry("a", [512, 512], 1, 0)], 32),
    /"a" at bytes 96 to 524384; expected an end within the file's 128 bytes/,
  ],
  [
    "G46",
    "misaligned offset",
    withEntries([entry("a", [8], F32, 0), entry("b", [8], F32, 36)], 96),
    /"b" at offset 36; expected a multiple of the alignment 32/,
  ],
  [
    "G47",
    "tensors that overlap",
    withEntries([entry("a", [16], F32, 0), entry("b", [8], F32, 32)], 96),
    /"b" at byte 128, which overlaps the one before it; expected byte 160/,
  ],
  [
    "G47",
    "tensors at the same place",
    withEntries([entry("a", [8], F32, 0), entry("b", [8], F32, 0)], 32),
    /"b" at byte 96, which overlaps/,
  ],
  [
    "G47",
    "a hole between tensors",
    withEntries([entry("a", [8], F32, 0), entry("b", [8], F32, 64)], 96),
    /"b" at byte 160, which leaves a hole of 32 bytes/,
  ],
  ["G48", "offset 2^63", withEntries([entry("a", [8], F32, 2n ** 63n)], 32), /"a" at offset 9223372036854775808; expected less than 2\^53/],
  ["G48", "offset 2^64-32", withEntries([entry("a", [8], F32, max64 - 31n)], 32), /"a" at offset 18446744073709551584/],
  ["G49", "padded size that wraps", withEntries([entry("a", [max64 / 4n], F32, 0)], 32), /"a", a dimension of 4611686018427387903/],
  ["P04", "a ZIP after the last tensor", withEntries([entry("a", [8], F32, 0)], 32 + 22), /at most 96 \(22 follow the last tensor\)/],
  ["P04", "bytes after metadata without tensors", makeGguf({ data: 1 }), /a file of 33 bytes; expected at most 32/],
];

async function failureOf(source: MemorySource): Promise<unknown> {
  return await readGguf(source).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
}

describe("refused", () => {
  test.each(refused)("%s: %s", async (_id, _what, file, message) => {
    const source = file instanceof Uint8Array ? memorySource(file) : file;
    const started = performance.now();
    const failure = await failureOf(source);
    expect(failure).toBeInstanceOf(FormatError);
    expect((failure as FormatError).message).toMatch(message);
    expect((failure as FormatError).message).not.toMatch(/\p{Cc}/u);
    expect((failure as FormatError).message.length).toBeLessThan(1000);
    expect(source.outside).toBe(0);
    expect(source.bytesRead).toBeLessThanOrEqual(Math.min(source.size, 2 ** 26));
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test("G24: strings that add up to more than the limit, though each is below it", async () => {
    const half = text(new Uint8Array(2 ** 25 + 1));
    const failure = await failureOf(memorySource(value(9, array("string", 2, half, half))));
    expect(failure).toBeInstanceOf(FormatError);
    expect((failure as FormatError).message).toMatch(/"k" with strings of 67108866 bytes or more; expected at most 67108864/);
  });

  test("G24: values that add up to more than all metadata may have", async () => {
    const pairs = Array.from({ length: 5 }, (_, i) => pair(`k${i}`, "array", array("u8", 6e7)));
    const starts = pairs.map((bytes, i): [number, Uint8Array] => [24 + i * (bytes.length + 6e7), bytes]);
    const source = sparseSource([[0, makeGguf({ pairCount: 5 }).subarray(0, 24)], ...starts], 4e8);
    const failure = await failureOf(source);
    expect(failure).toBeInstanceOf(FormatError);
    expect((failure as FormatError).message).toMatch(/metadata of more than 268435456 bytes/);
    expect(source.largestRead).toBeLessThanOrEqual(2 ** 20);
  });
});

const accepted: [id: string, what: string, file: Uint8Array, keys: string[], tensors: [string, number[]][]][] = [
  ["G16", "a key __proto__", withPairs(pair("__proto__", "u8", u8(1)), pair("constructor", "u8", u8(2))), ["__proto__", "constructor"], []],
  ["G22", "arrays 7 deep", value(9, nested(7)), ["k"], []],
  [
    "G30",
    "alignment 1",
    makeGguf({
      pairs: [pair("general.alignment", "u32", u32(1))],
      alignment: 1,
      entries: [entry("a", [1], F32, 0), entry("b", [1], F32, 4)],
      data: 8,
    }),
    ["general.alignment"],
    [
      ["a", [1]],
      ["b", [1]],
    ],
  ],
  [
    "G30",
    "alignment 2^20",
    makeGguf({ pairs: [pair("general.alignment", "u32", u32(2 ** 20))], alignment: 2 ** 20, entries: [entry("a", [1], F32, 0)], data: 4 }),
    ["general.alignment"],
    [["a", [1]]],
  ],
  ["G33", "a tensor named ../x", withEntries([entry("../x", [8], F32, 0)], 32), [], [["../x", [8]]]],
  [
    "G33",
    "a tensor with an empty name, one named __proto__",
    withEntries([entry("", [8], F32, 0), entry("__proto__", [8], F32, 32)], 64),
    [],
    [
      ["", [8]],
      ["__proto__", [8]],
    ],
  ],
  [
    "G37",
    "dimension 0",
    withEntries([entry("a", [0, 3], F32, 0), entry("b", [8], F32, 0), entry("c", [256, 0], Q4_K, 32)], 32),
    [],
    [
      ["a", [3, 0]],
      ["b", [8]],
      ["c", [0, 256]],
    ],
  ],
  [
    "",
    "tensors listed in another order than they lie",
    withEntries([entry("a", [8], F32, 32), entry("b", [8], F32, 0)], 64),
    [],
    [
      ["a", [8]],
      ["b", [8]],
    ],
  ],
  [
    "",
    "a tensor name of 63 bytes, a key of 65,535",
    withEntries([entry(name(63), [8], F32, 0)], 32, { pairs: [pair(name(65_535), "u8", u8(1))] }),
    [name(65_535)],
    [[name(63), [8]]],
  ],
];

test.each(accepted)("%s accepted: %s", async (_id, _what, file, keys, tensors) => {
  const source = memorySource(file);
  const gguf = await readGguf(source);
  expect([...gguf.metadata.keys()]).toEqual(keys);
  expect(Array.from(gguf.tensors.values(), (tensor) => [tensor.name, tensor.shape])).toEqual(tensors);
  for (const tensor of gguf.tensors.values()) expect(await gguf.readF32(tensor)).toHaveLength(tensor.shape.reduce((a, b) => a * b, 1));
  expect(source.outside).toBe(0);
  expect(({} as Record<string, unknown>).type).toBeUndefined();
});

test("G50: a file cut at every byte up to 4,096 and at 64 points beyond", async () => {
  const whole = readFileSync(new URL("../fixtures/blocks/values.gguf", import.meta.url));
  const cuts = Array.from({ length: 4097 }, (_, i) => i);
  for (let i = 0; i < 64; i++) cuts.push(4097 + Math.floor((i * (whole.length - 4097 - 32)) / 64));
  for (const cut of cuts) {
    const source = memorySource(whole.subarray(0, cut));
    const failure = await failureOf(source);
    if (!(failure instanceof FormatError) || source.outside > 0) expect([cut, failure, source.outside]).toEqual([]);
  }
});

test("a file that shrinks between opening and reading, and a source that returns fewer bytes", async () => {
  const bytes = withEntries([entry("a", [8], F32, 0)], 32);
  const source = memorySource(bytes);
  const short = await readGguf(source);
  source.read = async (offset, length) => bytes.slice(offset, offset + length - 1);
  const tensor = short.tensors.get("a");
  if (!tensor) throw new Error("no tensor");
  await expect(short.readBytes(tensor)).rejects.toThrow(/got 31 bytes .*; expected 32 bytes/);
  await expect(short.readF32(tensor)).rejects.toThrow(FormatError);
  await expect(readGguf(memorySource(bytes.subarray(0, 40), bytes.length))).rejects.toThrow(FormatError);
});

describe("split models", () => {
  const { files } = nodeHost();
  const fixtures = path.join(import.meta.dirname, "../fixtures/blocks");
  let folder = "";
  const part = (i: number, of = 3) => path.join(folder, `m-${String(i).padStart(5, "0")}-of-${String(of).padStart(5, "0")}.gguf`);

  beforeEach(async () => {
    folder = await fs.mkdtemp(path.join(tmpdir(), "gradually-gguf-split-"));
    for (const i of [1, 2, 3]) await fs.copyFile(path.join(fixtures, `split-0000${i}-of-00003.gguf`), part(i));
  });
  afterEach(async () => {
    await fs.rm(folder, { recursive: true });
  });

  /** Writes a part with other metadata or tensors than it had. */
  async function rewrite(i: number, change: (metadata: Map<string, GgufValue>) => void, names?: (name: string) => string): Promise<void> {
    const source = await files.open(path.join(fixtures, `split-0000${i}-of-00003.gguf`));
    const bytes = await source.read(0, source.size);
    await source.close();
    // Read as if it were whole.
    const at = new TextDecoder("latin1").decode(bytes).indexOf("split.count") + 11 + 4;
    const alone = bytes.slice();
    alone[at] = 1;
    const gguf = await readGguf(memorySource(alone));
    const metadata = new Map(gguf.metadata);
    metadata.set("split.count", { type: "u16", value: 3 });
    change(metadata);
    const entries = Array.from(gguf.tensors.values(), (tensor) => ({
      ...tensor,
      name: names?.(tensor.name) ?? tensor.name,
      data: () => gguf.readBytes(tensor),
    }));
    await files.writeAtomic(part(i), writeGguf(metadata, entries));
  }

  const failure = () => expect(openGguf(files, part(1))).rejects;

  test("accepted as they are, also rewritten", async () => {
    await rewrite(2, () => {});
    const gguf = await openGguf(files, part(1));
    expect(gguf.tensors.size).toBe(5);
    expect(ggufInteger(gguf.metadata, "split.no")).toBe(0);
    await gguf.close();
  });

  test("G70: split.count 65,535", async () => {
    await rewrite(1, (metadata) => metadata.set("split.count", { type: "u16", value: 65_535 }));
    await failure().toThrow(/part of a model in 65535 files \(split.count\); expected a name that ends in -00001-of-65535.gguf/);
    await fs.rename(part(1), part(1, 65_535));
    await expect(openGguf(files, part(1, 65_535))).rejects.toThrow(/split.count 65535; expected at most 1000 parts/);
  });

  test("G71: part 2 of another model", async () => {
    await rewrite(2, (metadata) => metadata.set("split.tensors.count", { type: "i32", value: 7 }));
    await failure().toThrow(/m-00002-of-00003.gguf": got split.tensors.count 7; expected 5/);
    await rewrite(2, (metadata) => metadata.set("general.name", { type: "string", value: "other" }));
    await failure().toThrow(/m-00002-of-00003.gguf": got another general.name than the first part's/);
    await rewrite(
      2,
      () => {},
      (tensor) => tensor.replace("2", "0"),
    );
    await failure().toThrow(/m-00002-of-00003.gguf": got tensor "tensor.0", which an earlier part has too/);
    await fs.copyFile(path.join(fixtures, "values.gguf"), part(2));
    await failure().toThrow(/m-00002-of-00003.gguf": got split.no undefined; expected 1/);
  });

  test("G71: parts that lack a tensor between them", async () => {
    for (const i of [1, 2, 3]) await rewrite(i, (metadata) => metadata.set("split.tensors.count", { type: "i32", value: 6 }));
    await failure().toThrow(/5 tensors in all parts \(2 \+ 2 \+ 1\); expected 6/);
  });

  test("G72: a part that is missing", async () => {
    await fs.rm(part(3));
    await failure().toThrow(/no file "m-00003-of-00003.gguf"; expected all 3 parts/);
    await fs.rm(part(2));
    await failure().toThrow(/no file "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"/);
  });

  test("G73: parts swapped", async () => {
    await fs.rename(part(2), part(4));
    await fs.rename(part(3), part(2));
    await fs.rename(part(4), part(3));
    await failure().toThrow(/m-00002-of-00003.gguf": got split.no 2; expected 1, by the file's name/);
  });

  test("a part under another name, alone, or named by a source only; a part that is damaged", async () => {
    await fs.copyFile(part(1), path.join(folder, "model.gguf"));
    await expect(openGguf(files, path.join(folder, "model.gguf"))).rejects.toThrow(/expected a name that ends in -00001-of-00003.gguf/);
    await expect(readGguf(memorySource(readFileSync(part(2))))).rejects.toThrow(/one of 3 parts/);
    await fs.truncate(part(2), 200);
    await failure().toThrow(/m-00002-of-00003.gguf": got a file that ends at byte 200/);
  });
});
