// What form an answer must have: `response_format` of OpenAI, or `structured_outputs` as vLLM names it, which has regular expressions, choices and grammars
// too. In: these fields of a request. Out: a structure for the engine and the field that asked for it, or undefined; more than one, or one too large, is a Refusal.

import { z } from "zod";
import type { Structure } from "../chat/grammar.ts";
import { badField } from "./refusal.ts";
import { anyObject } from "./schema-parts.ts";

export const responseFormat = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object") }),
  z.object({
    type: z.literal("json_schema"),
    json_schema: z.object({
      name: z.string().max(64).nullish(),
      description: z.string().nullish(),
      schema: anyObject.nullish(),
      strict: z.boolean().nullish(),
    }),
  }),
]);

export const structuredOutputs = z.object({
  json: anyObject.nullish().describe("A JSON schema."),
  json_object: z.boolean().nullish(),
  regex: z.string().min(1).nullish(),
  choice: z.array(z.string().min(1)).min(1).nullish(),
  grammar: z.string().min(1).nullish().describe("EBNF; it begins at root."),
});

type Wishes = {
  readonly response_format?: z.output<typeof responseFormat> | null | undefined;
  readonly structured_outputs?: z.output<typeof structuredOutputs> | null | undefined;
};

/** `field` asked for it. */
export type Demand = { readonly field: string; readonly structure: Structure };

/** `most`: characters that it may have, as JSON. */
export function readStructure({ response_format: format, structured_outputs: outputs }: Wishes, most: number): Demand | undefined {
  const found: (readonly [string, Structure])[] = [];
  if (format?.type === "json_object") found.push(["response_format", { json: true }]);
  if (format?.type === "json_schema") {
    const { schema } = format.json_schema;
    if (!schema) throw badField("response_format.json_schema.schema", "nothing", "a JSON schema", "send the schema");
    found.push(["response_format.json_schema.schema", { schema }]);
  }
  if (outputs) {
    const { json, json_object: isJson, regex, choice, grammar } = outputs;
    if (json) found.push(["structured_outputs.json", { schema: json }]);
    if (isJson) found.push(["structured_outputs.json_object", { json: true }]);
    if (regex) found.push(["structured_outputs.regex", { regex }]);
    if (choice) found.push(["structured_outputs.choice", { choice }]);
    if (grammar) found.push(["structured_outputs.grammar", { grammar }]);
    if (found.length === 0) throw badField("structured_outputs", "no structure", "json, json_object, regex, choice or grammar", "name one");
  }
  const [first, second] = found;
  if (!first) return undefined;
  if (second) throw badField(second[0], `a second structure beside ${first[0]}`, "one", "leave one of them out");
  const [field, structure] = first;
  const size = JSON.stringify(structure).length;
  if (size > most) throw badField(field, `${size} characters`, `at most ${most}`, "send something smaller");
  return { field, structure };
}
