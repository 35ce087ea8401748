// The window over a GGUF file, byte for byte against the file itself: at the borders of the window, at the file's end, and with sources that return something else.

import { describe, expect, test } from "vitest";
import { FormatError } from "../../src/core/errors.ts";
import type { FileSource } from "../../src/core/host.ts";
import { Cursor } from "../../src/formats/gguf-cursor.ts";

const mebibyte = 2 ** 20;

/** A file whose byte i is a mix of i, and what was read of it. */
function fileOf(size: number): { source: FileSource; bytes: Uint8Array; reads: [number, number][] } {
  const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 255);
  const reads: [number, number][] = [];
  const source: FileSource = {
    path: "some.gguf",
    size,
    read: async (offset, length) => {
      reads.push([offset, length]);
      return bytes.slice(offset, offset + length);
    },
    close: async () => {},
  };
  return { source, bytes, reads };
}

describe("the window", () => {
  test("holds a megabyte or what is asked for, and is filled again only when that is not ready", async () => {
    const { source, bytes, reads } = fileOf(3 * mebibyte + 5);
    const cursor = new Cursor(source);
    expect([cursor.position, cursor.left, cursor.ready]).toEqual([0, source.size, 0]);
    await cursor.fill(10, "head");
    expect([reads, cursor.ready]).toEqual([[[0, mebibyte]], mebibyte]);
    expect(cursor.take(7)).toEqual(bytes.slice(0, 7));
    expect([cursor.position, cursor.left, cursor.ready]).toEqual([7, source.size - 7, mebibyte - 7]);
    await cursor.fill(mebibyte - 7, "all that is ready");
    expect(reads).toHaveLength(1);
    await cursor.fill(mebibyte - 6, "a byte more");
    // What was ready is kept, and only the rest is read.
    expect(reads[1]).toEqual([mebibyte, 7]);
    expect(cursor.take(mebibyte - 6)).toEqual(bytes.slice(7, mebibyte + 1));
    await cursor.fill(2 * mebibyte, "much");
    expect(cursor.take(2 * mebibyte)).toEqual(bytes.slice(mebibyte + 1, 3 * mebibyte + 1));
    await cursor.fill(4, "the end");
    expect(cursor.take(4)).toEqual(bytes.slice(-4));
    expect([cursor.left, cursor.ready]).toEqual([0, 0]);
    await cursor.fill(0, "nothing");
  });

  test("keeps a single byte too", async () => {
    const { source, bytes } = fileOf(mebibyte + 50);
    const cursor = new Cursor(source);
    await cursor.fill(1, "head");
    cursor.take(mebibyte - 1);
    await cursor.fill(2, "one that is ready and one that is not");
    expect(cursor.take(51)).toEqual(bytes.slice(mebibyte - 1));
  });

  test("never asks for bytes beyond the file, and says where it ended", async () => {
    const { source, reads } = fileOf(100);
    const cursor = new Cursor(source);
    await cursor.fill(100, "all");
    expect(reads).toEqual([[0, 100]]);
    cursor.take(40);
    await expect(cursor.fill(61, "a name")).rejects.toThrow(FormatError);
    await expect(cursor.fill(61, "a name")).rejects.toThrow(
      'load "some.gguf": got a file that ends at byte 100; expected 61 bytes of a name at byte 40; the file is damaged or no GGUF file; fetch it again',
    );
    expect(reads).toHaveLength(1);
    await cursor.fill(60, "the rest");
    expect(cursor.left).toBe(60);
  });

  test.each([-1, 1])("a source that returns %i bytes more than asked is refused", async (more) => {
    const { source, bytes } = fileOf(50);
    const cursor = new Cursor({
      ...source,
      read: async (offset, length) => (bytes.slice(offset, offset + length).length === 0 ? bytes : new Uint8Array(length + more)),
    });
    await expect(cursor.fill(20, "head")).rejects.toThrow(`got ${50 + more} bytes from offset 0; expected 50 bytes`);
  });
});

describe("what is taken", () => {
  test("copies of every length around the border between a loop and a call", async () => {
    for (const count of [0, 1, 31, 32, 33, 64]) {
      const { source, bytes } = fileOf(200);
      const cursor = new Cursor(source);
      await cursor.fill(200, "all");
      cursor.take(3);
      const out = new Uint8Array(100).fill(7);
      cursor.copy(count, out, 5);
      const expected = new Uint8Array(100).fill(7);
      expected.set(bytes.slice(3, 3 + count), 5);
      expect([out, cursor.position]).toEqual([expected, 3 + count]);
    }
  });

  test("numbers are little-endian, from where the last one ended, in a window that was joined too", async () => {
    const { source, bytes } = fileOf(2 * mebibyte);
    const view = new DataView(bytes.buffer);
    const cursor = new Cursor(source);
    await cursor.fill(1, "head");
    cursor.take(mebibyte - 6);
    await cursor.fill(20, "numbers");
    const at = mebibyte - 6;
    expect(cursor.u32()).toBe(view.getUint32(at, true));
    expect(cursor.u64()).toBe(view.getBigUint64(at + 4, true));
    expect([cursor.u32(), cursor.position]).toEqual([view.getUint32(at + 12, true), at + 16]);
  });

  test("a size is a number up to 2^53 - 1; from 2^53 on it is refused with its name", async () => {
    const sizeOf = async (value: bigint) => {
      const bytes = new Uint8Array(16);
      new DataView(bytes.buffer).setBigUint64(4, value, true);
      const cursor = new Cursor({ ...fileOf(0).source, size: 16, read: async () => bytes });
      await cursor.fill(16, "all");
      cursor.take(4);
      return [cursor.size("the count"), cursor.position];
    };
    expect(await sizeOf(0n)).toEqual([0, 12]);
    expect(await sizeOf(2n ** 32n + 5n)).toEqual([2 ** 32 + 5, 12]);
    expect(await sizeOf(2n ** 53n - 1n)).toEqual([Number.MAX_SAFE_INTEGER, 12]);
    await expect(sizeOf(2n ** 53n)).rejects.toThrow("got the count 9007199254740992; expected less than 2^53");
    await expect(sizeOf(2n ** 64n - 1n)).rejects.toThrow("got the count 18446744073709551615");
  });
});
