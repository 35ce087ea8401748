// Finds tool calls in an answer while it is written. In: text as it comes, after thinking. Out: pieces: text, the name of a call as soon as it is
// known, its arguments as they come. What might be the beginning of a tag is held back. Arguments are passed on as the model wrote them,
// JSON or not (the client's library decides); a call without a name that could be read stays text.

import { isJsonObject, parseJson } from "../core/json.ts";
import { JsonSpan } from "./json-span.ts";
import { deepseekTags, hermesTags, pythonTag, type ToolFormat } from "./tool-format.ts";

export type ToolPiece =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "call"; readonly index: number; readonly name: string }
  | { readonly kind: "arguments"; readonly index: number; readonly text: string };

export type ToolStream = {
  push(text: string): ToolPiece[];
  end(): ToolPiece[];
  /** Calls so far. */
  readonly calls: number;
};

/** The longest name that is waited for; what is longer is no call. */
const longestHead = 512;

export function toolStream(format: ToolFormat): ToolStream {
  return format === "deepseek" ? new DeepseekStream() : new ObjectStream(format);
}

/** How many characters at the end of `text` may begin one of `tags`. */
export function begunTag(text: string, tags: readonly string[]): number {
  let longest = 0;
  for (const tag of tags) {
    for (let length = Math.min(tag.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(tag.slice(0, length))) longest = length;
    }
  }
  return longest;
}

/** `<tool_call>{…}</tool_call>` anywhere, or (Llama) an answer that is objects from its first character on. */
class ObjectStream implements ToolStream {
  readonly #isLlama: boolean;
  readonly #key: "arguments" | "parameters";
  #state: "start" | "text" | "head" | "arguments" | "tail" = "text";
  #held = "";
  /** The call as it was written so far, should it turn out to be none. */
  #raw = "";
  #span = new JsonSpan();
  calls = 0;

  constructor(format: "hermes" | "llama") {
    this.#isLlama = format === "llama";
    this.#key = this.#isLlama ? "parameters" : "arguments";
    if (this.#isLlama) this.#state = "start";
  }

  push(text: string): ToolPiece[] {
    this.#held += text;
    const pieces: ToolPiece[] = [];
    while (this.#step(pieces)) {}
    return pieces;
  }

  end(): ToolPiece[] {
    const pieces: ToolPiece[] = [];
    if (this.#state === "head") this.#wholeCall(pieces, this.#held);
    else if (this.#state === "text" || this.#state === "start") add(pieces, this.#raw + this.#held);
    else if (this.#state === "arguments" && this.#held !== "") pieces.push({ kind: "arguments", index: this.calls - 1, text: this.#held });
    this.#held = "";
    this.#raw = "";
    this.#state = "tail";
    return pieces;
  }

  /** One move of the machine; false when more text is needed. */
  #step(pieces: ToolPiece[]): boolean {
    if (this.#state === "start") return this.#begin();
    if (this.#state === "text") return this.#findCall(pieces);
    if (this.#state === "head") return this.#readHead(pieces);
    if (this.#state === "arguments") return this.#readArguments(pieces);
    return this.#readTail();
  }

  /** Llama: an object, or a tag, opens the answer; anything else makes it text. */
  #begin(): boolean {
    const text = this.#held.trimStart();
    if (text === "" || (text.length < pythonTag.length && pythonTag.startsWith(text))) return false;
    if (text.startsWith(pythonTag))
      this.#enter(text.slice(pythonTag.length), this.#held.slice(0, this.#held.length - text.length) + pythonTag);
    else if (text.startsWith("{")) this.#enter(text, "");
    else this.#state = "text";
    return true;
  }

  #enter(rest: string, raw: string): void {
    this.#held = rest;
    this.#raw = raw;
    this.#state = "head";
  }

  #findCall(pieces: ToolPiece[]): boolean {
    const { open } = hermesTags;
    const at = this.#isLlama ? -1 : this.#held.indexOf(open);
    const length = at >= 0 ? at : this.#held.length - (this.#isLlama ? 0 : begunTag(this.#held, [open]));
    const text = this.#held.slice(0, length);
    const cut = this.#isLlama ? text.length : text.trimEnd().length;
    if (at >= 0) {
      add(pieces, text.slice(0, cut));
      // Blanks before a call are nobody's text, unless the call turns out to be none.
      this.#enter(this.#held.slice(at + open.length), text.slice(cut) + open);
      return true;
    }
    add(pieces, text.slice(0, cut));
    this.#held = this.#held.slice(cut);
    return false;
  }

  /** Waits for `{"name": "…", "arguments":`; another order of keys waits for the whole object. */
  #readHead(pieces: ToolPiece[]): boolean {
    const match = /^\s*\{\s*"name"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,\s*"(\w+)"\s*:\s*/.exec(this.#held);
    if (match && (match[2] === this.#key || match[2] === "arguments" || match[2] === "parameters")) {
      const rest = this.#held.slice(match[0].length);
      if (rest === "") return false;
      pieces.push({ kind: "call", index: this.calls++, name: match[1] as string });
      this.#held = rest;
      this.#raw = "";
      this.#span = new JsonSpan();
      this.#state = "arguments";
      return true;
    }
    const close = this.#isLlama ? this.#objectEnd() : this.#held.indexOf(hermesTags.close);
    if (close >= 0) {
      const whole = this.#held.slice(0, close);
      this.#held = this.#held.slice(close);
      this.#wholeCall(pieces, whole);
      return true;
    }
    // A name that never ends, or (Llama) no object at all: text.
    const isHopeless = this.#isLlama ? !/^\s*\{?\s*("|$)/.test(this.#held) : false;
    if (isHopeless || (match === null && this.#held.length > longestHead && !/"name"\s*:/.test(this.#held.slice(0, longestHead)))) {
      add(pieces, this.#raw + this.#held);
      this.#held = "";
      this.#raw = "";
      this.#state = "text";
    }
    return false;
  }

  #objectEnd(): number {
    return new JsonSpan().end(this.#held);
  }

  /** A call of which everything is there. */
  #wholeCall(pieces: ToolPiece[], whole: string): void {
    const call = readCall(whole);
    this.#state = "tail";
    if (!call) {
      add(pieces, this.#raw + whole + (this.#held.startsWith(hermesTags.close) ? hermesTags.close : ""));
    } else {
      const index = this.calls++;
      pieces.push({ kind: "call", index, name: call.name }, { kind: "arguments", index, text: call.text });
    }
    this.#raw = "";
  }

  /** Passes the value on up to its end; JSON that is none ends at the closing tag. */
  #readArguments(pieces: ToolPiece[]): boolean {
    const end = this.#span.end(this.#held);
    const close = this.#isLlama ? -1 : this.#held.indexOf(hermesTags.close);
    const stop = end >= 0 && (close < 0 || end <= close) ? end : close;
    const length = stop >= 0 ? stop : this.#held.length - (this.#isLlama ? 0 : begunTag(this.#held, [hermesTags.close]));
    const text = this.#held.slice(0, length);
    if (text !== "") pieces.push({ kind: "arguments", index: this.calls - 1, text });
    this.#held = this.#held.slice(length);
    this.#span.skip(text);
    if (stop < 0) return false;
    this.#state = "tail";
    return true;
  }

  /** What follows a value: the closing brace and tag, then more calls or text. */
  #readTail(): boolean {
    if (this.#isLlama) {
      const match = /^[\s};]*/.exec(this.#held);
      const rest = this.#held.slice(match?.[0].length ?? 0);
      if (rest === "") return false;
      this.#held = rest;
      this.#state = "start";
      return true;
    }
    const close = this.#held.indexOf(hermesTags.close);
    if (close < 0) return false;
    this.#held = this.#held.slice(close + hermesTags.close.length);
    this.#state = "text";
    return true;
  }
}

/** The name and the arguments of a call object, the latter as text. */
function readCall(whole: string): { name: string; text: string } | undefined {
  try {
    const value = parseJson(whole.trim().replace(/^;/, ""), { source: "a tool call", unsafeIntegers: "round" });
    if (!isJsonObject(value) || typeof value.name !== "string") return undefined;
    const given = value.arguments ?? value.parameters ?? {};
    return { name: value.name, text: typeof given === "string" ? given : JSON.stringify(given) };
  } catch {
    return undefined;
  }
}

/** `<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n{…}\n```<｜tool▁call▁end｜>`, or NAME<｜tool▁sep｜>{…} as V3.1 writes it. */
class DeepseekStream implements ToolStream {
  #state: "text" | "head" | "arguments" | "between" = "text";
  #held = "";
  calls = 0;

  push(text: string): ToolPiece[] {
    this.#held += text;
    const pieces: ToolPiece[] = [];
    while (this.#step(pieces)) {}
    return pieces;
  }

  end(): ToolPiece[] {
    const pieces: ToolPiece[] = [];
    if (this.#state === "arguments") this.#give(pieces, this.#held.replace(/\s*`{0,3}\s*$/, ""));
    else if (this.#state !== "between") add(pieces, (this.#state === "head" ? deepseekTags.open : "") + this.#held);
    this.#held = "";
    return pieces;
  }

  #give(pieces: ToolPiece[], text: string): void {
    if (text !== "") pieces.push({ kind: "arguments", index: this.calls - 1, text });
  }

  #step(pieces: ToolPiece[]): boolean {
    const { begin, open, separator, close } = deepseekTags;
    if (this.#state === "text" || this.#state === "between") {
      const at = this.#held.indexOf(open);
      if (at >= 0) {
        const before = this.#held.slice(0, at).replace(begin, "").trimEnd();
        if (this.#state === "text") add(pieces, before);
        this.#held = this.#held.slice(at + open.length);
        this.#state = "head";
        return true;
      }
      if (this.#state === "between") return false;
      const atBegin = this.#held.indexOf(begin);
      const length = atBegin >= 0 ? atBegin : this.#held.length - begunTag(this.#held, [begin, open]);
      const text = this.#held.slice(0, length);
      const cut = text.trimEnd().length;
      add(pieces, text.slice(0, cut));
      this.#held = this.#held.slice(cut);
      return false;
    }
    if (this.#state === "head") {
      const match = new RegExp(
        `^(?:function${separator}([^\\n\`]{1,256})\\n\`\`\`json\\n|(?!function${separator})([^\\n<]{1,256})${separator})`,
      ).exec(this.#held);
      if (!match) {
        if (this.#held.length <= longestHead) return false;
        add(pieces, open + this.#held);
        this.#held = "";
        this.#state = "text";
        return false;
      }
      pieces.push({ kind: "call", index: this.calls++, name: (match[1] ?? match[2] ?? "").trim() });
      this.#held = this.#held.slice(match[0].length);
      this.#state = "arguments";
      return true;
    }
    const at = this.#held.indexOf(close);
    if (at >= 0) {
      this.#give(pieces, this.#held.slice(0, at).replace(/\s*(?:```)?\s*$/, ""));
      this.#held = this.#held.slice(at + close.length);
      this.#state = "between";
      return true;
    }
    // The fence may still be on its way: its characters and blanks wait.
    const safe = this.#held.slice(0, this.#held.length - begunTag(this.#held, [close])).replace(/[\s`]*$/, "");
    this.#give(pieces, safe);
    this.#held = this.#held.slice(safe.length);
    return false;
  }
}

function add(pieces: ToolPiece[], text: string): void {
  if (text !== "") pieces.push({ kind: "text", text });
}
