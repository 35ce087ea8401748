// Recordings on the wasm device: what a body records, kept as a tape whose every address lies in memory that nobody else gets, so that it may be played again.

import type { DeviceBuffer, Recording, Repeater } from "../backend.ts";
import { FreeRanges } from "./free-ranges.ts";
import type { Arena, SharedHeap } from "./memory.ts";
import type { Recorder, WasmBuffer } from "./recorder.ts";

export class WasmRepeater implements Repeater {
  readonly #heap: SharedHeap;
  readonly #recorder: Recorder;
  readonly #arena: Arena = { pieces: [], free: new FreeRanges() };

  constructor(heap: SharedHeap, recorder: Recorder) {
    this.#heap = heap;
    this.#recorder = recorder;
  }

  record(body: () => readonly DeviceBuffer[]): Recording | undefined {
    const recorder = this.#recorder;
    recorder.startTape();
    this.#heap.openArena(this.#arena);
    let results: readonly WasmBuffer[] | undefined;
    let tape: ReturnType<Recorder["endTape"]>;
    try {
      results = body() as readonly WasmBuffer[];
    } finally {
      tape = recorder.endTape();
      this.#heap.closeArena();
    }
    if (!tape) return undefined;
    const kept = tape;
    const handles = results.map((buffer) => ({ ...buffer }));
    return { play: () => (recorder.play(kept) ? handles.map((buffer) => ({ ...buffer })) : undefined) };
  }

  close(): void {
    this.#heap.dropArena(this.#arena);
  }
}
