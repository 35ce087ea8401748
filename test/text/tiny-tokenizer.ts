// A small byte-level tokenizer.json made by hand: the 256 bytes, a chain of merges, added tokens. `patch` replaces parts.

import { byteToChar } from "../../src/text/byte-alphabet.ts";

export type TinyOptions = {
  readonly added?: readonly string[];
  /** Each one a merge of the one before (or of bytes) with the next character. */
  readonly extraTokens?: readonly string[];
  readonly patch?: (json: Record<string, unknown>) => void;
};

export function tinyTokenizer({ added = [], extraTokens = [], patch }: TinyOptions = {}): string {
  const vocab: Record<string, number> = {};
  for (const char of [...byteToChar, ...extraTokens]) vocab[char] ??= Object.keys(vocab).length;
  const merges = extraTokens.filter((token) => token.length > 1).map((token) => [token.slice(0, -1), token.slice(-1)]);
  const json: Record<string, unknown> = {
    version: "1.0",
    added_tokens: added.map((content, i) => ({ id: vocab[content] ?? 1000 + i, content, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: false },
    post_processor: null,
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", unk_token: null, vocab, merges },
  };
  patch?.(json);
  return JSON.stringify(json);
}
