// The kernels of the contract on the WebGPU device, one file each.

import type { Kernels } from "../backend.ts";
import { adamw } from "./adamw.ts";
import { affine } from "./affine.ts";
import { attention } from "./attention.ts";
import { attentionBackward } from "./attention-backward.ts";
import { balanceBias } from "./balance-bias.ts";
import { binary } from "./binary.ts";
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
import type { Recorder } from "./recorder.ts";
import { rmsNorm, rmsNormBackward } from "./rms-norm.ts";
import { rope } from "./rope.ts";
import { route, routeBackward } from "./route.ts";
import { scatterRows } from "./scatter-rows.ts";
import { softmax, softmaxBackward } from "./softmax.ts";
import { sumAxis } from "./sum-axis.ts";
import { sumSquares } from "./sum-squares.ts";
import { swiglu, swigluBackward } from "./swiglu.ts";
import { unary, unaryBackward } from "./unary.ts";

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
    sumAxis: sumAxis(recorder),
    sumSquares: sumSquares(recorder),
    matmul: matmul(recorder),
    groupedMatmul: groupedMatmul(recorder),
    groupedMatmulWeightGrad: groupedMatmulWeightGrad(recorder),
    packedMatmul: packedMatmul(recorder),
    packedGroupedMatmul: packedGroupedMatmul(recorder),
    packedEmbedding: packedEmbedding(recorder),
    rmsNorm: rmsNorm(recorder),
    rmsNormBackward: rmsNormBackward(recorder),
    rope: rope(recorder),
    embedding: embedding(recorder),
    embeddingBackward: embeddingBackward(recorder),
    crossEntropy: crossEntropy(recorder),
    crossEntropyBackward: crossEntropyBackward(recorder),
    entropy: entropy(recorder),
    softmax: softmax(recorder),
    softmaxBackward: softmaxBackward(recorder),
    attention: attention(recorder),
    attentionBackward: attentionBackward(recorder),
    route: route(recorder),
    routeBackward: routeBackward(recorder),
    dispatch: dispatch(recorder),
    expertGather: expertGather(recorder),
    expertCombine: expertCombine(recorder),
    expertCombineWeightGrad: expertCombineWeightGrad(recorder),
    expertLoad: expertLoad(recorder),
    balanceBias: balanceBias(recorder),
    clipFactor: clipFactor(recorder),
    adamw: adamw(recorder),
  };
}
