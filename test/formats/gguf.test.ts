// GGUF files that others wrote (fixtures by the gguf package, and third-party vocabularies), value for value; and that what we write is what
// we read. The hostile ones are in gguf-hazards.test.ts.

import { readdirSync, readFileSync } from "node:fs";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FormatError } from "../../src/core/errors.ts";
import { blockLayout, blockTypes, decodeBlocks, encodeBlocks } from "../../src/formats/blocks/index.ts";
import { type Gguf, openGguf, readGguf } from "../../src/formats/gguf.ts";
import {
  type GgufArray,
  GgufStrings,
  type GgufValue,
  ggufFlag,
  ggufInteger,
  ggufNumber,
  ggufNumbers,
  ggufStrings,
  ggufText,
} from "../../src/formats/gguf-values.ts";
import { type GgufEntry, writeGguf } from "../../src/formats/gguf-writer.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { pace } from "../pace.ts";
import { sharedData } from "../shared-data.ts";
import { array, makeGguf, pair, text, u8, u32, u64 } from "./gguf-bytes.ts";
import { concatBytes, memorySource } from "./memory-source.ts";

const { files } = nodeHost();
const fixtures = path.join(import.meta.dirname, "../fixtures/blocks");

async function written(metadata: ReadonlyMap<string, GgufValue>, entries: Iterable<GgufEntry>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const chunk of writeGguf(metadata, entries)) parts.push(chunk.slice());
  return concatBytes(...parts);
}

/** The same model as entries for the writer, in the order of the file. */
function entriesOf(gguf: Gguf): GgufEntry[] {
  return Array.from(gguf.tensors.values(), (tensor) => ({ ...tensor, data: () => gguf.readBytes(tensor) }));
}

const values = await openGguf(files, path.join(fixtures, "values.gguf"));

test("scalars of every type", () => {
  const scalars = [...values.metadata].filter(([key]) => key.startsWith("scalar.")).map(([key, { type, value }]) => [key, type, value]);
  expect(scalars).toEqual([
    ["scalar.u8", "u8", 255],
    ["scalar.i8", "i8", -128],
    ["scalar.u16", "u16", 65535],
    ["scalar.i16", "i16", -32768],
    ["scalar.u32", "u32", 2 ** 32 - 1],
    ["scalar.i32", "i32", -(2 ** 31)],
    ["scalar.f32", "f32", Math.fround(0.1)],
    ["scalar.u64", "u64", 2n ** 64n - 1n],
    ["scalar.u64.small", "u64", 2n ** 53n - 1n],
    ["scalar.i64", "i64", -(2n ** 63n)],
    ["scalar.f64", "f64", 0.1],
    ["scalar.nan", "f32", Number.NaN],
    ["scalar.true", "bool", true],
    ["scalar.false", "bool", false],
    ["scalar.string", "string", "Grüße, 世界 🌍\n\0end"],
    ["scalar.empty", "string", ""],
  ]);
  expect(values.metadata.get("__proto__")).toEqual({ type: "string", value: "a plain key" });
});

test("arrays of every type", () => {
  const strings = ["", "a", "é", "世界", "🌍", "plain ascii of more than thirteen letters"];
  expect(ggufStrings(values.metadata, "array.string")).toEqual(strings);
  const list = values.metadata.get("array.string")?.value as GgufStrings;
  expect(strings.map((_, i) => list.at(i))).toEqual(strings);
  const numbers = (key: string) => {
    const value = values.metadata.get(key) as GgufArray;
    return [value.of, Array.from(value.value as ArrayLike<number | bigint>)];
  };
  expect(numbers("array.bool")).toEqual(["bool", [1, 0, 1]]);
  expect(numbers("array.uint8")).toEqual(["u8", [0, 255, 1]]);
  expect(numbers("array.int8")).toEqual(["i8", [-128, 127, 1]]);
  expect(numbers("array.uint16")).toEqual(["u16", [0, 65535, 1]]);
  expect(numbers("array.int16")).toEqual(["i16", [-32768, 32767, 1]]);
  expect(numbers("array.uint32")).toEqual(["u32", [0, 2 ** 32 - 1, 1]]);
  expect(numbers("array.int32")).toEqual(["i32", [-(2 ** 31), 2 ** 31 - 1, 1]]);
  expect(numbers("array.uint64")).toEqual(["u64", [0n, 2n ** 64n - 1n, 1n]]);
  expect(numbers("array.int64")).toEqual(["i64", [-(2n ** 63n), 2n ** 63n - 1n, 1n]]);
  expect(numbers("array.float32")).toEqual(["f32", [-1.5, Math.fround(0.1), 1]]);
  expect(numbers("array.float64")).toEqual(["f64", [-1.5, 0.1, 1]]);
  const nested = values.metadata.get("array.nested") as GgufArray & { of: "array" };
  expect(nested.value.map((inner) => Array.from(inner.value as Int32Array))).toEqual([[1, 2], [3], [4, 5, 6]]);
});

test("tensors of every type and rank; shapes are row-major", async () => {
  for (const type of blockTypes) {
    const tensor = values.tensors.get(`t.${type}`);
    const { weights, bytes } = blockLayout(type);
    expect(tensor).toMatchObject({ type, shape: [2, 256], bytes: (512 / weights) * bytes, part: 0 });
    if (!tensor) continue;
    const expected = new Float32Array(512);
    decodeBlocks(type, await values.readBytes(tensor), expected);
    expect(await values.readF32(tensor)).toEqual(expected);
  }
  expect(["rank.1", "rank.3", "rank.4"].map((name) => values.tensors.get(name)?.shape)).toEqual([[7], [3, 5, 7], [2, 3, 5, 7]]);
  const four = values.tensors.get("rank.4");
  if (four) expect(await values.readF32(four)).toEqual(Float32Array.from({ length: 210 }, (_, i) => i));
  expect(values.alignment).toBe(32);
});

test("parts of a tensor, and nothing beside it", async () => {
  const tensor = values.tensors.get("rank.1");
  if (!tensor) throw new Error("no tensor rank.1");
  expect(new Float32Array((await values.readBytes(tensor, 4, 8)).slice().buffer)).toEqual(Float32Array.of(1, 2));
  expect(await values.readBytes(tensor, 28, 0)).toHaveLength(0);
  for (const [first, length] of [
    [0, 29],
    [-4, 8],
    [4, -4],
    [0.5, 1],
    [Number.NaN, 1],
    [29, 0],
    [2 ** 53, 2 ** 53],
  ] as const) {
    await expect(values.readBytes(tensor, first, length)).rejects.toThrow(
      /request for bytes .* of tensor "rank.1"; expected bytes 0 to 28/,
    );
  }
  await expect(values.readBytes({ ...tensor, bytes: 1000 })).rejects.toThrow(FormatError);
});

test("accessors refuse values of another type, naming key and value", () => {
  const { metadata } = values;
  expect(ggufText(metadata, "general.architecture")).toBe("test");
  expect(ggufFlag(metadata, "scalar.true")).toBe(true);
  expect(ggufInteger(metadata, "scalar.u64.small")).toBe(2 ** 53 - 1);
  expect(ggufInteger(metadata, "scalar.i32")).toBe(-(2 ** 31));
  expect(ggufNumber(metadata, "scalar.f32")).toBe(Math.fround(0.1));
  expect(ggufNumber(metadata, "scalar.i64")).toBe(-(2 ** 63));
  expect(ggufNumbers(metadata, "array.int8")).toEqual(Int8Array.of(-128, 127, 1));
  for (const read of [ggufText, ggufFlag, ggufInteger, ggufNumber, ggufStrings, ggufNumbers])
    expect(read(metadata, "absent")).toBeUndefined();
  expect(() => ggufText(metadata, "scalar.u8")).toThrow('read GGUF metadata "scalar.u8": got u8 255; expected a string');
  expect(() => ggufFlag(metadata, "scalar.u8")).toThrow(/a bool/);
  expect(() => ggufInteger(metadata, "scalar.u64")).toThrow(/got u64 18446744073709551615; expected an integer below 2\^53/);
  expect(() => ggufInteger(metadata, "scalar.f32")).toThrow(/an integer/);
  expect(() => ggufInteger(metadata, "scalar.true")).toThrow(/an integer/);
  expect(() => ggufNumber(metadata, "scalar.string")).toThrow(/a number/);
  expect(() => ggufStrings(metadata, "array.bool")).toThrow(/got an array of 3 bool; expected an array of strings/);
  expect(() => ggufNumbers(metadata, "array.string")).toThrow(/an array of numbers/);
  expect(() => ggufNumbers(metadata, "array.uint8", ["f32"])).toThrow(/got an array of 3 u8; expected an array of f32/);
  expect(() => ggufNumbers(metadata, "array.uint64")).toThrow(/below 2\^53/);
});

test("strings that are no UTF-8 are kept as bytes and refused as text, also where neighbours would complete them", async () => {
  const strings = [u8(0x61), u8(0xe4, 0xb8), u8(0x96, 0x62)].map((bytes) => text(bytes));
  const bytes = makeGguf({ pairs: [pair("t", "array", array("string", 3, ...strings))] });
  const gguf = await readGguf(memorySource(bytes));
  const list = gguf.metadata.get("t")?.value as GgufStrings;
  expect(list.at(0)).toBe("a");
  expect([...list.bytesAt(1)]).toEqual([0xe4, 0xb8]);
  expect(() => list.at(1)).toThrow(/string 1 whose bytes are not UTF-8/);
  expect(() => list.toArray()).toThrow(/string 1 whose bytes are not UTF-8/);
  expect(await written(gguf.metadata, [])).toEqual(bytes);
});

test("lists of strings: any texts, one by one and all at once", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "grapheme" }).filter((s) => s.isWellFormed())), (texts) => {
      const list = GgufStrings.from(texts);
      expect(list.length).toBe(texts.length);
      expect(list.toArray()).toEqual(texts);
      expect(texts.map((_, i) => list.at(i))).toEqual(texts);
    }),
    { numRuns: 300, seed: 3 },
  );
});

test("version 2, alignments 1 and 64, a last tensor without padding, no tensors without padding", async () => {
  const one = (offset: number) => concatBytes(text("a"), u32(1), u64(3), u32(0), u64(offset));
  const alignmentOf = (value: number) => pair("general.alignment", "u32", u32(value));
  const data = new Uint8Array(Float32Array.of(1, 2, 3).buffer);
  for (const made of [
    makeGguf({ version: 2, entries: [one(0)], data }),
    makeGguf({ entries: [one(0)], data: concatBytes(data, new Uint8Array(20)) }),
    makeGguf({ pairs: [alignmentOf(1)], alignment: 1, entries: [one(0)], data }),
    makeGguf({ pairs: [alignmentOf(64)], alignment: 64, entries: [one(0)], data }),
  ]) {
    const gguf = await readGguf(memorySource(made));
    const tensor = gguf.tensors.get("a");
    expect(tensor && (await gguf.readF32(tensor))).toEqual(Float32Array.of(1, 2, 3));
  }
  for (const alignment of [1, 32]) expect((await readGguf(memorySource(makeGguf({ alignment })))).tensors.size).toBe(0);
});

test("what we read and write again is the same file, byte for byte", async () => {
  const names = readdirSync(fixtures).filter((name) => name.endsWith(".gguf"));
  expect(names).toHaveLength(4);
  const original = readFileSync(path.join(fixtures, "values.gguf"));
  expect(Buffer.from(await written(values.metadata, entriesOf(values))).equals(original)).toBe(true);
});

test("writing to disk in chunks; reading what was written", async () => {
  const folder = await fs.mkdtemp(path.join(tmpdir(), "gradually-gguf-"));
  const target = path.join(folder, "a.gguf");
  const numbers = Float32Array.from({ length: 2 * 512 }, (_, i) => Math.sin(i));
  const packed = encodeBlocks("q4_k", numbers);
  async function* chunks() {
    for (let at = 0; at < packed.length; at += 100) yield packed.subarray(at, at + 100);
  }
  const metadata = new Map<string, GgufValue>([
    ["general.architecture", { type: "string", value: "llama" }],
    ["tokenizer.ggml.tokens", { type: "array", of: "string", value: GgufStrings.from(["<s>", "a", "世"]) }],
    ["llama.block_count", { type: "u32", value: 1 }],
  ]);
  const entries: GgufEntry[] = [
    { name: "w", type: "q4_k", shape: [2, 512], data: () => chunks() },
    { name: "empty", type: "f32", shape: [0], data: new Uint8Array(0) },
    { name: "n", type: "f32", shape: [3], data: async () => encodeBlocks("f32", Float32Array.of(1, 2, 3)) },
  ];
  await files.writeAtomic(target, writeGguf(metadata, entries));
  const gguf = await openGguf(files, target);
  expect([...gguf.metadata.keys()]).toEqual([...metadata.keys()]);
  expect([...gguf.tensors.values()].map(({ name, type, shape }) => [name, type, shape])).toEqual(
    entries.map(({ name, type, shape }) => [name, type, shape]),
  );
  const expected = new Float32Array(1024);
  decodeBlocks("q4_k", packed, expected);
  const [w, , n] = [...gguf.tensors.values()];
  expect(w && (await gguf.readF32(w))).toEqual(expected);
  expect(n && (await gguf.readF32(n))).toEqual(Float32Array.of(1, 2, 3));
  await gguf.close();
  await fs.rm(folder, { recursive: true });
});

test("refused when writing: names, shapes, values and data that no file can hold", async () => {
  const good: GgufEntry = { name: "a", type: "f32", shape: [2], data: new Uint8Array(8) };
  const none = new Map<string, GgufValue>();
  const with1 = (key: string, value: GgufValue) => new Map([[key, value]]);
  const cases: [ReadonlyMap<string, GgufValue>, GgufEntry[], RegExp][] = [
    [none, [good, good], /tensor "a": got the same name a second time/],
    [none, [{ ...good, name: "n".repeat(64) }], /a name of 64 bytes; expected fewer than 64/],
    [none, [{ ...good, name: "\ud800" }], /half a surrogate/],
    [none, [{ ...good, shape: [] }], /rank 0; expected 1 to 4/],
    [none, [{ ...good, shape: [1, 1, 1, 1, 2] }], /rank 5/],
    [none, [{ ...good, shape: [-2] }], /shape \[-2\]/],
    [none, [{ ...good, type: "q8_0" }], /shape \[2\] of q8_0; expected rows of whole blocks of 32/],
    [none, [{ ...good, data: new Uint8Array(7) }], /got 7 bytes; expected 8 for shape \[2\] of f32/],
    [none, [{ ...good, data: new Uint8Array(9) }], /got more than 8 bytes/],
    [with1("", { type: "u8", value: 0 }), [], /key of 0 bytes/],
    [with1("k".repeat(65_536), { type: "u8", value: 0 }), [], /key of 65536 bytes/],
    [with1("a", { type: "u8", value: 256 }), [], /got 256 as u8; expected an integer from 0 to 255/],
    [with1("a", { type: "i32", value: 0.5 }), [], /got 0.5 as i32/],
    [with1("a", { type: "u64", value: -1n }), [], /got -1 as u64/],
    [with1("a", { type: "string", value: "\udc00" }), [], /half a surrogate/],
    [with1("a", { type: "array", of: "bool", value: u8(2) }), [], /bool other than 0 and 1/],
    [with1("general.alignment", { type: "u32", value: 24 }), [], /alignment: got u32 24/],
    [with1("general.alignment", { type: "u64", value: 32n }), [], /alignment: got u64 32/],
  ];
  for (const [metadata, entries, message] of cases) {
    const failure = await written(metadata, entries).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(failure).toBeInstanceOf(FormatError);
    expect((failure as FormatError).message).toMatch(message);
  }
});

test("three parts, named by any of them", async () => {
  for (const i of [1, 2, 3]) {
    const gguf = await openGguf(files, path.join(fixtures, `split-0000${i}-of-00003.gguf`));
    expect(Array.from(gguf.tensors.values(), ({ name, part }) => [name, part])).toEqual([
      ["tensor.0", 0],
      ["tensor.1", 0],
      ["tensor.2", 1],
      ["tensor.3", 1],
      ["tensor.4", 2],
    ]);
    expect(gguf.sources.map(({ path: at }) => path.basename(at))).toEqual([1, 2, 3].map((n) => `split-0000${n}-of-00003.gguf`));
    expect(ggufText(gguf.metadata, "general.name")).toBe("three parts");
    for (const [n, tensor] of [...gguf.tensors.values()].entries()) expect(await gguf.readF32(tensor)).toEqual(new Float32Array(6).fill(n));
    await gguf.close();
  }
});

const vocabularies = {
  "tokenizers/deepseek-llm/ggml-vocab-deepseek-llm.gguf": 102_400,
  "tokenizers/qwen2/vocab-qwen2-rebuilt.gguf": 151_936,
  "tokenizers/llama-bpe/vocab-llama-bpe-rebuilt.gguf": 128_256,
};

test.skipIf(!sharedData).each(Object.entries(vocabularies))(
  "%s: reads %d tokens, quickly, and writes the same bytes",
  async (name, count) => {
    const target = path.join(sharedData as string, name);
    let fastest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 5; i++) {
      const started = process.cpuUsage();
      const gguf = await openGguf(files, target);
      const tokens = ggufStrings(gguf.metadata, "tokenizer.ggml.tokens");
      fastest = Math.min(fastest, process.cpuUsage(started).user / 1000);
      expect(tokens).toHaveLength(count);
      expect(new Set(tokens).size).toBe(count);
      await gguf.close();
    }
    // Processor time, so that busy neighbours do not count; 50 to 80 ms for the largest.
    expect(fastest).toBeLessThan(150 * pace());
    const gguf = await openGguf(files, target);
    const again = await written(gguf.metadata, entriesOf(gguf));
    const original = readFileSync(target);
    // A file without tensors may end without padding.
    expect(Buffer.from(again.subarray(0, original.length)).equals(original)).toBe(true);
    expect(again.length - original.length).toBeLessThan(32);
    await gguf.close();
  },
);

test.skipIf(!sharedData)("stories260K: the weights of the GGUF are those of the folder", async () => {
  const target = path.join(sharedData as string, "models/stories260K/stories260K-f32.gguf");
  const gguf = await openGguf(files, target);
  expect(gguf.tensors.size).toBe(48);
  const embedding = gguf.tensors.get("token_embd.weight");
  expect(embedding).toMatchObject({ type: "f32", shape: [512, 64] });
  const { openHfFolder } = await import("../../src/formats/hf-folder.ts");
  const folder = await openHfFolder(files, path.join(sharedData as string, "models/stories260K/hf"));
  expect(embedding && (await gguf.readF32(embedding))).toEqual(await folder.tensors.get("model.embed_tokens.weight")?.readF32());
  await folder.close();
  expect(Buffer.from(await written(gguf.metadata, entriesOf(gguf))).equals(readFileSync(target))).toBe(true);
  await gguf.close();
});
