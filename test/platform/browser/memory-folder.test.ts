// The folder in memory that stands in for the origin's private file system: files that grow in pieces read as one buffer would, and the names behave as there.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MemoryFile, MemoryFolder } from "../../../src/platform/browser/memory-folder.ts";

const page = 2 ** 20;

describe("a file", () => {
  test("pieces of any size read back as they were written, from any place", async () => {
    const sizes = fc.array(fc.oneof(fc.nat(5000), fc.constantFrom(0, 1, page - 1, page, page + 1)), { maxLength: 6 });
    const places = fc.array(fc.tuple(fc.nat(3 * page), fc.nat(2 * page)), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(sizes, places, async (lengths, reads) => {
        const file = new MemoryFile("weights");
        const handle = await file.createSyncAccessHandle();
        let whole = new Uint8Array();
        for (const [i, length] of lengths.entries()) {
          const piece = Uint8Array.from({ length }, (_, at) => (at * 7 + i * 13) % 251);
          expect(handle.write(piece, { at: handle.getSize() })).toBe(length);
          whole = Uint8Array.from([...whole, ...piece]);
        }
        expect(handle.getSize()).toBe(whole.length);
        for (const [at, length] of reads) {
          const into = new Uint8Array(length);
          const expected = whole.subarray(at, at + length);
          expect(handle.read(into, { at })).toBe(expected.length);
          expect(Buffer.compare(into.subarray(0, expected.length), expected)).toBe(0);
        }
        expect(Buffer.compare(new Uint8Array(await (await file.getFile()).arrayBuffer()), whole)).toBe(0);
      }),
      { numRuns: 25, seed: 17 },
    );
  });

  test("emptied, it begins anew; writing elsewhere than at the end is refused", async () => {
    const file = new MemoryFile("manifest.json");
    const handle = await file.createSyncAccessHandle();
    handle.write(new TextEncoder().encode("a long first text"), { at: 0 });
    expect(() => handle.write(new Uint8Array(1), { at: 3 })).toThrow("at the end");
    handle.truncate(0);
    handle.write(new TextEncoder().encode("short"), { at: 0 });
    expect(await (await file.getFile()).text()).toBe("short");
  });
});

test("a folder: what is made is found and listed, what is not there or is of the other kind is missing", async () => {
  const folder = new MemoryFolder();
  const missing = { name: "NotFoundError" };
  await expect(folder.getFileHandle("a")).rejects.toMatchObject(missing);
  const made = await folder.getFileHandle("a", { create: true });
  expect(await folder.getFileHandle("a")).toBe(made);
  await expect(folder.getDirectoryHandle("a", { create: true })).rejects.toMatchObject(missing);
  await folder.getDirectoryHandle("b", { create: true });
  const kinds: string[] = [];
  for await (const [name, { kind }] of folder.entries()) kinds.push(`${name} ${kind}`);
  expect(kinds).toEqual(["a file", "b directory"]);
  await folder.removeEntry("b", { recursive: true });
  await expect(folder.removeEntry("b")).rejects.toMatchObject(missing);
});
