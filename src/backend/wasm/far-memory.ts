// Packed weights beyond 4 GiB. A WebAssembly memory ends there, so a larger model fills several: every thread has an instance of the kernels on each. A
// product with a far weight copies its rows of x over, runs there, and copies the result back: kilobytes beside the megabytes of the weight.
// Unusual: PackedWeights is the same for near and far; only where its commands go differs.

import type { Kernels, View } from "../backend.ts";
import { farIn, farOut, farPlace } from "./far-calls.ts";
import type { SharedHeap } from "./memory.ts";
import { type DotKind, PackedWeights } from "./packed.ts";
import { addressOf, type Recorder, type WasmBuffer } from "./recorder.ts";

export type PackedKernels = Pick<Kernels, "packedMatmul" | "packedGroupedMatmul" | "packedEmbedding">;

export class FarMemory {
  readonly heap: SharedHeap;
  readonly weights: PackedWeights;
  readonly kernels: PackedKernels;

  /** `index` among the far memories; commands pass through the near recorder, so their order is one. */
  constructor(index: number, heap: SharedHeap, recorder: Recorder, threads: number, columns: 8 | 16, dots: DotKind) {
    this.heap = heap;
    const place = heap.fresh(farPlace * threads);
    const writer = {
      record: (name: Parameters<Recorder["record"]>[0], args: object) => recorder.recordFar(index, place, name, args),
      submit: () => recorder.submit(),
      stage: (bytes: number) => recorder.stage(bytes, heap),
      stageChunk: () => recorder.stageChunk(heap),
      onTape: () => {}, // what runs in a far memory is on no tape
    };
    this.weights = new PackedWeights(heap, writer, threads, columns, dots);
    const { kernels } = this.weights;

    /** Runs `body` with far twins of some views and of `out`; the views are copied over before (`out` too when it is kept), `out` back after it. */
    const withTwins = (
      views: readonly (readonly [View, number])[],
      out: View,
      outWords: number,
      isKept: boolean,
      body: (twins: View[], target: View) => void,
    ) => {
      const blocks: [number, number][] = [];
      const twin = (view: View, words: number, copied: boolean): View => {
        const bytes = words * 4;
        const address = heap.allocate(bytes);
        blocks.push([address, bytes]);
        if (copied) recorder.record("far", { memory: index, kind: farIn, a: addressOf(view), b: address, c: bytes });
        return { buffer: { address, bytes } as WasmBuffer, offset: 0 };
      };
      const twins = views.map(([view, words]) => twin(view, words, true));
      const target = twin(out, outWords, isKept);
      body(twins, target);
      recorder.record("far", { memory: index, kind: farOut, a: addressOf(out), b: addressOf(target), c: outWords * 4 });
      (out.buffer as WasmBuffer).version++;
      for (const [address, bytes] of blocks) heap.release(address, bytes);
    };

    this.kernels = {
      packedMatmul: (a) =>
        withTwins([[a.x, a.M * a.K]], a.out, a.M * a.N, false, ([x], out) => kernels.packedMatmul({ ...a, x: x as View, out })),
      packedGroupedMatmul: (a) => {
        const views = [
          [a.x, a.S * a.K],
          [a.offsets, a.E + 1],
        ] as const;
        // Rows that the offsets leave out keep what they hold.
        withTwins(views, a.out, a.S * a.N, true, ([x, offsets], out) =>
          kernels.packedGroupedMatmul({ ...a, x: x as View, offsets: offsets as View, out }),
        );
      },
      packedEmbedding: (a) =>
        withTwins([[a.ids, a.rows]], a.out, a.rows * a.width, false, ([ids], out) =>
          kernels.packedEmbedding({ ...a, ids: ids as View, out }),
        ),
    };
  }
}
