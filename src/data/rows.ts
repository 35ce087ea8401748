// Rows of text to documents of ids with a loss mask. In: rows of jsonl.ts or a task's prompt and completion. Out: documents of pack.ts.
// Unusual: prompt and completion are encoded apart and then joined, so that the ids of a prompt are the same in training and when the
// engine is later given that prompt alone, whatever merges the tokenizer would make across the border.

import { ConfigError } from "../core/errors.ts";
import type { DataRow, Message } from "./jsonl.ts";
import { completionDocument, type Document } from "./pack.ts";

export type RowEncoder = {
  encode(text: string): readonly number[];
  /** Put before every document when given. */
  readonly bos?: number;
  /** Put after every document, and learned: it is how a model learns to stop. */
  readonly eos: number;
  /** A chat template: messages to pieces of text in order; `learned` pieces (the assistant's turns) count in the loss. */
  render?(messages: readonly Message[]): readonly { readonly text: string; readonly learned: boolean }[];
};

/** bos + prompt (not learned) + completion + eos (learned). */
export function encodePair(prompt: string, completion: string, encoder: RowEncoder): Document {
  return completionDocument([...startOf(encoder), ...encoder.encode(prompt)], [...encoder.encode(completion), encoder.eos]);
}

/** bos + text + eos, all learned. */
export function encodeText(text: string, encoder: RowEncoder): Document {
  return { ids: [...startOf(encoder), ...encoder.encode(text), encoder.eos] };
}

/** One document for a row of any kind. Messages need `render`; without it they are a ConfigError. */
export function encodeRow(row: DataRow, encoder: RowEncoder): Document {
  if (row.kind === "completion") return encodePair(row.prompt, row.completion, encoder);
  if (row.kind === "text") return encodeText(row.text, encoder);
  if (encoder.render === undefined) {
    throw new ConfigError({
      operation: "encode a chat row",
      got: "a model without a chat template",
      expected: "a template that turns messages into text",
      cure: 'give rows of {"prompt", "completion"} or {"text"}, or a tokenizer with a chat template',
    });
  }
  const pieces = encoder.render(row.messages).map((piece) => ({ ids: encoder.encode(piece.text), learned: piece.learned ? 1 : 0 }));
  const start = startOf(encoder);
  const last = pieces.at(-1)?.learned ?? 0;
  return {
    ids: [...start, ...pieces.flatMap((piece) => [...piece.ids]), encoder.eos],
    mask: [...start.map(() => 0), ...pieces.flatMap((piece) => piece.ids.map(() => piece.learned)), last],
  };
}

function startOf(encoder: RowEncoder): number[] {
  return encoder.bos === undefined ? [] : [encoder.bos];
}
