// Between the typed metadata of formats/gguf-values.ts and the plain values that readers of settings and tokenizers take. In: typed values. Out:
// texts, numbers, booleans, lists of texts, typed arrays of numbers; and back, for what the tokenizer writer makes.

import { type GgufMetadata, GgufStrings, type GgufValue } from "../formats/gguf-values.ts";
import type { GgufEntry } from "../text/gguf-tokenizer-writer.ts";

/** The keys that `wanted` accepts. Lists of a tokenizer take time to decode: ask for them only when they are needed. */
export function plainMetadata(metadata: GgufMetadata, wanted: (key: string) => boolean): Map<string, unknown> {
  const plain = new Map<string, unknown>();
  for (const [key, value] of metadata) if (wanted(key)) plain.set(key, plainValue(value));
  return plain;
}

function plainValue({ value }: GgufValue): unknown {
  if (value instanceof GgufStrings) return value.toArray();
  if (value instanceof BigUint64Array || value instanceof BigInt64Array) return Float64Array.from(value, Number);
  if (typeof value === "bigint") return Number(value);
  return value;
}

/** What text/gguf-tokenizer-writer.ts gives, typed for the file. */
export function typedValue(entry: GgufEntry): GgufValue {
  switch (entry.type) {
    case "string":
      return { type: "string", value: entry.value };
    case "uint32":
      return { type: "u32", value: entry.value };
    case "bool":
      return { type: "bool", value: entry.value };
    case "string[]":
      return { type: "array", of: "string", value: GgufStrings.from(entry.value) };
    case "int32[]":
      return { type: "array", of: "i32", value: entry.value };
    case "float32[]":
      return { type: "array", of: "f32", value: entry.value };
  }
}
