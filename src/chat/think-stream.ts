// Splits a stream of text into reasoning and answer at a model's delimiters. In: text as it comes. Out: pieces, each of one kind; what might be
// the beginning of a delimiter is held back until the next piece, and so are the line breaks and blanks around the parts, which belong to
// neither. Tolerant where tasks/completion.ts is strict: this shows, it does not grade.

import type { ThinkTags } from "./think-tags.ts";

export type Piece = { readonly kind: "reasoning" | "content"; readonly text: string };

export type ThinkStream = {
  push(text: string): Piece[];
  /** What was held back. */
  end(): Piece[];
  readonly isThinking: boolean;
  /** Whether this text, pushed next, could begin or end the reasoning. */
  mayTurn(text: string): boolean;
};

/**
 * `inside`: the completion begins within the reasoning (the prompt opened it). `before`: reasoning begins when the text itself begins with the
 * opening delimiter. `after`: there is none.
 */
export type ThinkState = "before" | "inside" | "after";

export function thinkStream({ open, close }: ThinkTags, begin: ThinkState): ThinkStream {
  let state = begin;
  let held = "";
  let isFresh = begin === "inside"; // blanks at the start of a part are dropped

  function push(text: string): Piece[] {
    held += text;
    const pieces: Piece[] = [];
    if (state === "before") {
      const begun = held.trimStart();
      if (begun.length < open.length && open.startsWith(begun)) return pieces;
      if (begun.startsWith(open)) {
        held = begun.slice(open.length);
        state = "inside";
        isFresh = true;
      } else state = "after";
    }
    if (state === "inside") {
      const at = held.indexOf(close);
      if (at < 0) {
        take(pieces, "reasoning", held.length - begunLength(held, close));
        return pieces;
      }
      take(pieces, "reasoning", at);
      held = held.slice(close.length);
      state = "after";
      isFresh = true;
    }
    take(pieces, "content", held.length);
    return pieces;
  }

  function take(pieces: Piece[], kind: Piece["kind"], length: number): void {
    let text = held.slice(0, length);
    held = held.slice(length);
    if (isFresh) text = text.trimStart();
    if (text === "") return;
    isFresh = false;
    pieces.push({ kind, text });
  }

  return {
    push,
    end() {
      const pieces: Piece[] = [];
      take(pieces, state === "inside" ? "reasoning" : "content", held.length);
      return pieces;
    },
    get isThinking() {
      return state === "inside";
    },
    mayTurn: (text) => state === "before" || (state === "inside" && (held + text).includes(close)),
  };
}

/** How many characters at the end of `text` may begin `mark`. */
export function begunLength(text: string, mark: string): number {
  for (let length = Math.min(mark.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(mark.slice(0, length))) return length;
  }
  return 0;
}
