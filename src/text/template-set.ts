// Finds the chat templates among a model's files. In: the texts of the files. Out: the templates' sources, not compiled (chat-template.ts does that), so that
// a model without one needs no interpreter.

import { FormatError } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";

export type TemplateSet = { readonly default?: string; readonly toolUse?: string };

/**
 * The templates of a model's files: `chat_template.jinja` (which wins), or `chat_template` of tokenizer_config.json, one text or a list of named
 * ones, of which "default" and "tool_use" count. Throws FormatError.
 */
export function readTemplates(jinjaFile: string | undefined, tokenizerConfig: JsonObject | undefined): TemplateSet {
  if (jinjaFile !== undefined) return { default: jinjaFile };
  const entry = tokenizerConfig?.chat_template;
  if (entry === undefined || entry === null) return {};
  if (typeof entry === "string") return { default: entry };
  const named = new Map<string, string>();
  for (const item of Array.isArray(entry) ? entry : [entry]) {
    const [name, template] = typeof item === "object" && item !== null && !Array.isArray(item) ? [item.name, item.template] : [];
    if (typeof name !== "string" || typeof template !== "string") {
      throw new FormatError({
        operation: 'read "chat_template" of tokenizer_config.json',
        got: "an entry without name and template",
        expected: 'a text, or a list of {"name", "template"}',
        cure: "use the tokenizer_config.json of the model's publisher",
      });
    }
    named.set(name, template);
  }
  const [standard, toolUse] = [named.get("default"), named.get("tool_use")];
  return { ...(standard !== undefined && { default: standard }), ...(toolUse !== undefined && { toolUse }) };
}
