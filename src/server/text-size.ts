// Refuses texts that cannot fit into a model's context before the whole of them is made into ids, and lets others have their turn meanwhile (hazard L19):
// a body of megabytes takes seconds of tokenizing. In: texts of a request. Out: nothing, or a Refusal. A text that is let through costs at
// most what a full context costs.

import { Refusal } from "./refusal.ts";
import type { ServedModel } from "./shelf.ts";

/** Characters that are tokenized at once: a few milliseconds. */
const sliceLength = 8_192;

/** Throws Refusal 400 naming `field`. */
export async function checkTexts(texts: readonly string[], model: ServedModel, field: string): Promise<void> {
  const { engine, tokenizer, longestPiece } = model;
  const { contextLength } = engine;
  const characters = texts.reduce((sum, { length }) => sum + length, 0);
  if (characters > 2 * longestPiece * contextLength) throw tooLong(`${characters} characters`, contextLength, field);
  if (characters <= sliceLength) return;
  // A cut may add tokens around it; of those that many are not counted.
  const doubtful = 2 * longestPiece;
  let tokens = 0;
  for (const text of texts) {
    for (let at = 0; at < text.length; at += sliceLength) {
      const slice = text.slice(at, at + sliceLength);
      tokens += Math.max(0, tokenizer.encode(slice, { addSpecialTokens: false, parseSpecial: false }).length - doubtful);
      if (tokens >= contextLength) throw tooLong(`more than ${tokens} tokens`, contextLength, field);
      if (slice.length === sliceLength) await new Promise((next) => setTimeout(next, 0));
    }
  }
}

function tooLong(got: string, contextLength: number, param: string): Refusal {
  return new Refusal(got, `what fits into a context of ${contextLength} tokens`, "shorten it", {
    status: 400,
    code: "context_length_exceeded",
    param,
  });
}
