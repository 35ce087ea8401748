// Writes GGUF files, version 3, little-endian, as a stream of byte chunks, so that no tensor need be whole in memory. In: metadata, and
// tensors whose bytes are fetched when their turn comes. Out: chunks for Files.writeAtomic. What openGguf reads and this
// writes again is the same file, byte for byte, when the last tensor was padded (as llama.cpp and the gguf package do).

import { FormatError, quote } from "../core/errors.ts";
import { type Shape, showShape } from "../core/shape.ts";
import { type BlockType, blockBytes, blockLayout } from "./blocks/index.ts";
import { countLimit, defaultAlignment, magic } from "./gguf.ts";
import { depthLimit, keyLimit, valueLimit } from "./gguf-metadata.ts";
import { alignmentLimit, isAlignment, nameLimit, padded, rankLimit } from "./gguf-tensors.ts";
import { type GgufArray, type GgufMetadata, type GgufType, type GgufValue, ggufTypes } from "./gguf-values.ts";

export type GgufEntry = {
  readonly name: string;
  readonly type: BlockType;
  /** Row-major, outermost first; 1 to 4 sizes, the last a multiple of the type's block. */
  readonly shape: Shape;
  /** The encoded bytes, whole or in chunks, or a function that fetches them. */
  readonly data: GgufData | (() => GgufData | Promise<GgufData>);
};
type GgufData = Uint8Array | AsyncIterable<Uint8Array>;

/**
 * Yields the bytes of a GGUF file. Alignment is `general.alignment` of the metadata, or 32. Throws FormatError before the first chunk for
 * names, shapes or values that cannot be written, and at its turn for a tensor with more or fewer bytes than its shape says.
 */
export async function* writeGguf(metadata: GgufMetadata, entries: Iterable<GgufEntry>): AsyncGenerator<Uint8Array> {
  const tensors = [...entries];
  const alignment = alignmentOf(metadata);
  const sizes = checkTensors(tensors);
  const header = makeHeader(metadata, tensors, sizes, alignment);
  yield header;
  for (const [i, tensor] of tensors.entries()) {
    const expected = sizes[i] as number;
    let written = 0;
    const data = typeof tensor.data === "function" ? await tensor.data() : tensor.data;
    for await (const chunk of data instanceof Uint8Array ? [data] : data) {
      written += chunk.length;
      if (written > expected) break;
      yield chunk;
    }
    if (written !== expected) {
      const got = written > expected ? `more than ${expected} bytes` : `${written} bytes`;
      fail(`tensor ${quote(tensor.name)}`, got, `${expected} for shape ${showShape(tensor.shape)} of ${tensor.type}`);
    }
    const padding = padded(expected, alignment) - expected;
    if (padding > 0) yield new Uint8Array(padding);
  }
}

function fail(what: string, got: string, expected: string): never {
  throw new FormatError({ operation: `write GGUF ${what}`, got, expected, cure: "correct what is to be saved" });
}

function alignmentOf(metadata: GgufMetadata): number {
  const value = metadata.get("general.alignment");
  if (!value) return defaultAlignment;
  if (value.type !== "u32" || !isAlignment(value.value)) {
    fail("general.alignment", `${value.type} ${String(value.value)}`, `a u32, a power of two from 1 to ${alignmentLimit}`);
  }
  return value.value;
}

function checkTensors(tensors: readonly GgufEntry[]): number[] {
  if (tensors.length > countLimit) fail("tensors", `${tensors.length}`, `at most ${countLimit}`);
  const names = new Set<string>();
  return tensors.map(({ name, type, shape }) => {
    const what = `tensor ${quote(name)}`;
    if (names.has(name)) fail(what, "the same name a second time", "each name once");
    names.add(name);
    if (!name.isWellFormed()) fail(what, "a name with half a surrogate pair", "a name that UTF-8 can spell");
    const length = new TextEncoder().encode(name).length;
    if (length >= nameLimit) fail(what, `a name of ${length} bytes`, `fewer than ${nameLimit}`);
    if (shape.length < 1 || shape.length > rankLimit) fail(what, `rank ${shape.length}`, `1 to ${rankLimit}`);
    const bytes = blockBytes(type, shape);
    if (bytes === undefined)
      fail(what, `shape ${showShape(shape)} of ${type}`, `rows of whole blocks of ${blockLayout(type).weights}, below 2^53 bytes`);
    return bytes;
  });
}

/** A byte buffer that grows. */
class Bytes {
  #bytes = new Uint8Array(2 ** 16);
  #view = new DataView(this.#bytes.buffer);
  #used = 0;

  #grow(count: number): number {
    const at = this.#used;
    this.#used += count;
    if (this.#used > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#used, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }

  u32(value: number): void {
    const at = this.#grow(4);
    this.#view.setUint32(at, value, true);
  }

  u64(value: number): void {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  put(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
  }

  text(text: string, what: string): void {
    if (!text.isWellFormed()) fail(what, "text with half a surrogate pair", "text that UTF-8 can spell");
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    this.put(bytes);
  }

  /** What was written, with zeros up to a multiple of `alignment`. */
  finish(alignment: number): Uint8Array {
    this.#grow(padded(this.#used, alignment) - this.#used);
    return this.#bytes.subarray(0, this.#used);
  }
}

function makeHeader(metadata: GgufMetadata, tensors: readonly GgufEntry[], sizes: readonly number[], alignment: number): Uint8Array {
  const out = new Bytes();
  out.u32(magic);
  out.u32(3);
  out.u64(tensors.length);
  out.u64(metadata.size);
  for (const [key, value] of metadata) putPair(out, key, value);
  let offset = 0;
  for (const [i, { name, type, shape }] of tensors.entries()) {
    out.text(name, `tensor ${quote(name)}`);
    out.u32(shape.length);
    for (const size of [...shape].reverse()) out.u64(size);
    out.u32(blockLayout(type).ggmlType);
    out.u64(offset);
    offset = padded(offset + (sizes[i] as number), alignment);
    if (!Number.isSafeInteger(offset)) fail(`tensor ${quote(name)}`, "tensors of 2^53 bytes in all", "fewer");
  }
  return out.finish(alignment);
}

function putPair(out: Bytes, key: string, value: GgufValue): void {
  const what = `metadata ${quote(key)}`;
  const length = new TextEncoder().encode(key).length;
  if (length < 1 || length > keyLimit) fail(what, `a key of ${length} bytes`, `1 to ${keyLimit}`);
  out.text(key, what);
  putType(out, value.type);
  if (value.type === "array") putArray(out, value, what, 1);
  else if (value.type === "string") out.text(value.value, what);
  else out.put(scalarBytes(value, what));
}

function putType(out: Bytes, type: GgufType): void {
  out.u32(ggufTypes.indexOf(type));
}

const ranges: ReadonlyMap<GgufType, readonly [low: number | bigint, high: number | bigint]> = new Map<
  GgufType,
  [number | bigint, number | bigint]
>([
  ["u8", [0, 2 ** 8 - 1]],
  ["i8", [-(2 ** 7), 2 ** 7 - 1]],
  ["u16", [0, 2 ** 16 - 1]],
  ["i16", [-(2 ** 15), 2 ** 15 - 1]],
  ["u32", [0, 2 ** 32 - 1]],
  ["i32", [-(2 ** 31), 2 ** 31 - 1]],
  ["u64", [0n, 2n ** 64n - 1n]],
  ["i64", [-(2n ** 63n), 2n ** 63n - 1n]],
]);

function checkRange(type: GgufType, value: number | bigint, what: string): void {
  const range = ranges.get(type);
  if (!range || (value >= range[0] && value <= range[1] && (typeof value === "bigint" || Number.isInteger(value)))) return;
  fail(what, `${value} as ${type}`, `an integer from ${range[0]} to ${range[1]}`);
}

function scalarBytes(value: Exclude<GgufValue, { readonly type: "string" } | GgufArray>, what: string): Uint8Array {
  if (value.type !== "bool") checkRange(value.type, value.value, what);
  switch (value.type) {
    case "bool":
      return Uint8Array.of(value.value ? 1 : 0);
    case "u64":
      return bytesOf(BigUint64Array.of(value.value));
    case "i64":
      return bytesOf(BigInt64Array.of(value.value));
    case "u8":
      return Uint8Array.of(value.value);
    case "i8":
      return bytesOf(Int8Array.of(value.value));
    case "u16":
      return bytesOf(Uint16Array.of(value.value));
    case "i16":
      return bytesOf(Int16Array.of(value.value));
    case "u32":
      return bytesOf(Uint32Array.of(value.value));
    case "i32":
      return bytesOf(Int32Array.of(value.value));
    case "f32":
      return bytesOf(Float32Array.of(value.value));
    case "f64":
      return bytesOf(Float64Array.of(value.value));
  }
}

function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function putArray(out: Bytes, array: GgufArray, what: string, depth: number): void {
  putType(out, array.of);
  out.u64(array.value.length);
  switch (array.of) {
    case "array":
      if (depth >= depthLimit) fail(what, `arrays nested deeper than ${depthLimit}`, "plain lists");
      for (const inner of array.value) putArray(out, inner, what, depth + 1);
      break;
    case "string":
      for (let i = 0; i < array.value.length; i++) {
        const bytes = array.value.bytesAt(i);
        out.u64(bytes.length);
        out.put(bytes);
      }
      break;
    case "bool":
      if (array.value.some((byte) => byte > 1)) fail(what, "a bool other than 0 and 1", "0 or 1");
      out.put(array.value);
      break;
    default: {
      const bytes = bytesOf(array.value);
      if (bytes.length > valueLimit) fail(what, `an array of ${bytes.length} bytes`, `at most ${valueLimit}`);
      out.put(bytes);
    }
  }
}
