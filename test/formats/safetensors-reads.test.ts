// What is read of a safetensors file, byte for byte: whole tensors and parts, pieces of more than 16 MiB, tensors listed in another order than they lie; and limits,
// each from both sides.

import { describe, expect, test } from "vitest";
import { DeviceError, FormatError } from "../../src/core/errors.ts";
import { headerLimit, nameLimit, openSafetensors, rankLimit } from "../../src/formats/safetensors.ts";
import { concatBytes, handMade, memorySource, sparseSource } from "./memory-source.ts";

const header = (entries: Readonly<Record<string, readonly [dtype: string, shape: readonly number[], begin: number, end: number]>>) =>
  JSON.stringify(
    Object.fromEntries(
      Object.entries(entries).map(([name, [dtype, shape, begin, end]]) => [name, { dtype, shape, data_offsets: [begin, end] }]),
    ),
  );
const bytesOf = (values: Float32Array | Float64Array) => new Uint8Array(values.buffer);

describe("reads", () => {
  const f = Float32Array.from([0.5, -1, 2, 3.25, -4, 5]);
  const d = Float64Array.from([0.1, 2 ** 40 + 1]);
  // The list begins with what lies last.
  const text = header({ d: ["F64", [2], 24, 40], none: ["F32", [0, 7], 24, 24], f: ["F32", [2, 3], 0, 24] });
  const open = async () => await openSafetensors(memorySource(handMade(text, concatBytes(bytesOf(f), bytesOf(d)))));

  test("tensors in the order of the file, each at its own bytes", async () => {
    const file = await open();
    const start = 8 + text.length;
    expect([...file.tensors]).toEqual([
      ["f", { dtype: "F32", shape: [2, 3], begin: start, end: start + 24 }],
      ["none", { dtype: "F32", shape: [0, 7], begin: start + 24, end: start + 24 }],
      ["d", { dtype: "F64", shape: [2], begin: start + 24, end: start + 40 }],
    ]);
    expect(file.metadata).toEqual({});
    expect(await file.readF32("f")).toEqual(f);
    expect(await file.readF64("d")).toEqual(d);
    expect(await file.readF32("none")).toEqual(new Float32Array(0));
  });

  test("a part: from an element on, so many of them", async () => {
    const file = await open();
    expect(await file.readF32("f", 2)).toEqual(f.slice(2));
    expect(await file.readF32("f", 2, 3)).toEqual(f.slice(2, 5));
    expect(await file.readF32("f", 0, 6)).toEqual(f);
    expect(await file.readF32("f", 6, 0)).toEqual(new Float32Array(0));
    expect(await file.readF32("f", 6)).toEqual(new Float32Array(0));
    expect(await file.read("f", 1, 2)).toEqual(bytesOf(f.slice(1, 3)));
    expect(await file.read("d", 1)).toEqual(bytesOf(d.slice(1)));
  });

  test.each([
    [0, 7, "0..6"],
    [6, 1, "6..6"],
    [7, 0, "7..6"],
    [7, undefined, "7..6"],
    [-1, 2, "-1..0"],
    [-1, undefined, "-1..-2"],
    [3, -1, "3..1"],
    [0.5, 1, "0.5..0.5"],
    [1, 0.25, "1..0.25"],
    [0, 0.1, "0..-0.9"],
    [Number.NaN, 1, "NaN..NaN"],
    [0, Number.NaN, "0..NaN"],
    [2 ** 53, 1, "9007199254740992..9007199254740991"],
    [0, Number.POSITIVE_INFINITY, "0..Infinity"],
  ])("what is not in the tensor is refused: from %d, %d elements", async (first, count, said) => {
    const file = await open();
    const message = `a request for elements ${said} of "f"; expected elements of its 6`;
    await expect((async () => await file.read("f", first, count))()).rejects.toThrow(message);
    await expect((async () => await file.readF32("f", first, count))()).rejects.toThrow(FormatError);
  });

  test("a tensor of more than one piece, to its last element", async () => {
    const count = 2 ** 22 + 3; // a piece is 16 MiB
    const shape = header({ a: ["F32", [count], 0, 4 * count] });
    const start = 8 + shape.length;
    const marks = [0, 1, 2 ** 22 - 1, 2 ** 22, count - 1];
    const source = sparseSource(
      [[0, handMade(shape)], ...marks.map((at, i): [number, Uint8Array] => [start + 4 * at, bytesOf(Float32Array.of(i + 1))])],
      start + 4 * count,
    );
    const file = await openSafetensors(source);
    const values = await file.readF32("a");
    expect(source.largestRead).toBe(2 ** 24);
    expect([values.length, ...marks.map((at) => values[at])]).toEqual([count, 1, 2, 3, 4, 5]);
    expect(values.reduce((sum, x) => sum + x, 0)).toBe(15);
    expect(await file.readF32("a", 2 ** 22 - 1, 2)).toEqual(Float32Array.of(3, 4));
  });

  test("a tensor that no memory holds is a DeviceError, and nothing of it is read", async () => {
    const count = 2 ** 42;
    const shape = header({ a: ["U8", [count], 0, count] });
    const source = sparseSource([[0, handMade(shape)]], 8 + shape.length + count);
    const file = await openSafetensors(source);
    const before = source.bytesRead;
    await expect(file.readF32("a")).rejects.toThrow(DeviceError);
    await expect(file.readF64("a")).rejects.toThrow(`${count} elements in tensor "a"; expected a tensor that fits into memory`);
    expect(source.bytesRead).toBe(before);
  });

  test("closing closes the source", async () => {
    const source = memorySource(handMade("{}"));
    let closed = 0;
    source.close = async () => void closed++;
    await (await openSafetensors(source)).close();
    expect(closed).toBe(1);
  });
});

describe("limits", () => {
  const open = async (file: Uint8Array) => await openSafetensors(memorySource(file));
  const zeros = (text: string, size: number) => handMade(text, size);

  test("a file of eight bytes has a header of none", async () => {
    await expect(open(new Uint8Array(8))).rejects.toThrow("got an empty header; expected a JSON object");
    await expect(open(new Uint8Array(7))).rejects.toThrow("got 7 bytes; expected at least 8 bytes");
  });

  test("a header of as many bytes as the limit is read, and one more is not", async () => {
    const length = (bytes: number) => {
      const prefix = new Uint8Array(8);
      new DataView(prefix.buffer).setBigUint64(0, BigInt(bytes), true);
      return prefix;
    };
    const largest = sparseSource([[0, length(headerLimit)]], 8 + headerLimit);
    await expect(openSafetensors(largest)).rejects.toThrow("a header that begins with byte 0");
    const larger = sparseSource([[0, length(headerLimit + 1)]], 9 + headerLimit);
    await expect(openSafetensors(larger)).rejects.toThrow(`a header of ${headerLimit + 1} bytes; expected at most ${headerLimit} bytes`);
    expect(larger.largestRead).toBeLessThan(1000);
  });

  test("a header may end with the file, and not a byte after", async () => {
    expect((await open(handMade("{}"))).tensors.size).toBe(0);
    await expect(open(handMade("{}", 0, 3n))).rejects.toThrow("a header that ends at byte 11; expected an end within the file's 10 bytes");
  });

  test("names and ranks", async () => {
    const named = (length: number) => zeros(header({ ["n".repeat(length)]: ["U8", [1], 0, 1] }), 1);
    expect((await open(named(nameLimit))).tensors.size).toBe(1);
    await expect(open(named(nameLimit + 1))).rejects.toThrow(`a tensor name of ${nameLimit + 1} characters`);
    const ranked = (rank: number) => zeros(header({ a: ["U8", new Array(rank).fill(1), 0, 1] }), 1);
    expect((await open(ranked(rankLimit))).tensors.get("a")?.shape).toHaveLength(rankLimit);
    await expect(open(ranked(rankLimit + 1))).rejects.toThrow(`rank ${rankLimit + 1}; expected at most ${rankLimit}`);
  });

  test("sizes up to 2^53 - 1 bytes are sizes; the file then lacks them", async () => {
    const sized = (size: number) => zeros(header({ a: ["U8", [size], 0, size] }), 1);
    await expect(open(sized(2 ** 53 - 1))).rejects.toThrow(/of 1?\d+ bytes|are missing/);
    await expect(open(zeros('{"a":{"dtype":"U8","shape":[2,4503599627370496],"data_offsets":[0,1]}}', 1))).rejects.toThrow(
      "the size overflows",
    );
  });

  test.each([
    ['{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}', "no two positions"],
    ['{"a":{"dtype":"U8","shape":[1],"data_offsets":[]}}', "no two positions"],
    ['{"a":{"dtype":"U8","shape":[1],"data_offsets":{"0":0,"1":1}}}', "no two positions"],
    ['{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,null]}}', "no two positions"],
    ['{"a":{"dtype":"U8","shape":[1],"data_offsets":[null,1]}}', "no two positions"],
    ['{"a":{"dtype":"U8","shape":[1,"1"],"data_offsets":[0,1]}}', "no list of sizes"],
    ['{"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}}', "no list of sizes"],
    ['{"a":{"dtype":["U8"],"shape":[1],"data_offsets":[0,1]}}', "dtype no string"],
    ['{"a":[]}', "without an object"],
    ['{"a":null}', "without an object"],
    ['{"__metadata__":[]}', "a __metadata__ that is no object"],
    ['{"__metadata__":null}', "a __metadata__ that is no object"],
    ['{"__metadata__":{"a":"b","c":null}}', '__metadata__ "c" that is no string'],
    ['{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}', "at bytes 1 to 0; expected an end that is not before its beginning"],
    ['{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}', "1 bytes (data_offsets 0 to 1); expected 2 bytes"],
    ['{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,1]}}', "1 bytes (data_offsets 0 to 1); expected 0 bytes"],
  ])("%s", async (text, message) => {
    await expect(open(zeros(text, 1))).rejects.toThrow(message);
  });

  test("metadata is kept, wherever it stands", async () => {
    const text = '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{"format":"pt","":"x"}}';
    const file = await open(zeros(text, 1));
    expect({ ...file.metadata }).toEqual({ format: "pt", "": "x" });
    expect([...file.tensors.keys()]).toEqual(["a"]);
  });
});
