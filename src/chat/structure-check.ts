// The gate before the compiler of grammars, which is foreign code: what is too large, too deep, refers elsewhere or cannot end is refused here. In:
// a Structure as a request gave it. Out: plain text for the compiler. Time is bounded too, by whoever runs the compiler.

import type { Structure } from "./grammar.ts";
import { checkRegex, mostRepeats, refuse } from "./structure-regex.ts";
import { checkSchema } from "./structure-schema.ts";

/** What a compiler gets. */
export type GrammarSource = {
  readonly kind: "json" | "schema" | "regex" | "grammar";
  readonly text: string;
  /** Of a schema: constant texts that stand for rules. */
  readonly rules?: readonly (readonly [string, string])[];
};

const mostCharacters = 100_000;
const mostChoices = 1000;
const deepestGroups = 50;

/** Throws RequestError naming what is wrong with it. */
export function checkStructure(structure: Structure): GrammarSource {
  if (typeof structure !== "object" || structure === null)
    refuse("structure", `a ${typeof structure}`, "an object", "see Structure in chat/grammar.ts");
  if ("schema" in structure) return { kind: "schema", ...checkSchema(structure.schema) };
  if ("regex" in structure) return { kind: "regex", text: checkRegex("structure.regex", structure.regex, false) };
  if ("choice" in structure) return { kind: "grammar", text: choiceGrammar(structure.choice) };
  if ("grammar" in structure) return { kind: "grammar", text: checkGrammar(structure.grammar) };
  if ("json" in structure && structure.json === true) return { kind: "json", text: "" };
  return refuse("structure", "none of the kinds", "one of json, schema, regex, choice, grammar", "name one of them");
}

function choiceGrammar(choices: unknown): string {
  const field = "structure.choice";
  if (!Array.isArray(choices) || choices.length === 0 || choices.length > mostChoices)
    refuse(
      field,
      Array.isArray(choices) ? `${choices.length} texts` : `a ${typeof choices}`,
      `1 to ${mostChoices} texts`,
      "change the list",
    );
  let characters = 0;
  for (const choice of choices) {
    if (typeof choice !== "string" || choice === "")
      refuse(field, choice === "" ? "an empty text" : `a ${typeof choice}`, "texts", "change the list");
    characters += choice.length;
    if (characters > mostCharacters) refuse(field, `more than ${mostCharacters} characters`, "fewer", "shorten the texts");
  }
  return `root ::= ${choices.map((choice) => literal(choice as string)).join(" | ")}`;
}

/** A text in EBNF, all but letters and digits as code points. */
function literal(text: string): string {
  let out = '"';
  for (const char of text) {
    const code = char.codePointAt(0) as number;
    out += /[A-Za-z0-9 ]/.test(char) ? char : `\\U${code.toString(16).padStart(8, "0")}`;
  }
  return `${out}"`;
}

function checkGrammar(grammar: unknown): string {
  const field = "structure.grammar";
  if (typeof grammar !== "string" || grammar.trim() === "")
    refuse(field, typeof grammar === "string" ? "nothing" : `a ${typeof grammar}`, "an EBNF grammar", "write one with a rule root");
  if (grammar.length > mostCharacters) refuse(field, `${grammar.length} characters`, `at most ${mostCharacters}`, "shorten it");
  let depth = 0;
  for (const char of grammar) {
    if (char === "(") depth++;
    if (char === ")") depth--;
    if (depth > deepestGroups) refuse(field, `groups nested deeper than ${deepestGroups}`, "fewer", "use rules");
  }
  for (const [, low, high] of grammar.matchAll(/\{(\d+)(?:,(\d*))?\}/g)) {
    if (Math.max(Number(low), Number(high ?? 0)) > mostRepeats)
      refuse(field, `a repetition of ${low},${high ?? ""}`, `at most ${mostRepeats}`, "lower it");
  }
  for (const [set] of grammar.matchAll(/\[[^\]\n]*\]/g)) {
    if (/[^ -~]|\\[uU]/.test(set)) refuse(field, "characters beyond ASCII in [ ]", "ASCII there", 'write alternatives, as in ("ä" | "ö")');
  }
  return grammar;
}
