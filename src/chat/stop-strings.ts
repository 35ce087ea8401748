// Stop strings, wherever tokens cut them. In: text as it comes. Out: the text before the first stop string, exactly; what may yet become one
// is held back, no more. One automaton for all strings (Aho and Corasick 1975): time is linear in the text, however the strings repeat
// themselves, and the longest begun string says how much is held.

import { quote, RequestError } from "../core/errors.ts";

export const mostStopStrings = 4;
export const longestStopString = 1000;

export type StopStream = {
  /** Text that is safe to show. After a stop string was met, "" for ever. */
  push(text: string): string;
  /** What was held back and became no stop string. */
  end(): string;
  /** The string that was met: the first to be complete, the longest among several that end together. */
  readonly met: string | undefined;
};

/** Throws RequestError for more than 4 strings, an empty one, or one above 1,000 UTF-16 units. */
export function checkStopStrings(stop: unknown): string[] {
  const list = stop === undefined || stop === null ? [] : typeof stop === "string" ? [stop] : stop;
  const refuse = (got: string): never => {
    throw new RequestError({
      operation: "generate: stop",
      got,
      expected: `at most ${mostStopStrings} texts of 1 to ${longestStopString} characters`,
      cure: "give fewer or shorter ones",
    });
  };
  if (!Array.isArray(list)) return refuse(`a ${typeof list}`);
  if (list.length > mostStopStrings) return refuse(`${list.length} strings`);
  for (const text of list) {
    if (typeof text !== "string") return refuse(text === null ? "null" : `a ${typeof text}`);
    if (text === "") return refuse("an empty string");
    if (text.length > longestStopString) return refuse(`a string of ${text.length} characters, ${quote(text, 20)}`);
  }
  return [...(list as string[])];
}

type State = { readonly next: Map<number, State>; fail: State | undefined; readonly depth: number; ends: string | undefined };

/** `stops` as checkStopStrings returns them. */
export function stopStream(stops: readonly string[]): StopStream {
  const root = makeAutomaton(stops);
  let state = root;
  let held = "";
  let met: string | undefined;

  return {
    push(text) {
      if (met !== undefined) return "";
      if (stops.length === 0) return text;
      for (let i = 0; i < text.length; i++) {
        state = step(state, text.charCodeAt(i), root);
        if (state.ends === undefined) continue;
        met = state.ends;
        const all = held + text.slice(0, i + 1);
        held = "";
        return all.slice(0, all.length - met.length);
      }
      const all = held + text;
      const safe = all.length - state.depth;
      held = all.slice(safe);
      return all.slice(0, safe);
    },
    end() {
      const rest = held;
      held = "";
      return rest;
    },
    get met() {
      return met;
    },
  };
}

function step(from: State, code: number, root: State): State {
  for (let state: State | undefined = from; state; state = state.fail) {
    const next = state.next.get(code);
    if (next) return next;
  }
  return root;
}

function makeAutomaton(stops: readonly string[]): State {
  const newState = (depth: number): State => ({ next: new Map(), fail: undefined, depth, ends: undefined });
  const root = newState(0);
  for (const stop of stops) {
    let state = root;
    for (let i = 0; i < stop.length; i++) {
      const code = stop.charCodeAt(i);
      let next = state.next.get(code);
      if (!next) {
        next = newState(i + 1);
        state.next.set(code, next);
      }
      state = next;
    }
    state.ends = stop;
  }
  const queue = [root];
  for (const state of queue) {
    for (const [code, next] of state.next) {
      next.fail = state.fail ? step(state.fail, code, root) : root;
      next.ends ??= next.fail.ends;
      queue.push(next);
    }
  }
  return root;
}
