// The WebGPU device: buffers in the GPU's memory, kernels in WGSL recorded into passes (recorder.ts). Nothing here knows where the GPU object came from. Unusual:
// errors come late (failure.ts), so every read waits for their news, and once something failed nothing can be read any more.

import type { DType, HostArray, PackedType } from "../../core/dtype.ts";
import type { Device, DeviceBuffer, DeviceInfo, Kernels } from "../backend.ts";
import { checkLength, checkRange } from "../checks.ts";
import { Failure } from "./failure.ts";
import { bufferUsage, mapRead } from "./flags.ts";
import { webGpuKernels } from "./kernels.ts";
import { Memory, sizeClass } from "./memory.ts";
import { allocatePacked, packedTypeSet, writePacked } from "./packed-weights.ts";
import { type GpuBuffer, Recorder } from "./recorder.ts";

/** Buffers for reading, of one size, that wait for the next read. */
const stagingKept = 8;
/** Larger ones are not kept. */
const largestStagingKept = 2 ** 22;

export class WebGpuDevice implements Device {
  readonly info: DeviceInfo;
  readonly kernels: Kernels;
  readonly packedTypes = packedTypeSet;
  readonly #device: GPUDevice;
  readonly #failure: Failure;
  readonly #memory: Memory;
  readonly #recorder: Recorder;
  readonly #staging = new Map<number, GPUBuffer[]>();

  /** `build`: what the adapter says of itself. `memoryLimit`: bytes that may be reserved. `hasDot`: WGSL has dot4I8Packed. */
  constructor(device: GPUDevice, build: string, memoryLimit: number, hasDot: boolean) {
    this.#device = device;
    this.#failure = new Failure(device);
    this.#memory = new Memory(device, this.#failure, memoryLimit);
    this.#recorder = new Recorder(device, this.#memory, this.#failure, hasDot);
    this.kernels = webGpuKernels(this.#recorder);
    this.info = { name: "webgpu", build, threads: 1 };
  }

  get isLost(): boolean {
    return this.#failure.isLost;
  }

  allocate(dtype: DType, length: number): DeviceBuffer {
    checkLength(length);
    const buffer: GpuBuffer = { dtype, length, block: this.#memory.allocate(length * 4), released: false };
    return buffer;
  }

  allocatePacked(type: PackedType, matrices: number, rows: number, width: number): DeviceBuffer {
    return allocatePacked(this.#memory, type, matrices, rows, width);
  }

  writePacked(buffer: DeviceBuffer, firstRow: number, bytes: Uint8Array): void {
    writePacked(this.#recorder, buffer, firstRow, bytes);
  }

  release(given: DeviceBuffer): void {
    const buffer = given as GpuBuffer;
    if (buffer.released) return;
    buffer.released = true;
    this.#memory.release(buffer.block);
  }

  write(given: DeviceBuffer, offset: number, data: HostArray | readonly number[]): void {
    const buffer = given as GpuBuffer;
    checkRange(buffer, offset, data.length, "write");
    if (data.length === 0) return;
    const isWords = buffer.dtype === "i32" ? data instanceof Int32Array : data instanceof Float32Array;
    const words = isWords ? (data as Float32Array | Int32Array) : buffer.dtype === "i32" ? Int32Array.from(data) : Float32Array.from(data);
    this.#recorder.write(buffer.block, offset * 4, words);
  }

  async read(given: DeviceBuffer, offset: number, length: number): Promise<HostArray> {
    const buffer = given as GpuBuffer;
    checkRange(buffer, offset, length, "read");
    const isInteger = buffer.dtype === "i32";
    if (length === 0) {
      await this.finish();
      return isInteger ? new Int32Array(0) : new Float32Array(0);
    }
    const bytes = length * 4;
    const size = sizeClass(bytes);
    const staging = this.#staging.get(size)?.pop() ?? this.#newStaging(size);
    this.#recorder.copyOut(buffer.block, offset * 4, staging, bytes);
    try {
      await staging.mapAsync(mapRead, 0, bytes);
    } catch (error) {
      // The reason is in a scope or in the device's loss; where neither speaks, this is it.
      await this.#failure.settle();
      this.#failure.fail("read from the webgpu device", String(error));
    }
    await this.#failure.settle();
    const copied = staging.getMappedRange(0, bytes).slice(0);
    staging.unmap();
    this.#keepStaging(staging, size);
    return isInteger ? new Int32Array(copied) : new Float32Array(copied);
  }

  async finish(): Promise<void> {
    this.#recorder.submit();
    await this.#device.queue.onSubmittedWorkDone();
    await this.#failure.settle();
  }

  begin(): boolean {
    this.#recorder.submit();
    return true;
  }

  memory(): { used: number; reserved: number } {
    return { used: this.#memory.usedBytes, reserved: this.#memory.reservedBytes };
  }

  async close(): Promise<void> {
    this.#device.destroy();
    await this.#device.lost;
  }

  #newStaging(size: number): GPUBuffer {
    const usage = bufferUsage.mapRead | bufferUsage.copyDestination;
    return this.#failure.watch("read from the webgpu device", ["validation", "out-of-memory"], () =>
      this.#device.createBuffer({ size, usage }),
    );
  }

  #keepStaging(staging: GPUBuffer, size: number): void {
    const kept = this.#staging.get(size) ?? [];
    if (size > largestStagingKept || kept.length >= stagingKept) staging.destroy();
    else kept.push(staging);
    this.#staging.set(size, kept);
  }
}
