// The WebGPU device when the GPU fails: lost under running work, full, a kernel that its driver does not compile. Each is a DeviceError at the next read, and the
// device says that it is lost, so that a server opens it anew. Failures are made on the GPUDevice behind it.

import { afterEach, describe, expect, test } from "vitest";
import type { Device, DeviceBuffer } from "../../src/backend/backend.ts";
import { openWebGpu, type WebGpuOptions } from "../../src/backend/webgpu/open.ts";
import { DeviceError } from "../../src/core/errors.ts";
import { tappedGpu } from "./tapped-gpu.ts";
import { testGpu } from "./webgpu-adapter.ts";

const opened: Device[] = [];
afterEach(async () => {
  for (const device of opened.splice(0)) await device.close();
});

async function open(options: WebGpuOptions = {}): Promise<{ device: Device; gpuDevice: GPUDevice }> {
  let gpuDevice: GPUDevice | undefined;
  const gpu = tappedGpu(testGpu as GPU, (made) => {
    gpuDevice = made;
  });
  const device = await openWebGpu(gpu, options);
  opened.push(device);
  return { device, gpuDevice: gpuDevice as GPUDevice };
}

function filled(device: Device, length: number, value = 1): DeviceBuffer {
  const buffer = device.allocate("f32", length);
  device.kernels.fill({ out: { buffer, offset: 0 }, n: length, value });
  return buffer;
}

async function failureOf(work: Promise<unknown>): Promise<DeviceError> {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(DeviceError);
  return thrown as DeviceError;
}

describe.skipIf(!testGpu)("a GPU that", () => {
  test("is lost under running work: the read is refused, and all that comes after; another opens", async () => {
    const { device, gpuDevice } = await open();
    const n = 128;
    const [a, b] = [filled(device, n * n), filled(device, n * n)];
    for (let i = 0; i < 20; i++)
      device.kernels.matmul({ out: { buffer: b, offset: 0 }, a: { buffer: a, offset: 0 }, b: { buffer: a, offset: 0 }, M: n, N: n, K: n });
    const reading = device.read(b, 0, 1);
    gpuDevice.destroy();
    expect(await failureOf(reading)).toMatchObject({ complaint: { cure: expect.stringContaining("open the device again") } });
    expect(device.isLost).toBe(true);
    await failureOf(device.read(a, 0, 1));
    await failureOf(device.finish());

    const { device: anew } = await open();
    expect(anew.isLost).toBe(false);
    expect(await anew.read(filled(anew, 3, 7), 0, 3)).toEqual(Float32Array.of(7, 7, 7));
  });

  test("is lost between two pieces of work", async () => {
    const { device, gpuDevice } = await open();
    const x = filled(device, 4);
    await device.finish();
    gpuDevice.destroy();
    await gpuDevice.lost;
    const { complaint } = await failureOf(device.read(x, 0, 4));
    expect(complaint.got).toMatch(/lost device/);
  });

  test("has no memory left: found out at the read, named as memory", async () => {
    const { device, gpuDevice } = await open();
    const error = { message: "no more" } as GPUError;
    const pop = gpuDevice.popErrorScope.bind(gpuDevice);
    let filter: GPUErrorFilter | undefined;
    const push = gpuDevice.pushErrorScope.bind(gpuDevice);
    gpuDevice.pushErrorScope = (given) => {
      filter = given;
      push(given);
      return undefined;
    };
    gpuDevice.popErrorScope = async () => {
      const wasMemory = filter === "out-of-memory";
      filter = undefined;
      await pop();
      return wasMemory ? error : null;
    };
    const x = device.allocate("f32", 1 << 20);
    expect((await failureOf(device.read(x, 0, 1))).complaint).toMatchObject({ operation: "allocate on the device", got: "no more" });
    expect(device.isLost).toBe(true);
  });

  test("may give so much and no more: refused at once, and the device goes on", async () => {
    const { device } = await open({ hostMemory: 4096 });
    const x = filled(device, 256, 2);
    expect(() => device.allocate("f32", 4096)).toThrow(DeviceError);
    expect(() => device.allocate("f32", 4096)).toThrow(/at most 4096 in all/);
    expect(device.isLost).toBe(false);
    expect((await device.read(x, 0, 2))[1]).toBe(2);
  });

  test("does not compile a kernel: the error names it", async () => {
    const { device, gpuDevice } = await open();
    const create = gpuDevice.createShaderModule.bind(gpuDevice);
    gpuDevice.createShaderModule = ({ code, ...rest }) =>
      create({ ...rest, code: rest.label === "affine" ? `${code}\nfn broken() -> f32 { return 1u; }` : code });
    const x = filled(device, 4);
    device.kernels.affine({ out: { buffer: x, offset: 0 }, x: { buffer: x, offset: 0 }, n: 4, scale: 2, shift: 0 });
    const { complaint } = await failureOf(device.read(x, 0, 4));
    expect(complaint.operation).toBe("compile the kernel affine");
    expect(device.isLost).toBe(true);
  });

  test("is closed with work under way: nothing is left waiting", async () => {
    const { device } = await open();
    const x = filled(device, 1 << 16);
    const reading = device.read(x, 0, 1).catch((error: unknown) => error);
    await device.close();
    const got = await reading;
    expect(got instanceof DeviceError || got instanceof Float32Array).toBe(true);
  });
});
