// The pre-tokenizer of `@huggingface/tokenizers` alone: cuts a text into pieces, as training needs it.
// In: the `pre_tokenizer` of a tokenizer.json. Out: a function from a text to its pieces, spelled in the byte alphabet.

import { Tokenizer as Library } from "@huggingface/tokenizers";
import { ConfigError, quote } from "../core/errors.ts";

/** Throws ConfigError when the pattern is no regular expression. */
export function makePreTokenizer(config: Readonly<Record<string, unknown>>): (text: string) => string[] {
  const parts = { normalizer: null, post_processor: null, decoder: null, added_tokens: [] };
  try {
    const library = new Library({ ...parts, pre_tokenizer: config, model: { type: "BPE", vocab: {}, merges: [] } }, {});
    const split = library.pre_tokenizer as unknown as ((text: string) => string[]) | null;
    if (!split) throw new Error("no pre-tokenizer");
    return (text) => split(text);
  } catch (cause) {
    const got = quote(cause instanceof Error ? cause.message : String(cause), 200);
    throw new ConfigError(
      { operation: "train a tokenizer", got, expected: "a regular expression", cure: "correct the pattern" },
      { cause },
    );
  }
}
