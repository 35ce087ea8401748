// Opens GGUF models, versions 2 and 3, little-endian, in one file or in numbered parts. In: Files and a path, contents possibly from a
// stranger. Out: typed metadata, and tensors whose bytes are read when asked for. Nothing but metadata and tensor list is read at
// opening, in chunks, and nothing is allocated that the file cannot hold. Hazards G01 to G50 and G70 to G73 of hazards.md are the tests.
// Format: docs/gguf.md of the ggml project.

import { DeviceError, FormatError, quote } from "../core/errors.ts";
import type { FileSource, Files } from "../core/host.ts";
import { elementCount } from "../core/shape.ts";
import { blockLayout, decodeBlocks } from "./blocks/index.ts";
import { fileKind } from "./file-kind.ts";
import { Cursor } from "./gguf-cursor.ts";
import { readMetadata } from "./gguf-metadata.ts";
import { alignmentLimit, isAlignment, readTensorList, type TensorPlace } from "./gguf-tensors.ts";
import { type GgufMetadata, ggufInteger } from "./gguf-values.ts";

export const magic = 0x46554747;
export const defaultAlignment = 32;
/** Most tensors, and most metadata keys, of a file. */
export const countLimit = 100_000;
export const partLimit = 1000;
/** Least bytes of a metadata pair (one-letter key, u8) and of a tensor entry (no name, one dimension). */
const leastPair = 14;
const leastEntry = 32;
const decodeBytes = 2 ** 22;

export type GgufTensor = TensorPlace & {
  /** Which of the model's files it lies in, from 0. */
  readonly part: number;
};

export type Gguf = {
  readonly path: string;
  /** Of the first part. */
  readonly metadata: GgufMetadata;
  /** In the order of the files. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** One for each part. */
  readonly sources: readonly FileSource[];
  /** Of the first part, in bytes. */
  readonly alignment: number;
  /** Bytes of one of `tensors`, `firstByte` counted from its start. Throws FormatError for bytes that are not its own. */
  readBytes(tensor: GgufTensor, firstByte?: number, length?: number): Promise<Uint8Array>;
  /** All numbers of one of `tensors`, row-major. */
  readF32(tensor: GgufTensor): Promise<Float32Array>;
  close(): Promise<void>;
};

/** One file, on its own. */
type Part = {
  readonly source: FileSource;
  readonly metadata: GgufMetadata;
  readonly alignment: number;
  readonly places: ReadonlyMap<string, TensorPlace>;
};

/**
 * Opens `path` and, when it is one of `NAME-00001-of-00003.gguf`, all its siblings. Throws FormatError for whatever is wrong with the files,
 * and what `files.open` throws.
 */
export async function openGguf(files: Files, path: string): Promise<Gguf> {
  const opened: FileSource[] = [];
  const open = async (target: string): Promise<Part> => {
    const source = await files.open(target);
    opened.push(source);
    return await readPart(source);
  };
  try {
    const named = await open(path);
    const count = ggufInteger(named.metadata, "split.count") ?? 1;
    if (count <= 1) return assemble(path, [named]);
    const siblings = partPaths(path, count);
    await checkPresence(files, path, siblings);
    const parts: Part[] = [];
    for (const sibling of siblings) parts.push(sibling === path ? named : await open(sibling));
    checkParts(parts);
    return assemble(path, parts);
  } catch (thrown) {
    await Promise.all(opened.map((source) => source.close()));
    throw thrown;
  }
}

/** Opens one file that is already open as a source; a part of a split model is refused. Closing the result closes the source. */
export async function readGguf(source: FileSource): Promise<Gguf> {
  const part = await readPart(source);
  const count = ggufInteger(part.metadata, "split.count") ?? 1;
  if (count > 1)
    fail(source.path, `one of ${count} parts`, "a whole model", "name the file by its path, so that the other parts are found");
  return assemble(source.path, [part]);
}

function fail(path: string, got: string, expected: string, cure = "the file is damaged or no GGUF file; fetch it again"): never {
  throw new FormatError({ operation: `load ${quote(path, 300)}`, got, expected, cure });
}

async function readPart(source: FileSource): Promise<Part> {
  const cursor = new Cursor(source);
  const [tensorCount, pairCount] = await readCounts(cursor);
  const metadata = await readMetadata(cursor, pairCount);
  const alignment = readAlignment(cursor, metadata);
  const places = await readTensorList(cursor, tensorCount, alignment);
  return { source, metadata, alignment, places };
}

async function readCounts(cursor: Cursor): Promise<[tensors: number, pairs: number]> {
  await cursor.fill(8, "magic and version");
  const begin = cursor.take(4);
  const found = new DataView(begin.buffer, begin.byteOffset, 4).getUint32(0, true);
  if (found !== magic)
    cursor.fail(fileKind(begin) ?? `a file that begins with ${quote(String.fromCharCode(...begin))}`, '"GGUF"', "name a GGUF file");
  const version = cursor.u32();
  if (version !== 0 && (version & 0xffff) === 0) {
    cursor.fail("a big-endian file", "a little-endian one", "convert the model again, without --bigendian");
  }
  if (version !== 2 && version !== 3) cursor.fail(`version ${version}`, "version 2 or 3", "convert the model again");
  await cursor.fill(16, "the counts of tensors and metadata");
  const tensors = cursor.size("a number of tensors of");
  const pairs = cursor.size("a number of metadata keys of");
  if (tensors * leastEntry + pairs * leastPair > cursor.left) {
    cursor.fail(
      `${tensors} tensors and ${pairs} metadata keys in a file of ${cursor.source.size} bytes`,
      "as many as the file has room for",
    );
  }
  if (tensors > countLimit || pairs > countLimit)
    cursor.fail(`${tensors} tensors and ${pairs} metadata keys`, `at most ${countLimit} of each`);
  return [tensors, pairs];
}

function readAlignment(cursor: Cursor, metadata: GgufMetadata): number {
  const value = metadata.get("general.alignment");
  if (!value) return defaultAlignment;
  if (value.type !== "u32") cursor.fail(`general.alignment of type ${value.type}`, "u32");
  const alignment = value.value;
  if (!isAlignment(alignment)) cursor.fail(`general.alignment ${alignment}`, `a power of two from 1 to ${alignmentLimit}`);
  return alignment;
}

/** The paths of all parts, from the path of any of them. */
function partPaths(path: string, count: number): string[] {
  const [suffix, , total] = /-(\d{5})-of-(\d{5})\.gguf$/.exec(path) ?? [];
  if (suffix === undefined || Number(total) !== count) {
    fail(
      path,
      `part of a model in ${count} files (split.count)`,
      `a name that ends in -00001-of-${number(count)}.gguf`,
      "give the parts the names they had",
    );
  }
  if (count > partLimit) fail(path, `split.count ${count}`, `at most ${partLimit} parts`);
  const stem = path.slice(0, -suffix.length);
  return Array.from({ length: count }, (_, i) => `${stem}-${number(i + 1)}-of-${number(count)}.gguf`);
}

function number(n: number): string {
  return String(n).padStart(5, "0");
}

async function checkPresence(files: Files, path: string, parts: readonly string[]): Promise<void> {
  const missing: string[] = [];
  for (const part of parts) if (!(await files.exists(part))) missing.push(quote(files.baseName(part)));
  if (missing.length === 0) return;
  const rest = missing.length > 5 ? ` and ${missing.length - 5} more` : "";
  fail(path, `no file ${missing.slice(0, 5).join(", ")}${rest}`, `all ${parts.length} parts of the model`, "fetch the missing parts");
}

/** Whether the parts, in the order of their names, are those of one model. */
function checkParts(parts: readonly Part[]): void {
  const first = parts[0] as Part;
  const cure = "fetch all parts of the same model";
  const expected = ggufInteger(first.metadata, "split.tensors.count");
  for (const [i, { source, metadata }] of parts.entries()) {
    const no = ggufInteger(metadata, "split.no");
    if (no !== i) fail(source.path, `split.no ${no}`, `${i}, by the file's name`, cure);
    const said = ggufInteger(metadata, "split.count");
    if (said !== parts.length) fail(source.path, `split.count ${said}`, `${parts.length}, as in the other parts`, cure);
    const tensors = ggufInteger(metadata, "split.tensors.count");
    if (tensors !== expected) fail(source.path, `split.tensors.count ${tensors}`, `${expected}, as in the first part`, cure);
    for (const key of ["general.architecture", "general.name"]) {
      const mine = metadata.get(key)?.value;
      if (mine !== undefined && mine !== first.metadata.get(key)?.value)
        fail(source.path, `another ${key} than the first part's`, "parts of one model", cure);
    }
  }
  const found = parts.reduce((sum, { places }) => sum + places.size, 0);
  if (expected !== undefined && found !== expected) {
    const each = parts.map(({ places }) => places.size).join(" + ");
    fail(
      first.source.path,
      `${found} tensors in all parts (${each.slice(0, 100)})`,
      `${expected} (split.tensors.count)`,
      "fetch all parts of the same model",
    );
  }
}

function assemble(path: string, parts: readonly Part[]): Gguf {
  const first = parts[0] as Part;
  const tensors = new Map<string, GgufTensor>();
  for (const [part, { source, places }] of parts.entries()) {
    for (const place of places.values()) {
      if (tensors.has(place.name))
        fail(source.path, `tensor ${quote(place.name)}, which an earlier part has too`, "each tensor in one part");
      tensors.set(place.name, { ...place, part });
    }
  }

  async function readBytes(tensor: GgufTensor, firstByte = 0, length = tensor.bytes - firstByte): Promise<Uint8Array> {
    const { name, offset, bytes, part } = tensor;
    const source = parts[part]?.source;
    const fits =
      Number.isSafeInteger(firstByte) && Number.isSafeInteger(length) && firstByte >= 0 && length >= 0 && firstByte + length <= bytes;
    if (!fits || !source || tensors.get(name) !== tensor) {
      const got = `a request for bytes ${firstByte} to ${firstByte + length} of tensor ${quote(name)}`;
      fail(path, got, `bytes 0 to ${bytes} of a tensor of this file`, "ask for what the tensor has");
    }
    const read = await source.read(offset + firstByte, length);
    if (read.length !== length) fail(source.path, `${read.length} bytes from offset ${offset + firstByte}`, `${length} bytes`);
    return read;
  }

  async function readF32(tensor: GgufTensor): Promise<Float32Array> {
    const { weights, bytes: blockSize } = blockLayout(tensor.type);
    const out = allocate(path, tensor);
    const step = Math.floor(decodeBytes / blockSize) * blockSize;
    for (let at = 0; at < tensor.bytes; at += step) {
      const bytes = await readBytes(tensor, at, Math.min(step, tensor.bytes - at));
      decodeBlocks(tensor.type, bytes, out, (at / blockSize) * weights);
    }
    return out;
  }

  return {
    path,
    metadata: first.metadata,
    tensors,
    sources: parts.map(({ source }) => source),
    alignment: first.alignment,
    readBytes,
    readF32,
    close: async () => {
      await Promise.all(parts.map(({ source }) => source.close()));
    },
  };
}

function allocate(path: string, { name, shape }: GgufTensor): Float32Array {
  const count = elementCount(shape);
  try {
    return new Float32Array(count);
  } catch (cause) {
    const got = `${count} elements in tensor ${quote(name)}`;
    throw new DeviceError(
      { operation: `load ${quote(path, 300)}`, got, expected: "a tensor that fits into memory", cure: "use a smaller model" },
      { cause },
    );
  }
}
