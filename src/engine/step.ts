// One forward pass of a plan on the device: uploads its numbers in one piece, copies shared beginnings of pages, runs the model over the paged
// cache. In: a plan. Out: logits [M, V] of the sequences that choose, and on demand the losses of what they chose. Owns the cache.

import type { CacheType } from "../core/dtype.ts";
import type { Cache, Model } from "../models/model.ts";
import { crossEntropy } from "../ops/cross-entropy.ts";
import { zeros } from "../ops/fill.ts";
import { gatherRows, scatterRows } from "../ops/gather-rows.ts";
import { alias, dispose, empty, fromArray, keep, scope, type Tensor } from "../tensor/tensor.ts";
import { noGradients } from "../tensor/tracking.ts";
import { fillStep, layoutOf } from "./layout.ts";
import type { PagePool } from "./pages.ts";
import type { StepPlan } from "./scheduler.ts";

export class StepRunner {
  readonly #model: Model;
  readonly #pageSize: number;
  readonly #absorbed: boolean;
  readonly #cache: Cache;
  /** The step's numbers, here and on the device; they grow with the page table. */
  #packed: Int32Array;
  #input: Tensor;
  /** i32 zeros: every row sees its sequence from the first key on. */
  #first: Tensor;

  /** Allocates the cache: pool.count · pool.pageSize rows. Throws DeviceError when it does not fit. */
  constructor(model: Model, pool: PagePool, absorbed: boolean, type: CacheType) {
    this.#model = model;
    this.#pageSize = pool.pageSize;
    this.#absorbed = absorbed;
    this.#cache = keep(() => model.makeCache(pool.count, pool.pageSize, { expanded: !absorbed, type }));
    this.#packed = new Int32Array(1024);
    try {
      this.#input = keep(() => empty(model.device, [this.#packed.length], "i32"));
      this.#first = keep(() => zeros(model.device, [256], "i32"));
    } catch (error) {
      this.#cache.dispose();
      throw error;
    }
  }

  /** Records the pass; nothing waits. */
  forward(plan: StepPlan): Tensor {
    const { device } = this.#model;
    const layout = layoutOf(plan);
    const { R, M, tables, width, copies, length } = layout;
    this.#makeRoom(length, R);
    fillStep(plan, layout, this.#pageSize, this.#packed);
    let at = 0;
    const part = (...shape: number[]) => {
      const tensor = alias(this.#input, shape, at);
      at += shape.reduce((a, b) => a * b, 1);
      return tensor;
    };
    return noGradients(() =>
      scope(() => {
        device.write(this.#input.storage.buffer, 0, this.#packed.subarray(0, length));
        const [ids, positions, rows, slot] = [part(R), part(R), part(R), part(R)];
        const outputRows = part(M);
        const pages = { table: part(tables, width), slot, size: this.#pageSize };
        if (copies > 0) this.#copyRows(part(copies), part(copies));
        const cache = { cache: this.#cache, rows, pages };
        return this.#model.forward({
          ids,
          positions,
          first: alias(this.#first, [R]),
          last: positions,
          cache,
          outputRows,
          absorbed: this.#absorbed,
        }).logits;
      }),
    );
  }

  /** Negative log-probabilities [M] of the targets, -1 for none, by the training kernel. */
  losses(logits: Tensor, targets: readonly number[]): Tensor {
    return noGradients(() => scope(() => crossEntropy(logits, fromArray(this.#model.device, targets, [targets.length], "i32"))));
  }

  dispose(): void {
    this.#cache.dispose();
    dispose(this.#input, this.#first);
  }

  /** All sources are read before anything is written, so a page may be source and target at once. */
  #copyRows(from: Tensor, to: Tensor): void {
    for (const tensor of this.#cache.layers.flat()) scope(() => scatterRows(tensor, gatherRows(tensor, from), to));
  }

  #makeRoom(length: number, rows: number): void {
    const { device } = this.#model;
    if (this.#packed.length < length) {
      this.#packed = new Int32Array(roomFor(length));
      dispose(this.#input);
      this.#input = keep(() => empty(device, [this.#packed.length], "i32"));
    }
    if ((this.#first.shape[0] as number) < rows) {
      dispose(this.#first);
      this.#first = keep(() => zeros(device, [roomFor(rows)], "i32"));
    }
  }
}

/** Some to spare, so that growing is rare. */
function roomFor(length: number): number {
  return 2 ** Math.ceil(Math.log2(length));
}
