// Test helper: GGUF files made by hand, byte by byte, right or wrong in every field. In: plain numbers and text. Out: bytes.

import { concatBytes } from "./memory-source.ts";

export function u8(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

export function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

export function u64(value: number | bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt.asUintN(64, BigInt(value))).buffer);
}

export function f32(...values: number[]): Uint8Array {
  return new Uint8Array(Float32Array.from(values).buffer);
}

/** A string with its length, or with another length than it has. */
export function text(content: string | Uint8Array, announced?: number | bigint): Uint8Array {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return concatBytes(u64(announced ?? bytes.length), bytes);
}

export const typeNumbers = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
};

/** A metadata pair; `type` by name or as a number, `value` as the bytes after the type. */
export function pair(key: string | Uint8Array, type: keyof typeof typeNumbers | number, value: Uint8Array): Uint8Array {
  return concatBytes(text(key), u32(typeof type === "number" ? type : typeNumbers[type]), value);
}

/** The bytes of an array value: element type, count, elements. */
export function array(of: keyof typeof typeNumbers | number, count: number | bigint, ...elements: Uint8Array[]): Uint8Array {
  return concatBytes(u32(typeof of === "number" ? of : typeNumbers[of]), u64(count), ...elements);
}

/** An entry of the tensor list; `ne` innermost first, as the file has it. */
export function entry(
  name: string | Uint8Array,
  ne: readonly (number | bigint)[],
  type: number,
  offset: number | bigint,
  rank = ne.length,
): Uint8Array {
  return concatBytes(text(name), u32(rank), ...ne.map(u64), u32(type), u64(offset));
}

export type Made = {
  readonly magic?: string;
  readonly version?: number;
  readonly pairs?: readonly Uint8Array[];
  readonly entries?: readonly Uint8Array[];
  /** Counts that the header announces instead of the true ones. */
  readonly pairCount?: number | bigint;
  readonly tensorCount?: number | bigint;
  readonly alignment?: number;
  /** Bytes after the padded header; a number is that many zeros. */
  readonly data?: Uint8Array | number;
};

export function makeGguf(made: Made = {}): Uint8Array {
  const { magic = "GGUF", version = 3, pairs = [], entries = [], alignment = 32, data = 0 } = made;
  const header = concatBytes(
    new TextEncoder().encode(magic),
    u32(version),
    u64(made.tensorCount ?? entries.length),
    u64(made.pairCount ?? pairs.length),
    ...pairs,
    ...entries,
  );
  const padding = new Uint8Array((alignment - (header.length % alignment)) % alignment);
  return concatBytes(header, padding, typeof data === "number" ? new Uint8Array(data) : data);
}
