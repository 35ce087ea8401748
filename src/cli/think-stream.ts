// Splits a stream of text into reasoning and answer at `<think>` and `</think>`. In: text as it comes. Out: pieces, each of one kind; what
// might be the beginning of a tag is held back until the next piece. Tolerant where tasks/completion.ts is strict: this shows, it does not grade.

import { thinkClose, thinkOpen } from "../tasks/completion.ts";

export type Piece = { readonly kind: "reasoning" | "text"; readonly text: string };

export type ThinkStream = {
  push(text: string): Piece[];
  /** What was held back. */
  end(): Piece[];
};

/** `thinking`: the prompt ended with `<think>`. Else reasoning begins when the text itself begins with `<think>`. */
export function thinkStream(thinking: boolean): ThinkStream {
  let state: "start" | "reasoning" | "text" = thinking ? "reasoning" : "start";
  let held = "";

  function push(text: string): Piece[] {
    held += text;
    if (state === "start") {
      const begun = held.trimStart();
      if (thinkOpen.startsWith(begun.slice(0, thinkOpen.length)) && begun.length < thinkOpen.length) return [];
      state = begun.startsWith(thinkOpen) ? "reasoning" : "text";
      if (state === "reasoning") held = begun.slice(thinkOpen.length);
    }
    if (state === "text") return take("text", held.length);
    const close = held.indexOf(thinkClose);
    if (close < 0) return take("reasoning", held.length - begunTag(held));
    const pieces = take("reasoning", close);
    held = held.slice(thinkClose.length);
    state = "text";
    return [...pieces, ...take("text", held.length)];
  }

  function take(kind: Piece["kind"], length: number): Piece[] {
    const text = held.slice(0, length);
    held = held.slice(length);
    return text === "" ? [] : [{ kind, text }];
  }

  return { push, end: () => take(state === "reasoning" ? "reasoning" : "text", held.length) };
}

/** How many characters at the end of `text` may begin `</think>`. */
function begunTag(text: string): number {
  for (let length = Math.min(thinkClose.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(thinkClose.slice(0, length))) return length;
  }
  return 0;
}
