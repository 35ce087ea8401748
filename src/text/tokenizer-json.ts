// Writes a tokenizer.json that Hugging Face's tokenizers opens, with the same ids. In: a definition, e.g. from a GGUF file. Out: the
// text of the file. Hugging Face numbers added tokens onwards from the number of base tokens, whatever the file says, so added
// tokens that are not just there are listed in the base vocabulary too.

import { ConfigError } from "../core/errors.ts";
import type { TokenizerDefinition } from "./tokenizer-definition.ts";

/** Throws ConfigError for a vocabulary that the format cannot hold. */
export function tokenizerJson(definition: TokenizerDefinition): string {
  const { tokens, merges, added, unknown } = definition;
  const ofAdded = new Map(added.map(({ id, content }) => [id, content]));
  const base: [string, number][] = [];
  for (const [id, token] of tokens.entries()) if (token !== undefined) base.push([token, id]);
  const sorted = added.toSorted((a, b) => a.id - b.id);
  const follows = base.every(([, id], i) => id === i) && sorted.every(({ id }, i) => id === base.length + i || tokens[id] !== undefined);
  const listed = follows ? sorted.filter(({ id }) => id === unknown) : sorted;
  for (const { id, content } of listed) if (tokens[id] === undefined) base.push([content, id]);
  base.sort(([, a], [, b]) => a - b);
  const spelled = (id: number) => tokens[id] ?? fail();
  const unknownToken = unknown === undefined ? undefined : (tokens[unknown] ?? ofAdded.get(unknown));

  return JSON.stringify({
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: sorted.map(({ id, content, special, normalized, lstrip, rstrip, singleWord }) => {
      return { id, content, single_word: singleWord, lstrip, rstrip, normalized, special };
    }),
    normalizer: definition.normalizer,
    pre_tokenizer: definition.preTokenizer,
    post_processor: definition.postProcessor,
    decoder: definition.decoder,
    model: {
      type: "BPE",
      dropout: null,
      unk_token: unknownToken ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: definition.fuseUnknown,
      byte_fallback: definition.byteFallback,
      ignore_merges: definition.ignoreMerges,
      vocab: bareObject(base),
      merges: Array.from(merges.left, (left, i) => [spelled(left), spelled(merges.right[i] as number)]),
    },
  });
}

/** `__proto__` may be a token. Whole numbers as keys come first in JavaScript; the order means nothing here. */
function bareObject(entries: readonly (readonly [string, number])[]): Record<string, number> {
  const object: Record<string, number> = Object.create(null);
  for (const [key, value] of entries) object[key] = value;
  return object;
}

function fail(): never {
  throw new ConfigError({
    operation: "write tokenizer.json",
    got: "merges of characters that are no tokens",
    expected: "a vocabulary with all the characters of its pieces",
    cure: "keep this model as GGUF",
  });
}
