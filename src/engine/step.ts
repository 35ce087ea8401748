// One forward pass of a plan on the device: uploads its numbers in one piece, copies shared beginnings of pages, runs the model over the paged
// cache. In: a plan. Out: logits [M, V] of the sequences that choose, and on demand the losses of what they chose and what the next head says. Owns the cache.

import type { Device } from "../backend/backend.ts";
import type { CacheType } from "../core/dtype.ts";
import type { Cache, Model } from "../models/model.ts";
import { crossEntropy } from "../ops/cross-entropy.ts";
import { zeros } from "../ops/fill.ts";
import { gatherRows, scatterRows } from "../ops/gather-rows.ts";
import { Replays } from "../tensor/replays.ts";
import { alias, dispose, empty, fromArray, keep, scope, type Tensor } from "../tensor/tensor.ts";
import { noGradients } from "../tensor/tracking.ts";
import { fillStep, type Layout, layoutOf } from "./layout.ts";
import type { PagePool } from "./pages.ts";
import type { StepPlan } from "./scheduler.ts";

/** Rows of a pass that is recorded to be played again. */
const mostRepeated = 256;

export class StepRunner {
  readonly #model: Model;
  readonly #pageSize: number;
  readonly #absorbed: boolean;
  readonly #cache: Cache;
  #layout: Layout | undefined;
  /** The step's numbers, and those of the next head. */
  readonly #input: Upload;
  readonly #nextInput: Upload;
  /** Passes of the same layout are the same commands. The next head has memory of its own: it reads what the pass left. */
  readonly #replays: Replays;
  readonly #nextReplays: Replays;
  #pass: number | undefined;
  /** i32 zeros: every row sees its sequence from the first key on. */
  #first: Tensor;

  /** Allocates the cache: pool.count · pool.pageSize rows. Throws DeviceError when it does not fit. */
  constructor(model: Model, pool: PagePool, absorbed: boolean, type: CacheType, nextHead = false) {
    this.#model = model;
    this.#pageSize = pool.pageSize;
    this.#absorbed = absorbed;
    this.#replays = new Replays(model.device);
    this.#nextReplays = new Replays(model.device);
    this.#cache = keep(() => model.makeCache(pool.count, pool.pageSize, { expanded: !absorbed, type, ...(nextHead && { nextHead }) }));
    try {
      this.#input = new Upload(model.device);
      this.#nextInput = new Upload(model.device);
      this.#first = keep(() => zeros(model.device, [256], "i32"));
    } catch (error) {
      this.#cache.dispose();
      throw error;
    }
  }

  /** Records the pass; nothing waits. `hidden` is for predictNext. What it returns holds until the next pass. */
  forward(plan: StepPlan, withHidden = false): { logits: Tensor; hidden?: Tensor } {
    const layout = layoutOf(plan);
    const { R, length } = layout;
    this.#layout = layout;
    this.#makeRoom(length, R);
    fillStep(plan, layout, this.#pageSize, this.#input.numbers);
    return noGradients(() =>
      scope(() => {
        this.#input.send(length);
        const { copies, ...input } = this.#parts(layout);
        if (copies) this.#copyRows(...copies);
        const pass = (): readonly Tensor[] => {
          const { logits, hidden } = this.#model.forward({ ...input, first: alias(this.#first, [R]), ...(withHidden && { withHidden }) });
          return hidden ? [logits, hidden] : [logits];
        };
        const { M, tables, width } = layout;
        // A pass of many rows computes much longer than it takes to record it, and seldom comes again.
        const isRepeated = R <= mostRepeated;
        const results = isRepeated ? this.#replays.run(`${R} ${M} ${tables} ${width} ${withHidden}`, pass) : pass();
        this.#pass = isRepeated ? this.#replays.current : undefined;
        const [logits, hidden] = results as readonly [Tensor, Tensor?];
        return hidden ? { logits, hidden } : { logits };
      }),
    );
  }

  /** The next head over the rows of the last forward: `hidden` [R, C], nextIds and first for each row -> logits [M, V] of outputRows. */
  predictNext(hidden: Tensor, nextIds: readonly number[], first: readonly number[], outputRows: readonly number[]): Tensor {
    const layout = this.#layout as Layout;
    const R = layout.R;
    const M = outputRows.length;
    if (this.#nextInput.makeRoom(2 * R + M)) this.#nextReplays.forget();
    this.#nextInput.numbers.set([...nextIds, ...first, ...outputRows]);
    return noGradients(() =>
      scope(() => {
        this.#nextInput.send(2 * R + M);
        const numbers = this.#nextInput.tensor;
        const pass = () => {
          const { positions, last, cache, absorbed } = this.#parts(layout);
          const input = { positions, last, cache, absorbed, first: alias(numbers, [R], R), outputRows: alias(numbers, [M], 2 * R) };
          return [
            (this.#model.predictNext as NonNullable<Model["predictNext"]>)({ ...input, hidden, nextIds: alias(numbers, [R]) }).logits,
          ];
        };
        // What is the same pass has the same layout, and its hidden state lies in the same place.
        const results = this.#pass === undefined ? pass() : this.#nextReplays.run(`${this.#pass} ${M}`, pass);
        return results[0] as Tensor;
      }),
    );
  }

  /** Views of the uploaded numbers, as the model wants them, and from where to where rows are copied before. */
  #parts({ R, M, tables, width, copies }: Layout) {
    let at = 0;
    const part = (...shape: number[]) => {
      const tensor = alias(this.#input.tensor, shape, at);
      at += shape.reduce((a, b) => a * b, 1);
      return tensor;
    };
    const [ids, positions, rows, slot, outputRows] = [part(R), part(R), part(R), part(R), part(M)];
    const pages = { table: part(tables, width), slot, size: this.#pageSize };
    const cache = { cache: this.#cache, rows, pages };
    const pairs = copies > 0 ? ([part(copies), part(copies)] as const) : undefined;
    return { ids, positions, last: positions, cache, outputRows, absorbed: this.#absorbed, copies: pairs };
  }

  /** Negative log-probabilities of the targets (-1 for none), one for each of the given rows of logits, by the training kernel. */
  losses(logits: Tensor, rows: readonly number[], targets: readonly number[]): Tensor {
    const indices = (list: readonly number[]) => fromArray(this.#model.device, list, [list.length], "i32");
    return noGradients(() =>
      scope(() => crossEntropy(rows.length === logits.shape[0] ? logits : gatherRows(logits, indices(rows)), indices(targets))),
    );
  }

  dispose(): void {
    this.#replays.dispose();
    this.#nextReplays.dispose();
    this.#cache.dispose();
    dispose(this.#input.tensor, this.#nextInput.tensor, this.#first);
  }

  /** All sources are read before anything is written, so a page may be source and target at once. */
  #copyRows(from: Tensor, to: Tensor): void {
    for (const tensor of this.#cache.layers.flat()) scope(() => scatterRows(tensor, gatherRows(tensor, from), to));
  }

  #makeRoom(length: number, rows: number): void {
    const isMoved = this.#input.makeRoom(length);
    const isFirstShort = (this.#first.shape[0] as number) < rows;
    if (isFirstShort) {
      dispose(this.#first);
      this.#first = keep(() => zeros(this.#model.device, [roomFor(rows)], "i32"));
    }
    if (!isMoved && !isFirstShort) return;
    this.#replays.forget();
    this.#nextReplays.forget();
  }
}

/** Numbers of the host and where they go on the device, in one piece. */
class Upload {
  readonly #device: Device;
  numbers = new Int32Array(1024);
  tensor: Tensor;

  constructor(device: Device) {
    this.#device = device;
    this.tensor = keep(() => empty(device, [this.numbers.length], "i32"));
  }

  /** True when it had to grow: what was there is gone, and the tensor is another. */
  makeRoom(length: number): boolean {
    if (this.numbers.length >= length) return false;
    this.numbers = new Int32Array(roomFor(length));
    dispose(this.tensor);
    this.tensor = keep(() => empty(this.#device, [this.numbers.length], "i32"));
    return true;
  }

  /** The first `length` of the numbers, ordered with the commands. */
  send(length: number): void {
    this.#device.write(this.tensor.storage.buffer, 0, this.numbers.subarray(0, length));
  }
}

/** Some to spare, so that growing is rare. */
function roomFor(length: number): number {
  return 2 ** Math.ceil(Math.log2(length));
}
