// The safetensors writer: what it writes, our strict reader reads; the layout other readers rely on; refusals.

import fc from "fast-check";
import { expect, test } from "vitest";
import { FormatError, ShapeError } from "../../src/core/errors.ts";
import type { WritableDType } from "../../src/formats/dtypes.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { type SafetensorsEntry, writeSafetensors } from "../../src/formats/safetensors-writer.ts";
import { concatBytes, memorySource } from "./memory-source.ts";

async function written(entries: readonly SafetensorsEntry[], metadata?: Record<string, string>): Promise<Uint8Array> {
  return concatBytes(...(await Array.fromAsync(writeSafetensors(entries, metadata), (chunk) => new Uint8Array(chunk))));
}

test("any set of tensors comes back: names, shapes, dtypes, values that the dtype can hold", async () => {
  const entry = fc.record({
    name: fc.string({ unit: "binary", maxLength: 20 }).filter((name) => name.isWellFormed() && name !== "__metadata__"),
    dtype: fc.constantFrom<WritableDType[]>("F32", "F16", "BF16", "F8_E4M3", "F64", "I32", "I64", "U8"),
    shape: fc.array(fc.nat(4), { maxLength: 3 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(entry, { selector: (e) => e.name, maxLength: 8 }), fc.boolean(), async (entries, lazy) => {
      const full = entries.map((e) => {
        const data = Float32Array.from({ length: e.shape.reduce((a, b) => a * b, 1) }, (_, i) => i % 16);
        return { ...e, data: lazy ? async () => data : data };
      });
      const file = await openSafetensors(memorySource(await written(full, { note: "x" })));
      expect({ ...file.metadata }).toEqual({ format: "pt", note: "x" });
      expect([...file.tensors.keys()].sort()).toEqual(entries.map((e) => e.name).sort());
      for (const { name, dtype, shape, data } of full) {
        expect(file.tensors.get(name)).toMatchObject({ dtype, shape });
        expect(await file.readF32(name)).toEqual(typeof data === "function" ? await data() : data);
      }
    }),
    { numRuns: 200 },
  );
});

test("the header is padded with spaces to 8 bytes, wide types first, every tensor aligned", async () => {
  const bytes = await written([
    { name: "b", dtype: "F8_E4M3", shape: [3], data: Float32Array.from([1, 2, 3]) },
    { name: "a", dtype: "F32", shape: [1], data: Float32Array.from([5]) },
    { name: "c", dtype: "I64", shape: [1], data: Int32Array.from([-7]) },
    { name: "0", dtype: "F32", shape: [], data: Float32Array.from([6]) },
  ]);
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  expect(length % 8).toBe(0);
  const header = new TextDecoder().decode(bytes.subarray(8, 8 + length));
  expect(header).toMatch(/^\{"__metadata__":\{"format":"pt"\},"c":\{"dtype":"I64","shape":\[1\],"data_offsets":\[0,8\]\}.*\} *$/);
  const file = await openSafetensors(memorySource(bytes));
  expect([...file.tensors.keys()]).toEqual(["c", "0", "a", "b"]);
});

test("the same entries in any order give the same bytes", async () => {
  const entries: SafetensorsEntry[] = ["x", "y", "z"].map((name) => ({ name, dtype: "F32", shape: [2], data: Float32Array.of(1, 2) }));
  expect(await written(entries)).toEqual(await written([...entries].reverse()));
});

test("refused: a name twice, a name that UTF-8 cannot spell, data of another length, sizes that make no sense", async () => {
  const good: SafetensorsEntry = { name: "a", dtype: "F32", shape: [2], data: Float32Array.of(1, 2) };
  await expect(written([good, good])).rejects.toThrow(/tensor "a": got the same name a second time/);
  await expect(written([{ ...good, name: "__metadata__" }])).rejects.toThrow(FormatError);
  await expect(written([{ ...good, name: "\ud800" }])).rejects.toThrow(FormatError);
  await expect(written([{ ...good, name: "n".repeat(5000) }])).rejects.toThrow(FormatError);
  await expect(written([{ ...good, shape: [3] }])).rejects.toThrow(/got 2 numbers; expected 3 for shape \[3\]/);
  await expect(written([{ ...good, shape: [-1] }])).rejects.toThrow(ShapeError);
  await expect(written([{ ...good, shape: new Array(33).fill(1) }])).rejects.toThrow(FormatError);
});
