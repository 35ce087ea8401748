// Tokenizers of published models. In: the texts of tokenizer.json and tokenizer_config.json, or a definition from another file.
// Out: text to ids and back. `@huggingface/tokenizers` runs the rare steps; the usual ones run here (section-encoder.ts), many times
// as fast and in linear time on hostile texts, and so does decoding (piece-decoder.ts), in which the library loses bytes of
// unfinished characters. Decoding never "cleans up": decode(encode(text)) is the normalised text, byte for byte.

import { FormatError, GraduallyError, quote } from "../core/errors.ts";
import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import { makeSplitter, type Section } from "./added-tokens.ts";
import { checkTokenizer, vocabularyLimit } from "./check-tokenizer.ts";
import { makePieceDecoder, type PieceDecoder } from "./piece-decoder.ts";
import { readFrame } from "./post-processor.ts";
import { makeSectionEncoder, type SectionEncoder } from "./section-encoder.ts";
import { streamDecoder } from "./stream-decoder.ts";
import type { AddedToken, TokenizerDefinition } from "./tokenizer-definition.ts";

export type EncodeOptions = {
  /** Adds what the post-processor adds, e.g. the beginning-of-sequence token; default true, as everywhere in this ecosystem. */
  readonly addSpecialTokens?: boolean;
  /** Default true: `<|im_start|>` in the text becomes its id. False for text of strangers: it stays plain characters. */
  readonly parseSpecial?: boolean;
  /**
   * A character that is taken out of the text. A token spelled with it inside stays plain characters: that is how a prompt holds special tokens of
   * its own and text of strangers.
   */
  readonly mark?: string;
};

export type SpecialIds = { readonly bos?: number; readonly eos?: number; readonly pad?: number };

export type Tokenizer = {
  /** Highest id + 1. */
  readonly vocabSize: number;
  /** As tokenizer_config.json or the metadata of a GGUF file names them. */
  readonly specialIds: SpecialIds;
  readonly addedTokens: readonly AddedToken[];
  /** Throws RequestError where the file's pattern is none that can run on a text of this length. */
  encode(text: string, options?: EncodeOptions): number[];
  /** Ids outside the vocabulary give nothing; bytes that are no UTF-8 give U+FFFD. */
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  idOf(token: string): number | undefined;
  /** The token as spelled in the vocabulary (byte-level tokens in GPT-2's alphabet). */
  tokenOf(id: number): string | undefined;
  isSpecial(id: number): boolean;
  /** The bytes that this id adds to a text; `first` when it begins one. */
  pieceBytes(id: number, first: boolean): Uint8Array;
  /** What decoding cuts from the start of a text. */
  readonly cut: PieceDecoder["cut"];
};

/** Throws FormatError for files that are damaged, unsupported, or could hang or exhaust the program. */
export function loadTokenizer(tokenizerJson: string, tokenizerConfigJson?: string, source = "tokenizer.json"): Tokenizer {
  const config = parseObject(tokenizerConfigJson ?? "{}", "tokenizer_config.json");
  const definition = readDefinition(tokenizerJson, source);
  const ids = new Map(definition.added.map(({ content, id }) => [content, id]));
  return makeTokenizer(
    definition,
    readSpecialIds(config, (token) => ids.get(token) ?? definition.idOf.get(token)),
    source,
  );
}

/** The checked contents of a tokenizer.json. Throws FormatError. */
export function readDefinition(tokenizerJson: string, source = "tokenizer.json"): TokenizerDefinition {
  return checkTokenizer(parseObject(tokenizerJson, source), source);
}

/** Throws FormatError for steps that cannot run. */
export function makeTokenizer(definition: TokenizerDefinition, specialIds: SpecialIds, source: string): Tokenizer {
  const { added, idOf } = definition;
  const pieces = makePieceDecoder(definition.decoder, source);
  const encoder = openEncoder(definition, source);
  const plain = plainEncoder(definition, encoder);
  const parse = makeParser(added, encoder, plain);
  const frame = readFrame(definition.postProcessor);

  const tokens = [...definition.tokens];
  const addedIds = new Map<string, number>();
  for (const { content, id } of added) {
    while (tokens.length <= id) tokens.push(undefined);
    tokens[id] = content;
    addedIds.set(content, id);
  }
  const isAdded = new Set(addedIds.values());
  const special = new Set(added.filter((token) => token.special).map(({ id }) => id));
  const nothing = new Uint8Array(0);
  const bytesOf: (Uint8Array | undefined)[] = [];

  const tokenizer: Tokenizer = {
    vocabSize: tokens.length,
    specialIds,
    addedTokens: added,
    cut: pieces.cut,
    idOf: (token) => {
      const id = addedIds.get(token) ?? idOf.get(token);
      return id !== undefined && tokens[id] === token ? id : undefined;
    },
    tokenOf: (id) => tokens[id],
    isSpecial: (id) => special.has(id),
    pieceBytes(id, first) {
      const token = tokens[id];
      if (token === undefined) return nothing;
      if (first) return pieces.bytes(token, isAdded.has(id), true);
      bytesOf[id] ??= pieces.bytes(token, isAdded.has(id), false);
      return bytesOf[id];
    },
    encode(text, { addSpecialTokens = true, parseSpecial = true, mark } = {}) {
      const ids = addSpecialTokens ? [...frame.before] : [];
      const marked = mark !== undefined && text.includes(mark);
      if (!parseSpecial) plain((marked ? text.replaceAll(mark, "") : text).toWellFormed(), ids);
      else parse(text.toWellFormed(), ids, marked ? mark : undefined);
      if (addSpecialTokens) ids.push(...frame.after);
      return ids;
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

/** What the library throws for odd files becomes a FormatError. */
function openEncoder(definition: TokenizerDefinition, source: string): SectionEncoder {
  try {
    return makeSectionEncoder(definition);
  } catch (cause) {
    const message = cause instanceof GraduallyError ? cause.complaint.got : cause instanceof Error ? quote(cause.message, 200) : "an error";
    throw new FormatError(
      {
        operation: `load ${quote(source, 300)}`,
        got: message,
        expected: "a tokenizer that @huggingface/tokenizers can run",
        cure: "use the tokenizer.json of the model's publisher",
      },
      { cause },
    );
  }
}

/** `index` is the text's place among the sections of the whole. */
type Encode = (text: string, ids: number[], index?: number) => void;

/** Encodes with the added tokens in the text: first those that stand in the raw text, then those of the normalised one. */
function makeParser(
  added: readonly AddedToken[],
  { normalize, encode }: SectionEncoder,
  plain: Encode,
): (text: string, ids: number[], mark?: string) => void {
  const isNormalized = ({ normalized }: AddedToken) => normalized;
  const splitRaw = makeSplitter(added.filter((token) => !isNormalized(token)));
  const splitNormalized = makeSplitter(added.filter(isNormalized), normalize);
  const splitAll = makeSplitter(added);
  const each = (sections: Section[], ids: number[], encodeText: (text: string, index: number) => void) => {
    for (const [index, section] of sections.entries()) {
      if (typeof section === "string") encodeText(section, index);
      else ids.push(section.id);
    }
  };
  return (text, ids, mark) => {
    if (mark !== undefined) return each(splitAll(text), ids, (section, index) => plain(section.replaceAll(mark, ""), ids, index));
    each(splitRaw(text), ids, (section, index) =>
      each(splitNormalized(normalize(section)), ids, (inner, innerIndex) => encode(inner, index + innerIndex, ids)),
    );
  };
}

/** Encodes without looking for added tokens. Should the merges themselves spell one, the text is cut inside each spelling. */
function plainEncoder({ added, unknown }: TokenizerDefinition, { normalize, encode }: SectionEncoder): Encode {
  const contentOf = new Map(added.filter(({ id }) => id !== unknown).map(({ id, content }) => [id, content]));
  return (text, ids, index = 0) => {
    const start = ids.length;
    encode(normalize(text), index, ids);
    const spelled = new Set<string>();
    for (let round = 1; ; round++) {
      const before = spelled.size;
      for (let i = start; i < ids.length; i++) {
        const content = contentOf.get(ids[i] as number);
        if (content !== undefined) spelled.add(content);
      }
      if (spelled.size === before) return;
      if (round > 4) for (const content of contentOf.values()) spelled.add(content);
      ids.length = start;
      for (const [i, part] of cutInside(text, spelled).entries()) encode(normalize(part), index + i, ids);
      if (round > 4) return;
    }
  };
}

/** Cuts `text` after the first character of each occurrence of one of `contents`. */
function cutInside(text: string, contents: Iterable<string>): string[] {
  const cuts = new Set<number>([0, text.length]);
  for (const content of contents) {
    for (let at = text.indexOf(content); at >= 0; at = text.indexOf(content, at + 1)) cuts.add(at + 1);
  }
  const sorted = [...cuts].sort((a, b) => a - b);
  return sorted.slice(1).map((end, i) => text.slice(sorted[i], end));
}

function readSpecialIds(config: JsonObject, idOf: (token: string) => number | undefined): SpecialIds {
  const read = (key: string): number | undefined => {
    const entry = config[key];
    const content = isJsonObject(entry) ? entry.content : entry;
    return typeof content === "string" ? idOf(content) : undefined;
  };
  return { bos: read("bos_token"), eos: read("eos_token"), pad: read("pad_token") };
}
