// The WebAssembly device: buffers in one shared memory, commands recorded into lists, executed by threads inside WebAssembly. Packed weights that
// do not fit beside them lie in far memories (far-memory.ts).

import { type HostArray, type PackedType, packedRowBytes } from "../../core/dtype.ts";
import type { Device, DeviceBuffer, DeviceInfo, Kernels, Repeater, View } from "../backend.ts";
import { checkRange } from "../checks.ts";
import { FarMemory, type PackedKernels } from "./far-memory.ts";
import { wasmKernels } from "./kernels.ts";
import type { SharedHeap } from "./memory.ts";
import { type DotKind, PackedWeights, packedTypeSet } from "./packed.ts";
import type { Pool } from "./pool.ts";
import { Recorder, type WasmBuffer } from "./recorder.ts";
import { WasmRepeater } from "./repeater.ts";

export class WasmDevice implements Device {
  readonly info: DeviceInfo;
  readonly kernels: Kernels;
  readonly packedTypes = packedTypeSet;
  /** Whether it is to be tried before it is trusted: fused by an experimental part of the engine, or with products of bytes as only other processors make them. */
  readonly isUnproven: boolean;
  readonly #packed: PackedWeights;
  readonly #heap: SharedHeap;
  readonly #pool: Pool;
  readonly #recorder: Recorder;
  readonly #far: readonly FarMemory[];
  readonly #farCapacity: number;

  /** `far`: where packed weights go, as much as `farCapacity` bytes into each, before the first memory. */
  constructor(
    heap: SharedHeap,
    pool: Pool,
    build: "wide" | "relaxed" | "simd128",
    dots: DotKind,
    far: readonly SharedHeap[] = [],
    farCapacity = 0,
  ) {
    this.#heap = heap;
    this.#pool = pool;
    this.#recorder = new Recorder(heap, pool);
    this.info = { name: "wasm", build, threads: pool.threads };
    this.isUnproven = build === "wide" || dots === "signed";
    const columns = build === "wide" ? 16 : 8;
    this.#packed = new PackedWeights(heap, this.#recorder, pool.threads, columns, dots);
    this.#far = far.map((other, index) => new FarMemory(index, other, this.#recorder, pool.threads, columns, dots));
    this.#farCapacity = farCapacity;
    const near = wasmKernels(heap, this.#recorder, this.#packed, pool.threads, columns, dots);
    const of = (weight: View): PackedKernels => this.#memoryOf(weight.buffer)?.kernels ?? near;
    this.kernels =
      far.length === 0
        ? near
        : {
            ...near,
            packedMatmul: (a) => of(a.w).packedMatmul(a),
            packedGroupedMatmul: (a) => of(a.w).packedGroupedMatmul(a),
            packedEmbedding: (a) => of(a.table).packedEmbedding(a),
          };
  }

  get isLost(): boolean {
    return this.#pool.isLost;
  }

  allocate(dtype: "f32" | "i32", length: number): DeviceBuffer {
    const bytes = length * 4;
    const address = this.#heap.allocate(bytes);
    const buffer: WasmBuffer = { dtype, length, bytes, address, arena: this.#heap.arena, version: 0, packs: undefined, released: false };
    return buffer;
  }

  allocatePacked(type: PackedType, matrices: number, rows: number, width: number): DeviceBuffer {
    const bytes = (matrices * rows * packedRowBytes(type, width) * 9) / 8; // layouts in memory are a little larger than in files
    const far = this.#far.findIndex(({ heap }) => heap.usedBytes + bytes <= this.#farCapacity);
    if (far < 0) return this.#packed.allocate(type, matrices, rows, width);
    return { ...(this.#far[far] as FarMemory).weights.allocate(type, matrices, rows, width), far } as DeviceBuffer;
  }

  writePacked(buffer: DeviceBuffer, firstRow: number, bytes: Uint8Array): void {
    (this.#memoryOf(buffer)?.weights ?? this.#packed).write(buffer as WasmBuffer, firstRow, bytes);
  }

  release(given: DeviceBuffer): void {
    const buffer = given as WasmBuffer;
    if (buffer.released) return;
    buffer.released = true;
    const heap = this.#memoryOf(buffer)?.heap ?? this.#heap;
    if (buffer.arena) heap.release(buffer.address, buffer.bytes, buffer.arena);
    else heap.releaseLasting(buffer.address, buffer.bytes);
    for (const pack of buffer.packs ?? []) this.#heap.releaseLasting(pack.address, pack.bytes);
    buffer.packs = undefined;
  }

  write(given: DeviceBuffer, offset: number, data: HostArray | readonly number[]): void {
    const buffer = given as WasmBuffer;
    checkRange(buffer, offset, data.length, "write");
    if (data.length === 0) return;
    this.#recorder.tear();
    buffer.version++;
    const direct = this.#recorder.idle;
    const address = direct ? buffer.address + offset * 4 : this.#recorder.stage(data.length * 4);
    (buffer.dtype === "i32" ? this.#heap.words : this.#heap.floats).set(data, address >>> 2);
    if (direct) return;
    const x = { buffer: { address } as WasmBuffer, offset: 0 };
    // Rows of 1,024 so that all threads take part.
    const whole = Math.floor(data.length / 1024);
    this.#recorder.record("copy", {
      out: { buffer, offset },
      x,
      n0: 1,
      n1: whole,
      n2: 1,
      n3: 1024,
      o0: 0,
      o1: 1024,
      o2: 0,
      o3: 1,
      x0: 0,
      x1: 1024,
      x2: 0,
      x3: 1,
    });
    const tail = { buffer, offset: offset + whole * 1024 };
    const rest = { buffer: { address: address + whole * 4096 } as WasmBuffer, offset: 0 };
    this.#recorder.record("copy", {
      out: tail,
      x: rest,
      n0: 1,
      n1: 1,
      n2: 1,
      n3: data.length - whole * 1024,
      o0: 0,
      o1: 0,
      o2: 0,
      o3: 1,
      x0: 0,
      x1: 0,
      x2: 0,
      x3: 1,
    });
  }

  async read(given: DeviceBuffer, offset: number, length: number): Promise<HostArray> {
    const buffer = given as WasmBuffer;
    checkRange(buffer, offset, length, "read");
    await this.finish();
    const from = (buffer.address >>> 2) + offset;
    return (buffer.dtype === "i32" ? this.#heap.words : this.#heap.floats).slice(from, from + length);
  }

  begin(): boolean {
    return this.#recorder.begin();
  }

  async finish(): Promise<void> {
    await this.#pool.settle(this.#recorder.submit(true));
  }

  repeater(): Repeater {
    return new WasmRepeater(this.#heap, this.#recorder);
  }

  async measureLimits(now: () => number, bytes: number = 2 ** 26): Promise<{ read_gb_s: number; fma_gflop_s: number }> {
    const rounds = 8_000_000;
    const chains = this.info.build === "wide" ? 24 : 12;
    const x = this.#heap.allocate(bytes);
    const out = this.#heap.allocate(512 * this.info.threads);
    const best = async (run: () => void): Promise<number> => {
      let seconds = Number.POSITIVE_INFINITY;
      for (let i = 0; i < 7; i++) {
        const start = now();
        run();
        await this.finish();
        seconds = Math.min(seconds, now() - start);
      }
      return seconds;
    };
    this.#heap.words.fill(1, x >>> 2, (x + bytes) >>> 2);
    const read = await best(() => this.#recorder.record("probeRead", { x, bytes, out }));
    this.#heap.words.fill(0, out >>> 2, (out >>> 2) + 128 * this.info.threads);
    const fma = await best(() => this.#recorder.record("probeFma", { out, rounds, chains }));
    this.#heap.release(x, bytes);
    this.#heap.release(out, 512 * this.info.threads);
    return { read_gb_s: bytes / read / 1e9, fma_gflop_s: (chains * 8 * rounds * this.info.threads) / fma / 1e9 };
  }

  memory(): { used: number; reserved: number } {
    const heaps = [this.#heap, ...this.#far.map(({ heap }) => heap)];
    const sum = (bytes: (heap: SharedHeap) => number) => heaps.reduce((total, heap) => total + bytes(heap), 0);
    return { used: sum((heap) => heap.usedBytes), reserved: sum((heap) => heap.reservedBytes) };
  }

  close(): Promise<void> {
    return this.#pool.close();
  }

  #memoryOf(buffer: DeviceBuffer): FarMemory | undefined {
    const { far } = buffer as WasmBuffer;
    return far === undefined ? undefined : this.#far[far];
  }
}
