// Cuts a text into the pieces within which byte pairs merge. In: the `pre_tokenizer` of a tokenizer.json. Out: a function to the
// ends of the pieces. Patterns of published tokenizers run by hand-written scanners (scanner.ts), in linear time. Any other step runs
// in `@huggingface/tokenizers`, and only on texts short enough that its backtracking engine cannot take long.

import { Tokenizer as Library } from "@huggingface/tokenizers";
import { ConfigError, quote, RequestError } from "../core/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../core/json.ts";
import { byteToChar } from "./byte-alphabet.ts";
import { longestText } from "./pattern-check.ts";
import { makeScanner, type Scanner } from "./scanner.ts";

/** GPT-2's own pattern, which a ByteLevel step stands for. */
export const gpt2Pattern = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

export type Steps = {
  /** Patterns to cut by, one after the other. */
  readonly patterns: readonly string[];
  /** Whether pieces are then spelled as bytes. */
  readonly bytes: boolean;
};

/** A `pre_tokenizer` as patterns, or undefined where it is more than that. */
export function readSteps(config: JsonValue | undefined): Steps | undefined {
  const patterns: string[] = [];
  let bytes = false;
  for (const part of flatten(config)) {
    // Nothing but the spelling as bytes may be left to do.
    if (bytes) return undefined;
    const { type, pattern } = part;
    if (type === "ByteLevel" && part.add_prefix_space === false) {
      if (part.use_regex !== false) patterns.push(gpt2Pattern);
      bytes = true;
    } else if (type === "Digits") {
      patterns.push(part.individual_digits === true ? "\\p{N}" : "\\p{N}+");
    } else if (type === "Split" && part.behavior === "Isolated" && part.invert !== true && isJsonObject(pattern)) {
      if (typeof pattern.Regex !== "string") return undefined;
      patterns.push(pattern.Regex.replaceAll("\r", "\\r").replaceAll("\n", "\\n"));
    } else {
      return undefined;
    }
  }
  return { patterns, bytes };
}

function flatten(part: JsonValue | undefined): JsonObject[] {
  if (!isJsonObject(part)) return [];
  return part.type === "Sequence" && Array.isArray(part.pretokenizers) ? part.pretokenizers.flatMap(flatten) : [part];
}

/** Scanners for all of `patterns` one after the other, or undefined when one is not known. */
export function makeCutter(patterns: readonly string[]): ((text: string) => number[]) | undefined {
  const scanners: Scanner[] = [];
  for (const pattern of patterns) {
    const scanner = makeScanner(pattern);
    if (!scanner) return undefined;
    scanners.push(scanner);
  }
  return (text) => {
    let ends = text === "" ? [] : [text.length];
    for (const scan of scanners) {
      const finer: number[] = [];
      let from = 0;
      for (const end of ends) {
        scan(text, from, end, finer);
        from = end;
      }
      ends = finer;
    }
    return ends;
  };
}

/** A text's UTF-8 bytes, each as its character. */
export function spellBytes(text: string): string {
  let spelled = "";
  for (const byte of utf8.encode(text)) spelled += byteToChar[byte];
  return spelled;
}

const utf8 = new TextEncoder();

/**
 * The pieces of a text in the spelling of the vocabulary (bytes as characters, where the steps say so); for training, and for steps that are no
 * known patterns. Throws ConfigError when a pattern is no regular expression; the function throws RequestError for a text too long for it.
 */
export function makePreTokenizer(config: JsonObject): (text: string, sectionIndex?: number) => string[] {
  const steps = readSteps(config);
  const cut = steps && makeCutter(steps.patterns);
  if (cut) {
    return (text) => {
      let from = 0;
      return cut(text).map((end) => {
        const piece = text.slice(from, end);
        from = end;
        return steps.bytes ? spellBytes(piece) : piece;
      });
    };
  }
  const parts = { normalizer: null, post_processor: null, decoder: null, added_tokens: [] };
  const longest = longestText(config);
  try {
    const library = new Library({ ...parts, pre_tokenizer: config, model: { type: "BPE", vocab: {}, merges: [] } }, {});
    const split = library.pre_tokenizer as unknown as ((text: string, options: { section_index: number }) => string[]) | null;
    if (!split) throw new Error("no pre-tokenizer");
    return (text, sectionIndex = 0) => {
      if (text.length > longest) {
        throw new RequestError({
          operation: "tokenize",
          got: `a text of ${text.length} characters`,
          expected: `at most ${longest} between special tokens: this tokenizer's pattern is not one that runs in linear time`,
          cure: "shorten the text, or use a model with a known pattern",
        });
      }
      return split(text, { section_index: sectionIndex });
    };
  } catch (cause) {
    const got = quote(cause instanceof Error ? cause.message : String(cause), 200);
    throw new ConfigError(
      { operation: "make a pre-tokenizer", got, expected: "a regular expression", cure: "correct the pattern" },
      { cause },
    );
  }
}
