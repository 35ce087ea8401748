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

export function streamDecoder(
  tokenizer: Pick<Tokenizer, "pieceBytes" | "isSpecial" | "cut">,
  options: { skipSpecialTokens?: boolean } = {},
): StreamDecoder {
  const { skipSpecialTokens = false } = options;
  const { content, count } = tokenizer.cut;
  let utf8 = newUtf8();
  let first = true;
  let toCut = count;

  /** Cuts up to `toCut` times `content` from the start of the whole text. */
  function cutStart(text: string): string {
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
        text += utf8.decode(tokenizer.pieceBytes(id, first), { stream: true });
        first = false;
      }
      return cutStart(text);
    },
    end() {
      const text = cutStart(utf8.decode());
      utf8 = newUtf8();
      first = true;
      toCut = count;
      return text;
    },
  };
}

function newUtf8(): TextDecoder {
  return new TextDecoder("utf-8", { ignoreBOM: true });
}
