// The test of every kernel of the contract, for any device: `kernelCases` generates calls (odd and empty sizes, offsets, strides,
// accumulation, indices outside, NaN), `runKernelSuite` runs them and compares with the f64 reference, guard bands and the bitwise law.
// Unusual: a kernel without a generator does not compile.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device, KernelName } from "../../src/backend/backend.ts";
import { Random } from "../../src/core/random.ts";
import { attentionBackwardCases, attentionCases } from "./cases/attention.ts";
import { cacheWriteCases, groupedAttentionCases, narrowAttentionCases } from "./cases/cache.ts";
import * as elementwise from "./cases/elementwise.ts";
import * as experts from "./cases/experts.ts";
import { groupedMatmulCases, groupedMatmulWeightGradCases, matmulCases } from "./cases/matmul.ts";
import { copyCases, fillCases, gatherRowsCases, scatterRowsCases } from "./cases/memory.ts";
import * as network from "./cases/network.ts";
import { adamwCases, clipFactorCases } from "./cases/optimiser.ts";
import { packedEmbeddingCases, packedGroupedMatmulCases, packedMatmulCases } from "./cases/packed.ts";
import { sumAxisCases, sumSquaresCases } from "./cases/reduction.ts";
import { deviceTests } from "./device-cases.ts";
import { type Cases, checkCase, type KernelCase } from "./kernel-case.ts";

export const kernelCases: Readonly<Record<KernelName, Cases>> = {
  fill: fillCases,
  copy: copyCases,
  gatherRows: gatherRowsCases,
  scatterRows: scatterRowsCases,
  cacheWrite: cacheWriteCases,
  binary: elementwise.binaryCases,
  unary: elementwise.unaryCases,
  unaryBackward: elementwise.unaryBackwardCases,
  affine: elementwise.affineCases,
  clamp: elementwise.clampCases,
  clampBackward: elementwise.clampBackwardCases,
  swiglu: elementwise.swigluCases,
  swigluBackward: elementwise.swigluBackwardCases,
  sumAxis: sumAxisCases,
  sumSquares: sumSquaresCases,
  matmul: matmulCases,
  groupedMatmul: groupedMatmulCases,
  groupedMatmulWeightGrad: groupedMatmulWeightGradCases,
  packedMatmul: packedMatmulCases,
  packedGroupedMatmul: packedGroupedMatmulCases,
  packedEmbedding: packedEmbeddingCases,
  rmsNorm: network.rmsNormCases,
  rmsNormBackward: network.rmsNormBackwardCases,
  rope: network.ropeCases,
  embedding: network.embeddingCases,
  embeddingBackward: network.embeddingBackwardCases,
  crossEntropy: network.crossEntropyCases,
  crossEntropyBackward: network.crossEntropyBackwardCases,
  entropy: network.entropyCases,
  softmax: network.softmaxCases,
  softmaxBackward: network.softmaxBackwardCases,
  attention: (random) => [...attentionCases(random), ...groupedAttentionCases(random), ...narrowAttentionCases(random)],
  attentionBackward: attentionBackwardCases,
  route: experts.routeCases,
  routeBackward: experts.routeBackwardCases,
  dispatch: experts.dispatchCases,
  expertGather: experts.expertGatherCases,
  expertCombine: experts.expertCombineCases,
  expertCombineWeightGrad: experts.expertCombineWeightGradCases,
  expertLoad: experts.expertLoadCases,
  balanceBias: experts.balanceBiasCases,
  clipFactor: clipFactorCases,
  adamw: adamwCases,
};

const made = new Map<string, KernelCase[]>();

/** Made once for all devices of a process: drawing the numbers takes longer than running the kernels. */
function casesOf(kernel: KernelName, seed: number): KernelCase[] {
  const key = `${kernel} ${seed}`;
  let cases = made.get(key);
  if (!cases) {
    cases = kernelCases[kernel](new Random(seed).fork(kernel));
    made.set(key, cases);
  }
  return cases;
}

/** Packed types that a device lacks are left out. */
function isRunnable(device: Device, { operands }: KernelCase): boolean {
  return Object.values(operands).every(({ packed }) => !packed || device.packedTypes.has(packed.type));
}

export type SuiteOptions = {
  /** Opens a device whose results must have the same bits: the same build with another number of threads. */
  readonly twin?: () => Device | Promise<Device>;
  readonly seed?: number;
  /** Milliseconds for one kernel, where compiling it for all its variants takes long. */
  readonly timeout?: number;
};

/** Declares the tests of one device; complaints of a kernel are gathered and shown together, at most ten. */
export function runKernelSuite(name: string, openDevice: () => Device | Promise<Device>, options: SuiteOptions = {}): void {
  describe(name, () => {
    let device: Device;
    let twin: Device | undefined;
    beforeAll(async () => {
      device = await openDevice();
      twin = await options.twin?.();
    });
    afterAll(async () => {
      await device?.close();
      await twin?.close();
    });
    for (const kernel of Object.keys(kernelCases) as KernelName[]) {
      test(
        kernel,
        async () => {
          if (device.isLost) device = await openDevice(); // by the kernel before
          const complaints: string[] = [];
          for (const c of casesOf(kernel, options.seed ?? 1)) {
            if (isRunnable(device, c)) complaints.push(...(await checkCase(device, c, twin)));
          }
          expect(complaints.slice(0, 10), `${complaints.length} complaints`).toEqual([]);
        },
        options.timeout,
      );
    }
    deviceTests(() => device);
  });
}
