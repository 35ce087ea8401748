// From the ids of one completion to text in two parts. In: ids as the engine emits them. Out: pieces of reasoning and content, cut at stop
// strings. Special tokens are left out, but for those that delimit thinking. Stop strings are looked for in the content alone: what a
// model writes while it thinks does not end its answer.

import { streamDecoder } from "../text/stream-decoder.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { stopStream } from "./stop-strings.ts";
import { type Piece, type ThinkState, thinkStream } from "./think-stream.ts";
import { r1Tags, type ThinkTags } from "./think-tags.ts";

export type AnswerWriter = {
  push(id: number): Piece[];
  /** What was held back. */
  end(): Piece[];
  /** The stop string that ended the answer. */
  readonly stopText: string | undefined;
  /** Ids pushed while the model thought, delimiters left out as far as they are ids of their own. */
  readonly thinkingTokens: number;
};

export function answerWriter(tokenizer: Tokenizer, tags: ThinkTags | undefined, begin: ThinkState, stops: readonly string[]): AnswerWriter {
  const decoder = streamDecoder(tokenizer);
  const split = thinkStream(tags ?? r1Tags, tags ? begin : "after");
  const stop = stopStream(stops);
  const wanted = new Set(tags && tokenizer.encode(tags.open + tags.close, { addSpecialTokens: false }));
  let thinkingTokens = 0;

  function cut(pieces: readonly Piece[]): Piece[] {
    const kept: Piece[] = [];
    for (const { kind, text } of pieces) {
      const safe = kind === "content" ? stop.push(text) : text;
      if (safe !== "") kept.push({ kind, text: safe });
    }
    return kept;
  }

  return {
    push(id) {
      if (tokenizer.isSpecial(id) && !wanted.has(id)) return [];
      const wasThinking = split.isThinking;
      const pieces = cut(split.push(decoder.push(id)));
      if (wasThinking && split.isThinking) thinkingTokens++;
      return pieces;
    },
    end() {
      const pieces = cut([...split.push(decoder.end()), ...split.end()]);
      const rest = stop.end();
      return rest === "" ? pieces : [...pieces, { kind: "content", text: rest }];
    },
    get stopText() {
      return stop.met;
    },
    get thinkingTokens() {
      return thinkingTokens;
    },
  };
}
