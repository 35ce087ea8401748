// Storage types of tensor files and their codecs. In and out: little-endian bytes at any alignment, and numbers.
// Encoding rounds to nearest, ties to even. F8_E4M3 is the "fn" variant of DeepSeek (largest 448, no infinity):
// larger values saturate. F8_E8M0 holds powers of two only (block scales). NaN stays NaN in every float type. Assumes a little-endian machine, as WebAssembly does.

import { FormatError } from "../core/errors.ts";

const sizes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;

export type FileDType = keyof typeof sizes;
/** The types that the writer offers. */
export type WritableDType = "F32" | "F16" | "BF16" | "F8_E4M3" | "F64" | "I32" | "I64" | "U8";
export type Numbers = Float32Array | Float64Array | Int32Array | Uint8Array;

export const fileDTypes = Object.keys(sizes) as readonly FileDType[];

export function isFileDType(name: string): name is FileDType {
  return Object.hasOwn(sizes, name);
}

export function bytesOf(dtype: FileDType): number {
  return sizes[dtype];
}

/** Value of a small float: sign, exponent, mantissa; `ieee` types have infinities, e4m3fn only the NaN 0x7f. */
function miniFloat(code: number, exponentBits: number, mantissaBits: number, ieee: boolean): number {
  const sign = code >> (exponentBits + mantissaBits) ? -1 : 1;
  const mantissa = code & (2 ** mantissaBits - 1);
  const exponent = (code >> mantissaBits) & (2 ** exponentBits - 1);
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 0) return sign * mantissa * 2 ** (1 - bias - mantissaBits);
  if (exponent === 2 ** exponentBits - 1) {
    if (ieee) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    if (mantissa === 2 ** mantissaBits - 1) return Number.NaN;
  }
  return sign * (1 + mantissa / 2 ** mantissaBits) * 2 ** (exponent - bias);
}

/** A power of two without sign or zero: the scale type of OCP's microscaling formats, ue8m0 in DeepSeek-V3.1. */
function powerOfTwo(code: number): number {
  return code === 255 ? Number.NaN : 2 ** (code - 127);
}

function table(size: number, value: (code: number) => number): () => Float32Array {
  let made: Float32Array | undefined;
  return () => {
    made ??= Float32Array.from({ length: size }, (_, code) => value(code));
    return made;
  };
}

const tables = {
  F8_E4M3: table(256, (code) => miniFloat(code, 4, 3, false)),
  F8_E5M2: table(256, (code) => miniFloat(code, 5, 2, true)),
  F8_E8M0: table(256, powerOfTwo),
  F16: table(65536, (code) => miniFloat(code, 5, 10, true)),
};

type TabledDType = keyof typeof tables;

function isTabled(dtype: FileDType): dtype is TabledDType {
  return Object.hasOwn(tables, dtype);
}

/** A typed-array view; copied first when the bytes do not lie at a multiple of the element size. */
function view<T>(bytes: Uint8Array, size: number, make: new (buffer: ArrayBufferLike, offset: number, length: number) => T): T {
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  return new make(aligned.buffer, aligned.byteOffset, bytes.length / size);
}

/** The numbers of any type but BF16 and the small floats, as a list to copy from. */
function plain(dtype: FileDType, bytes: Uint8Array): ArrayLike<number | bigint> {
  switch (dtype) {
    case "I8":
      return view(bytes, 1, Int8Array);
    case "I16":
      return view(bytes, 2, Int16Array);
    case "U16":
      return view(bytes, 2, Uint16Array);
    case "I32":
      return view(bytes, 4, Int32Array);
    case "U32":
      return view(bytes, 4, Uint32Array);
    case "F32":
      return view(bytes, 4, Float32Array);
    case "F64":
      return view(bytes, 8, Float64Array);
    case "I64":
      return view(bytes, 8, BigInt64Array);
    case "U64":
      return view(bytes, 8, BigUint64Array);
    default:
      return bytes;
  }
}

/** Decodes `bytes` (a whole number of elements) into `out` from index `offset` on. */
export function decodeInto(dtype: FileDType, bytes: Uint8Array, out: Float32Array | Float64Array, offset = 0): void {
  const count = bytes.length / sizes[dtype];
  if (dtype === "BF16") {
    const codes = view(bytes, 2, Uint16Array);
    const bits = new Uint32Array(count);
    for (let i = 0; i < count; i++) bits[i] = (codes[i] as number) << 16;
    out.set(new Float32Array(bits.buffer), offset);
  } else if (isTabled(dtype)) {
    const values = tables[dtype]();
    const codes = dtype === "F16" ? view(bytes, 2, Uint16Array) : bytes;
    for (let i = 0; i < count; i++) out[offset + i] = values[codes[i] as number] as number;
  } else {
    const values = plain(dtype, bytes);
    if (values instanceof Float32Array || values instanceof Float64Array) out.set(values, offset);
    else for (let i = 0; i < count; i++) out[offset + i] = Number(values[i]);
  }
}

const byteOfExponent = 8;

/** Codes of a small float for f32 values: rounded to nearest even; at most `largest`, or `overflow` beyond it. */
function encodeSmall(
  values: Float32Array,
  codes: Uint8Array | Uint16Array,
  exponentBits: number,
  mantissaBits: number,
  largest: number,
  overflow: number,
  nan: number,
): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const lowest = 2 - 2 ** (exponentBits - 1);
  const signShift = 31 - exponentBits - mantissaBits;
  // Per exponent byte of the f32: what turns a value into steps of its binade, and the code that binade starts at.
  const scale = new Float64Array(2 ** byteOfExponent);
  const start = new Int32Array(2 ** byteOfExponent);
  for (let byte = 0; byte < scale.length; byte++) {
    const exponent = Math.max(byte - 127, lowest);
    scale[byte] = 2 ** (mantissaBits - exponent);
    start[byte] = (exponent - lowest) * 2 ** mantissaBits;
  }
  for (let i = 0; i < values.length; i++) {
    const raw = bits[i] as number;
    const magnitude = raw & 0x7fffffff;
    const sign = (raw & 0x80000000) >>> signShift;
    if (magnitude > 0x7f800000) {
      codes[i] = sign | nan;
      continue;
    }
    const byte = magnitude >>> 23;
    const steps = Math.abs(values[i] as number) * (scale[byte] as number);
    let whole = Math.floor(steps);
    const rest = steps - whole;
    if (rest > 0.5 || (rest === 0.5 && whole % 2 === 1)) whole++;
    const code = (start[byte] as number) + whole;
    codes[i] = sign | (code > largest ? overflow : code);
  }
}

function encodeBf16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const codes = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const raw = bits[i] as number;
    const undefinedValue = (raw & 0x7fffffff) > 0x7f800000;
    // A NaN whose payload lies in the low half only must not turn into infinity.
    codes[i] = undefinedValue ? (raw >>> 16) | 0x40 : (raw + 0x7fff + ((raw >>> 16) & 1)) >>> 16;
  }
  return codes;
}

function bytesOfView(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Little-endian bytes of `numbers` as `dtype` (the same memory where nothing changes). Integer types refuse what is no integer of their range. */
export function encode(dtype: WritableDType, numbers: Numbers): Uint8Array {
  switch (dtype) {
    case "F64":
      return bytesOfView(numbers instanceof Float64Array ? numbers : Float64Array.from(numbers));
    case "I32":
      return bytesOfView(numbers instanceof Int32Array ? numbers : Int32Array.from(integers(dtype, numbers, -(2 ** 31), 2 ** 31 - 1)));
    case "U8":
      return numbers instanceof Uint8Array ? numbers : Uint8Array.from(integers(dtype, numbers, 0, 255));
    case "I64":
      return bytesOfView(BigInt64Array.from(Array.from(integers(dtype, numbers, -(2 ** 53), 2 ** 53), BigInt)));
  }
  const floats = numbers instanceof Float32Array ? numbers : Float32Array.from(numbers);
  if (dtype === "F32") return bytesOfView(floats);
  if (dtype === "BF16") return bytesOfView(encodeBf16(floats));
  if (dtype === "F16") {
    const codes = new Uint16Array(floats.length);
    encodeSmall(floats, codes, 5, 10, 0x7bff, 0x7c00, 0x7e00);
    return bytesOfView(codes);
  }
  const codes = new Uint8Array(floats.length);
  encodeSmall(floats, codes, 4, 3, 0x7e, 0x7e, 0x7f);
  return codes;
}

function integers(dtype: WritableDType, numbers: Numbers, low: number, high: number): Numbers {
  for (const value of numbers) {
    if (Number.isInteger(value) && value >= low && value <= high) continue;
    throw new FormatError({
      operation: `store numbers as ${dtype}`,
      got: String(value),
      expected: `integers from ${low} to ${high}`,
      cure: "choose F32 or F64",
    });
  }
  return numbers;
}
