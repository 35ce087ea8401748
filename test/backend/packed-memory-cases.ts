// What a device promises of the memory of packed weights: little more than the file takes, the same whatever pieces the rows arrive in, and clear errors; and that rows of x which
// it keeps ready for the next product are never old ones.

import { expect, test } from "vitest";
import type { Device, DeviceBuffer } from "../../src/backend/backend.ts";
import { packedSamples } from "../../src/backend/packed-samples.ts";
import { type PackedType, packedRowBytes, packedTypes } from "../../src/core/dtype.ts";
import { ShapeError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";

const types = Object.keys(packedTypes) as PackedType[];

/** `compact`: types that must take no more than the file and 3 %. */
export function packedMemoryTests(open: () => Device, compact: readonly PackedType[]): void {
  test("is at most 3 % larger than the file", async () => {
    const device = open();
    for (const type of compact) {
      const before = device.memory().used;
      const buffer = device.allocatePacked(type, 2, 1024, 2048);
      expect((device.memory().used - before) / (2048 * packedRowBytes(type, 2048)), type).toBeLessThan(1.03);
      device.release(buffer);
      expect(device.memory().used).toBe(before);
    }
  });

  test("does not depend on how its rows arrive", async () => {
    const device = open();
    const random = new Random(5);
    const [N, K] = [37, 512];
    const ids = device.allocate("i32", N);
    device.write(
      ids,
      0,
      Array.from({ length: N }, (_, i) => i),
    );
    for (const type of types) {
      const bytes = packedSamples(random, type, N * K);
      const decoded: Float32Array[] = [];
      for (const step of [N, 1, 3, 8, 11]) {
        const table = device.allocatePacked(type, 1, N, K);
        const out = device.allocate("f32", N * K);
        const rowBytes = packedRowBytes(type, K);
        for (let row = 0; row < N; row += step) device.writePacked(table, row, bytes.subarray(row * rowBytes, (row + step) * rowBytes));
        const at = (buffer: typeof out) => ({ buffer, offset: 0 });
        device.kernels.packedEmbedding({ out: at(out), table: at(table), ids: at(ids), rows: N, width: K, vocab: N });
        decoded.push(Float32Array.from(await device.read(out, 0, N * K)));
        for (const buffer of [table, out]) device.release(buffer);
      }
      for (const other of decoded) expect(other, type).toEqual(decoded[0]);
    }
  });

  test("is refused with wrong sizes", () => {
    const device = open();
    expect(() => device.allocatePacked("q4_k", 1, 3, 128)).toThrow(ShapeError);
    const w = device.allocatePacked("q4_0", 1, 3, 64);
    expect(() => device.writePacked(w, 0, new Uint8Array(35))).toThrow(ShapeError);
    expect(() => device.writePacked(w, 2, new Uint8Array(72))).toThrow(ShapeError);
    expect(() => device.writePacked(w, -1, new Uint8Array(36))).toThrow(ShapeError);
    const f = device.allocate("f32", 192);
    const at = (buffer: typeof f) => ({ buffer, offset: 0 });
    expect(() => device.kernels.packedMatmul({ out: at(f), x: at(f), w: at(w), M: 1, N: 3, K: 32 })).toThrow(ShapeError);
    expect(() => device.kernels.packedMatmul({ out: at(f), x: at(f), w: at(f), M: 1, N: 3, K: 64 })).toThrow(/allocatePacked/);
    device.release(w);
    device.release(f);
  });

  test("rows made ready for one product serve the next only while they are what x holds", async () => {
    const device = open();
    const [rows, N, K] = [3, 9, 256];
    const random = new Random(6);
    const w = { buffer: device.allocatePacked("q4_0", 1, N, K), offset: 0 };
    device.writePacked(w.buffer, 0, packedSamples(random, "q4_0", N * K));
    const draw = () => Float32Array.from({ length: 2 * rows * K }, () => random.uniform() - 0.5);
    const product = (x: { buffer: DeviceBuffer; offset: number }) => {
      const out = device.allocate("f32", rows * N);
      device.kernels.packedMatmul({ out: { buffer: out, offset: 0 }, x, w, M: rows, N, K });
      return out;
    };
    /** Of a buffer that no product has seen. */
    const fresh = (data: Float32Array) => {
      const buffer = device.allocate("f32", data.length);
      device.write(buffer, 0, data);
      const out = product({ buffer, offset: 0 });
      device.release(buffer);
      return out;
    };
    const [first, second] = [draw(), draw()];
    const buffer = device.allocate("f32", first.length);
    device.write(buffer, 0, first);
    // All is recorded before anything is read.
    const again = [0, 0, rows * K, rows * K, 0].map((offset) => product({ buffer, offset }));
    device.write(buffer, 0, second);
    const written = product({ buffer, offset: 0 });
    device.kernels.fill({ out: { buffer, offset: 0 }, n: first.length, value: 0.5 });
    const filled = product({ buffer, offset: 0 });
    const freshFirst = fresh(first);
    const freshRest = fresh(first.slice(rows * K));
    const wanted = [
      freshFirst,
      freshFirst,
      freshRest,
      freshRest,
      freshFirst,
      fresh(second),
      fresh(new Float32Array(first.length).fill(0.5)),
    ];
    for (const [i, out] of [...again, written, filled].entries()) {
      const [got, want] = [await device.read(out, 0, rows * N), await device.read(wanted[i] as DeviceBuffer, 0, rows * N)];
      expect(got, `product ${i}`).toEqual(want);
    }
    for (const out of [...again, written, filled, ...wanted]) device.release(out);
    for (const each of [buffer, w.buffer]) device.release(each);
  });
}
