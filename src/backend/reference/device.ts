// The reference device: the kernels as plain loops over typed arrays, no cleverness. It is documentation and oracle; every other device
// is tested against it. A kernel executes when it is recorded and accumulates in float64. Fresh memory holds NaN (f32) or a huge negative
// number (i32), so whoever reads what was never written finds out.

import { type DType, type HostArray, isPackedType, type PackedType, packedRowBytes, packedTypes } from "../../core/dtype.ts";
import { DeviceError, ShapeError } from "../../core/errors.ts";
import { decodeBlocks } from "../../formats/blocks/index.ts";
import type { Device, DeviceBuffer, DeviceInfo, Kernels } from "../backend.ts";
import { checkLength } from "../checks.ts";
import { adamw } from "./adamw.ts";
import { affine } from "./affine.ts";
import { attention, attentionBackward } from "./attention.ts";
import { balanceBias } from "./balance-bias.ts";
import { binary } from "./binary.ts";
import { type contents, elements, type ReferenceBuffer } from "./buffer.ts";
import { cacheWrite } from "./cache-write.ts";
import { clamp, clampBackward } from "./clamp.ts";
import { clipFactor } from "./clip-factor.ts";
import { copy } from "./copy.ts";
import { crossEntropy, crossEntropyBackward } from "./cross-entropy.ts";
import { dispatch } from "./dispatch.ts";
import { embedding, embeddingBackward } from "./embedding.ts";
import { entropy } from "./entropy.ts";
import { expertCombine, expertCombineWeightGrad } from "./expert-combine.ts";
import { expertGather } from "./expert-gather.ts";
import { expertLoad } from "./expert-load.ts";
import { fill } from "./fill.ts";
import { gatherRows } from "./gather-rows.ts";
import { groupedMatmul, groupedMatmulWeightGrad } from "./grouped-matmul.ts";
import { matmul } from "./matmul.ts";
import { packedEmbedding } from "./packed-embedding.ts";
import { packedGroupedMatmul } from "./packed-grouped-matmul.ts";
import { packedMatmul } from "./packed-matmul.ts";
import { rmsNorm, rmsNormBackward } from "./rms-norm.ts";
import { rope } from "./rope.ts";
import { route, routeBackward } from "./route.ts";
import { scatterRows } from "./scatter-rows.ts";
import { softmax, softmaxBackward } from "./softmax.ts";
import { sumAxis } from "./sum-axis.ts";
import { sumSquares } from "./sum-squares.ts";
import { swiglu, swigluBackward } from "./swiglu.ts";
import { unary, unaryBackward } from "./unary.ts";

export type Precision = "f32" | "f64";

const kernels: Kernels = {
  fill,
  copy,
  gatherRows,
  scatterRows,
  cacheWrite,
  binary,
  unary,
  unaryBackward,
  affine,
  clamp,
  clampBackward,
  swiglu,
  swigluBackward,
  sumAxis,
  sumSquares,
  matmul,
  groupedMatmul,
  groupedMatmulWeightGrad,
  packedMatmul,
  packedGroupedMatmul,
  packedEmbedding,
  rmsNorm,
  rmsNormBackward,
  rope,
  embedding,
  embeddingBackward,
  crossEntropy,
  crossEntropyBackward,
  entropy,
  softmax,
  softmaxBackward,
  attention,
  attentionBackward,
  route,
  routeBackward,
  dispatch,
  expertGather,
  expertCombine,
  expertCombineWeightGrad,
  expertLoad,
  balanceBias,
  clipFactor,
  adamw,
};

const freshInteger = -2147483648;

export class ReferenceDevice implements Device {
  readonly info: DeviceInfo;
  readonly kernels = kernels;
  readonly packedTypes: ReadonlySet<PackedType> = new Set(Object.keys(packedTypes) as PackedType[]);
  readonly #live = new Set<ReferenceBuffer>();
  readonly #precision: Precision;
  #used = 0;

  constructor(precision: Precision) {
    this.#precision = precision;
    this.info = { name: "reference", build: precision, threads: 1 };
  }

  allocate(dtype: DType, length: number): DeviceBuffer {
    checkLength(length);
    return this.#hold({ dtype, length, data: this.#array(dtype, length) });
  }

  allocatePacked(type: PackedType, matrices: number, rows: number, width: number): DeviceBuffer {
    if (width % packedTypes[type].weights !== 0) {
      throw new ShapeError({
        operation: "allocate packed",
        got: `rows of ${width} weights of ${type}`,
        expected: `a multiple of ${packedTypes[type].weights}`,
        cure: "decode this tensor to f32",
      });
    }
    const length = matrices * rows * width;
    return this.#hold({ dtype: type, length, data: this.#array("f32", length), width });
  }

  writePacked(buffer: DeviceBuffer, firstRow: number, bytes: Uint8Array): void {
    const { dtype, width } = buffer as ReferenceBuffer;
    const rowBytes = isPackedType(dtype) && width ? packedRowBytes(dtype, width) : 0;
    const rows = bytes.length / rowBytes;
    if (!isPackedType(dtype) || !width || !Number.isInteger(rows)) {
      throw new ShapeError({
        operation: "write packed",
        got: `${bytes.length} bytes into a buffer of ${dtype}`,
        expected: `whole rows of ${rowBytes} bytes of a packed buffer`,
        cure: "pass the rows as they lie in the file",
      });
    }
    const window = elements({ buffer, offset: firstRow * width }, rows * width, "write packed");
    const decoded = new Float32Array(window.length);
    decodeBlocks(dtype, bytes, decoded);
    window.set(decoded);
  }

  release(buffer: DeviceBuffer): void {
    const mine = buffer as ReferenceBuffer;
    if (!this.#live.delete(mine)) return;
    this.#used -= mine.data?.byteLength ?? 0;
    mine.data = undefined;
  }

  write(buffer: DeviceBuffer, offset: number, data: HostArray | readonly number[]): void {
    elements({ buffer, offset }, data.length, "write").set(data);
  }

  async read(buffer: DeviceBuffer, offset: number, length: number): Promise<HostArray> {
    return elements({ buffer, offset }, length, "read").slice();
  }

  async finish(): Promise<void> {}

  memory(): { used: number; reserved: number } {
    return { used: this.#used, reserved: this.#used };
  }

  async close(): Promise<void> {
    for (const buffer of this.#live) this.release(buffer);
  }

  #hold(buffer: ReferenceBuffer): DeviceBuffer {
    this.#live.add(buffer);
    this.#used += buffer.data?.byteLength ?? 0;
    return buffer;
  }

  #array(dtype: DType, length: number): ReturnType<typeof contents> {
    try {
      if (dtype === "i32") return new Int32Array(length).fill(freshInteger);
      return (this.#precision === "f64" ? new Float64Array(length) : new Float32Array(length)).fill(Number.NaN);
    } catch (error) {
      throw new DeviceError(
        {
          operation: "allocate",
          got: `${length} elements of ${dtype}`,
          expected: "what this machine's memory holds",
          cure: "use a smaller model or batch",
        },
        { cause: error },
      );
    }
  }
}
