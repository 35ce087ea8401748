// Endless batches whose whole state is one integer: how many documents were consumed. The same seed and index always continue the same,
// so a checkpoint stores `{ index }` and a resumed run sees every row exactly as often as an unbroken one.
// In: a source of documents by number (generated, or a finite list shuffled anew in every epoch). Out: batches of pack.ts.

import { ConfigError } from "../core/errors.ts";
import { Random } from "../core/random.ts";
import { type Batch, type BatchShape, checkBatchShape, type Document, packBatch, splitDocument } from "./pack.ts";

/** Document number `index`, 0, 1, 2 … without end. A pure function: the same number gives the same document. */
export type DocumentSource = (index: number) => Document;

export type DataState = { readonly index: number };

/** Documents made on demand; document `index` gets its own generator, so any of them can be made without the ones before. */
export function generatedSource(make: (random: Random, index: number) => Document, seed: number): DocumentSource {
  const root = new Random(seed).fork("generated documents");
  return (index) => make(root.fork(index), index);
}

export type ListOptions = {
  readonly seed: number;
  /** A new order in every epoch (default), or always the given one. */
  readonly shuffle?: boolean;
  /** What to do with documents of more than `T` ids: cut into pieces that share one id (pretraining), keep the first T, or refuse. Default "error". */
  readonly long?: "split" | "truncate" | "error";
  readonly T: number;
};

/**
 * A finite list, epoch after epoch: documents 0 .. count - 1 are the first epoch. `count` is the number of documents after splitting.
 * Throws ConfigError when the list is empty or a document is too long.
 */
export function listSource(
  documents: readonly Document[],
  options: ListOptions,
): { readonly source: DocumentSource; readonly count: number } {
  const { seed, shuffle = true, long = "error", T } = options;
  const list = documents.flatMap((document, i) => fitDocument(document, i, T, long));
  if (list.length === 0) {
    throw new ConfigError({
      operation: "open training data",
      got: "no documents",
      expected: "at least one",
      cure: "give a data file with at least one row",
    });
  }
  const root = new Random(seed).fork("epochs");
  let epoch = -1;
  let order: number[] = [];
  const source = (index: number): Document => {
    const wanted = Math.floor(index / list.length);
    if (wanted !== epoch) {
      epoch = wanted;
      order = list.map((_, i) => i);
      if (shuffle) root.fork(epoch).shuffle(order);
    }
    return list[order[index % list.length] as number] as Document;
  };
  return { source, count: list.length };
}

export class DataStream {
  readonly #source: DocumentSource;
  readonly #shape: BatchShape;
  readonly #pad: number;
  #index = 0;

  /** `pad` fills the end of each row; no token attends to it and it has no target. */
  constructor(source: DocumentSource, shape: BatchShape, options: { readonly pad?: number; readonly state?: DataState } = {}) {
    this.#source = source;
    this.#shape = checkBatchShape(shape);
    this.#pad = options.pad ?? 0;
    if (options.state) this.restore(options.state);
  }

  /** Documents consumed so far. */
  get state(): DataState {
    return { index: this.#index };
  }

  restore(state: DataState): void {
    if (!Number.isSafeInteger(state.index) || state.index < 0) {
      throw new ConfigError({
        operation: "restore a data stream",
        got: `index ${state.index}`,
        expected: "an integer of 0 or more",
        cure: "resume from an earlier checkpoint",
      });
    }
    this.#index = state.index;
  }

  next(): Batch {
    let index = this.#index;
    const batch = packBatch(() => this.#source(index++), this.#shape, this.#pad);
    this.#index += batch.documents;
    return batch;
  }
}

function fitDocument(document: Document, index: number, T: number, long: "split" | "truncate" | "error"): Document[] {
  const { ids, mask } = document;
  if (ids.length <= T) return [document];
  if (long === "split") return splitDocument(document, T);
  if (long === "truncate") return [mask ? { ids: ids.slice(0, T), mask: mask.slice(0, T) } : { ids: ids.slice(0, T) }];
  throw new ConfigError({
    operation: "open training data",
    got: `document ${index} of ${ids.length} tokens`,
    expected: `at most ${T} tokens`,
    cure: "raise the sequence length, or set long to 'split' or 'truncate'",
  });
}
