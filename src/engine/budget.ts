// The thinking budget: s1's budget forcing (specs.md 1.11) as a small state machine over ids, one for each sequence. Thinking begins
// with the completion and is over when the ids `end` have appeared in a row. While it lasts:
//   cap     after `max` thinking ids, `end` and then `cue` are forced; forced ids are fed and emitted as if they had been drawn
//   early   when end[0] or a stop id is drawn before `min` thinking ids, or while extensions are left, it is dropped and the
//           extension ("Wait") is forced in its place; without extension ids another id is drawn in its place
//   stop    of a request with a constraint: a stop id drawn while thinking ends the thinking, not the answer, which the constraint still owes
// Extension ids count as thinking, and the cap cuts even them short. Only ends dropped while extensions are left use one up.

import type { CheckedBudget } from "./request.ts";

export type BudgetState = {
  readonly budget: CheckedBudget;
  isThinking: boolean;
  /** Ids emitted while thinking, a begun `end` included. */
  count: number;
  /** How many of the last ids match the beginning of `end`. */
  matched: number;
  /** The ids emitted last, at most end.length. */
  readonly recent: number[];
  extensionsUsed: number;
  /** The cap was reached: `end` and `cue` are on their way. */
  isEnding: boolean;
  /** Ids to force next, in order. */
  queue: readonly number[];
};

export function startBudget(budget: CheckedBudget): BudgetState {
  return { budget, isThinking: true, count: 0, matched: 0, recent: [], extensionsUsed: 0, isEnding: false, queue: [] };
}

/** The id to emit in place of a drawn one, or undefined when the model may speak. */
export function takeForced(state: BudgetState): number | undefined {
  const { budget } = state;
  if (state.isThinking && !state.isEnding && state.count >= budget.max) {
    endThinking(state);
  }
  const id = state.queue[0];
  if (id !== undefined) state.queue = state.queue.slice(1);
  return id;
}

/** `end` and `cue` are forced next. */
export function endThinking(state: BudgetState): void {
  state.isEnding = true;
  state.queue = [...state.budget.end.slice(state.matched), ...state.budget.cue];
}

/** Whether the drawn id would end thinking too soon. */
export function isEarly(state: BudgetState, id: number, stop: ReadonlySet<number>): boolean {
  if (!state.isThinking) return false;
  const ends = stop.has(id) || (id === state.budget.end[0] && state.matched === 0);
  return ends && (state.count < state.budget.min || state.extensionsUsed < state.budget.times);
}

/** Drops an early end. True when extension ids are queued now; false when another id must be drawn instead. */
export function extendThinking(state: BudgetState): boolean {
  if (state.extensionsUsed < state.budget.times) state.extensionsUsed++;
  state.queue = state.budget.extension;
  return state.queue.length > 0;
}

/** Takes note of an emitted id. */
export function noteEmitted(state: BudgetState, id: number): void {
  if (!state.isThinking) return;
  const { end } = state.budget;
  state.recent.push(id);
  if (state.recent.length > end.length) state.recent.shift();
  state.count++;
  state.matched = matchedBeginning(state.recent, end);
  if (state.matched === end.length) {
    state.isThinking = false;
    state.count -= end.length;
  }
}

/** The longest beginning of `end` that `recent` ends with. */
function matchedBeginning(recent: readonly number[], end: readonly number[]): number {
  for (let length = Math.min(recent.length, end.length); length > 0; length--) {
    let i = 0;
    while (i < length && recent[recent.length - length + i] === end[i]) i++;
    if (i === length) return length;
  }
  return 0;
}
