// Byte-pair encoding of one piece of text. In: a tokenizer's vocabulary and merges; pieces as the pre-tokenizer cuts them. Out:
// ids. Two alphabets: bytes (GPT-2 and after), and characters with bytes for the unknown ones (SentencePiece). Pieces that came
// before are remembered: a language has few words and uses them often.

import { MergeTable, mergeIds } from "./bpe-merge.ts";
import { byteToChar } from "./byte-alphabet.ts";
import type { TokenizerDefinition } from "./tokenizer-definition.ts";

/** Appends the ids of a piece. */
export type PieceEncoder = (piece: string, ids: number[]) => void;

type Model = Pick<TokenizerDefinition, "idOf" | "tokens" | "merges" | "unknown" | "fuseUnknown" | "byteFallback" | "ignoreMerges">;

/** Takes plain text; its UTF-8 bytes are what merges. Bytes without a token give the unknown token, or nothing. */
export function byteEncoder(model: Model): PieceEncoder {
  const { idOf, ignoreMerges } = model;
  const byteIds = Int32Array.from(byteToChar, (char) => idOf.get(char) ?? -1);
  const utf8 = new TextEncoder();
  const table = lazy(() => new MergeTable(model.merges));
  const append = appender(model);
  let bytes = new Uint8Array(1024);
  let work = new Int32Array(1024);

  return remembering((piece, ids) => {
    if (bytes.length < 3 * piece.length) {
      bytes = new Uint8Array(3 * piece.length);
      work = new Int32Array(3 * piece.length);
    }
    const { written } = utf8.encodeInto(piece, bytes);
    if (ignoreMerges) {
      let spelled = "";
      for (let i = 0; i < written; i++) spelled += byteToChar[bytes[i] as number];
      const whole = idOf.get(spelled);
      if (whole !== undefined) {
        ids.push(whole);
        return;
      }
    }
    for (let i = 0; i < written; i++) work[i] = byteIds[bytes[i] as number] as number;
    append(work, mergeIds(work, written, table()), ids);
    if (bytes.length > 2 ** 20) {
      bytes = new Uint8Array(1024);
      work = new Int32Array(1024);
    }
  });
}

/** Takes text in the spelling of the vocabulary. Unknown characters give byte tokens, the unknown token, or nothing. */
export function characterEncoder(model: Model): PieceEncoder {
  const { idOf, byteFallback, ignoreMerges } = model;
  const table = lazy(() => new MergeTable(model.merges));
  const append = appender(model);
  const utf8 = new TextEncoder();
  const byteIds = lazy(() => Array.from({ length: 256 }, (_, byte) => idOf.get(byteToken(byte)) ?? -1));
  const vocabulary = model.tokens.length;
  const spelling = lazy(() => new Map(Array.from(idOf, ([token, id]) => [id, token])));

  return remembering((piece, ids) => {
    const whole = ignoreMerges ? idOf.get(piece) : undefined;
    if (whole !== undefined && whole < vocabulary) {
      ids.push(whole);
      return;
    }
    const characters = Array.from(piece);
    // Unknown characters merge with nothing: -2 - index says which one it is.
    const work = Int32Array.from(characters, (character, i) => idOf.get(character) ?? -2 - i);
    const count = mergeIds(work, work.length, table());
    if (work.subarray(0, count).some((id) => id < 0 || id >= vocabulary)) {
      const bytes: number[] = [];
      for (const id of work.subarray(0, count)) {
        const character = id < 0 ? characters[-2 - id] : id < vocabulary ? undefined : spelling().get(id);
        const spelled = character === undefined ? undefined : Array.from(utf8.encode(character), (byte) => byteIds()[byte] as number);
        if (spelled && byteFallback && !spelled.includes(-1)) bytes.push(...spelled);
        else bytes.push(spelled ? -1 : id);
      }
      append(bytes, bytes.length, ids);
    } else {
      append(work, count, ids);
    }
  });
}

export function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

/** Appends ids, with the unknown token for negative ones. */
function appender({ unknown, fuseUnknown }: Model): (from: ArrayLike<number>, count: number, ids: number[]) => void {
  return (from, count, ids) => {
    for (let i = 0; i < count; i++) {
      const id = from[i] as number;
      if (id >= 0) ids.push(id);
      else if (unknown !== undefined && !(fuseUnknown && i > 0 && (from[i - 1] as number) < 0)) ids.push(unknown);
    }
  };
}

function lazy<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

const cacheLimit = 60_000;
const cachedLength = 48;

function remembering(encode: PieceEncoder): PieceEncoder {
  const known = new Map<string, number | readonly number[]>();
  return (piece, ids) => {
    const before = known.get(piece);
    if (typeof before === "number") {
      ids.push(before);
      return;
    }
    if (before !== undefined) {
      for (const id of before) ids.push(id);
      return;
    }
    const start = ids.length;
    encode(piece, ids);
    if (piece.length > cachedLength) return;
    if (known.size >= cacheLimit) known.clear();
    const made = ids.slice(start);
    // A slice of a long text would keep the whole text alive.
    known.set(flat(piece), made.length === 1 ? (made[0] as number) : made);
  };
}

function flat(piece: string): string {
  return piece.length < 13 ? piece : JSON.parse(JSON.stringify(piece));
}
