// What a tokenizer puts around a text, e.g. the beginning-of-text token. In: the checked `post_processor` of a tokenizer.json.
// Out: the ids before and after.

import { isJsonObject, type JsonValue } from "../core/json.ts";

export type Frame = { readonly before: readonly number[]; readonly after: readonly number[] };

export function readFrame(processor: JsonValue): Frame {
  if (!isJsonObject(processor)) return { before: [], after: [] };
  if (processor.type === "Sequence" && Array.isArray(processor.processors)) {
    // Later processors stand around earlier ones.
    const frames = processor.processors.map(readFrame);
    return { before: frames.toReversed().flatMap(({ before }) => before), after: frames.flatMap(({ after }) => after) };
  }
  const template = Array.isArray(processor.single) ? processor.single : [];
  const ids = template.map((item) => idOf(item, processor.special_tokens));
  const text = ids.indexOf(undefined);
  const present = (id: number | undefined): id is number => id !== undefined;
  return text < 0 ? { before: [], after: [] } : { before: ids.slice(0, text).filter(present), after: ids.slice(text + 1).filter(present) };
}

/** Undefined where the text itself stands. */
function idOf(item: JsonValue, declared: JsonValue | undefined): number | undefined {
  const name = isJsonObject(item) && isJsonObject(item.SpecialToken) ? item.SpecialToken.id : undefined;
  const entry = typeof name === "string" && isJsonObject(declared) ? declared[name] : undefined;
  const ids = isJsonObject(entry) ? entry.ids : undefined;
  return Array.isArray(ids) && typeof ids[0] === "number" ? ids[0] : undefined;
}

/** A `post_processor` that puts these tokens around a text. */
export function framePostProcessor(
  before: readonly { readonly id: number; readonly content: string }[],
  after: readonly { readonly id: number; readonly content: string }[],
): JsonValue {
  if (before.length + after.length === 0) return null;
  const token = (type: number) => (part: { content: string }) => ({ SpecialToken: { id: part.content, type_id: type } });
  const sequence = (name: string, type: number) => [
    ...before.map(token(type)),
    { Sequence: { id: name, type_id: type } },
    ...after.map(token(type)),
  ];
  return {
    type: "TemplateProcessing",
    single: sequence("A", 0),
    pair: [...sequence("A", 0), ...sequence("B", 1)],
    special_tokens: Object.fromEntries(
      [...before, ...after].map(({ id, content }) => [content, { id: content, ids: [id], tokens: [content] }]),
    ),
  };
}
