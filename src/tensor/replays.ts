// Steps that repeat: what a body recorded under a key is played when the key comes again, and the host computes no shapes, addresses or commands anew. Only for bodies without
// gradients that read and write the same tensors each time, and of which the key says everything else.

import type { Device, DeviceBuffer, Recording, Repeater } from "../backend/backend.ts";
import { over, scope, type Tensor } from "./tensor.ts";

type Kept = { readonly id: number; readonly recording: Recording; readonly results: readonly Tensor[] };

export class Replays {
  readonly #repeater: Repeater | undefined;
  /** Used last comes last. */
  readonly #kept = new Map<string, Kept>();
  readonly #most: number;
  #made = 0;
  #current: number | undefined;

  /** Keeps the `most` recordings that were used last. */
  constructor(device: Device, most = 64) {
    this.#repeater = device.repeater?.();
    this.#most = most;
  }

  /** Which recording the results of the last call are of: they always lie in the same place. undefined: of none. */
  get current(): number | undefined {
    return this.#current;
  }

  /** What `body` returns, whether it was run or played. The tensors belong to the enclosing scope and hold until the next call. */
  run(key: string, body: () => readonly Tensor[]): readonly Tensor[] {
    if (!this.#repeater) return scope(body);
    const found = this.#kept.get(key);
    const played = found?.recording.play();
    if (found && played) {
      this.#keep(key, found);
      this.#current = found.id;
      return found.results.map((tensor, i) => over(played[i] as DeviceBuffer, tensor));
    }
    let results: readonly Tensor[] = [];
    const recording = this.#repeater.record(() => {
      results = scope(body);
      return results.map(({ storage }) => storage.buffer);
    });
    this.#current = recording && ++this.#made;
    if (recording) this.#keep(key, { id: this.#made, recording, results });
    return results;
  }

  /** To be called when a tensor that bodies use is another one. */
  forget(): void {
    this.#kept.clear();
  }

  dispose(): void {
    this.#kept.clear();
    this.#repeater?.close();
  }

  #keep(key: string, kept: Kept): void {
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    if (this.#kept.size <= this.#most) return;
    for (const oldest of this.#kept.keys()) {
      this.#kept.delete(oldest);
      return;
    }
  }
}
