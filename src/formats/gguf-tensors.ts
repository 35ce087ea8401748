// Reads and checks the tensor list of one GGUF file. In: a cursor behind the metadata. Out: for each tensor its type, shape and place in the
// file. Everything that later reads rely on is checked here, once: names, ranks, sizes without overflow, whole blocks, alignment, and that
// the tensors cover the data from its start to the end of the file without hole or overlap (llama.cpp asks the same).

import { quote } from "../core/errors.ts";
import { decodeUtf8 } from "../core/json.ts";
import { type Shape, showShape } from "../core/shape.ts";
import { type BlockType, blockBytes, blockLayout, blockTypeOf, blockTypes } from "./blocks/index.ts";
import type { Cursor } from "./gguf-cursor.ts";

/** Names are shorter than this, in bytes (ggml's GGML_MAX_NAME). */
export const nameLimit = 64;
export const rankLimit = 4;
/** Largest alignment, in bytes. */
export const alignmentLimit = 2 ** 20;

export type TensorPlace = {
  readonly name: string;
  readonly type: BlockType;
  /** Row-major, outermost first: the reverse of the file's ne. */
  readonly shape: Shape;
  /** First byte in its file. */
  readonly offset: number;
  /** Bytes in its file. */
  readonly bytes: number;
};

/** ggml's types that we do not decode, so that the message can name them. */
const foreignTypes: ReadonlyMap<number, string> = new Map([
  [9, "q8_1"],
  [15, "q8_k"],
  [16, "iq2_xxs"],
  [17, "iq2_xs"],
  [18, "iq3_xxs"],
  [19, "iq1_s"],
  [21, "iq3_s"],
  [22, "iq2_s"],
  [24, "i8"],
  [25, "i16"],
  [26, "i32"],
  [27, "i64"],
  [28, "f64"],
  [29, "iq1_m"],
  [34, "tq1_0"],
  [35, "tq2_0"],
  [40, "nvfp4"],
  [41, "q1_0"],
]);

/** A tensor as the file lists it, before its place is known to lie in the file. */
type Listed = Omit<TensorPlace, "offset"> & { readonly relative: number };

/** Reads `count` entries, then finds the data behind them. Throws FormatError. */
export async function readTensorList(cursor: Cursor, count: number, alignment: number): Promise<Map<string, TensorPlace>> {
  const listed: Listed[] = [];
  const names = new Set<string>();
  for (let i = 0; i < count; i++) {
    const tensor = await readEntry(cursor, i, alignment);
    if (names.has(tensor.name)) cursor.fail(`tensor ${quote(tensor.name)} a second time`, "each name once");
    names.add(tensor.name);
    listed.push(tensor);
  }
  const start = padded(cursor.position, alignment);
  const tensors = new Map(
    listed.map(({ name, type, shape, relative, bytes }) => [name, { name, type, shape, offset: start + relative, bytes }]),
  );
  checkCover(cursor, [...tensors.values()], start, alignment);
  return tensors;
}

/** A power of two from 1 to the limit. */
export function isAlignment(value: number): boolean {
  return value >= 1 && value <= alignmentLimit && Number.isInteger(Math.log2(value));
}

export function padded(size: number, alignment: number): number {
  return Math.ceil(size / alignment) * alignment;
}

async function readEntry(cursor: Cursor, index: number, alignment: number): Promise<Listed> {
  await cursor.fill(8, `the name of tensor ${index}`);
  const length = cursor.size(`tensor ${index}, a name of length`);
  if (length >= nameLimit) cursor.fail(`tensor ${index}, a name of ${length} bytes`, `fewer than ${nameLimit}`);
  await cursor.fill(length + 4, `the name of tensor ${index}`);
  const name = decodeUtf8(cursor.take(length), `${cursor.source.path}, tensor ${index}`);
  const tensor = `tensor ${quote(name)}`;
  const rank = cursor.u32();
  if (rank < 1 || rank > rankLimit) cursor.fail(`${tensor} of ${rank} dimensions`, `1 to ${rankLimit}`);
  await cursor.fill(8 * rank + 12, tensor);
  const shape: number[] = [];
  for (let i = 0; i < rank; i++) shape.unshift(cursor.size(`${tensor}, a dimension of`));
  const type = checkType(cursor, tensor, cursor.u32());
  const bytes = blockBytes(type, shape);
  if (bytes === undefined) {
    const { weights } = blockLayout(type);
    if ((shape.at(-1) as number) % weights !== 0) {
      cursor.fail(`${tensor} of ${type} with rows of ${shape.at(-1)}`, `rows of whole blocks of ${weights}`);
    }
    cursor.fail(`${tensor} of shape ${showShape(shape)} and type ${type}`, "fewer than 2^53 bytes (the size overflows)");
  }
  const relative = cursor.size(`${tensor} at offset`);
  if (relative % alignment !== 0) cursor.fail(`${tensor} at offset ${relative}`, `a multiple of the alignment ${alignment}`);
  return { name, type, shape, relative, bytes };
}

function checkType(cursor: Cursor, tensor: string, number: number): BlockType {
  const type = blockTypeOf(number);
  if (type) return type;
  const foreign = foreignTypes.get(number);
  if (foreign === undefined) cursor.fail(`${tensor} of type number ${number}`, "a type that ggml has");
  cursor.fail(
    `${tensor} of the unsupported type ${foreign}`,
    `one of ${blockTypes.join(", ")}`,
    "fetch another quantisation of the model, or convert it with llama-quantize --allow-requantize",
  );
}

function checkCover(cursor: Cursor, tensors: readonly TensorPlace[], start: number, alignment: number): void {
  const { size } = cursor.source;
  for (const { name, offset, bytes } of tensors) {
    if (offset + bytes > size)
      cursor.fail(`tensor ${quote(name)} at bytes ${offset} to ${offset + bytes}`, `an end within the file's ${size} bytes`);
  }
  let reached = start;
  for (const { name, offset, bytes } of [...tensors].sort((a, b) => a.offset - b.offset || a.bytes - b.bytes)) {
    const expected = padded(reached, alignment);
    if (offset !== expected) {
      const what = offset < expected ? `overlaps the one before it` : `leaves a hole of ${offset - expected} bytes`;
      cursor.fail(`tensor ${quote(name)} at byte ${offset}, which ${what}`, `byte ${expected}`);
    }
    reached = offset + bytes;
  }
  // Some writers pad the last tensor, some do not.
  const end = padded(reached, alignment);
  if (size > end) cursor.fail(`a file of ${size} bytes`, `at most ${end} (${size - end} follow the last tensor)`);
}
