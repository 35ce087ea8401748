// Metadata of a GGUF file for tests: a reader that trusts its input, and a small SentencePiece vocabulary made by hand.

import * as fs from "node:fs";
import type { GgufEntry } from "../../src/text/gguf-tokenizer-writer.ts";

/** Of GGUF version 3, little-endian. */
export function readMetadata(path: string): Map<string, unknown> {
  const file = fs.readFileSync(path);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let at = 16;
  const count = () => {
    at += 8;
    return Number(view.getBigUint64(at - 8, true));
  };
  const text = () => {
    const length = count();
    at += length;
    return file.toString("utf8", at - length, at);
  };
  const sizes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
  const scalar = (type: number): unknown => {
    if (type === 8) return text();
    const from = at;
    at += sizes[type] as number;
    switch (type) {
      case 4:
        return view.getUint32(from, true);
      case 5:
        return view.getInt32(from, true);
      case 6:
        return view.getFloat32(from, true);
      case 7:
        return view.getUint8(from) === 1;
      case 10:
        return view.getBigUint64(from, true);
      default:
        throw new Error(`type ${type} is not used in these files`);
    }
  };
  const metadata = new Map<string, unknown>();
  const keys = count();
  for (let i = 0; i < keys; i++) {
    const key = text();
    const type = view.getUint32(at, true);
    at += 4;
    if (type !== 9) {
      metadata.set(key, scalar(type));
      continue;
    }
    const inner = view.getUint32(at, true);
    at += 4;
    const list = Array.from({ length: count() }, () => scalar(inner));
    metadata.set(key, inner === 6 ? Float32Array.from(list as number[]) : inner === 5 ? Int32Array.from(list as number[]) : list);
  }
  return metadata;
}

/** What a file with these entries would hold. */
export function metadataOf(entries: readonly GgufEntry[]): Map<string, unknown> {
  return new Map(entries.map(({ key, value }) => [key, value]));
}

/** Pieces `ab`, `abc`, `▁ab`, ... over a few letters, bytes, and three special tokens. */
export function tinySentencePiece(change: Record<string, unknown> = {}): Map<string, unknown> {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
  const pieces: [string, number][] = [
    ["▁", -20],
    ["a", -21],
    ["b", -22],
    ["c", -23],
    ["ab", -1],
    ["▁ab", -2],
    ["bc", -3],
    ["▁▁", -4],
  ];
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...pieces.map(([piece]) => piece)];
  const types = Int32Array.from(tokens, (_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1));
  const scores = Float32Array.from(tokens, (_, id) => (id < 259 ? 0 : (pieces[id - 259] as [string, number])[1]));
  const entries = { model: "llama", tokens, token_type: types, scores, bos_token_id: 1, eos_token_id: 2, unknown_token_id: 0, ...change };
  return new Map(Object.entries(entries).map(([key, value]) => [`tokenizer.ggml.${key}`, value]));
}
