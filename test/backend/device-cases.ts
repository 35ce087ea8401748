// What a device promises beside its kernels: order of commands and writes, memory that is reused only when it may be, packed copies of
// weights (cacheB) that follow every change of the weight, and clear errors.

import { expect, test } from "vitest";
import type { Device, DeviceBuffer } from "../../src/backend/backend.ts";
import { DeviceError, GraduallyError } from "../../src/core/errors.ts";

const at = (buffer: DeviceBuffer, offset = 0) => ({ buffer, offset });

function filled(device: Device, ...values: readonly number[]): DeviceBuffer {
  const buffer = device.allocate("f32", values.length);
  device.write(buffer, 0, values);
  return buffer;
}

async function values(device: Device, buffer: DeviceBuffer, offset = 0, length = buffer.length): Promise<number[]> {
  return Array.from(await device.read(buffer, offset, length));
}

export function deviceTests(open: () => Device): void {
  test("commands, writes and reads happen in the order in which they were recorded", async () => {
    const device = open();
    const x = filled(device, 1, 2, 3);
    const y = device.allocate("f32", 3);
    device.kernels.affine({ out: at(y), x: at(x), n: 3, scale: 10, shift: 0 });
    device.write(x, 1, [7]);
    device.kernels.affine({ out: at(y), x: at(x), n: 3, scale: 1, shift: 0, accumulate: true });
    device.write(y, 0, Float32Array.of(-1));
    expect(await values(device, y)).toEqual([-1, 27, 33]);
    expect(await values(device, x, 1, 1)).toEqual([7]);
    device.release(x);
    device.release(y);
  });

  test("what was given to write may change afterwards", async () => {
    const device = open();
    const data = Float32Array.of(1, 2, 3);
    const x = device.allocate("f32", 3);
    device.write(x, 0, data);
    data.fill(9);
    expect(await values(device, x)).toEqual([1, 2, 3]);
    device.release(x);
  });

  test("a read is a copy, and later commands do not change it", async () => {
    const device = open();
    const x = filled(device, 1, 2, 3);
    const first = await device.read(x, 0, 3);
    device.kernels.fill({ out: at(x), n: 3, value: 5 });
    await device.finish();
    expect(Array.from(first)).toEqual([1, 2, 3]);
    expect(await values(device, x)).toEqual([5, 5, 5]);
    device.release(x);
  });

  test("a released input is still read by the commands recorded before, though its memory is used again", async () => {
    const device = open();
    const n = 1000;
    const sums = device.allocate("f32", n);
    device.kernels.fill({ out: at(sums), n, value: 0 });
    for (let round = 1; round <= 20; round++) {
      const x = device.allocate("f32", n);
      device.kernels.fill({ out: at(x), n, value: round });
      device.kernels.affine({ out: at(sums), x: at(x), n, scale: 1, shift: 0, accumulate: true });
      device.release(x);
      const other = device.allocate("f32", n);
      device.write(other, 0, new Float32Array(n).fill(1e6));
      device.release(other);
    }
    expect(new Set(await values(device, sums))).toEqual(new Set([210]));
    device.release(sums);
  });

  test("many small commands in one submission", async () => {
    const device = open();
    const x = filled(device, 0);
    for (let i = 0; i < 5000; i++) device.kernels.affine({ out: at(x), x: at(x), n: 1, scale: 1, shift: 1 });
    expect(await values(device, x)).toEqual([5000]);
    device.release(x);
  });

  test("i32 buffers read as Int32Array, empty buffers as nothing", async () => {
    const device = open();
    const x = device.allocate("i32", 3);
    device.write(x, 0, Int32Array.of(-2147483648, 0, 2147483647));
    expect(await device.read(x, 0, 3)).toEqual(Int32Array.of(-2147483648, 0, 2147483647));
    const none = device.allocate("f32", 0);
    device.write(none, 0, []);
    expect((await device.read(none, 0, 0)).length).toBe(0);
    device.release(x);
    device.release(none);
  });

  test("a product with a cached weight follows every change of the weight", async () => {
    const device = open();
    const [N, K] = [33, 40];
    const x = filled(device, ...new Array<number>(K).fill(1));
    const out = device.allocate("f32", N);
    let w = filled(device, ...new Array<number>(N * K).fill(1));
    const product = async () => {
      device.kernels.matmul({ out: at(out), a: at(x), b: at(w), M: 1, N, K, transposeB: true, cacheB: true });
      return new Set(await values(device, out));
    };
    expect(await product()).toEqual(new Set([K]));
    expect(await product()).toEqual(new Set([K]));
    device.write(w, 0, new Float32Array(N * K).fill(2));
    expect(await product(), "after write").toEqual(new Set([2 * K]));
    device.kernels.affine({ out: at(w), x: at(w), n: N * K, scale: 1.5, shift: 0 });
    expect(await product(), "after a kernel in place").toEqual(new Set([3 * K]));
    const half = filled(device, ...new Array<number>(N * K).fill(0.5));
    device.kernels.copy({ out: at(w), x: at(half), shape: [N * K], outStrides: [1], xStrides: [1] });
    expect(await product(), "after copy").toEqual(new Set([K / 2]));
    const [m, v, factor] = [
      filled(device, ...new Array<number>(N * K).fill(0)),
      filled(device, ...new Array<number>(N * K).fill(1)),
      filled(device, 1),
    ];
    device.kernels.adamw({
      param: at(w),
      grad: at(half),
      m: at(m),
      v: at(v),
      n: N * K,
      factor: at(factor),
      lr: 1,
      beta1: 0,
      beta2: 1,
      eps: 0,
      weightDecay: 0,
      c1: 1,
      c2: 1,
    });
    expect(await product(), "after adamw").toEqual(new Set([0]));
    device.release(w);
    w = filled(device, ...new Array<number>(N * K).fill(4));
    expect(await product(), "after the memory was used again").toEqual(new Set([4 * K]));
    for (const buffer of [x, out, w, half, m, v, factor]) device.release(buffer);
  });

  test("memory is counted and given back", async () => {
    const device = open();
    await device.finish();
    const before = device.memory().used;
    const x = device.allocate("f32", 4096);
    expect(device.memory().used - before).toBeGreaterThanOrEqual(4 * 4096);
    expect(device.memory().reserved).toBeGreaterThanOrEqual(device.memory().used);
    device.release(x);
    await device.finish();
    expect(device.memory().used).toBe(before);
  });

  test("more memory than any machine has is a DeviceError; reading or writing outside a buffer is refused", async () => {
    const device = open();
    expect(() => device.allocate("f32", 2 ** 50)).toThrow(DeviceError);
    const x = filled(device, 1, 2, 3);
    expect(() => device.write(x, 2, [1, 2])).toThrow(GraduallyError);
    await expect(device.read(x, 1, 3)).rejects.toThrow(GraduallyError);
    await expect(device.read(x, -1, 1)).rejects.toThrow(GraduallyError);
    expect(await values(device, x)).toEqual([1, 2, 3]);
    device.release(x);
  });
}
