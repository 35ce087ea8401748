// Drafts by multi-token prediction: after the ids of a step are chosen, the model's next head runs over the same rows, with the id that came after
// each, and its logits say what may come after that (DeepSeek-V3, section 2.2; the head is one block more). Its keys lie in the same
// pages, in a layer of their own. The head may pause, when drafts do not pay, and prefixes may come from the cache: a row sees only keys that
// the head did write without a gap, so for each page is known from which row on it has them. The last of a shared page may have been
// written with another following id; that makes a draft a little worse, and no answer different.

import type { HostArray } from "../core/dtype.ts";
import { argmax, exponential, reach, unusable } from "./filters.ts";
import type { PagePool } from "./pages.ts";
import type { StepPlan } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";
import type { Drafter, Proposal } from "./speculation.ts";

/** What the head is fed with after a step. */
export type NextRows = {
  /** R: the id after each row, 0 where nobody will ask. */
  readonly nextIds: readonly number[];
  /** R: the first key that each row sees. */
  readonly first: readonly number[];
  /** Rows whose prediction is wanted, and for whom. */
  readonly outputRows: readonly number[];
  readonly sequences: readonly Sequence[];
};

/** The rows of one sequence in a step: positions from .. from + rows - 1. */
export type Span = { readonly sequence: Sequence; readonly from: number; readonly rows: number; readonly first: number };

/** Steps after which drafts are judged, and for how many the head pauses when they do not pay; each time twice as many. */
const trial = 16;
const firstPause = 64;
const longestPause = 1024;
/** Probabilities from which the next grade begins. */
const grades = [0, 0.5, 0.8, 0.95] as const;

export class NextDrafter implements Drafter {
  readonly #pageSize: number;
  /** By page: the first row from which on the head has keys without a gap; pageSize where it has none. */
  readonly #firstRows: Int32Array;
  readonly #drafts = new WeakMap<Sequence, { readonly at: number; readonly proposal: Proposal }>();
  #worth = 0;
  #judged = 0;
  #pause = firstPause;
  #left = 0;

  constructor({ count, pageSize }: PagePool) {
    this.#pageSize = pageSize;
    this.#firstRows = new Int32Array(count).fill(pageSize);
  }

  /** What the head said when the sequence had as many ids as now. */
  propose(sequence: Sequence): Proposal | undefined {
    const draft = this.#drafts.get(sequence);
    return draft?.at === sequence.ids.length ? draft.proposal : undefined;
  }

  /** How many ids a second there are for each that plain decoding has, as expected of a step with drafts. */
  judge(worth: number): void {
    this.#worth += (worth - this.#worth) / ++this.#judged;
    if (this.#judged < trial) return;
    if (this.#worth >= 1) this.#pause = firstPause;
    else {
      this.#left = this.#pause;
      this.#pause = Math.min(2 * this.#pause, longestPause);
    }
    this.#worth = 0;
    this.#judged = 0;
  }

  /** Called before a step is computed. The rows that the head will run over, or undefined when it pauses. */
  begin({ fed, choosing }: StepPlan): Span[] | undefined {
    const isPausing = this.#left > 0;
    if (isPausing && choosing.length > 0) this.#left--;
    const spans = fed.map((sequence) => this.#span(sequence, isPausing));
    return isPausing ? undefined : spans;
  }

  /** After the choices. */
  rowsOf(spans: readonly Span[]): NextRows {
    const rows = { nextIds: [] as number[], first: [] as number[], outputRows: [] as number[], sequences: [] as Sequence[] };
    for (const { sequence, from, rows: count, first } of spans) {
      const { ids, isDone } = sequence;
      for (let position = from; position < from + count; position++) {
        if (position === ids.length - 2 && !isDone) {
          rows.outputRows.push(rows.nextIds.length);
          rows.sequences.push(sequence);
        }
        rows.nextIds.push(ids[position + 1] ?? 0);
        rows.first.push(first);
      }
    }
    return rows;
  }

  /** `logits` [M, vocabSize], for M sequences; `width` ids may be drawn. */
  note(sequences: readonly Sequence[], logits: HostArray, vocabSize: number, width: number): void {
    for (const [m, sequence] of sequences.entries()) {
      const start = m * vocabSize;
      const id = argmax(logits, start, width);
      if (id === unusable) continue;
      let sum = 0;
      const top = logits[start + id] as number;
      for (let i = start; i < start + width; i++) {
        const below = (logits[i] as number) - top;
        if (below >= -reach) sum += exponential(below);
      }
      const grade = grades.findLastIndex((least) => 1 / sum >= least);
      this.#drafts.set(sequence, { at: sequence.ids.length, proposal: { ids: [id], grade: Math.max(0, grade) } });
    }
  }

  /** Takes note of the pages that a step writes, with the head or without. */
  #span(sequence: Sequence, isPausing: boolean): Span {
    const { pages, cached: from, feed: rows, copy } = sequence;
    const size = this.#pageSize;
    const firstRows = this.#firstRows;
    if (copy) firstRows[copy.to] = firstRows[copy.from] as number;
    const begin = Math.floor(from / size);
    for (let i = begin; i * size < from + rows; i++) {
      const page = pages[i] as number;
      const row = Math.max(0, from - i * size);
      firstRows[page] = isPausing ? size : row === 0 ? 0 : Math.min(row, firstRows[page] as number);
    }
    let first = begin * size + (firstRows[pages[begin] as number] as number);
    for (let i = begin - 1; i >= 0 && first === (i + 1) * size; i--) first -= size - (firstRows[pages[i] as number] as number);
    return { sequence, from, rows, first };
  }
}
