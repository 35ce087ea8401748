// Reads the key-value part of a GGUF file. In: a cursor behind the counts. Out: a Map in the order of the file. Refused: keys that are
// empty, doubled, too long or no UTF-8; types that do not exist; bools other than 0 and 1; lengths and counts beyond the file or
// beyond the limits below, which are far above any real vocabulary.

import { quote } from "../core/errors.ts";
import { decodeUtf8 } from "../core/json.ts";
import type { Cursor } from "./gguf-cursor.ts";
import {
  type GgufArray,
  type GgufBigType,
  type GgufNumbers,
  type GgufNumberType,
  GgufStrings,
  type GgufType,
  type GgufValue,
  ggufTypes,
} from "./gguf-values.ts";

/** Most bytes of one key, from the format's text. */
export const keyLimit = 65_535;
/** Most bytes of one string or array, as stored. */
export const valueLimit = 2 ** 26;
/** Most bytes of all metadata. */
export const metadataLimit = 2 ** 28;
/** Deepest nesting of arrays, and most arrays within arrays of a file. */
export const depthLimit = 8;
export const nestedLimit = 65_536;
const stepBytes = 2 ** 20;

const sizes: Readonly<Record<GgufNumberType | GgufBigType | "bool", number>> = {
  u8: 1,
  i8: 1,
  bool: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  u64: 8,
  i64: 8,
  f64: 8,
};

/** Least bytes of an element of each type in the file. */
function leastBytes(type: GgufType): number {
  return type === "string" ? 8 : type === "array" ? 12 : sizes[type];
}

function numbersOf(type: GgufNumberType, bytes: Uint8Array): GgufNumbers {
  const { buffer } = bytes;
  switch (type) {
    case "u8":
      return bytes;
    case "i8":
      return new Int8Array(buffer);
    case "u16":
      return new Uint16Array(buffer);
    case "i16":
      return new Int16Array(buffer);
    case "u32":
      return new Uint32Array(buffer);
    case "i32":
      return new Int32Array(buffer);
    case "f32":
      return new Float32Array(buffer);
    case "f64":
      return new Float64Array(buffer);
  }
}

/** Reads `count` pairs. Throws FormatError. */
export async function readMetadata(cursor: Cursor, count: number): Promise<Map<string, GgufValue>> {
  const metadata = new Map<string, GgufValue>();
  const reader = new ValueReader(cursor);
  for (let i = 0; i < count; i++) {
    const key = await readKey(cursor, i);
    if (metadata.has(key)) cursor.fail(`metadata key ${quote(key)} a second time`, "each key once");
    metadata.set(key, await reader.read(key));
    if (cursor.position > metadataLimit) cursor.fail(`metadata of more than ${metadataLimit} bytes`, "a vocabulary of sensible size");
  }
  return metadata;
}

async function readKey(cursor: Cursor, index: number): Promise<string> {
  await cursor.fill(8, `the length of metadata key ${index}`);
  const length = cursor.size(`metadata key ${index} of length`);
  if (length === 0) cursor.fail(`metadata key ${index} without characters`, "a key");
  if (length > keyLimit) cursor.fail(`metadata key ${index} of ${length} bytes`, `at most ${keyLimit}`);
  await cursor.fill(length, `metadata key ${index}`);
  return decodeUtf8(cursor.take(length), `${cursor.source.path}, metadata key ${index}`);
}

class ValueReader {
  readonly #cursor: Cursor;
  /** Arrays within arrays so far. */
  #nested = 0;

  constructor(cursor: Cursor) {
    this.#cursor = cursor;
  }

  async read(key: string): Promise<GgufValue> {
    const type = await this.#readType(key);
    if (type === "array") return await this.#readArray(key, 1);
    if (type === "string") return { type, value: await this.#readString(key) };
    const bytes = await this.#readBytes(key, sizes[type]);
    if (type === "bool") {
      this.#checkBools(key, bytes);
      return { type, value: bytes[0] === 1 };
    }
    if (type === "u64") return { type, value: new BigUint64Array(bytes.buffer)[0] as bigint };
    if (type === "i64") return { type, value: new BigInt64Array(bytes.buffer)[0] as bigint };
    return { type, value: numbersOf(type, bytes)[0] as number };
  }

  async #readType(key: string): Promise<GgufType> {
    await this.#cursor.fill(4, `the type of ${quote(key)}`);
    const number = this.#cursor.u32();
    const type = ggufTypes[number];
    if (!type) this.#cursor.fail(`metadata ${quote(key)} of type ${number}`, `a type from 0 to ${ggufTypes.length - 1}`);
    return type;
  }

  #checkBools(key: string, bytes: Uint8Array): void {
    const other = bytes.find((byte) => byte > 1);
    if (other !== undefined) this.#cursor.fail(`metadata ${quote(key)} with the bool ${other}`, "0 or 1");
  }

  async #readString(key: string): Promise<string> {
    const cursor = this.#cursor;
    await cursor.fill(8, `the length of ${quote(key)}`);
    const length = cursor.size(`metadata ${quote(key)} of length`);
    this.#checkLength(key, length, length, "a string");
    await cursor.fill(length, quote(key));
    return decodeUtf8(cursor.take(length), `${cursor.source.path}, metadata ${quote(key)}`);
  }

  /** Holds the size that a value announces against the file's end, then against our limit. */
  #checkLength(key: string, bytes: number, count: number, what: string): void {
    const cursor = this.#cursor;
    if (!(bytes <= cursor.left))
      cursor.fail(`metadata ${quote(key)}, ${what} of length ${count}`, `an end within the file's ${cursor.source.size} bytes`);
    if (bytes > valueLimit) cursor.fail(`metadata ${quote(key)}, ${what} of ${bytes} bytes or more`, `at most ${valueLimit} bytes`);
  }

  /** A copy of the next `count` bytes, in a buffer of its own. */
  async #readBytes(key: string, count: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(count);
    for (let at = 0; at < count; ) {
      const step = Math.min(stepBytes, count - at);
      await this.#cursor.fill(step, quote(key));
      this.#cursor.copy(step, bytes, at);
      at += step;
    }
    return bytes;
  }

  async #readArray(key: string, depth: number): Promise<GgufArray> {
    const cursor = this.#cursor;
    const of = await this.#readType(key);
    await cursor.fill(8, `the length of ${quote(key)}`);
    const count = cursor.size(`metadata ${quote(key)}, an array of length`);
    this.#checkLength(key, count * leastBytes(of), count, `an array of ${of}`);
    switch (of) {
      case "string":
        return { type: "array", of, value: await this.#readStrings(key, count) };
      case "array":
        return { type: "array", of, value: await this.#readArrays(key, count, depth) };
      case "bool": {
        const bytes = await this.#readBytes(key, count);
        this.#checkBools(key, bytes);
        return { type: "array", of, value: bytes };
      }
      case "u64":
        return { type: "array", of, value: new BigUint64Array((await this.#readBytes(key, count * 8)).buffer) };
      case "i64":
        return { type: "array", of, value: new BigInt64Array((await this.#readBytes(key, count * 8)).buffer) };
      default:
        return { type: "array", of, value: numbersOf(of, await this.#readBytes(key, count * sizes[of])) };
    }
  }

  async #readArrays(key: string, count: number, depth: number): Promise<GgufArray[]> {
    const cursor = this.#cursor;
    if (depth >= depthLimit) cursor.fail(`metadata ${quote(key)} with arrays nested deeper than ${depthLimit}`, "plain lists");
    this.#nested += count;
    if (this.#nested > nestedLimit)
      cursor.fail(`metadata ${quote(key)} with ${this.#nested} arrays within arrays`, `at most ${nestedLimit}`);
    const arrays: GgufArray[] = [];
    for (let i = 0; i < count; i++) arrays.push(await this.#readArray(key, depth + 1));
    return arrays;
  }

  async #readStrings(key: string, count: number): Promise<GgufStrings> {
    const cursor = this.#cursor;
    const ends = new Uint32Array(count);
    let bytes = new Uint8Array(Math.min(stepBytes, count * 8));
    let used = 0;
    // Made once: the loop runs hundreds of thousands of times.
    const name = quote(key);
    const what = `metadata ${name}, a string of length`;
    for (let i = 0; i < count; i++) {
      if (cursor.ready < 8) await cursor.fill(8, name);
      const length = cursor.size(what);
      if (length > cursor.left) this.#checkLength(key, length, length, `string ${i}`);
      const end = used + length;
      if (end > valueLimit) cursor.fail(`metadata ${quote(key)} with strings of ${end} bytes or more`, `at most ${valueLimit} bytes`);
      if (end > bytes.length) {
        const grown = new Uint8Array(Math.min(valueLimit, Math.max(2 * bytes.length, end)));
        grown.set(bytes.subarray(0, used));
        bytes = grown;
      }
      if (cursor.ready < length) await cursor.fill(length, name);
      cursor.copy(length, bytes, used);
      used = end;
      ends[i] = end;
    }
    return new GgufStrings(bytes.subarray(0, used), ends);
  }
}
