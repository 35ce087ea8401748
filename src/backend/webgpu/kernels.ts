// The kernels of the contract on the WebGPU device, one file each.

import { DeviceError } from "../../core/errors.ts";
import type { KernelName, Kernels } from "../backend.ts";
import { adamw } from "./adamw.ts";
import { affine } from "./affine.ts";
import { binary } from "./binary.ts";
import { clamp, clampBackward } from "./clamp.ts";
import { clipFactor } from "./clip-factor.ts";
import { copy } from "./copy.ts";
import { crossEntropy, crossEntropyBackward } from "./cross-entropy.ts";
import { embedding, embeddingBackward } from "./embedding.ts";
import { entropy } from "./entropy.ts";
import { fill } from "./fill.ts";
import { gatherRows } from "./gather-rows.ts";
import { groupedMatmul, groupedMatmulWeightGrad } from "./grouped-matmul.ts";
import { matmul } from "./matmul.ts";
import type { Recorder } from "./recorder.ts";
import { rmsNorm, rmsNormBackward } from "./rms-norm.ts";
import { scatterRows } from "./scatter-rows.ts";
import { softmax, softmaxBackward } from "./softmax.ts";
import { sumAxis } from "./sum-axis.ts";
import { sumSquares } from "./sum-squares.ts";
import { swiglu, swigluBackward } from "./swiglu.ts";
import { unary, unaryBackward } from "./unary.ts";

/** Not written yet; tests skip it. */
function missing(kernel: KernelName): (() => never) & { readonly isMissing: true } {
  const refuse = (): never => {
    throw new DeviceError({ operation: kernel, got: "the webgpu device", expected: "a device that has this kernel", cure: "use the cpu" });
  };
  return Object.assign(refuse, { isMissing: true as const });
}

export function webGpuKernels(recorder: Recorder): Kernels {
  return {
    fill: fill(recorder),
    copy: copy(recorder),
    gatherRows: gatherRows(recorder),
    scatterRows: scatterRows(recorder),
    cacheWrite: missing("cacheWrite"),
    binary: binary(recorder),
    unary: unary(recorder),
    unaryBackward: unaryBackward(recorder),
    affine: affine(recorder),
    clamp: clamp(recorder),
    clampBackward: clampBackward(recorder),
    swiglu: swiglu(recorder),
    swigluBackward: swigluBackward(recorder),
    sumAxis: sumAxis(recorder),
    sumSquares: sumSquares(recorder),
    matmul: matmul(recorder),
    groupedMatmul: groupedMatmul(recorder),
    groupedMatmulWeightGrad: groupedMatmulWeightGrad(recorder),
    packedMatmul: missing("packedMatmul"),
    packedGroupedMatmul: missing("packedGroupedMatmul"),
    packedEmbedding: missing("packedEmbedding"),
    rmsNorm: rmsNorm(recorder),
    rmsNormBackward: rmsNormBackward(recorder),
    rope: missing("rope"),
    embedding: embedding(recorder),
    embeddingBackward: embeddingBackward(recorder),
    crossEntropy: crossEntropy(recorder),
    crossEntropyBackward: crossEntropyBackward(recorder),
    entropy: entropy(recorder),
    softmax: softmax(recorder),
    softmaxBackward: softmaxBackward(recorder),
    attention: missing("attention"),
    attentionBackward: missing("attentionBackward"),
    route: missing("route"),
    routeBackward: missing("routeBackward"),
    dispatch: missing("dispatch"),
    expertGather: missing("expertGather"),
    expertCombine: missing("expertCombine"),
    expertCombineWeightGrad: missing("expertCombineWeightGrad"),
    expertLoad: missing("expertLoad"),
    balanceBias: missing("balanceBias"),
    clipFactor: clipFactor(recorder),
    adamw: adamw(recorder),
  };
}
