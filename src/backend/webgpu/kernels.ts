// The kernels of the contract on the WebGPU device, one file each.

import { DeviceError } from "../../core/errors.ts";
import type { KernelName, Kernels } from "../backend.ts";
import { adamw } from "./adamw.ts";
import { affine } from "./affine.ts";
import { attention } from "./attention.ts";
import { attentionBackward } from "./attention-backward.ts";
import { binary } from "./binary.ts";
import { cacheWrite } from "./cache-write.ts";
import { clamp, clampBackward } from "./clamp.ts";
import { clipFactor } from "./clip-factor.ts";
import { copy } from "./copy.ts";
import { fill } from "./fill.ts";
import { gatherRows } from "./gather-rows.ts";
import { matmul } from "./matmul.ts";
import type { Recorder } from "./recorder.ts";
import { rope } from "./rope.ts";
import { scatterRows } from "./scatter-rows.ts";
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
    cacheWrite: cacheWrite(recorder),
    binary: binary(recorder),
    unary: unary(recorder),
    unaryBackward: unaryBackward(recorder),
    affine: affine(recorder),
    clamp: clamp(recorder),
    clampBackward: clampBackward(recorder),
    swiglu: swiglu(recorder),
    swigluBackward: swigluBackward(recorder),
    sumAxis: missing("sumAxis"),
    sumSquares: missing("sumSquares"),
    matmul: matmul(recorder),
    groupedMatmul: missing("groupedMatmul"),
    groupedMatmulWeightGrad: missing("groupedMatmulWeightGrad"),
    packedMatmul: missing("packedMatmul"),
    packedGroupedMatmul: missing("packedGroupedMatmul"),
    packedEmbedding: missing("packedEmbedding"),
    rmsNorm: missing("rmsNorm"),
    rmsNormBackward: missing("rmsNormBackward"),
    rope: rope(recorder),
    embedding: missing("embedding"),
    embeddingBackward: missing("embeddingBackward"),
    crossEntropy: missing("crossEntropy"),
    crossEntropyBackward: missing("crossEntropyBackward"),
    entropy: missing("entropy"),
    softmax: missing("softmax"),
    softmaxBackward: missing("softmaxBackward"),
    attention: attention(recorder),
    attentionBackward: attentionBackward(recorder),
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
