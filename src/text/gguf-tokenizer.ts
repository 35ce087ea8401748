// The tokenizer inside a GGUF file. In: the file's metadata (`tokenizer.ggml.*`). Out: the same definition that a tokenizer.json
// gives, special ids, chat template. Two kinds: `gpt2` is byte-level BPE, cut by the name in `tokenizer.ggml.pre`; `llama` is
// SentencePiece, where the piece of highest score merges first. What the keys mean and their defaults: llama.cpp, src/llama-vocab.cpp,
// and ggml's docs/gguf.md. Hazards G60 to G68.

import { FormatError, quote } from "../core/errors.ts";
import type { Merges } from "./bpe-merge.ts";
import { byteToken } from "./bpe-model.ts";
import { framePostProcessor } from "./post-processor.ts";
import { knownPreNames, preTokenizerOf } from "./pre-names.ts";
import { spmMerges } from "./spm-merges.ts";
import { makeTokenizer, readDefinition, type SpecialIds, type Tokenizer } from "./tokenizer.ts";
import type { AddedToken, TokenizerDefinition } from "./tokenizer-definition.ts";

/**
 * Metadata of a GGUF file: strings, numbers, booleans, arrays of strings, arrays of numbers of any kind; each plain, or as formats/gguf.ts has
 * it, in an object with its type.
 */
export type GgufMetadata = ReadonlyMap<string, unknown>;

export type GgufTokenizer = {
  readonly definition: TokenizerDefinition;
  readonly specialIds: SpecialIds;
  /** Ids that end an answer: end of text, end of turn, end of message; each once. */
  readonly endIds: readonly number[];
  readonly chatTemplate?: string;
};

/** llama.cpp's token types. */
export const tokenType = { undefined: 0, normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

const vocabularyLimit = 1_000_000;
const tokenLength = 4096;

/** Throws FormatError. */
export function loadGgufTokenizer(metadata: GgufMetadata, source: string): Tokenizer {
  const { definition, specialIds } = readGgufTokenizer(metadata, source);
  return makeTokenizer(definition, specialIds, source);
}

/** Throws FormatError for metadata that are damaged or of another kind. */
export function readGgufTokenizer(metadata: GgufMetadata, source: string): GgufTokenizer {
  const reader = new Reader(metadata, source);
  const model = reader.text("model") ?? reader.fail("no tokenizer.ggml.model", '"gpt2" or "llama"');
  if (model !== "gpt2" && model !== "llama") reader.fail(`tokenizer.ggml.model ${quote(model)}`, '"gpt2" or "llama"');
  const vocabulary = readVocabulary(reader, model === "llama");
  const { definition, addBos } = model === "gpt2" ? byteLevel(reader, vocabulary) : sentencePiece(reader, vocabulary);
  const defaults = model === "llama" ? { bos: 1, eos: 2 } : {};
  const ids = {
    bos: reader.id("bos_token_id", vocabulary) ?? within(defaults.bos, vocabulary),
    eos: reader.id("eos_token_id", vocabulary) ?? within(defaults.eos, vocabulary),
    pad: reader.id("padding_token_id", vocabulary),
  };
  const token = (id: number | undefined, wanted: boolean, name: string) => {
    if (!wanted) return [];
    if (id === undefined) return reader.fail(`add_${name}_token without ${name}_token_id`, "the id of the token to add");
    return [{ id, content: vocabulary.tokens[id] ?? "" }];
  };
  const before = token(ids.bos, reader.flag("add_bos_token") ?? (addBos && ids.bos !== undefined), "bos");
  const after = token(ids.eos, reader.flag("add_eos_token") ?? false, "eos");
  const chatTemplate = reader.anyText("tokenizer.chat_template");
  return {
    definition: { ...definition, postProcessor: framePostProcessor(before, after) },
    specialIds: ids,
    endIds: readEndIds(reader, vocabulary, ids.eos),
    ...(chatTemplate !== undefined && { chatTemplate }),
  };
}

type Vocabulary = {
  readonly tokens: readonly string[];
  readonly types: ArrayLike<number>;
  /** The lowest id of each token that may come out of a text. */
  readonly idOf: Map<string, number>;
  readonly added: AddedToken[];
};

function readVocabulary(reader: Reader, sentencePieces: boolean): Vocabulary {
  const tokens = reader.texts("tokens") ?? reader.fail("no tokenizer.ggml.tokens", "the list of tokens");
  if (tokens.length === 0 || tokens.length > vocabularyLimit) reader.fail(`${tokens.length} tokens`, `from 1 to ${vocabularyLimit}`);
  const types = reader.numbers("token_type", tokens.length) ?? new Uint8Array(tokens.length).fill(tokenType.normal);
  const idOf = new Map<string, number>();
  const added: AddedToken[] = [];
  const addedContents = new Set<string>();
  for (const [id, token] of tokens.entries()) {
    const type = types[id] as number;
    if (!Number.isInteger(type) || type < 0 || type > 6) reader.fail(`token_type ${type} of token ${id}`, "an integer from 0 to 6");
    if (token.length > tokenLength) reader.fail(`token ${id} of ${token.length} characters`, `at most ${tokenLength}`);
    if (type === tokenType.byte && !/^<0x[0-9A-Fa-f]{2}>$/.test(token)) reader.fail(`the byte token ${quote(token)}`, "<0x00> to <0xFF>");
    const isAdded = type === tokenType.control || type === tokenType.userDefined || (sentencePieces && type === tokenType.unknown);
    if (token === "" || type === tokenType.unused) continue;
    // Of tokens with one text the lowest id wins.
    if (isAdded && !addedContents.has(token)) {
      if (token.length > 512) reader.fail(`token ${id} of ${token.length} characters`, "at most 512 for a control token");
      addedContents.add(token);
      const flags = { normalized: false, lstrip: false, rstrip: false, singleWord: false };
      added.push({ id, content: token, special: type !== tokenType.userDefined, ...flags });
    }
    if (!isAdded && !idOf.has(token)) idOf.set(type === tokenType.byte ? byteToken(Number.parseInt(token.slice(3, 5), 16)) : token, id);
  }
  return { tokens, types, idOf, added };
}

type Partial = { readonly definition: Omit<TokenizerDefinition, "postProcessor">; readonly addBos: boolean };

/** The base vocabulary by id; what is added, unused or shadowed is a hole in it. */
function byId({ tokens, idOf }: Vocabulary): (string | undefined)[] {
  const list = new Array<string | undefined>(tokens.length).fill(undefined);
  for (const [token, id] of idOf) if (id < list.length) list[id] = token;
  return list;
}

function byteLevel(reader: Reader, vocabulary: Vocabulary): Partial {
  const name = reader.text("pre") ?? "default";
  const embedded = name === "default" ? readEmbedded(reader, vocabulary) : undefined;
  if (embedded) return { definition: embedded, addBos: false };
  const pre = preTokenizerOf(name) ?? reader.fail(`tokenizer.ggml.pre ${quote(name)}`, `one of ${knownPreNames().join(", ")}`);
  const { idOf, added } = vocabulary;
  const unknown = reader.id("unknown_token_id", vocabulary);
  return {
    addBos: pre.addBos,
    definition: {
      tokens: byId(vocabulary),
      idOf,
      merges: readMerges(reader, idOf),
      added,
      ...(unknown !== undefined && { unknown }),
      fuseUnknown: false,
      byteFallback: false,
      ignoreMerges: pre.ignoreMerges,
      normalizer: pre.nfc ? { type: "NFC" } : null,
      preTokenizer: pre.preTokenizer,
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    },
  };
}

/** The tokenizer.json that the file carries, for a pre-tokenizer without a name, where it has the same tokens. */
function readEmbedded(reader: Reader, { tokens }: Vocabulary): TokenizerDefinition | undefined {
  const json = reader.anyText("tokenizer.huggingface.json");
  if (json === undefined) return undefined;
  const definition = readDefinition(json, "tokenizer.huggingface.json");
  const all = [...definition.tokens.entries(), ...definition.added.map(({ id, content }) => [id, content] as const)];
  return all.every(([id, token]) => token === undefined || tokens[id] === token) ? definition : undefined;
}

function readMerges(reader: Reader, idOf: ReadonlyMap<string, number>): Merges {
  const listed = reader.texts("merges") ?? reader.fail("no tokenizer.ggml.merges", "the list of merges");
  const [left, right, made] = [new Int32Array(listed.length), new Int32Array(listed.length), new Int32Array(listed.length)];
  for (const [i, merge] of listed.entries()) {
    // A token may begin with a space, but is never empty.
    const space = merge.indexOf(" ", 1);
    const ids = [merge.slice(0, space), merge.slice(space + 1), merge.slice(0, space) + merge.slice(space + 1)].map((token) =>
      idOf.get(token),
    );
    const [leftId, rightId, madeId] = ids;
    if (space < 0 || leftId === undefined || rightId === undefined || madeId === undefined)
      reader.fail(`the merge ${quote(merge)}`, "two tokens of the vocabulary, with a space between, that make a third one");
    left[i] = leftId;
    right[i] = rightId;
    made[i] = madeId;
  }
  return { left, right, made };
}

function sentencePiece(reader: Reader, vocabulary: Vocabulary): Partial {
  const { tokens, types, idOf, added } = vocabulary;
  const scores = reader.numbers("scores", tokens.length) ?? reader.fail("no tokenizer.ggml.scores", "a score for each token");
  if (!isFloats(scores)) reader.fail("tokenizer.ggml.scores that are whole numbers", "an array of 32-bit floats");
  for (let id = 0; id < scores.length; id++)
    if (!Number.isFinite(scores[id])) reader.fail(`score ${scores[id]} of token ${id}`, "a finite number");
  const unknown = reader.id("unknown_token_id", vocabulary) ?? added.find(({ id }) => types[id] === tokenType.unknown)?.id;
  const list = byId(vocabulary);
  const isByte = (id: number) => types[id] === tokenType.byte;
  const merges = spmMerges(list, idOf, scores, isByte);
  const prefix = reader.flag("add_space_prefix") ?? true;
  const space = { type: "Replace", pattern: { String: " " }, content: "\u2581" };
  const strip = prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [];
  return {
    addBos: true,
    definition: {
      tokens: list,
      idOf,
      merges,
      added,
      ...(unknown !== undefined && { unknown }),
      fuseUnknown: true,
      byteFallback: list.some((token, id) => token !== undefined && isByte(id)),
      ignoreMerges: false,
      normalizer: { type: "Sequence", normalizers: [...(prefix ? [{ type: "Prepend", prepend: "\u2581" }] : []), space] },
      preTokenizer: null,
      decoder: {
        type: "Sequence",
        decoders: [{ type: "Replace", pattern: { String: "\u2581" }, content: " " }, { type: "ByteFallback" }, { type: "Fuse" }, ...strip],
      },
    },
  };
}

/** A plain array, as a reader may give it, is believed. */
function isFloats(values: ArrayLike<number>): boolean {
  return Array.isArray(values) || values instanceof Float32Array || values instanceof Float64Array;
}

/** Ends of turns that published models use without naming them in the metadata. */
const endTokens = ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<｜end▁of▁sentence｜>"];

function readEndIds(reader: Reader, vocabulary: Vocabulary, eos: number | undefined): number[] {
  const named = [eos, reader.id("eot_token_id", vocabulary), reader.id("eom_token_id", vocabulary)];
  const texts = vocabulary.added.filter(({ special, content }) => special && endTokens.includes(content)).map(({ id }) => id);
  return [...new Set([...named, ...texts])].filter((id) => id !== undefined);
}

function within(id: number | undefined, { tokens }: Vocabulary): number | undefined {
  return id !== undefined && id < tokens.length ? id : undefined;
}

class Reader {
  readonly #metadata: GgufMetadata;
  readonly #source: string;

  constructor(metadata: GgufMetadata, source: string) {
    this.#metadata = metadata;
    this.#source = source;
  }

  #get(key: string): unknown {
    const entry = this.#metadata.get(key);
    const value = typeof entry === "object" && entry !== null && "type" in entry && "value" in entry ? entry.value : entry;
    const isLazy = typeof value === "object" && value !== null && "toArray" in value && typeof value.toArray === "function";
    return isLazy ? (value.toArray as () => unknown).call(value) : value;
  }

  fail(got: string, expected: string): never {
    const operation = `read the tokenizer of ${quote(this.#source, 300)}`;
    throw new FormatError({ operation, got, expected, cure: "convert the model again, or use its Hugging Face folder" });
  }

  text(key: string): string | undefined {
    return this.anyText(`tokenizer.ggml.${key}`);
  }

  anyText(key: string): string | undefined {
    const value = this.#get(key);
    if (value === undefined || typeof value === "string") return value;
    return this.fail(`${key} that is no string`, "a string");
  }

  flag(key: string): boolean | undefined {
    const value = this.#get(`tokenizer.ggml.${key}`);
    if (value === undefined || typeof value === "boolean") return value;
    return this.fail(`tokenizer.ggml.${key} that is no boolean`, "true or false");
  }

  texts(key: string): readonly string[] | undefined {
    const value = this.#get(`tokenizer.ggml.${key}`);
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || !value.every((entry) => typeof entry === "string"))
      return this.fail(`tokenizer.ggml.${key} that is no array of strings`, "an array of strings");
    return value;
  }

  numbers(key: string, length: number): ArrayLike<number> | undefined {
    const value = this.#get(`tokenizer.ggml.${key}`);
    if (value === undefined) return undefined;
    const isList =
      (Array.isArray(value) && value.every((entry) => typeof entry === "number")) || (ArrayBuffer.isView(value) && "length" in value);
    if (!isList) return this.fail(`tokenizer.ggml.${key} that is no array of numbers`, "an array of numbers");
    const numbers = value as ArrayLike<number>;
    if (numbers.length !== length || typeof numbers[0] === "bigint")
      return this.fail(`${numbers.length} entries of tokenizer.ggml.${key}`, `${length}, one for each token`);
    return numbers;
  }

  id(key: string, { tokens }: Pick<Vocabulary, "tokens">): number | undefined {
    const value = this.#get(`tokenizer.ggml.${key}`);
    if (value === undefined) return undefined;
    const id = typeof value === "bigint" ? Number(value) : value;
    if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id < tokens.length) return id;
    return this.fail(`tokenizer.ggml.${key} ${quote(String(value), 40)}`, `an id from 0 to ${tokens.length - 1}`);
  }
}
