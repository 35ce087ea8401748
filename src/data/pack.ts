// Documents (ids with a loss mask) to one flat batch of B rows of T tokens, exactly as Model.forward takes it. Several documents share a
// row; each sees only itself: its positions start at 0 and its attention starts at its own first token. In: documents, in order. Out: Batch.
// Unusual: a document goes into the first row that has room, and packing stops at the first document that fits nowhere. So documents
// are consumed strictly in order, none is skipped or cut, and the number consumed is the whole state of a data stream.

import { ConfigError } from "../core/errors.ts";

export type Document = {
  readonly ids: readonly number[];
  /** One entry for each id: 1 where predicting this id counts in the loss. Absent: every id counts. The first id is never predicted. */
  readonly mask?: readonly number[];
};

export type BatchShape = {
  /** Rows (sequences), at least 1. */
  readonly B: number;
  /** Tokens in each row, at least 2. */
  readonly T: number;
};

/** Everything is flat, B·T long, row after row. `-1` means no target. */
export type Batch = {
  readonly B: number;
  readonly T: number;
  /** Token ids; `pad` after the last document of a row. */
  readonly ids: Int32Array;
  /** The next token of the same document where that counts in the loss, else -1. */
  readonly targets: Int32Array;
  /** Position inside the document, from 0. */
  readonly positions: Int32Array;
  /** First and last flat row that each token attends to, inclusive: its document's start, and itself. */
  readonly first: Int32Array;
  readonly last: Int32Array;
  /** The next token of the same document, whether or not it counts, else -1: input of multi-token prediction. */
  readonly nextIds: Int32Array;
  /** The token after the next where that counts in the loss, else -1: target of multi-token prediction. */
  readonly mtpTargets: Int32Array;
  /** Number of targets that are not -1. */
  readonly tokens: number;
  /** Tokens of documents (the rest of B·T is padding). */
  readonly used: number;
  /** How many documents were packed. */
  readonly documents: number;
  /** Flat row at which each of them begins. */
  readonly starts: readonly number[];
};

/** Loss on the completion only: the prompt's ids are read, never learned. */
export function completionDocument(prompt: readonly number[], completion: readonly number[]): Document {
  return { ids: [...prompt, ...completion], mask: [...prompt.map(() => 0), ...completion.map(() => 1)] };
}

/**
 * Cuts a document into pieces of at most T ids. Neighbours share one id (the last of one is the first of the next), so that every id but
 * the document's first is predicted exactly once.
 */
export function splitDocument(document: Document, T: number): Document[] {
  const { ids, mask } = document;
  if (ids.length <= T) return [document];
  const pieces: Document[] = [];
  for (let start = 0; start < ids.length - 1; start += T - 1) {
    const end = Math.min(start + T, ids.length);
    pieces.push(mask ? { ids: ids.slice(start, end), mask: mask.slice(start, end) } : { ids: ids.slice(start, end) });
  }
  return pieces;
}

/**
 * Packs documents from `next()` until one fits nowhere or `next` returns undefined. That document is not consumed: `documents` does not
 * count it. Throws ConfigError for a document that is empty or longer than T, or whose mask has another length.
 */
export function packBatch(next: () => Document | undefined, shape: BatchShape, pad = 0): Batch {
  const { B, T } = checkBatchShape(shape);
  const R = B * T;
  const batch = {
    ids: new Int32Array(R).fill(pad),
    targets: new Int32Array(R).fill(-1),
    positions: new Int32Array(R),
    first: Int32Array.from({ length: R }, (_, r) => r),
    last: Int32Array.from({ length: R }, (_, r) => r),
    nextIds: new Int32Array(R).fill(-1),
    mtpTargets: new Int32Array(R).fill(-1),
  };
  const filled = new Array<number>(B).fill(0);
  let tokens = 0;
  const starts: number[] = [];
  let used = 0;
  for (let document = next(); document !== undefined; document = next()) {
    const { ids, mask } = checkDocument(document, T);
    const row = filled.findIndex((count) => count + ids.length <= T);
    if (row === -1) break;
    const start = row * T + (filled[row] as number);
    filled[row] = (filled[row] as number) + ids.length;
    used += ids.length;
    starts.push(start);
    const counts = (i: number) => i < ids.length && (mask === undefined || mask[i] === 1);
    for (let i = 0; i < ids.length; i++) {
      const r = start + i;
      batch.ids[r] = ids[i] as number;
      batch.positions[r] = i;
      batch.first[r] = start;
      if (i + 1 < ids.length) batch.nextIds[r] = ids[i + 1] as number;
      if (counts(i + 2)) batch.mtpTargets[r] = ids[i + 2] as number;
      if (counts(i + 1)) {
        batch.targets[r] = ids[i + 1] as number;
        tokens++;
      }
    }
  }
  return { B, T, ...batch, tokens, used, documents: starts.length, starts };
}

export function checkBatchShape(shape: BatchShape): BatchShape {
  const { B, T } = shape;
  if (Number.isSafeInteger(B) && Number.isSafeInteger(T) && B >= 1 && T >= 2 && B * T <= 2 ** 28) return shape;
  throw new ConfigError({
    operation: "pack a batch",
    got: `B ${B}, T ${T}`,
    expected: "integers, B of 1 or more, T of 2 or more, B·T at most 2^28",
    cure: "set the batch size and sequence length",
  });
}

function checkDocument(document: Document, T: number): Document {
  const { ids, mask } = document;
  const fail = (got: string, expected: string, cure: string): never => {
    throw new ConfigError({ operation: "pack a document", got, expected, cure });
  };
  if (ids.length === 0) fail("no ids", "at least one", "leave out empty rows");
  if (ids.length > T)
    fail(`${ids.length} ids`, `at most T = ${T}`, "raise the sequence length, shorten the row, or split it (long: 'split')");
  if (mask && mask.length !== ids.length) fail(`a mask of ${mask.length} for ${ids.length} ids`, "one entry for each id", "mend the mask");
  return document;
}
