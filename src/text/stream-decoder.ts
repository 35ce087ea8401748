// Decodes token ids as they come, one or many at a time. In: ids. Out: text that never ends in half a character: bytes of
// an unfinished UTF-8 sequence wait for the next token, and become U+FFFD only when they cannot be finished any more.
// All that was returned, put together, is decode(all ids); tokenizer.ts' decode is this very decoder.

import type { Tokenizer } from "./tokenizer.ts";

export type StreamDecoder = {
  /** The text that these ids complete; often "" . */
  push(...ids: readonly number[]): string;
  /** What was held back; the decoder then starts a new text. */
  end(): string;
};

type Pieces = Pick<Tokenizer, "pieceBytes" | "isSpecial" | "cut">;

/** Texts of pieces that are whole characters, null for others, by id: most tokens of most texts need no decoding. */
const wholePieces = new WeakMap<Pieces, (string | null)[]>();
const strict = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

export function streamDecoder(tokenizer: Pieces, options: { skipSpecialTokens?: boolean } = {}): StreamDecoder {
  const { skipSpecialTokens = false } = options;
  const { content, count } = tokenizer.cut;
  let utf8 = newUtf8();
  let first = true;
  let toCut = count;
  /** Bytes of an unfinished character may lie in `utf8`. */
  let isPending = false;
  const whole = wholePieces.get(tokenizer) ?? [];
  wholePieces.set(tokenizer, whole);

  function textOf(id: number): string {
    const known = whole[id];
    if (typeof known === "string" && !isPending && !first) return known;
    const bytes = tokenizer.pieceBytes(id, first);
    if (first) {
      first = false;
      isPending = true; // as far as is known
      return utf8.decode(bytes, { stream: true });
    }
    const text = known === undefined ? wholeText(bytes) : known;
    whole[id] = text;
    if (text !== null && !isPending) return text;
    isPending = text === null || (isPending && text === "");
    return utf8.decode(bytes, { stream: true });
  }

  /** Cuts up to `toCut` times `content` from the start of the whole text. */
  function cutStart(text: string): string {
    if (toCut === 0) return text;
    let from = 0;
    while (toCut > 0 && from < text.length) {
      if (text.startsWith(content, from)) {
        from += content.length;
        toCut--;
      } else {
        toCut = 0;
      }
    }
    return from === 0 ? text : text.slice(from);
  }

  return {
    push(...ids) {
      let text = "";
      for (const id of ids) {
        if (skipSpecialTokens && tokenizer.isSpecial(id)) continue;
        text += textOf(id);
      }
      return cutStart(text);
    },
    end() {
      const text = cutStart(utf8.decode());
      utf8 = newUtf8();
      isPending = false;
      first = true;
      toCut = count;
      return text;
    },
  };
}

function wholeText(bytes: Uint8Array): string | null {
  try {
    return strict.decode(bytes);
  } catch {
    return null;
  }
}

function newUtf8(): TextDecoder {
  return new TextDecoder("utf-8", { ignoreBOM: true });
}
