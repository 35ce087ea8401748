// Every row S01 to S46 of hazards.md section 1.2, each by its id: refused with a FormatError that says why, or accepted.

import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { expect, test } from "vitest";
import { FormatError } from "../../src/core/errors.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { pace, threadTime } from "../pace.ts";
import { concatBytes, handMade, memorySource } from "./memory-source.ts";

const entry = (shape: string, begin: number | string, end: number | string, dtype = '"F32"') =>
  `{"dtype":${dtype},"shape":${shape},"data_offsets":[${begin},${end}]}`;
const one = (name: string, shape = "[2]") => `{${JSON.stringify(name)}:${entry(shape, 0, 8)}}`;
const trailing = (text: string) => concatBytes(handMade(one("a"), 8), new TextEncoder().encode(text));

const refused: [id: string, what: string, bytes: Uint8Array, message: RegExp][] = [
  ["S01", "0 bytes", new Uint8Array(0), /got 0 bytes; expected at least 8/],
  ["S02", "7 bytes", new Uint8Array(7), /got 7 bytes; expected at least 8/],
  ["S03", "length 2^64-1", handMade("{}", 0, 0xffffffffffffffffn), /header of 18446744073709551615 bytes; expected at most 100000000/],
  ["S04", "length 2^53+1", handMade("{}", 0, 2n ** 53n + 1n), /header of 9007199254740993 bytes/],
  ["S06", "header one byte past the end", handMade("{}", 0, 3n), /ends at byte 11; expected an end within the file's 10 bytes/],
  ["S07", "header FF", handMade(Uint8Array.from([0x7b, 0xff, 0x7d])), /not UTF-8/],
  ["S07", "header FF alone", handMade(Uint8Array.from([0xff])), /begins with byte 255/],
  ["S09", "header {", handMade("{"), /the end of the text/],
  ["S10", "header []", handMade("[]"), /begins with byte 91/],
  ["S10", "header null", handMade("null"), /JSON object/],
  ["S10", "header 3", handMade("3"), /JSON object/],
  ["S10", "empty header", handMade(""), /an empty header/],
  ["S11", "begins with white space", handMade(" {}"), /begins with byte 32/],
  ["S12", "byte order mark", handMade("\ufeff{}"), /begins with byte 239/],
  ["S14", "a name twice", handMade(`{"a":${entry("[2]", 0, 8)},"a":${entry("[2]", 8, 16)}}`, 16), /key "a" a second time/],
  [
    "S14",
    "a name twice, once escaped",
    handMade(`{"a":${entry("[2]", 0, 8)},"\\u0061":${entry("[2]", 8, 16)}}`, 16),
    /key "a" a second time/,
  ],
  ["S15", "dtype twice", handMade('{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}', 4), /key "dtype" a second time/],
  ["S16", "__metadata__ twice", handMade('{"__metadata__":{},"__metadata__":{}}'), /key "__metadata__" a second time/],
  ["S21", "a name of 1 MB", handMade(one("n".repeat(1e6)), 8), /name of 1000000 characters/],
  [
    "S23",
    "ten tensors at the same place",
    handMade(`{${Array.from({ length: 10 }, (_, i) => `"t${i}":${entry("[2,2]", 0, 16)}`)}}`, 16),
    /tensor "t1" at offset 0, which overlaps .* by 16 bytes; expected offset 16/,
  ],
  [
    "S24",
    "overlap by one byte",
    handMade(`{"a":${entry("[4]", 0, 4, '"U8"')},"b":${entry("[4]", 3, 7, '"U8"')}}`, 7),
    /"b" .*overlaps .* by 1 bytes/,
  ],
  [
    "S25",
    "hole of one byte",
    handMade(`{"a":${entry("[4]", 0, 4, '"U8"')},"b":${entry("[4]", 5, 9, '"U8"')}}`, 9),
    /"b" .*hole of 1 bytes/,
  ],
  ["S25", "hole at the start", handMade(`{"a":${entry("[4]", 1, 5, '"U8"')}}`, 5), /hole of 1 bytes/],
  ["S26", "offsets reversed", handMade(`{"a":${entry("[2]", 8, 0)}}`, 8), /"a" at bytes 8 to 0/],
  ["S27", "negative offset", handMade(`{"a":${entry("[2]", -8, 0)}}`, 8), /"a" with data_offsets/],
  [
    "S27",
    "minus zero is spelled oddly but is zero; a negative size is not",
    handMade(`{"a":${entry("[-2]", 0, 8)}}`, 8),
    /"a" with a shape/,
  ],
  ["S28", "fraction", handMade(`{"a":${entry("[2]", 0.5, 8.5)}}`, 8), /number "0.5"; expected an integer/],
  ["S29", "exponent", handMade(`{"a":${entry("[250]", 0, "1e3")}}`, 1000), /number "1e3"; expected an integer/],
  ["S30", "offset as a string", handMade(`{"a":${entry("[4]", 0, '"16"')}}`, 16), /"a" with data_offsets/],
  ["S30", "three offsets", handMade('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}', 1), /"a" with data_offsets/],
  [
    "S31",
    "size 2^64-2",
    handMade(`{"a":${entry("[2,18446744073709551614]", 0, 8)}}`, 8),
    /integer "18446744073709551614"; expected an integer below 2\^53/,
  ],
  ["S32", "size 2^63-1", handMade(`{"a":${entry("[2,9223372036854775807]", 0, 8)}}`, 8), /below 2\^53/],
  ["S33", "overflow only after times 4", handMade(`{"a":${entry("[134217728,134217728]", 0, 8)}}`, 8), /fewer than 2\^53 bytes/],
  [
    "S34",
    "too few bytes for the shape",
    handMade(`{"a":${entry("[3]", 0, 8)}}`, 8),
    /"a" of 8 bytes .* expected 12 bytes for shape \[3\] of F32/,
  ],
  ["S35", "two bytes after the last tensor", trailing("PK"), /2 follow the last tensor/],
  ["S35", "an HTML page after the last tensor", trailing("<html><script>alert(1)</script>"), /31 follow the last tensor/],
  ["S36", "two bytes missing", handMade(one("a"), 6), /2 are missing/],
  ["S37", "dtype F128", handMade(`{"a":${entry("[2]", 0, 32, '"F128"')}}`, 32), /dtype "F128"; expected one of BOOL, U8/],
  ["S37", "dtype f32", handMade(`{"a":${entry("[2]", 0, 8, '"f32"')}}`, 8), /dtype "f32"/],
  ["S37", "dtype null", handMade(`{"a":${entry("[2]", 0, 8, "null")}}`, 8), /dtype no string/],
  ["S37", "dtype toString", handMade(`{"a":${entry("[2]", 0, 8, '"toString"')}}`, 8), /dtype "toString"/],
  ["S38", "dtype F6_E2M3", handMade(`{"a":${entry("[8]", 0, 8, '"F6_E2M3"')}}`, 8), /dtype "F6_E2M3"; expected one of/],
  ["S38", "dtype F4", handMade(`{"a":${entry("[16]", 0, 8, '"F4"')}}`, 8), /dtype "F4"/],
  ["S41", "shape nested 100,000 deep", handMade(`{"a":{"shape":${"[".repeat(1e5)}`), /nested deeper than 8/],
  ["S42", "metadata value no string", handMade('{"__metadata__":{"a":1}}'), /__metadata__ "a" that is no string/],
  ["S42", "metadata no object", handMade('{"__metadata__":"a"}'), /__metadata__ that is no object/],
  ["", "an entry that is no object", handMade('{"a":3}'), /"a" without an object/],
  ["", "an entry without shape", handMade('{"a":{"dtype":"U8","data_offsets":[0,1]}}', 1), /"a" with a shape/],
  [
    "",
    "a field that a newer writer may mean something by",
    handMade('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"zip":"x"}}', 1),
    /unknown field "zip"/,
  ],
  ["", "rank 33", handMade(`{"a":${entry(`[${new Array(33).fill(1)}]`, 0, 4)}}`, 4), /rank 33/],
];

test.each(refused)("%s refused: %s", async (_id, _what, bytes, message) => {
  const source = memorySource(bytes);
  const started = performance.now();
  const failure = await openSafetensors(source).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(failure).toBeInstanceOf(FormatError);
  expect((failure as FormatError).message).toMatch(message);
  expect((failure as FormatError).message).not.toMatch(/\p{Cc}/u);
  expect((failure as FormatError).message.length).toBeLessThan(1000);
  expect(source.largestRead).toBeLessThanOrEqual(Math.max(8, bytes.length));
  expect(performance.now() - started).toBeLessThan(1000);
});

test("S05 refused before anything is allocated: a header of 100,000,001 bytes in a sparse file of 200 MB", async () => {
  const target = path.join(await fs.mkdtemp(path.join(tmpdir(), "gradually-s05-")), "sparse.safetensors");
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, 100_000_001n, true);
  await fs.writeFile(target, prefix);
  await fs.truncate(target, 200_000_000);
  const source = await nodeHost().files.open(target);
  const before = process.memoryUsage().arrayBuffers;
  await expect(openSafetensors(source)).rejects.toThrow(/header of 100000001 bytes/);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16e6);
  await source.close();
  await fs.rm(path.dirname(target), { recursive: true });
});

const accepted: [id: string, what: string, bytes: Uint8Array, names: string[]][] = [
  ["S08", "a lone surrogate in a name, kept", handMade(`{"\\ud800":${entry("[2]", 0, 8)}}`, 8), ["\ud800"]],
  ["S13", "white space after the header", handMade(`${one("a")} \t\r\n  `, 8), ["a"]],
  ["S17", "a tensor named __proto__", handMade(`{"__proto__":${entry("[2]", 0, 8)}}`, 8), ["__proto__"]],
  ["S18", "a tensor named constructor", handMade(one("constructor"), 8), ["constructor"]],
  ["S19", "a tensor named toString", handMade(one("toString"), 8), ["toString"]],
  ["S20", "an empty name", handMade(one(""), 8), [""]],
  ["S22", "a name with NUL, newline and an escape sequence", handMade(one("a\0\n\u001b[31m"), 8), ["a\0\n\u001b[31m"]],
  ["S39", "rank 0", handMade(`{"a":${entry("[]", 0, 4)}}`, 4), ["a"]],
  ["S40", "zero elements", handMade(`{"a":${entry("[2,0]", 0, 0)}}`), ["a"]],
  [
    "S40",
    "zero elements between others",
    handMade(`{"z":${entry("[4]", 0, 16)},"a":${entry("[0]", 16, 16)},"b":${entry("[1]", 16, 20)}}`, 20),
    ["z", "a", "b"],
  ],
  ["", "an empty file of no tensors", handMade("{}"), []],
];

test.each(accepted)("%s accepted: %s", async (_id, _what, bytes, names) => {
  const file = await openSafetensors(memorySource(bytes));
  expect([...file.tensors.keys()]).toEqual(names);
  for (const [name, { shape }] of file.tensors) expect(await file.readF32(name)).toHaveLength(shape.reduce((a, b) => a * b, 1));
});

test("S22 names are escaped in messages", async () => {
  const file = handMade(`{"a\\u0000\\n\\u001b[31m":${entry("[3]", 0, 8)}}`, 8);
  await expect(openSafetensors(memorySource(file))).rejects.toThrow('tensor "a\\u0000\\n\\u001b[31m" of 8 bytes');
});

test("S17 metadata and tensors do not reach any prototype", async () => {
  const bytes = handMade(`{"__metadata__":{"__proto__":"x"},"__proto__":${entry("[2]", 0, 8)}}`, 8);
  const file = await openSafetensors(memorySource(bytes));
  expect(Object.keys(file.metadata)).toEqual(["__proto__"]);
  expect(({} as Record<string, unknown>).dtype).toBeUndefined();
});

test("S43 accepted: a million tiny tensors in a 90 MB header, within 10 s of processor time", { timeout: 60_000 }, async () => {
  const parts = Array.from({ length: 1_000_000 }, (_, i) => `"model.layers.tensor.number.${i}.w":${entry("[1]", i, i + 1, '"U8"')}`);
  const bytes = handMade(`{${parts.join(",")}}`, 1_000_000);
  parts.length = 0;
  const before = threadTime();
  const file = await openSafetensors(memorySource(bytes));
  expect(threadTime() - before).toBeLessThan(10_000 * pace());
  expect(file.tensors.size).toBe(1_000_000);
});

test("S44 accepted: data that is aligned to nothing", async () => {
  const values = Float32Array.from([1.5, -2.25]);
  const data = concatBytes(Uint8Array.from([7]), new Uint8Array(values.buffer), new Uint8Array(Float64Array.from([0.1]).buffer));
  const header = `{"u":${entry("[1]", 0, 1, '"U8"')},"f":${entry("[2]", 1, 9)},"d":${entry("[1]", 9, 17, '"F64"')}}`;
  for (const padding of ["", " ", "  ", "   "]) {
    const file = await openSafetensors(memorySource(handMade(header + padding, data)));
    expect([...(await file.readF32("u"))]).toEqual([7]);
    expect([...(await file.readF32("f"))]).toEqual([1.5, -2.25]);
    expect([...(await file.readF64("d"))]).toEqual([0.1]);
    expect(await file.read("f")).toEqual(new Uint8Array(values.buffer));
  }
});

test("S45 refused: the file changes between the header and the read", async () => {
  const target = path.join(await fs.mkdtemp(path.join(tmpdir(), "gradually-s45-")), "a.safetensors");
  const bytes = handMade(one("a"), 8);
  for (const change of [bytes.slice(0, -2), concatBytes(bytes, bytes)]) {
    await fs.writeFile(target, bytes);
    const source = await nodeHost().files.open(target);
    const file = await openSafetensors(source);
    await fs.writeFile(target, change);
    await expect(file.readF32("a")).rejects.toThrow(FormatError);
    await file.close();
  }
  await fs.rm(path.dirname(target), { recursive: true });
});

test("S46 refused: a source that returns fewer bytes than it was asked for", async () => {
  const bytes = handMade(one("a"), 8);
  const file = await openSafetensors(memorySource(bytes.slice(0, -1), bytes.length));
  await expect(file.readF32("a")).rejects.toThrow(/got 7 bytes .*; expected 8 bytes/);
  await expect(file.read("a")).rejects.toThrow(FormatError);
  await expect(openSafetensors(memorySource(bytes.slice(0, 20), bytes.length))).rejects.toThrow(FormatError);
});

test("a tensor that is not there", async () => {
  const file = await openSafetensors(memorySource(handMade(one("a"), 8)));
  await expect((async () => file.readF32("b"))()).rejects.toThrow(/tensor "b"/);
});

test.each([
  ["P01 a PyTorch checkpoint", "PK\x03\x04rest of an archive", "a ZIP archive"],
  ["P02 a pickle", "\x80\x04\x95pickled objects", "a Python pickle"],
  ["P01 an HDF5 file", "\x89HDF\r\n\x1a\nmore", "an HDF5 file"],
  ["P05 an error page", "<!DOCTYPE html><title>404</title>", "a web page"],
  ["P06 a Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"],
])("%s under the name of a safetensors file is refused by what it is", async (_, text, kind) => {
  const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
  await expect(openSafetensors(memorySource(bytes))).rejects.toThrow(`got ${kind}`);
});

test("a header whose length looks like a pickle is a header", async () => {
  const bytes = handMade(`{"a":${entry("[2]", 0, 8)}}`.padEnd(0x280), 8);
  expect([...bytes.subarray(0, 2)]).toEqual([0x80, 0x02]);
  expect((await openSafetensors(memorySource(bytes))).tensors.size).toBe(1);
});
