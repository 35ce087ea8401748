// Writes safetensors as a stream of byte chunks, one tensor in memory at a time. In: entries whose numbers may be fetched
// only when their turn comes. Out: chunks for host.files.writeAtomic. Tensors lie in the order that the reference
// writer uses (wide types first, then by name), so that every one is aligned; the header is padded to 8 bytes.

import { FormatError, quote } from "../core/errors.ts";
import { elementCount, type Shape, showShape } from "../core/shape.ts";
import { bytesOf, encode, type Numbers, type WritableDType } from "./dtypes.ts";
import { headerLimit, nameLimit, rankLimit } from "./safetensors.ts";

export type SafetensorsEntry = {
  readonly name: string;
  readonly dtype: WritableDType;
  readonly shape: Shape;
  /** The numbers in row-major order, or a function that fetches them, at once or piece by piece. */
  readonly data: Numbers | (() => Numbers | Promise<Numbers> | AsyncIterable<Numbers>);
};

/**
 * Yields the bytes of a safetensors file. `metadata` is written beside `{"format": "pt"}`, which transformers asks for.
 * Throws FormatError before the first chunk for names or shapes that cannot be written, and at its turn for an entry
 * whose data has another length than its shape says.
 */
export async function* writeSafetensors(
  entries: Iterable<SafetensorsEntry>,
  metadata: Readonly<Record<string, string>> = {},
): AsyncGenerator<Uint8Array> {
  const ordered = [...entries].sort((a, b) => bytesOf(b.dtype) - bytesOf(a.dtype) || (a.name < b.name ? -1 : 1));
  yield makeHeader(ordered, { format: "pt", ...metadata });
  for (const { name, dtype, shape, data } of ordered) {
    const numbers = typeof data === "function" ? data() : data;
    const expected = elementCount(shape);
    let count = 0;
    for await (const piece of isPieces(numbers) ? numbers : [await numbers]) {
      count += piece.length;
      if (count > expected) break;
      yield encode(dtype, piece);
    }
    if (count !== expected) fail(name, `${count} numbers`, `${expected} for shape ${showShape(shape)}`);
  }
}

function isPieces(data: Numbers | Promise<Numbers> | AsyncIterable<Numbers>): data is AsyncIterable<Numbers> {
  return Symbol.asyncIterator in data;
}

function fail(name: string, got: string, expected: string): never {
  throw new FormatError({ operation: `write tensor ${quote(name)}`, got, expected, cure: "correct the entry that is to be saved" });
}

function makeHeader(entries: readonly SafetensorsEntry[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const fields = new Map<string, unknown>([["__metadata__", metadata]]);
  let reached = 0;
  for (const { name, dtype, shape } of entries) {
    if (fields.has(name)) fail(name, "the same name a second time", "each name once");
    if (name.length > nameLimit) fail(name, `a name of ${name.length} characters`, `at most ${nameLimit}`);
    if (!name.isWellFormed()) fail(name, "a name with half a surrogate pair", "a name that UTF-8 can spell");
    if (shape.length > rankLimit) fail(name, `rank ${shape.length}`, `at most ${rankLimit}`);
    const end = reached + elementCount(shape, `write tensor ${quote(name)}`) * bytesOf(dtype);
    fields.set(name, { dtype, shape, data_offsets: [reached, end] });
    reached = end;
  }
  if (!Number.isSafeInteger(reached)) fail("", `${reached} bytes in all`, "fewer than 2^53");
  const text = `{${Array.from(fields, ([name, field]) => `${JSON.stringify(name)}:${JSON.stringify(field)}`).join(",")}}`;
  const json = new TextEncoder().encode(text);
  const length = Math.ceil(json.length / 8) * 8;
  if (length > headerLimit) fail("", `a header of ${length} bytes`, `at most ${headerLimit}`);
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return header;
}
