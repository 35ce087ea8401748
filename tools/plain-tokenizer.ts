// A tokenizer for models of random weights: 3 special tokens, 256 bytes, and invented pieces up to the vocabulary's size, in SentencePiece form. In:
// the size. Out: values for a GGUF file's metadata, which llama.cpp accepts.

import type { GgufValue } from "../src/formats/gguf-values.ts";
import { typedValue } from "../src/models/gguf-plain.ts";
import type { GgufEntry } from "../src/text/gguf-tokenizer-writer.ts";

export function plainTokenizer(vocabSize: number): Map<string, GgufValue> {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const base = ["<unk>", "<s>", "</s>", ...bytes];
  const tokens = Array.from({ length: vocabSize }, (_, id) => base[id] ?? `t${id}`);
  const types = Int32Array.from(tokens, (_, id) => [2, 3, 3][id] ?? (id < base.length ? 6 : 1));
  const entries: GgufEntry[] = [
    { key: "tokenizer.ggml.model", type: "string", value: "llama" },
    { key: "tokenizer.ggml.tokens", type: "string[]", value: tokens },
    { key: "tokenizer.ggml.scores", type: "float32[]", value: new Float32Array(vocabSize) },
    { key: "tokenizer.ggml.token_type", type: "int32[]", value: types },
    { key: "tokenizer.ggml.bos_token_id", type: "uint32", value: 1 },
    { key: "tokenizer.ggml.eos_token_id", type: "uint32", value: 2 },
    { key: "tokenizer.ggml.unknown_token_id", type: "uint32", value: 0 },
  ];
  return new Map(entries.map((entry) => [entry.key, typedValue(entry)]));
}
