// Metadata values of GGUF files: a value with its type, so that a file can be written back byte for byte, and checked access by key.
// 64-bit integers stay BigInt here; `ggufInteger` hands them out as numbers once they are known to be safe.
// Long lists of strings (a vocabulary has 150,000, its merges 280,000) stay bytes until asked for.

import { FormatError, quote } from "../core/errors.ts";

export type GgufNumberType = "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "f32" | "f64";
export type GgufBigType = "u64" | "i64";
export type GgufType = GgufNumberType | GgufBigType | "bool" | "string" | "array";

/** In the order of their numbers in the file. */
export const ggufTypes: readonly GgufType[] = [
  "u8",
  "i8",
  "u16",
  "i16",
  "u32",
  "i32",
  "f32",
  "bool",
  "string",
  "array",
  "u64",
  "i64",
  "f64",
];

export type GgufNumbers = Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float32Array | Float64Array;

export type GgufArray =
  | { readonly type: "array"; readonly of: GgufNumberType; readonly value: GgufNumbers }
  | { readonly type: "array"; readonly of: GgufBigType; readonly value: BigUint64Array | BigInt64Array }
  /** One byte each, 0 or 1. */
  | { readonly type: "array"; readonly of: "bool"; readonly value: Uint8Array }
  | { readonly type: "array"; readonly of: "string"; readonly value: GgufStrings }
  | { readonly type: "array"; readonly of: "array"; readonly value: readonly GgufArray[] };

export type GgufValue =
  | { readonly type: GgufNumberType; readonly value: number }
  | { readonly type: GgufBigType; readonly value: bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | GgufArray;

export type GgufMetadata = ReadonlyMap<string, GgufValue>;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** A list of strings as UTF-8 bytes. */
export class GgufStrings {
  readonly length: number;
  readonly #bytes: Uint8Array;
  /** Where each string ends in the bytes. */
  readonly #ends: Uint32Array;

  /** `bytes`: all strings one after another; `ends[i]`: the end of string i. */
  constructor(bytes: Uint8Array, ends: Uint32Array) {
    this.length = ends.length;
    this.#bytes = bytes;
    this.#ends = ends;
  }

  static from(texts: readonly string[]): GgufStrings {
    const parts = texts.map((text) => encoder.encode(text));
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    const ends = new Uint32Array(parts.length);
    let at = 0;
    for (const [i, part] of parts.entries()) {
      bytes.set(part, at);
      at += part.length;
      ends[i] = at;
    }
    return new GgufStrings(bytes, ends);
  }

  #start(index: number): number {
    return index === 0 ? 0 : (this.#ends[index - 1] as number);
  }

  /** The UTF-8 bytes of one string; they need not be valid UTF-8. */
  bytesAt(index: number): Uint8Array {
    return this.#bytes.subarray(this.#start(index), this.#ends[index]);
  }

  /** One string. Throws FormatError when its bytes are not UTF-8. */
  at(index: number): string {
    try {
      return decoder.decode(this.bytesAt(index));
    } catch (cause) {
      throw new FormatError(
        {
          operation: "read GGUF strings",
          got: `string ${index} whose bytes are not UTF-8`,
          expected: "UTF-8 text",
          cure: "convert the model again",
        },
        { cause },
      );
    }
  }

  /** All strings. Throws FormatError when one is not UTF-8. */
  toArray(): string[] {
    const whole = this.#decodeWhole();
    if (whole === undefined) return Array.from({ length: this.length }, (_, i) => this.at(i));
    const texts = new Array<string>(this.length);
    const bytes = this.#bytes;
    let at = 0;
    let from = 0;
    for (let i = 0; i < this.length; i++) {
      const end = this.#ends[i] as number;
      let to = from;
      // In UTF-16 every lead byte is one unit, and a lead byte of four bytes is two.
      for (; at < end; at++) {
        const byte = bytes[at] as number;
        if ((byte & 0xc0) !== 0x80) to += byte >= 0xf0 ? 2 : 1;
      }
      texts[i] = whole.slice(from, to);
      from = to;
    }
    return texts;
  }

  /** All bytes as one text, ten times faster than string by string; undefined unless every string alone is valid UTF-8. */
  #decodeWhole(): string | undefined {
    for (let i = 1; i < this.length; i++) {
      const start = this.#start(i);
      // A string that begins inside a character would be completed by the one before it.
      if (start < this.#bytes.length && ((this.#bytes[start] as number) & 0xc0) === 0x80) return undefined;
    }
    try {
      return decoder.decode(this.#bytes);
    } catch {
      return undefined;
    }
  }
}

function fail(key: string, value: GgufValue, expected: string): never {
  const got = value.type === "array" ? `an array of ${value.value.length} ${value.of}` : `${value.type} ${show(value)}`;
  throw new FormatError({ operation: `read GGUF metadata ${quote(key)}`, got, expected, cure: "convert the model again" });
}

function show({ value }: GgufValue): string {
  return typeof value === "string" ? quote(value) : String(value);
}

/** A string, or undefined when the key is absent. Throws FormatError, as all below, when the value is of another type. */
export function ggufText(metadata: GgufMetadata, key: string): string | undefined {
  const value = metadata.get(key);
  if (value && value.type !== "string") fail(key, value, "a string");
  return value?.value;
}

export function ggufFlag(metadata: GgufMetadata, key: string): boolean | undefined {
  const value = metadata.get(key);
  if (value && value.type !== "bool") fail(key, value, "a bool");
  return value?.value;
}

/** An integer of any width, below 2^53 in magnitude. */
export function ggufInteger(metadata: GgufMetadata, key: string): number | undefined {
  const value = metadata.get(key);
  if (!value) return undefined;
  const number = typeof value.value === "number" || typeof value.value === "bigint" ? Number(value.value) : Number.NaN;
  if (value.type === "f32" || value.type === "f64" || !Number.isSafeInteger(number)) fail(key, value, "an integer below 2^53");
  return number;
}

/** A number of any type; may be NaN or infinite, as the file says. */
export function ggufNumber(metadata: GgufMetadata, key: string): number | undefined {
  const value = metadata.get(key);
  if (!value) return undefined;
  if (typeof value.value !== "number" && typeof value.value !== "bigint") fail(key, value, "a number");
  return Number(value.value);
}

export function ggufStrings(metadata: GgufMetadata, key: string): string[] | undefined {
  const value = metadata.get(key);
  if (!value) return undefined;
  if (value.type !== "array" || value.of !== "string") fail(key, value, "an array of strings");
  return value.value.toArray();
}

/** A list of numbers; `of` says which element types will do, any number type by default (64-bit ones must be safe integers). */
export function ggufNumbers(metadata: GgufMetadata, key: string, of?: readonly GgufType[]): GgufNumbers | undefined {
  const value = metadata.get(key);
  if (!value) return undefined;
  const expected = `an array of ${of ? of.join(" or ") : "numbers"}`;
  if (value.type !== "array" || (of && !of.includes(value.of))) fail(key, value, expected);
  switch (value.of) {
    case "string":
    case "bool":
    case "array":
      return fail(key, value, expected);
    case "u64":
    case "i64": {
      const numbers = Float64Array.from(value.value, Number);
      return numbers.every(Number.isSafeInteger) ? numbers : fail(key, value, "integers below 2^53");
    }
    default:
      return value.value;
  }
}
