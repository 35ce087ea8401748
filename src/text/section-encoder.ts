// Encodes a stretch of plain text: normalise, cut into pieces, merge. In: a tokenizer's definition. Out: two functions. The usual
// chains run here: nothing or NFC, known patterns and bytes (GPT-2, Llama 3, Qwen, DeepSeek), or SentencePiece's spaces as `▁`.
// Other normalisers and pre-tokenizers are those of `@huggingface/tokenizers`.

import { Tokenizer as Library } from "@huggingface/tokenizers";
import { isJsonObject, type JsonObject, type JsonValue } from "../core/json.ts";
import { byteEncoder, characterEncoder, type PieceEncoder } from "./bpe-model.ts";
import { makeCutter, makePreTokenizer, readSteps } from "./pre-tokenizer.ts";
import type { TokenizerDefinition } from "./tokenizer-definition.ts";

export type SectionEncoder = {
  normalize(text: string): string;
  /** Appends the ids of a normalised text; `index` is its place among the sections of the whole text. */
  encode(text: string, index: number, ids: number[]): void;
};

/** Throws ConfigError for patterns that are no regular expressions. */
export function makeSectionEncoder(definition: TokenizerDefinition): SectionEncoder {
  return { normalize: makeNormalizer(definition.normalizer), encode: makeEncoder(definition) };
}

function makeEncoder(definition: TokenizerDefinition): SectionEncoder["encode"] {
  const { preTokenizer } = definition;
  if (preTokenizer === null || isMetaspace(preTokenizer)) {
    const space = isMetaspace(preTokenizer) ? metaspace(preTokenizer) : undefined;
    const encode = byWords(definition, space?.mark ?? "\u2581", characterEncoder(definition), space?.split ?? false);
    return (text, index, ids) => encode(space ? space.spell(text, index) : text, ids);
  }
  const steps = readSteps(preTokenizer);
  const cut = steps && makeCutter(steps.patterns);
  if (cut) {
    const encode = steps.bytes ? byteEncoder(definition) : characterEncoder(definition);
    return (text, _index, ids) => {
      let from = 0;
      for (const end of cut(text)) {
        encode(text.slice(from, end), ids);
        from = end;
      }
    };
  }
  const split = makePreTokenizer(isJsonObject(preTokenizer) ? preTokenizer : {});
  const encode = characterEncoder(definition);
  return (text, index, ids) => {
    for (const piece of split(text, index)) encode(piece, ids);
  };
}

function isMetaspace(part: JsonValue): part is JsonObject {
  return isJsonObject(part) && part.type === "Metaspace";
}

function metaspace(part: JsonObject): { mark: string; split: boolean; spell(text: string, index: number): string } {
  const mark = typeof part.replacement === "string" ? part.replacement : "\u2581";
  const scheme = part.prepend_scheme ?? (part.add_prefix_space === false ? "never" : "always");
  return {
    mark,
    split: part.split !== false,
    spell(text, index) {
      const spelled = text.replaceAll(" ", mark);
      const prepended = scheme === "always" || (scheme === "first" && index === 0);
      return prepended && spelled !== "" && !spelled.startsWith(mark) ? mark + spelled : spelled;
    },
  };
}

/**
 * Encodes word by word, so that words can be remembered. A word begins with marks. Where no token has a mark after another
 * character, no merge crosses the start of a word, and the result is that of the whole text at once.
 */
function byWords(
  { tokens }: TokenizerDefinition,
  mark: string,
  encode: PieceEncoder,
  always: boolean,
): (text: string, ids: number[]) => void {
  const crosses = (token: string | undefined) => token !== undefined && startOfWord(token, mark, 0) >= 0;
  if (!always && tokens.some(crosses)) return encode;
  return (text, ids) => {
    let from = 0;
    while (from < text.length) {
      const next = always ? text.indexOf(mark, from + 1) : startOfWord(text, mark, from);
      const end = next < 0 ? text.length : next;
      encode(text.slice(from, end), ids);
      from = end;
    }
  };
}

/** Where, after `from`, a mark follows another character. */
function startOfWord(text: string, mark: string, from: number): number {
  let at = from;
  while (text.startsWith(mark, at)) at += mark.length;
  return text.indexOf(mark, at);
}

function makeNormalizer(config: JsonValue): (text: string) => string {
  const steps = flatten(config).map(makeStep);
  return (text) => steps.reduce((made, step) => step(made), text);
}

function flatten(part: JsonValue): JsonObject[] {
  if (!isJsonObject(part)) return [];
  return part.type === "Sequence" && Array.isArray(part.normalizers) ? part.normalizers.flatMap(flatten) : [part];
}

function makeStep(part: JsonObject): (text: string) => string {
  const { type, prepend, pattern, content } = part;
  if (type === "NFC") return nfc;
  if (type === "Prepend" && typeof prepend === "string") return (text) => (text === "" ? text : prepend + text);
  if (type === "Replace" && isJsonObject(pattern) && typeof pattern.String === "string" && typeof content === "string") {
    const { String: from } = pattern;
    return (text) => text.replaceAll(from, () => content);
  }
  const parts = { pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] };
  const library = new Library({ ...parts, normalizer: part, model: { type: "BPE", vocab: {}, merges: [] } }, {});
  const normalize = library.normalizer as unknown as (text: string) => string;
  return (text) => normalize(text);
}

const longMarks = /\p{M}{65,}/gu;
const nonLatin = /[\u0300-\uffff]/;

/**
 * Unicode's canonical composition. Putting n marks on one character in order takes n² steps, so of longer runs of marks each 64 are
 * ordered by themselves (Unicode calls such a text stream-safe, and has 30); no language stacks as many.
 */
function nfc(text: string): string {
  if (!nonLatin.test(text)) return text;
  let made = "";
  let from = 0;
  for (const { 0: marks, index } of text.matchAll(longMarks)) {
    made += text.slice(from, index + 32).normalize("NFC");
    for (let at = index + 32; at < index + marks.length; at += 64)
      made += marks.slice(at - index, Math.min(at - index + 64, marks.length)).normalize("NFC");
    from = index + marks.length;
  }
  return made + text.slice(from).normalize("NFC");
}
