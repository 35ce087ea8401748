// From the ids of one completion to what a client is told. In: ids as the engine emits them. Out: deltas of reasoning, content and tool calls.
// Special tokens are left out, but for those that delimit thinking or tool calls. Stop texts are looked for in the content alone.

import { streamDecoder } from "../text/stream-decoder.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { stopStream } from "./stop-strings.ts";
import { type ThinkState, thinkStream } from "./think-stream.ts";
import type { ThinkTags } from "./think-tags.ts";
import { type ToolFormat, toolTokens } from "./tool-format.ts";
import { type ToolPiece, toolStream } from "./tool-stream.ts";

export type Delta =
  | { readonly kind: "reasoning"; readonly text: string }
  | { readonly kind: "content"; readonly text: string }
  | { readonly kind: "call"; readonly index: number; readonly name: string }
  | { readonly kind: "arguments"; readonly index: number; readonly text: string };

export type DeltaWriter = {
  push(id: number): Delta[];
  /** As push for one after another, from place `from` on, in fewer pieces. `thoughts`: how many of these were thinking, the one that ends it left out. */
  pushAll(ids: readonly number[], from?: number): { readonly deltas: readonly Delta[]; readonly thoughts: number };
  /** What was held back. */
  end(): Delta[];
  readonly stopText: string | undefined;
  readonly isThinking: boolean;
  readonly calls: number;
};

export type DeltaOptions = {
  /** Undefined: the text is not split. */
  readonly thinkTags?: ThinkTags;
  readonly begin: ThinkState;
  readonly stops: readonly string[];
  readonly toolFormat?: ToolFormat;
  /** Text that the prompt holds already and that belongs to the answer, e.g. the opening of a call. */
  readonly prefix?: string;
};

export function deltaWriter(tokenizer: Tokenizer, options: DeltaOptions): DeltaWriter {
  const { thinkTags, begin, stops, toolFormat, prefix = "" } = options;
  const shown = new Set<number | undefined>();
  if (thinkTags) for (const id of tokenizer.encode(thinkTags.open + thinkTags.close, { addSpecialTokens: false })) shown.add(id);
  if (toolFormat) for (const token of toolTokens) shown.add(tokenizer.idOf(token));
  const decoder = streamDecoder(tokenizer);
  const split = thinkTags ? thinkStream(thinkTags, begin) : undefined;
  const stop = stopStream(stops);
  const tools = toolFormat && toolStream(toolFormat);
  let isFirst = prefix !== "";
  /** Blanks at the end of thinking so far: they belong to it only if it goes on. */
  let blanks = "";

  function readReasoning(text: string, deltas: Delta[]): void {
    const all = blanks + text;
    const kept = all.trimEnd();
    blanks = all.slice(kept.length);
    if (kept !== "") deltas.push({ kind: "reasoning", text: kept });
  }

  function readContent(text: string, deltas: Delta[]): void {
    const safe = stop.push(text);
    if (safe === "") return;
    if (tools) add(deltas, tools.push(safe));
    else deltas.push({ kind: "content", text: safe });
  }

  function read(text: string): Delta[] {
    const deltas: Delta[] = [];
    if (isFirst) {
      isFirst = false;
      readContent(prefix, deltas);
    }
    if (split) {
      for (const piece of split.push(text)) {
        if (piece.kind === "reasoning") readReasoning(piece.text, deltas);
        else readContent(piece.text, deltas);
      }
    } else if (text !== "") readContent(text, deltas);
    return deltas;
  }

  const textOf = (id: number): string => (tokenizer.isSpecial(id) && !shown.has(id) ? "" : decoder.push(id));

  return {
    push: (id) => read(textOf(id)),
    pushAll(ids, from = 0) {
      const texts: string[] = [];
      let all = "";
      for (let i = from; i < ids.length; i++) {
        const text = textOf(ids[i] as number);
        texts.push(text);
        all += text;
      }
      if (!split?.mayTurn(all)) return { deltas: read(all), thoughts: split?.isThinking ? texts.length : 0 };
      let thoughts = 0;
      const deltas = texts.flatMap((text) => {
        const wasThinking = split.isThinking;
        const pieces = read(text);
        if (wasThinking && split.isThinking) thoughts++;
        return pieces;
      });
      return { deltas, thoughts };
    },
    end() {
      const deltas = read(decoder.end());
      for (const piece of split?.end() ?? []) {
        if (piece.kind === "reasoning") readReasoning(piece.text, deltas);
        else readContent(piece.text, deltas);
      }
      const rest = stop.end();
      if (tools) add(deltas, [...tools.push(rest), ...tools.end()]);
      else if (rest !== "") deltas.push({ kind: "content", text: rest });
      return deltas;
    },
    get stopText() {
      return stop.met;
    },
    get isThinking() {
      return split?.isThinking ?? false;
    },
    get calls() {
      return tools?.calls ?? 0;
    },
  };
}

function add(deltas: Delta[], pieces: readonly ToolPiece[]): void {
  for (const piece of pieces) deltas.push(piece.kind === "text" ? { kind: "content", text: piece.text } : piece);
}
