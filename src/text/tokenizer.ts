// Tokenizers of published models. In: the texts of tokenizer.json and tokenizer_config.json. Out: text to ids and back.
// Wraps `@huggingface/tokenizers`, and is the one place that works around it: its input is checked first; its merge loop
// is replaced (bpe-merge.ts); its decoding too (piece-decoder.ts), which loses bytes of unfinished characters and joins or
// cleans up spaces. Decoding here never "cleans up": decode(encode(text)) is the normalised text, byte for byte.

import { Tokenizer as Library } from "@huggingface/tokenizers";
import { FormatError, GraduallyError, quote } from "../core/errors.ts";
import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import { makeMergeTable, mergePiece } from "./bpe-merge.ts";
import { checkTokenizer, vocabularyLimit } from "./check-tokenizer.ts";
import { makePieceDecoder, type PieceDecoder } from "./piece-decoder.ts";
import { streamDecoder } from "./stream-decoder.ts";

export type EncodeOptions = {
  /** Adds what the post-processor adds, e.g. the beginning-of-sequence token; default true, as everywhere in this ecosystem. */
  readonly addSpecialTokens?: boolean;
  /** Default true: `<|im_start|>` in the text becomes its id. False for text of strangers: it stays plain characters. */
  readonly parseSpecial?: boolean;
};

export type Tokenizer = {
  /** Highest id + 1. */
  readonly vocabSize: number;
  /** As tokenizer_config.json names them. */
  readonly specialIds: { readonly bos?: number; readonly eos?: number; readonly pad?: number };
  encode(text: string, options?: EncodeOptions): number[];
  /** Ids outside the vocabulary give nothing; bytes that are no UTF-8 give U+FFFD. */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  idOf(token: string): number | undefined;
  /** The token as spelled in tokenizer.json (byte-level tokens in GPT-2's alphabet). */
  tokenOf(id: number): string | undefined;
  isSpecial(id: number): boolean;
  /** The bytes that this id adds to a text; `first` when it begins one. */
  pieceBytes(id: number, first: boolean): Uint8Array;
  /** What decoding cuts from the start of a text. */
  readonly cut: PieceDecoder["cut"];
};

/** Throws FormatError for files that are damaged, unsupported, or could hang or exhaust the program. */
export function loadTokenizer(tokenizerJson: string, tokenizerConfigJson?: string, source = "tokenizer.json"): Tokenizer {
  const json = parseObject(tokenizerJson, source);
  const config = parseObject(tokenizerConfigJson ?? "{}", "tokenizer_config.json");
  const { idOf, merges, added } = checkTokenizer(json, source);
  const pieces = makePieceDecoder(json.decoder, source);
  const table = makeMergeTable(new Map(idOf), merges);
  const merge = cached((piece) => mergePiece(piece, table));
  const library = openLibrary(json, merge, source);
  const plain = openPlain(json, library, source);

  const tokens: string[] = [];
  for (const [token, id] of idOf) tokens[id] = token;
  for (const { content, id } of added) {
    tokens[id] = content;
    idOf.set(content, id);
  }
  const addedIds = new Set(added.map(({ id }) => id));
  const special = new Set(added.filter((token) => token.special).map(({ id }) => id));
  const nothing = new Uint8Array(0);
  const bytesOf: (Uint8Array | undefined)[] = [];

  const tokenizer: Tokenizer = {
    vocabSize: tokens.length,
    specialIds: readSpecialIds(config, idOf),
    cut: pieces.cut,
    idOf: (token) => idOf.get(token),
    tokenOf: (id) => tokens[id],
    isSpecial: (id) => special.has(id),
    pieceBytes(id, first) {
      const token = tokens[id];
      if (token === undefined) return nothing;
      if (first) return pieces.bytes(token, addedIds.has(id), true);
      bytesOf[id] ??= pieces.bytes(token, addedIds.has(id), false);
      return bytesOf[id];
    },
    encode(text, { addSpecialTokens = true, parseSpecial = true } = {}) {
      const options = { add_special_tokens: addSpecialTokens };
      return parseSpecial ? library.encode(text, options).ids : plain(text, addSpecialTokens);
    },
    decode(ids, options) {
      const stream = streamDecoder(tokenizer, options);
      let text = "";
      for (const id of ids) text += stream.push(id);
      return text + stream.end();
    },
  };
  return tokenizer;
}

function parseObject(text: string, source: string): JsonObject {
  const value = parseJson(text, { source, keys: vocabularyLimit, unsafeIntegers: "round" });
  if (isJsonObject(value)) return value;
  throw new FormatError({
    operation: `load ${quote(source, 300)}`,
    got: "JSON that is no object",
    expected: "an object",
    cure: "check the path",
  });
}

type Merge = (piece: string) => string[];

const cacheLimit = 50_000;
const cachedLength = 64;

function cached(merge: Merge): Merge {
  const cache = new Map<string, string[]>();
  return (piece) => {
    const known = cache.get(piece);
    if (known) return known;
    const made = merge(piece);
    if (piece.length <= cachedLength) {
      if (cache.size >= cacheLimit) cache.clear();
      cache.set(piece, made);
    }
    return made;
  };
}

/** The library's tokenizer with our merge loop in it. What it throws for odd files becomes a FormatError. */
function openLibrary(json: JsonObject, merge: Merge, source: string): Library {
  try {
    const model = { ...(json.model as JsonObject), type: "BPE", merges: [] };
    const parts = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
    const library = new Library({ ...parts, ...json, decoder: null, model }, {});
    if (!library.model) throw new Error("no model");
    Object.assign(library.model, { bpe: merge });
    return library;
  } catch (cause) {
    if (cause instanceof GraduallyError) throw cause;
    const got = quote(cause instanceof Error ? cause.message : String(cause), 200);
    throw new FormatError(
      {
        operation: `load ${quote(source, 300)}`,
        got,
        expected: "a tokenizer that @huggingface/tokenizers can run",
        cure: "use the tokenizer.json of the model's publisher",
      },
      { cause },
    );
  }
}

/**
 * Encodes without looking for added tokens in the text: a second library tokenizer that shares the vocabulary. Should the merges
 * themselves spell an added token, the text is cut inside each spelling.
 */
function openPlain(json: JsonObject, library: Library, source: string): (text: string, addSpecialTokens: boolean) => number[] {
  const added = library.get_added_tokens_decoder();
  const contents = [...added.values()].map(({ content }) => content);
  const empty = { ...json, added_tokens: [], model: { ...(json.model as JsonObject), vocab: {} } };
  const second = openLibrary(empty, (piece) => [piece], source);
  second.model = library.model;
  const encode = (text: string): number[] => second.encode(text, { add_special_tokens: false }).ids;
  // What the post-processor puts around a text, found by looking at a short one.
  const sample = encode("a");
  const framed: number[] = second.encode("a", { add_special_tokens: true }).ids;
  const start = Math.max(0, framed.indexOf(sample[0] as number));
  const [before, after] = [framed.slice(0, start), framed.slice(start + sample.length)];

  return (text, addSpecialTokens) => {
    const ids = encode(text);
    const safe = ids.some((id) => added.has(id)) ? cutInside(text, contents).flatMap(encode) : ids;
    return addSpecialTokens ? [...before, ...safe, ...after] : safe;
  };
}

/** Cuts `text` after the first character of each occurrence of one of `contents`. */
function cutInside(text: string, contents: readonly string[]): string[] {
  const cuts = new Set<number>([0, text.length]);
  for (const content of contents) {
    for (let at = text.indexOf(content); at >= 0; at = text.indexOf(content, at + 1)) cuts.add(at + 1);
  }
  const sorted = [...cuts].sort((a, b) => a - b);
  return sorted.slice(1).map((end, i) => text.slice(sorted[i], end));
}

function readSpecialIds(config: JsonObject, idOf: ReadonlyMap<string, number>): Tokenizer["specialIds"] {
  const read = (key: string): number | undefined => {
    const entry = config[key];
    const content = isJsonObject(entry) ? entry.content : entry;
    return typeof content === "string" ? idOf.get(content) : undefined;
  };
  return { bos: read("bos_token"), eos: read("eos_token"), pad: read("pad_token") };
}
