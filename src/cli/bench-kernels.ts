// `gradually bench kernels`: every kernel that matters for speed, timed on one shape, beside what this machine can do at most, measured in the same run.
// Kernels are interleaved over several rounds and the median is taken, so a disturbed second spoils one sample of each, not all of one.

import type { Device, DeviceBuffer, View } from "../backend/backend.ts";
import { packedSamples } from "../backend/packed-samples.ts";
import { type PackedType, packedRowBytes } from "../core/dtype.ts";
import { Random } from "../core/random.ts";

export type KernelTime = {
  readonly name: string;
  readonly shape: string;
  readonly dtype: "f32" | PackedType;
  readonly ms: number;
  readonly gflop_s: number;
  readonly gb_s: number;
  /** Share of the limit that binds this shape: multiply-adds of f32 (products of bytes may pass it), or reading and writing memory. */
  readonly of_limit: number;
};

export type Limits = { readonly read_gb_s: number; readonly fma_gflop_s: number };

type Case = {
  readonly name: string;
  readonly shape: string;
  readonly dtype: KernelTime["dtype"];
  readonly flop: number;
  readonly bytes: number;
  readonly run: () => void;
};

const rounds = 8;

/** `onStep` hears how many of the samples are taken. */
export async function benchKernels(
  device: Device,
  limits: Limits,
  now: () => number,
  onStep: (step: number, total: number) => void,
): Promise<KernelTime[]> {
  const buffers: DeviceBuffer[] = [];
  const cases = makeCases(device, (buffer) => buffers.push(buffer));
  const times = cases.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [i, { run }] of cases.entries()) {
      // Enough repeats for 100 ms: waking the threads and cold caches cost half a hundredth then.
      const once = times[i]?.[0] ?? 1e-3;
      const repeats = round === 0 ? 1 : Math.max(1, Math.min(200, Math.ceil(100e-3 / once)));
      const start = now();
      for (let repeat = 0; repeat < repeats; repeat++) run();
      await device.finish();
      times[i]?.push((now() - start) / repeats);
      onStep(round * cases.length + i + 1, rounds * cases.length);
    }
  }
  for (const buffer of buffers) device.release(buffer);
  return cases.map(({ name, shape, dtype, flop, bytes }, i) => {
    const seconds = median((times[i] as number[]).slice(1));
    const gflop_s = flop / seconds / 1e9;
    const gb_s = bytes / seconds / 1e9;
    const of_limit = Math.max(gflop_s / limits.fma_gflop_s, gb_s / limits.read_gb_s);
    return { name, shape, dtype, ms: seconds * 1e3, gflop_s, gb_s, of_limit };
  });
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
}

function makeCases(device: Device, own: (buffer: DeviceBuffer) => void): Case[] {
  const { kernels } = device;
  const random = new Random(1);
  const floats = (n: number): View => {
    const buffer = device.allocate("f32", n);
    own(buffer);
    device.write(
      buffer,
      0,
      Float32Array.from({ length: n }, () => random.uniform() - 0.5),
    );
    return { buffer, offset: 0 };
  };
  const integers = (values: number[]): View => {
    const buffer = device.allocate("i32", values.length);
    own(buffer);
    device.write(buffer, 0, values);
    return { buffer, offset: 0 };
  };
  const range = <T>(n: number, f: (i: number) => T) => Array.from({ length: n }, (_, i) => f(i));
  const cases: Case[] = [];
  const add = (name: string, shape: string, flop: number, bytes: number, run: () => void, dtype: Case["dtype"] = "f32") =>
    cases.push({ name, shape, dtype, flop, bytes, run });

  for (const [M, N, K] of [
    [512, 512, 512],
    [2048, 128, 128],
    [2048, 384, 128],
    [128, 384, 2048],
    [64, 384, 128],
    [1, 2048, 2048],
  ] as const) {
    const [out, a, b] = [floats(M * N), floats(M * K), floats(N * K)];
    const bytes = 4 * (M * N + M * K + N * K);
    add("matmul", `${M}×${N}×${K}`, 2 * M * N * K, bytes, () => kernels.matmul({ out, a, b, M, N, K, transposeB: true, cacheB: true }));
  }
  for (const type of ["q4_0", "q8_0", "q4_k", "q6_k", "bf16"] as const) {
    if (!device.packedTypes.has(type)) continue;
    const [N, K] = [5632, 2048];
    const rowBytes = packedRowBytes(type, K);
    // One token reads weights that no cache holds: as many copies as make 64 MB.
    const copies = Math.ceil((64 * 2 ** 20) / (N * rowBytes));
    const pattern = packedSamples(random, type, 16 * K);
    const bytes = Uint8Array.from({ length: N * rowBytes }, (_, i) => pattern[i % pattern.length] as number);
    const weights = range(copies, () => {
      const buffer = device.allocatePacked(type, 1, N, K);
      own(buffer);
      device.writePacked(buffer, 0, bytes);
      return { buffer, offset: 0 };
    });
    const [out, x] = [floats(512 * N), floats(512 * K)];
    let next = 0;
    for (const M of [1, 512]) {
      const run = () => kernels.packedMatmul({ out, x, w: weights[next++ % copies] as View, M, N, K });
      add("packedMatmul", `${M}×${N}×${K}`, 2 * M * N * K, N * rowBytes + 4 * M * (N + K), run, type);
    }
  }
  {
    const [S, E, N, K] = [4096, 8, 128, 128];
    const [out, x, w, dw] = [floats(S * N), floats(S * K), floats(E * N * K), floats(E * N * K)];
    const offsets = integers(range(E + 1, (e) => (S / E) * e));
    const bytes = 4 * (S * N + S * K + E * N * K);
    add("groupedMatmul", `${S}×${N}×${K}, ${E} experts`, 2 * S * N * K, bytes, () =>
      kernels.groupedMatmul({ out, x, w, offsets, S, E, N, K, transposeW: true, cacheW: true }),
    );
    add("groupedMatmulWeightGrad", `${S}×${N}×${K}, ${E} experts`, 2 * S * N * K, bytes, () =>
      kernels.groupedMatmulWeightGrad({ dw, dy: out, x, offsets, S, E, N, K }),
    );
  }
  {
    const [B, T, H, D] = [16, 128, 4, 32];
    const R = B * T;
    const n = R * H * D;
    const [out, lse, q, k, v, dq, dk, dv, dOut] = [
      floats(n),
      floats(R * H),
      floats(n),
      floats(n),
      floats(n),
      floats(n),
      floats(n),
      floats(n),
      floats(n),
    ] as [View, View, View, View, View, View, View, View, View];
    const first = integers(range(R, (r) => r - (r % T)));
    const last = integers(range(R, (r) => r));
    const strides = { kRowStride: H * D, kHeadStride: D, vRowStride: H * D, vHeadStride: D };
    const common = { q, k, v, first, last, R, S: R, H, G: H, D, Dv: D, scale: 0.1, ...strides };
    const pairs = (B * T * (T + 1)) / 2;
    add("attention", `${B}×${T}, ${H} heads of ${D}`, 4 * pairs * H * D, 16 * n, () => kernels.attention({ out, lse, ...common }));
    add("attentionBackward", `${B}×${T}, ${H} heads of ${D}`, 10 * pairs * H * D, 36 * n, () =>
      kernels.attentionBackward({
        dq,
        dk,
        dv,
        dOut,
        out,
        lse,
        ...common,
        batch: B,
        dkRowStride: H * D,
        dkHeadStride: D,
        dvRowStride: H * D,
        dvHeadStride: D,
      }),
    );
  }
  {
    const [rows, width] = [8192, 512];
    const n = rows * width;
    const [x, y, z, w] = [floats(n), floats(n), floats(n), floats(width)] as [View, View, View, View];
    add("rmsNorm", `${rows}×${width}`, 0, 8 * n, () => kernels.rmsNorm({ out: y, x, weight: w, rows, width, eps: 1e-6 }));
    add("rmsNormBackward", `${rows}×${width}`, 0, 12 * n, () =>
      kernels.rmsNormBackward({ dx: z, dy: y, x, weight: w, rows, width, eps: 1e-6 }),
    );
    add("swiglu", `${n}`, 0, 12 * n, () => kernels.swiglu({ out: z, gate: x, up: y, n }));
    add("binary", `add, ${n}`, 0, 12 * n, () => kernels.binary({ kind: "add", out: z, a: x, b: y, n, bRepeat: 1, bPeriod: n }));
    add("softmax", `${rows}×${width}`, 0, 8 * n, () => kernels.softmax({ out: z, x, rows, width }));
    const targets = integers(range(rows, (r) => r % width));
    const [loss, lse] = [floats(rows), floats(rows)];
    add("crossEntropy", `${rows}×${width}`, 0, 4 * n, () => kernels.crossEntropy({ loss, lse, logits: x, targets, rows, vocab: width }));
    const [m, v, factor] = [floats(n), floats(n), floats(1)];
    device.write(factor.buffer, 0, [1]);
    const step = { lr: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, c1: 0.1, c2: 0.05 };
    add("adamw", `${n}`, 0, 28 * n, () => kernels.adamw({ param: x, grad: y, m, v, n, factor, ...step }));
  }
  return cases;
}
