// Who gets a slot, and which rows the next forward computes. `admit` moves waiting sequences into free slots in order of arrival;
// `schedule` lays out one step: every decoding sequence has one row, and `prefillTokens` more rows go to sequences with two or more
// ids to feed, in order of arrival, so a long prompt is computed in chunks beside the decoders. Rows are flat; nothing is padded.
// A slot that a session left keeps its keys until somebody needs it; the one left longest ago is taken first.

import type { Sequence, Timeline } from "./sequence.ts";

export type Slot = { sequence: Sequence | undefined; timeline: Timeline | undefined };

/** Row counts of one step; the numbers are in the `packed` array given to `schedule`. */
export type StepPlan = {
  /** R. */
  readonly rows: number;
  /** The sequences that choose an id after this step, in the order of their logits rows [M, V]. */
  readonly choosing: readonly Sequence[];
};

/** Fills free slots from the waiting line. Returns the sequences that joined. */
export function admit(waiting: Set<Sequence>, slots: readonly Slot[]): Sequence[] {
  const joined: Sequence[] = [];
  for (const sequence of waiting) {
    const index = findSlot(slots, sequence.timeline);
    if (index < 0) break;
    const slot = slots[index] as Slot;
    const { timeline } = sequence;
    if (slot.timeline && slot.timeline !== timeline) forget(slot.timeline);
    slot.sequence = sequence;
    slot.timeline = timeline;
    sequence.slot = index;
    if (timeline) {
      // The last prompt id is always fed again: its logits are wanted.
      sequence.cached = Math.min(commonLength(timeline.ids, sequence.ids), sequence.ids.length - 1);
      sequence.reused = sequence.cached;
      timeline.slot = index;
    }
    waiting.delete(sequence);
    joined.push(sequence);
  }
  return joined;
}

/** Gives the slot of a finished sequence back; its session, if any, keeps what was computed. */
export function leave(slots: readonly Slot[], sequence: Sequence, now: number): void {
  const slot = slots[sequence.slot];
  if (!slot || slot.sequence !== sequence) return;
  slot.sequence = undefined;
  if (slot.timeline) {
    slot.timeline.ids = sequence.ids.slice(0, sequence.cached);
    slot.timeline.lastUse = now;
  }
}

/** The keys of a timeline are no longer to be trusted or no longer there. */
export function forget(timeline: Timeline): void {
  timeline.slot = -1;
  timeline.ids = [];
}

/** The timeline's own slot, else the lowest free one, else the idle session slot left longest ago; -1 when all are at work. */
function findSlot(slots: readonly Slot[], timeline: Timeline | undefined): number {
  if (timeline && timeline.slot >= 0) return slots[timeline.slot]?.sequence ? -1 : timeline.slot;
  let best = -1;
  for (let i = 0; i < slots.length; i++) {
    const slot = slots[i] as Slot;
    if (slot.sequence) continue;
    if (!slot.timeline) return i;
    if (best < 0 || slot.timeline.lastUse < ((slots[best] as Slot).timeline as Timeline).lastUse) best = i;
  }
  return best;
}

export function commonLength(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && length < b.length && a[length] === b[length]) length++;
  return length;
}

/** Numbers that the largest step puts into `packed`. */
export function packedLength(slots: number, prefillTokens: number): number {
  return 5 * (slots + prefillTokens) + slots;
}

/**
 * Plans one step over cache slots of `length` rows. Fills `packed` with six i32 arrays one after the other: ids, positions, first,
 * last, cache rows (R each) and output rows (M, at least 1: a step in which nobody chooses asks for the logits of row 0 and reads nothing).
 */
export function schedule(running: readonly Sequence[], prefillTokens: number, length: number, packed: Int32Array): StepPlan {
  let left = prefillTokens;
  let R = 0;
  for (const sequence of running) {
    const remaining = sequence.ids.length - sequence.cached;
    if (remaining === 1) sequence.feed = 1;
    else {
      sequence.feed = Math.min(remaining, left);
      left -= sequence.feed;
    }
    R += sequence.feed;
  }

  const choosing: Sequence[] = [];
  packed[5 * R] = 0;
  let row = 0;
  for (const sequence of running) {
    const { ids, cached, feed } = sequence;
    if (feed === 0) continue;
    const first = sequence.slot * length;
    for (let position = cached; position < cached + feed; position++, row++) {
      packed[row] = ids[position] as number;
      packed[R + row] = position;
      packed[2 * R + row] = first;
      packed[3 * R + row] = first + position; // causal: up to and with its own key
      packed[4 * R + row] = first + position;
    }
    if (cached + feed === ids.length) packed[5 * R + choosing.push(sequence) - 1] = row - 1;
  }
  return { rows: R, choosing };
}
