// The kernel contract in terms of commands. Most rows of the contract are one command; the matrix products pack their right side first (or find it
// packed), and some kernels need scratch memory, which is taken and given back at once: commands run in order.

import { cacheRowWords } from "../../core/dtype.ts";
import type { Kernels, View } from "../backend.ts";
import { narrow, panelKeysFor, wasmAttention } from "./attention.ts";
import { binaryKinds, unaryKinds } from "./commands.ts";
import type { SharedHeap } from "./memory.ts";
import type { DotKind, PackedWeights } from "./packed.ts";
import { addressOf, type Pack, type PackShape, type Recorder, type WasmBuffer } from "./recorder.ts";

const stripRows = 6;

function isSameShape(a: PackShape, b: PackShape): boolean {
  return (
    a.offset === b.offset &&
    a.K === b.K &&
    a.N === b.N &&
    a.kStride === b.kStride &&
    a.nStride === b.nStride &&
    a.count === b.count &&
    a.bStride === b.bStride
  );
}

/** `columns` 16: the wide build. `dots`: as the packed products have it. */
export function wasmKernels(
  heap: SharedHeap,
  recorder: Recorder,
  packed: PackedWeights,
  threads: number,
  columns: 8 | 16,
  dots: DotKind,
): Kernels {
  const record = recorder.record.bind(recorder);

  /** Runs `body` with scratch of `bytes` per thread, freed for the commands after it. */
  function withScratch(bytes: number, body: (scratch: number, scratchStride: number) => void, count = threads): void {
    const stride = Math.ceil((bytes + 64) / 64) * 64;
    const scratch = heap.allocate(stride * count);
    body(scratch, stride);
    heap.release(scratch, stride * count);
  }

  /** The packed copy made last of something that is no weight: the gradients of two weights with one input, q and kv or gate and up, share it. */
  let latest: { readonly source: WasmBuffer; readonly pack: Pack } | undefined;
  const forgetLatest = () => {
    if (latest) heap.release(latest.pack.address, latest.pack.bytes);
    latest = undefined;
  };
  recorder.onTape(forgetLatest);

  /** Packs `count` matrices [K, N] and hands the address to `body`; a packed copy is current until its buffer is written. */
  function withPacked(
    b: View,
    given: Omit<PackShape, "offset">,
    /** A weight's copy is kept as long as its buffer. */
    cache: boolean,
    body: (packed: number) => void,
  ): void {
    const { K, N, kStride, nStride, count, bStride } = given;
    const shape = { ...given, offset: b.offset };
    const bytes = Math.ceil(N / columns) * columns * K * count * 4;
    const source = b.buffer as WasmBuffer;
    let pack: Pack | undefined;
    if (!cache) {
      if (latest?.source !== source || !isSameShape(latest.pack.shape, shape)) {
        forgetLatest();
        latest = { source, pack: { shape, address: heap.allocate(bytes), bytes, version: -1 } };
      }
      pack = latest.pack;
    } else {
      source.packs ??= [];
      pack = source.packs.find((one) => isSameShape(one.shape, shape));
      if (!pack) {
        pack = { shape, address: heap.allocateLasting(bytes), bytes, version: -1 };
        source.packs.push(pack);
      }
    }
    const isNew = pack.version !== source.version;
    if (cache) recorder.readsCopy(source, pack, isNew);
    if (isNew) {
      record("packPanels", { packed: pack.address, b: addressOf(b), K, N, kStride, nStride, columns, count, bStride });
      pack.version = source.version;
    }
    body(pack.address);
  }

  /** Rows of A that a thread packs at a time: whole strips, about 256 kB, and enough units for all threads. */
  function rowBlockFor(M: number, K: number): number {
    const fitting = Math.max(1, Math.floor(262144 / (stripRows * 4 * Math.max(K, 1))));
    const fair = Math.max(1, Math.ceil(M / stripRows / (4 * threads)));
    return stripRows * Math.min(16, fitting, fair);
  }

  const scratchFor = (rowBlock: number, K: number) => 512 + (rowBlock + stripRows) * K * 4;

  const attention = wasmAttention({ heap, recorder, dots }, withScratch, threads, columns);

  return {
    fill: (a) => {
      if ((a.out.buffer as WasmBuffer).dtype === "i32") {
        // The word is moved as it is: an integer's bits, not its value as a float.
        const bits = new Float32Array(new Int32Array([a.value]).buffer)[0] as number;
        if (!Number.isNaN(bits)) record("fill", { ...a, value: bits });
        else record("copy", integerFill(a.out, a.n, a.value));
      } else record("fill", a);
    },
    copy: ({ out, x, shape, outStrides, xStrides, accumulate }) => {
      // Missing dimensions come first. No arrays are made: small models copy more often than they multiply.
      const last = shape.length - 1;
      const n1 = last < 2 ? 1 : (shape[last - 2] as number);
      const n2 = last < 1 ? 1 : (shape[last - 1] as number);
      const n3 = last < 0 ? 1 : (shape[last] as number);
      const o1 = last < 2 ? 0 : (outStrides[last - 2] as number);
      const o2 = last < 1 ? 0 : (outStrides[last - 1] as number);
      const o3 = last < 0 ? 0 : (outStrides[last] as number);
      const x1 = last < 2 ? 0 : (xStrides[last - 2] as number);
      const x2 = last < 1 ? 0 : (xStrides[last - 1] as number);
      const x3 = last < 0 ? 0 : (xStrides[last] as number);
      const n0 = last < 3 ? 1 : (shape[0] as number);
      // Two dimensions are shared among threads: with few outer ones, swap so that the long one comes first.
      if (n0 * n1 === 1)
        record("copy", { out, x, n0: 1, n1: n2, n2: 1, n3, o0: 0, o1: o2, o2: 0, o3, x0: 0, x1: x2, x2: 0, x3, accumulate });
      else {
        const o0 = last < 3 ? 0 : (outStrides[0] as number);
        const x0 = last < 3 ? 0 : (xStrides[0] as number);
        record("copy", { out, x, n0, n1, n2, n3, o0, o1, o2, o3, x0, x1, x2, x3, accumulate });
      }
    },
    gatherRows: (a) => record("gatherRows", a),
    scatterRows: (a) => record("scatterRows", a),
    cacheWrite: ({ cache, x, index, rows, width, cacheRows, type }) =>
      record("cacheWrite", {
        out: cache,
        x,
        index,
        rows,
        width,
        outRows: cacheRows,
        rowWords: cacheRowWords(type, width),
        type: narrow(type),
      }),
    binary: (a) => record("binary", { ...a, kind: binaryKinds.indexOf(a.kind) }),
    unary: (a) => record("unary", { ...a, kind: unaryKinds.indexOf(a.kind) }),
    unaryBackward: (a) => record("unaryBackward", { ...a, kind: unaryKinds.indexOf(a.kind) }),
    affine: (a) => record("affine", a),
    clamp: (a) => record("clamp", a),
    clampBackward: (a) => record("clampBackward", a),
    swiglu: (a) => record("swiglu", a),
    swigluBackward: (a) => record("swigluBackward", a),
    sumAxis: (a) => record("sumAxis", a),
    sumSquares: ({ out, x, n, accumulate }) => {
      const count = Math.ceil(n / 4096);
      withScratch(
        count * 8,
        (partials) => {
          record("sumSquares", { partials, x, n });
          record("finishSum", { out, partials, count, accumulate });
        },
        1,
      );
    },
    matmul: (a) => {
      const { out, M, N, K, accumulate, transposeA, transposeB, batch = 1 } = a;
      if (M * N * batch === 0) return;
      const { outBatchStride = M * N, aBatchStride = M * K, bBatchStride = K * N } = a;
      const count = bBatchStride === 0 ? 1 : batch;
      const shape = { K, N, kStride: transposeB ? 1 : N, nStride: transposeB ? K : 1, count, bStride: bBatchStride };
      const panels = Math.ceil(N / columns);
      const rowBlock = rowBlockFor(M * batch, K);
      // Blocks of nearly equal numbers of strips, so that no thread waits for one that has a strip more in each of its blocks.
      const rowBlocks = Math.ceil(M / rowBlock);
      const panelBlock = Math.max(1, Math.min(panels, Math.floor((panels * rowBlocks * batch) / (16 * threads))));
      withPacked(a.b, shape, a.cacheB === true, (packed) => {
        withScratch(scratchFor(rowBlock, K), (scratch, scratchStride) => {
          record("matmul", {
            out,
            a: a.a,
            packed,
            M,
            N,
            K,
            mStride: transposeA ? 1 : K,
            kStride: transposeA ? M : 1,
            columns,
            accumulate,
            batch,
            outBatchStride,
            aBatchStride,
            packedBatchStride: bBatchStride === 0 ? 0 : panels * columns * K * 4,
            rowBlocks,
            panelBlock,
            scratch,
            scratchStride,
          });
        });
      });
    },
    groupedMatmul: ({ out, x, w, offsets, S, E, N, K, transposeW, cacheW }) => {
      if (S === 0) return;
      const shape = { K, N, kStride: transposeW ? 1 : N, nStride: transposeW ? K : 1, count: E, bStride: N * K };
      const rowBlock = rowBlockFor(S, K);
      withPacked(w, shape, cacheW === true, (packed) => {
        withScratch(scratchFor(rowBlock, K), (scratch, scratchStride) => {
          record("groupedMatmul", { out, x, packed, offsets, S, E, N, K, columns, rowBlock, scratch, scratchStride });
        });
      });
    },
    groupedMatmulWeightGrad: ({ dw, dy, x, offsets, S, E, N, K }) => {
      if (S === 0) return;
      const rowBlock = rowBlockFor(N * E, S);
      withPacked(x, { K: S, N: K, kStride: K, nStride: 1, count: 1, bStride: 0 }, false, (packed) => {
        withScratch(scratchFor(rowBlock, S), (scratch, scratchStride) => {
          record("groupedMatmulWeightGrad", { dw, dy, packed, offsets, S, E, N, K, columns, rowBlock, scratch, scratchStride });
        });
      });
    },
    ...packed.kernels,
    rmsNorm: (a) => record("rmsNorm", a),
    rmsNormBackward: (a) => {
      const { dx, dweight, dy, x, weight, rows, width, eps } = a;
      withScratch(
        rows * 4,
        (inverse) => {
          record("rmsNormBackward", { dx, dy, x, weight, inverse, rows, width, eps });
          if (dweight) record("rmsNormWeightGrad", { dweight, dy, x, inverse, rows, width });
        },
        1,
      );
    },
    rope: (a) => record("rope", a),
    embedding: (a) => record("embedding", a),
    embeddingBackward: (a) => record("embeddingBackward", a),
    crossEntropy: (a) => record("crossEntropy", a),
    crossEntropyBackward: (a) => record("crossEntropyBackward", a),
    entropy: (a) => record("entropy", a),
    softmax: (a) => record("softmax", a),
    softmaxBackward: (a) => record("softmaxBackward", a),
    attention,
    attentionBackward: (a) => {
      const panelKeys = panelKeysFor(a.R, a.S);
      withScratch((panelKeys * (a.D + a.Dv) + 4 * (a.S + 8)) * 4, (scratch, scratchStride) =>
        record("attentionBackward", { ...a, panelKeys, scratch, scratchStride }),
      );
    },
    route: (a) => withScratch((a.E + a.groups) * 4, (scratch, scratchStride) => record("route", { ...a, scratch, scratchStride })),
    routeBackward: (a) => record("routeBackward", a),
    dispatch: (a) => withScratch(a.E * 4, (scratch) => record("dispatch", { ...a, scratch }), 1),
    expertGather: (a) => record("expertGather", a),
    expertCombine: (a) => record("expertCombine", a),
    expertCombineWeightGrad: (a) => record("expertCombineWeightGrad", a),
    expertLoad: (a) => record("expertLoad", a),
    balanceBias: (a) => record("balanceBias", a),
    clipFactor: (a) => record("clipFactor", a),
    adamw: ({ lr, weightDecay, c1, c2, ...a }) =>
      record("adamw", {
        ...a,
        rest1: 1 - a.beta1,
        rest2: 1 - a.beta2,
        decay: 1 - lr * weightDecay,
        stepSize: lr / c1,
        inverseRoot: 1 / Math.sqrt(c2),
      }),
  };

  /** A broadcast copy of one staged integer, for the few bit patterns that a float cannot carry. */
  function integerFill(out: View, n: number, value: number): object {
    const address = recorder.stage(4);
    heap.words[address >>> 2] = value;
    const x = { buffer: { address } as WasmBuffer, offset: 0 };
    return { out, x, n0: 1, n1: n, n2: 1, n3: 1, o0: 0, o1: 1, o2: 0, o3: 0, x0: 0, x1: 0, x2: 0, x3: 0 };
  }
}
