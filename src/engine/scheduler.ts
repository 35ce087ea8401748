// Who runs, and how many rows each sequence has in the next step. Waiting sequences are admitted in order of arrival, while there is a place and
// room in the pool. In a step every decoding sequence has one row; `prefillTokens` more rows go to sequences with two or more ids to feed, in
// order of arrival, so a long prompt is computed in chunks beside the decoders. When the pool is full the newest sequence gives its pages back
// and waits; what it emitted stays, its keys are computed again later. The oldest can always go on, so everything ends. Drafts of speculation
// are rows more of decoding sequences, as far as free pages go.

import type { PagePool } from "./pages.ts";
import type { PrefixCache } from "./prefix-cache.ts";
import type { Sequence } from "./sequence.ts";

export type StepPlan = {
  /** Sequences with rows in this step, in the order of their rows. */
  readonly fed: readonly Sequence[];
  /** Those that choose an id after it, in the order of their logits. */
  readonly choosing: readonly Sequence[];
  /** The first row of logits of each of these; a row follows for each of its drafts. */
  readonly outputRows: readonly number[];
  /** M: rows of logits in all. */
  readonly outputs: number;
  /** R. */
  readonly rows: number;
};

export type SchedulerOptions = {
  /** Sequences that run at once. */
  readonly slots: number;
  readonly prefillTokens: number;
  readonly pool: PagePool;
  /** Without it nothing is shared. */
  readonly prefixes: PrefixCache | undefined;
  /** Gives sequences that have one row in the step drafts to verify. */
  readonly draft?: (decoding: readonly Sequence[]) => void;
};

/** A prompt waits a step for another that is computing the same ids when that saves at least so many rows. */
const worthWaiting = 8;

export class Scheduler {
  readonly #slots: number;
  readonly #prefillTokens: number;
  readonly #pool: PagePool;
  readonly #prefixes: PrefixCache | undefined;
  readonly #draft: SchedulerOptions["draft"];
  /** In order of arrival. */
  readonly #running: Sequence[] = [];
  /** They ran before, and are older than all that wait. */
  readonly #preempted: Sequence[] = [];
  readonly #waiting = new Set<Sequence>();
  preemptions = 0;
  /** Drafts that were given rows, and of these the ones that were chosen. */
  drafted = 0;
  accepted = 0;

  constructor({ slots, prefillTokens, pool, prefixes, draft }: SchedulerOptions) {
    this.#slots = slots;
    this.#prefillTokens = prefillTokens;
    this.#pool = pool;
    this.#prefixes = prefixes;
    this.#draft = draft;
  }

  get running(): readonly Sequence[] {
    return this.#running;
  }

  get waiting(): number {
    return this.#preempted.length + this.#waiting.size;
  }

  join(sequence: Sequence): void {
    this.#waiting.add(sequence);
  }

  /** A sequence is done, or was cancelled or failed. `isSound`: its keys may serve others. */
  leave(sequence: Sequence, isSound: boolean): void {
    if (!this.#waiting.delete(sequence)) {
      for (const line of [this.#running, this.#preempted]) {
        const at = line.indexOf(sequence);
        if (at >= 0) line.splice(at, 1);
      }
    }
    this.#letGo(sequence, isSound);
  }

  /** Admits, gives pages, preempts. Every sequence of the plan has pages for its rows. */
  plan(): StepPlan {
    this.#admit();
    for (const sequence of this.#running) sequence.feed = 0;
    // The newest are at the end, and preempting takes from there: neither loop is disturbed.
    for (let i = 0; i < this.#running.length; i++) {
      const sequence = this.#running[i] as Sequence;
      if (isDecoding(sequence) && this.#give(sequence, sequence.ids.length)) sequence.feed = 1;
    }
    let left = this.#prefillTokens;
    for (let i = 0; i < this.#running.length && left > 0; i++) {
      const sequence = this.#running[i] as Sequence;
      if (isDecoding(sequence) || !this.#place(sequence)) continue;
      const rows = Math.min(sequence.ids.length - sequence.cached, left);
      if (!this.#give(sequence, sequence.cached + rows)) continue;
      sequence.feed = rows;
      left -= rows;
    }
    if (this.#draft) this.#addDrafts(this.#draft);
    const fed = this.#running.filter(({ feed }) => feed > 0);
    const choosing = fed.filter(({ ids, cached, feed }) => cached + feed >= ids.length);
    let outputs = 0;
    const outputRows = choosing.map(({ drafts }) => {
      outputs += 1 + drafts.length;
      return outputs - 1 - drafts.length;
    });
    return { fed, choosing, outputRows, outputs, rows: fed.reduce((sum, { feed }) => sum + feed, 0) };
  }

  /** The step was computed: its keys are there, but those of drafts do not count until `accept`. */
  advance({ fed }: StepPlan): void {
    for (const sequence of fed) {
      if (sequence.isDone) continue;
      const wasDecoding = isDecoding(sequence);
      sequence.cached += sequence.feed - sequence.drafts.length;
      sequence.copy = undefined;
      if (!wasDecoding || sequence.cached % this.#pool.pageSize === 0) this.#store(sequence);
    }
  }

  /** The next draft was chosen, and appended: its key is there already. */
  accept(sequence: Sequence): void {
    sequence.accepted++;
    this.accepted++;
    sequence.cached++;
    if (sequence.cached % this.#pool.pageSize === 0) this.#store(sequence);
  }

  /** What was drafted in vain is forgotten, and pages that only held its keys are free again. */
  endStep({ fed }: StepPlan): void {
    for (const sequence of fed) {
      if (sequence.isDone || sequence.drafts.length === 0) continue;
      sequence.drafts = [];
      const needed = this.#pool.pagesFor(sequence.cached);
      for (const page of sequence.pages.splice(needed)) this.#pool.release(page);
    }
  }

  /** Drafts take no page from others, not even from a prefix that is idle. */
  #addDrafts(draft: NonNullable<SchedulerOptions["draft"]>): void {
    const decoding = this.#running.filter((sequence) => sequence.feed === 1 && isDecoding(sequence));
    if (decoding.length === 0) return;
    draft(decoding);
    const { pageSize, free } = this.#pool;
    let spare = free;
    for (const sequence of decoding) {
      const { ids, pages, drafts } = sequence;
      const room = (pages.length + spare) * pageSize - ids.length;
      if (drafts.length > room) sequence.drafts = drafts.slice(0, Math.max(0, room));
      const before = pages.length;
      this.#give(sequence, ids.length + sequence.drafts.length);
      spare -= pages.length - before;
      sequence.feed += sequence.drafts.length;
      sequence.drafted += sequence.drafts.length;
      this.drafted += sequence.drafts.length;
    }
  }

  #admit(): void {
    while (this.#running.length < this.#slots) {
      const next = this.#preempted[0] ?? first(this.#waiting);
      if (!next || (this.#running.length > 0 && !this.#hasRoom(next))) break;
      if (this.#preempted[0] === next) this.#preempted.shift();
      else this.#waiting.delete(next);
      this.#running.push(next);
    }
  }

  /** Whether the pool can hold all its ids beside what the running sequences are bound to need. */
  #hasRoom({ request, ids }: Sequence): boolean {
    const pool = this.#pool;
    let promised = 0;
    for (const sequence of this.#running) promised += pool.pagesFor(sequence.ids.length) - sequence.pages.length;
    const room = pool.free + (this.#prefixes?.idle ?? 0) - promised;
    const need = pool.pagesFor(ids.length);
    if (room >= need || !this.#prefixes) return room >= need;
    const { pages } = this.#prefixes.find(request.salt, ids, ids.length - 1);
    return room - this.#prefixes.idleAmong(pages) >= need - pages.length;
  }

  /** The first time: finds out what need not be computed. False when it is better to wait for another's keys, or there is no room. */
  #place(sequence: Sequence): boolean {
    const prefixes = this.#prefixes;
    if (!prefixes || sequence.cached > 0) return true;
    const { ids, request } = sequence;
    // The last id is always fed: its logits are wanted.
    const match = prefixes.find(request.salt, ids, ids.length - 1);
    if (this.#isUnderWay(sequence, match.length + worthWaiting)) return false;
    prefixes.share(match);
    sequence.pages = [...match.pages];
    sequence.cached = match.pages.length * this.#pool.pageSize;
    const { tail } = match;
    if (tail) {
      if (!this.#give(sequence, sequence.cached + tail.rows)) return false;
      // Should the source have been evicted for that: what is in it now is copied before anybody writes.
      sequence.copy = { from: tail.page, to: sequence.pages.at(-1) as number, rows: tail.rows };
      sequence.cached += tail.rows;
    }
    sequence.reused ??= sequence.cached;
    return true;
  }

  /** Whether an older sequence is computing the first `count` ids of this one right now. */
  #isUnderWay(sequence: Sequence, count: number): boolean {
    if (count >= sequence.ids.length) return false;
    for (const other of this.#running) {
      if (other === sequence) return false;
      if (isDecoding(other) || other.ids.length < count || other.request.salt !== sequence.request.salt) continue;
      let common = 0;
      while (common < count && other.ids[common] === sequence.ids[common]) common++;
      if (common === count) return true;
    }
    return false;
  }

  /** Pages for the first `rows` keys, taken from idle prefixes and from the newest sequences. False when this was itself preempted. */
  #give(sequence: Sequence, rows: number): boolean {
    const { pages } = sequence;
    const needed = this.#pool.pagesFor(rows);
    while (pages.length < needed) {
      const page = this.#pool.take();
      if (page !== undefined) pages.push(page);
      else if (!this.#prefixes?.evict()) {
        const newest = this.#running.at(-1) as Sequence;
        this.#preempt(newest);
        if (newest === sequence) return false;
      }
    }
    return true;
  }

  #preempt(sequence: Sequence): void {
    this.preemptions++;
    this.#running.pop();
    this.#preempted.unshift(sequence);
    this.#letGo(sequence, true);
  }

  #letGo(sequence: Sequence, isSound: boolean): void {
    if (isSound && !sequence.copy) this.#store(sequence);
    if (this.#prefixes) this.#prefixes.release(sequence.pages);
    else for (const page of sequence.pages) this.#pool.release(page);
    sequence.pages = [];
    sequence.cached = 0;
    sequence.feed = 0;
    sequence.drafts = [];
    sequence.copy = undefined;
  }

  #store({ request, ids, cached, pages }: Sequence): void {
    this.#prefixes?.store(request.salt, ids, cached, pages);
  }
}

/** All ids but the last are in the cache: one row, and it chooses. */
function isDecoding({ ids, cached }: Sequence): boolean {
  return ids.length - cached === 1;
}

function first<T>(set: ReadonlySet<T>): T | undefined {
  for (const item of set) return item;
  return undefined;
}
