// Reads safetensors files. In: a FileSource, possibly from a stranger. Out: tensor places, and their numbers on demand.
// Every length is checked against the file before anything is allocated; stricter than the reference reader in two
// points (keys given twice, a header that does not begin with "{") and in refusing fields it does not know.
// Hazard ids S01 to S46 of hazards.md are the tests.

import { DeviceError, FormatError, quote } from "../core/errors.ts";
import type { FileSource } from "../core/host.ts";
import { decodeUtf8, isJsonObject, type JsonValue, parseJson } from "../core/json.ts";
import { type Shape, showShape } from "../core/shape.ts";
import { bytesOf, decodeInto, type FileDType, fileDTypes, isFileDType } from "./dtypes.ts";
import { fileKind, kindBytes } from "./file-kind.ts";

export const headerLimit = 100_000_000;
export const nameLimit = 4096;
export const rankLimit = 32;
const chunkBytes = 2 ** 24;

/** Where a tensor lies: bytes `begin` to `end` of the file itself (not of its data section). */
export type TensorPlace = { readonly dtype: FileDType; readonly shape: Shape; readonly begin: number; readonly end: number };

export type Safetensors = {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** In the order of the file. */
  readonly tensors: ReadonlyMap<string, TensorPlace>;
  /** The raw little-endian bytes of `count` elements from `first` on; all by default. */
  read(name: string, first?: number, count?: number): Promise<Uint8Array>;
  /** The numbers rounded to f32, in row-major order: `count` elements from `first` on; all by default. */
  readF32(name: string, first?: number, count?: number): Promise<Float32Array>;
  /** The numbers as f64: exact for every type but integers of 2^53 and more. */
  readF64(name: string): Promise<Float64Array>;
  close(): Promise<void>;
};

/** Reads and checks the header. Throws FormatError naming the tensor, the number found and the number expected. */
export async function openSafetensors(source: FileSource): Promise<Safetensors> {
  const fail = complain(source.path);
  if (source.size < 8) fail(`${source.size} bytes`, "at least 8 bytes: the header's length");
  const first = await readExactly(source, 0, Math.min(kindBytes, source.size));
  // Any two bytes may begin an honest file: its header's length. A header begins with "{", and no other kind's ninth byte.
  const kind = first[8] === 0x7b ? undefined : fileKind(first);
  if (kind) fail(kind, "a safetensors file", "convert the model to safetensors, or fetch the file itself");
  const prefix = await readExactly(source, 0, 8);
  const announced = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  if (announced > BigInt(headerLimit)) fail(`a header of ${announced} bytes`, `at most ${headerLimit} bytes`);
  const dataStart = 8 + Number(announced);
  if (dataStart > source.size) fail(`a header that ends at byte ${dataStart}`, `an end within the file's ${source.size} bytes`);
  const { metadata, tensors } = parseHeader(await readExactly(source, 8, Number(announced)), dataStart, source);

  function place(name: string): TensorPlace {
    return tensors.get(name) ?? fail(`a request for tensor ${quote(name)}`, `one of the file's ${tensors.size} tensors`);
  }

  /** The bytes of some elements, which must be the tensor's. */
  function range(name: string, first = 0, count?: number): TensorPlace {
    const { dtype, shape, begin, end } = place(name);
    const size = bytesOf(dtype);
    const from = begin + first * size;
    const to = count === undefined ? end : from + count * size;
    const isWhole = Number.isSafeInteger(first) && (count === undefined || Number.isSafeInteger(count));
    const isInside = isWhole && first >= 0 && from <= to && to <= end;
    if (!isInside)
      fail(`a request for elements ${first}..${first + (count ?? 0) - 1} of ${quote(name)}`, `elements of its ${(end - begin) / size}`);
    return { dtype, shape, begin: from, end: to };
  }

  async function decode<T extends Float32Array | Float64Array>(
    name: string,
    make: new (length: number) => T,
    first?: number,
    count?: number,
  ): Promise<T> {
    const { dtype, begin, end } = range(name, first, count);
    const size = bytesOf(dtype);
    const out = allocate(source.path, name, (end - begin) / size, make);
    for (let at = begin; at < end; at += chunkBytes) {
      const bytes = await readExactly(source, at, Math.min(chunkBytes, end - at));
      decodeInto(dtype, bytes, out, (at - begin) / size);
    }
    return out;
  }

  return {
    path: source.path,
    metadata,
    tensors,
    read: async (name, first, count) => {
      const { begin, end } = range(name, first, count);
      return await readExactly(source, begin, end - begin);
    },
    readF32: (name, first, count) => decode(name, Float32Array, first, count),
    readF64: (name) => decode(name, Float64Array),
    close: () => source.close(),
  };
}

type Complain = (got: string, expected: string, cure?: string) => never;

function complain(path: string): Complain {
  return (got, expected, cure = "the file is damaged or no safetensors file; fetch it again") => {
    throw new FormatError({ operation: `load ${quote(path, 300)}`, got, expected, cure });
  };
}

/** A source may be anyone's implementation: what it returns is measured. */
async function readExactly(source: FileSource, offset: number, length: number): Promise<Uint8Array> {
  const bytes = await source.read(offset, length);
  if (bytes.length !== length) complain(source.path)(`${bytes.length} bytes from offset ${offset}`, `${length} bytes`);
  return bytes;
}

function allocate<T>(path: string, name: string, length: number, make: new (length: number) => T): T {
  try {
    return new make(length);
  } catch (cause) {
    const got = `${length} elements in tensor ${quote(name)}`;
    throw new DeviceError(
      { operation: `load ${quote(path, 300)}`, got, expected: "a tensor that fits into memory", cure: "use a smaller model" },
      { cause },
    );
  }
}

function parseHeader(bytes: Uint8Array, dataStart: number, source: FileSource): Pick<Safetensors, "metadata" | "tensors"> {
  const fail = complain(source.path);
  if (bytes[0] !== 0x7b)
    fail(bytes.length === 0 ? "an empty header" : `a header that begins with byte ${bytes[0]}`, 'a JSON object that begins with "{"');
  const text = decodeUtf8(bytes, source.path);

  let metadata: Record<string, string> | undefined;
  let tensors = new Map<string, TensorPlace>();
  let last: TensorPlace | undefined;
  let isOrdered = true;
  function member(name: string, entry: JsonValue): boolean {
    if (name === "__metadata__") {
      if (metadata) return false;
      metadata = checkMetadata(entry, fail);
      return true;
    }
    if (tensors.has(name)) return false;
    const place = checkEntry(name, entry, dataStart, fail);
    isOrdered &&= !last || inFile(last, place) <= 0;
    last = place;
    tensors.set(name, place);
    return true;
  }
  parseJson(text, { source: source.path, depth: 8, numbers: "integers", member });
  if (!isOrdered) tensors = new Map([...tensors].sort(([, a], [, b]) => inFile(a, b)));
  checkCover(tensors, dataStart, source.size, fail);
  return { metadata: metadata ?? {}, tensors };
}

function inFile(a: TensorPlace, b: TensorPlace): number {
  return a.begin - b.begin || a.end - b.end;
}

function checkMetadata(value: JsonValue | undefined, fail: Complain): Record<string, string> {
  if (!isJsonObject(value)) fail("a __metadata__ that is no object", "an object of strings");
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") fail(`__metadata__ ${quote(key)} that is no string`, "an object of strings");
  }
  return value as Record<string, string>;
}

function isCount(value: JsonValue | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** One entry of the header, alone: its fields, and that its byte range has the size of its shape. */
function checkEntry(name: string, entry: JsonValue | undefined, dataStart: number, fail: Complain): TensorPlace {
  if (name.length > nameLimit) fail(`a tensor name of ${name.length} characters: ${quote(name)}`, `at most ${nameLimit}`);
  // Made only when something is wrong: a header may hold a million entries.
  const tensor = () => `tensor ${quote(name)}`;
  if (!isJsonObject(entry)) fail(`${tensor()} without an object`, '{"dtype", "shape", "data_offsets"}');
  const { dtype, shape, data_offsets: offsets } = entry;
  const other = Object.keys(entry).find((key) => key !== "dtype" && key !== "shape" && key !== "data_offsets");
  if (other !== undefined) fail(`${tensor()} with the unknown field ${quote(other)}`, "dtype, shape and data_offsets only");
  if (typeof dtype !== "string" || !isFileDType(dtype)) {
    fail(`${tensor()} of dtype ${typeof dtype === "string" ? quote(dtype) : "no string"}`, `one of ${fileDTypes.join(", ")}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) fail(`${tensor()} with a shape that is no list of sizes`, "integers of 0 or more");
  if (shape.length > rankLimit) fail(`${tensor()} of rank ${shape.length}`, `at most ${rankLimit}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    fail(`${tensor()} with data_offsets that are no two positions`, "[begin, end], integers of 0 or more");
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) fail(`${tensor()} at bytes ${begin} to ${end}`, "an end that is not before its beginning");
  const needed = byteCount(shape, dtype);
  if (needed === undefined)
    fail(`${tensor()} of shape ${showShape(shape)} and dtype ${dtype}`, "fewer than 2^53 bytes (the size overflows)");
  if (end - begin !== needed) {
    fail(
      `${tensor()} of ${end - begin} bytes (data_offsets ${begin} to ${end})`,
      `${needed} bytes for shape ${showShape(shape)} of ${dtype}`,
    );
  }
  return { dtype, shape, begin: dataStart + begin, end: dataStart + end };
}

function byteCount(shape: Shape, dtype: FileDType): number | undefined {
  let bytes = bytesOf(dtype);
  for (const size of shape) {
    bytes *= size;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
}

/** All entries together (sorted): from the start of the data to the end of the file, no hole, no overlap, nothing after. */
function checkCover(places: ReadonlyMap<string, TensorPlace>, dataStart: number, size: number, fail: Complain): void {
  let reached = dataStart;
  for (const [name, { begin, end }] of places) {
    if (begin !== reached) {
      const what = begin < reached ? `overlaps the one before it by ${reached - begin} bytes` : `leaves a hole of ${begin - reached} bytes`;
      fail(`tensor ${quote(name)} at offset ${begin - dataStart}, which ${what}`, `offset ${reached - dataStart}`);
    }
    reached = end;
  }
  if (reached > size) fail(`a file of ${size} bytes`, `${reached} bytes (${reached - size} are missing)`);
  if (reached < size) fail(`a file of ${size} bytes`, `${reached} bytes (${size - reached} follow the last tensor)`);
}
