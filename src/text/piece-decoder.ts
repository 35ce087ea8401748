// Reads the `decoder` of a tokenizer.json as two simple things: the bytes of each token, and what to cut from the very
// start of a text. In: that JSON. Out: functions that the whole-text decoder and the streaming one share, so that they
// cannot differ. Known: ByteLevel (GPT-2, Llama 3, Qwen, DeepSeek) and the SentencePiece chain (Llama 2), whose invalid
// byte runs become U+FFFD by the usual UTF-8 rules (Rust's tokenizers gives one U+FFFD per byte of the whole run).

import { FormatError, quote } from "../core/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../core/json.ts";
import { charToByte } from "./byte-alphabet.ts";

export type PieceDecoder = {
  /** Bytes of a token; `added` tokens of a byte-level vocabulary are literal text; `first` is true at the start of a text. */
  bytes(token: string, added: boolean, first: boolean): Uint8Array;
  /** Up to `count` characters `content` are cut from the start of the decoded text. */
  readonly cut: { readonly content: string; readonly count: number };
};

const encoder = new TextEncoder();
const byteToken = /^<0x([0-9A-Fa-f]{2})>$/;

type Step = (text: string, first: boolean) => string;

export function makePieceDecoder(decoder: JsonValue | undefined, source: string): PieceDecoder {
  const steps: Step[] = [];
  let bytesMode: "text" | "alphabet" | "fallback" = "text";
  let fused = false;
  let cut = { content: "", count: 0 };

  function refuse(what: string): never {
    throw new FormatError({
      operation: `load ${quote(source, 300)}`,
      got: `decoder ${quote(what)}`,
      expected: "ByteLevel, or a sequence of Replace, Metaspace, ByteFallback, Fuse and Strip at the start",
      cure: "use a byte-level or SentencePiece BPE tokenizer",
    });
  }

  function add(part: JsonValue | undefined): void {
    if (!isJsonObject(part)) refuse("none");
    const { type } = part;
    if (type === "Sequence" && Array.isArray(part.decoders)) for (const inner of part.decoders) add(inner);
    else if (type === "ByteLevel" && !fused && bytesMode === "text") bytesMode = "alphabet";
    else if (type === "ByteFallback" && !fused && bytesMode === "text") bytesMode = "fallback";
    else if (type === "Fuse") fused = true;
    else if (type === "Strip" && fused && part.stop === 0 && typeof part.start === "number" && typeof part.content === "string") {
      cut = { content: part.content, count: part.start };
    } else if (type === "Replace" && !fused && bytesMode === "text") steps.push(replaceStep(part, refuse));
    else if (type === "Metaspace" && !fused && bytesMode === "text") steps.push(metaspaceStep(part));
    else refuse(typeof type === "string" ? type : "without a type");
  }

  add(decoder);
  const mode: string = bytesMode;
  return {
    cut,
    bytes: (token, added, first) => {
      if (mode === "alphabet") return (added ? undefined : alphabetBytes(token)) ?? encoder.encode(token);
      const text = steps.reduce((made, step) => step(made, first), token);
      const byte = mode === "fallback" ? byteToken.exec(text)?.[1] : undefined;
      return byte === undefined ? encoder.encode(text) : Uint8Array.of(Number.parseInt(byte, 16));
    },
  };
}

function replaceStep(part: JsonObject, refuse: (what: string) => never): Step {
  const { pattern, content } = part;
  if (!isJsonObject(pattern) || typeof pattern.String !== "string" || typeof content !== "string") refuse("Replace without two strings");
  const from = pattern.String;
  return (text) => text.replaceAll(from, () => content);
}

function metaspaceStep({ replacement, prepend_scheme: scheme, add_prefix_space: legacy }: JsonObject): Step {
  const mark = typeof replacement === "string" ? replacement : "\u2581";
  const prepended = scheme !== "never" && legacy !== false;
  return (text, first) => {
    const spaced = text.replaceAll(mark, " ");
    return first && prepended && spaced.startsWith(" ") ? spaced.slice(1) : spaced;
  };
}

/** Undefined when a character is outside the alphabet; the token then is plain text, as Rust's tokenizers has it. */
function alphabetBytes(token: string): Uint8Array | undefined {
  const bytes: number[] = [];
  for (const char of token) {
    const byte = charToByte.get(char);
    if (byte === undefined) return undefined;
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}
