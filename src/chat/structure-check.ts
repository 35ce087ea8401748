// The gate before the compiler of grammars, which is foreign code: what is too large, too deep, refers elsewhere or cannot end is refused here. In:
// a Structure as a request gave it. Out: plain text for the compiler. Time is bounded too, by whoever runs the compiler.

import { quote, RequestError } from "../core/errors.ts";
import type { Structure } from "./grammar.ts";

/** What a compiler gets. */
export type GrammarSource = { readonly kind: "json" | "schema" | "regex" | "grammar"; readonly text: string };

const mostCharacters = 100_000;
const mostNodes = 20_000;
const mostDepth = 64;
const mostAlternatives = 500;
const mostRepeats = 10_000;
const mostChoices = 1000;
const longestRegex = 4000;
const deepestGroups = 50;

/** Throws RequestError naming what is wrong with it. */
export function checkStructure(structure: Structure): GrammarSource {
  if (typeof structure !== "object" || structure === null)
    refuse("structure", `a ${typeof structure}`, "an object", "see Structure in chat/grammar.ts");
  if ("schema" in structure) return { kind: "schema", text: checkSchema(structure.schema) };
  if ("regex" in structure) return { kind: "regex", text: checkRegex("structure.regex", structure.regex) };
  if ("choice" in structure) return { kind: "grammar", text: choiceGrammar(structure.choice) };
  if ("grammar" in structure) return { kind: "grammar", text: checkGrammar(structure.grammar) };
  if ("json" in structure && structure.json === true) return { kind: "json", text: "" };
  return refuse("structure", "none of the kinds", "one of json, schema, regex, choice, grammar", "name one of them");
}

function refuse(field: string, got: string, expected: string, cure: string): never {
  throw new RequestError({ operation: `generate: ${field}`, got, expected, cure });
}

/** Own data copied within limits; JSON. */
function checkSchema(schema: unknown): string {
  const field = "structure.schema";
  if (typeof schema === "boolean" || typeof schema !== "object" || schema === null || Array.isArray(schema)) {
    refuse(
      field,
      schema === null ? "null" : Array.isArray(schema) ? "a list" : `a ${typeof schema}`,
      "a JSON schema, which is an object",
      "pass an object",
    );
  }
  let nodes = 0;
  let characters = 0;
  const visit = (value: unknown, depth: number, key: string): void => {
    if (++nodes > mostNodes) refuse(field, `more than ${mostNodes} values`, "fewer", "make the schema smaller");
    if (depth > mostDepth) refuse(field, `nesting deeper than ${mostDepth}`, "less", "flatten the schema, or use $defs");
    if (typeof value === "string") characters += value.length;
    if (characters > mostCharacters) refuse(field, `more than ${mostCharacters} characters`, "fewer", "make the schema smaller");
    if (typeof value === "number" && !Number.isFinite(value)) refuse(field, String(value), "finite numbers", "change it");
    if (typeof value === "function" || typeof value === "bigint" || typeof value === "symbol")
      refuse(field, `a ${typeof value}`, "plain JSON", "pass data");
    if (typeof value === "string" && key === "pattern") checkRegex(`${field}: pattern`, value);
    if (typeof value === "string" && (key === "$ref" || key === "$dynamicRef") && !value.startsWith("#")) {
      refuse(
        field,
        `the reference ${quote(value)}`,
        "references into the schema itself, which begin with #",
        "copy what it refers to into $defs",
      );
    }
    if (typeof value === "number" && countKeys.has(key) && (value > mostRepeats || value < 0 || !Number.isInteger(value)))
      refuse(`${field}: ${key}`, String(value), `an integer from 0 to ${mostRepeats}`, `change ${key}`);
    if (typeof value !== "object" || value === null) return;
    if (Array.isArray(value)) {
      if (alternativeKeys.has(key) && value.length > mostAlternatives)
        refuse(`${field}: ${key}`, `${value.length} alternatives`, `at most ${mostAlternatives}`, "name fewer");
      for (const item of value) visit(item, depth + 1, "");
      return;
    }
    for (const [name, child] of Object.entries(value)) {
      characters += name.length;
      visit(child, depth + 1, name);
    }
  };
  visit(schema, 0, "");
  checkReferences(schema as Node, field);
  return JSON.stringify(schema);
}

const countKeys = new Set(["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]);
const alternativeKeys = new Set(["anyOf", "oneOf", "allOf", "enum"]);

type Node = { readonly [key: string]: unknown };

/** A reference must lead somewhere, and not back to itself without anything in between. */
function checkReferences(root: Node, field: string): void {
  const done = new Set<unknown>();
  const path = new Set<unknown>();
  const follow = (node: unknown): void => {
    if (typeof node !== "object" || node === null || done.has(node)) return;
    if (path.has(node))
      refuse(field, "a $ref that leads back to itself", "something in between: a property or an item", "break the circle");
    path.add(node);
    const { $ref, anyOf, oneOf, allOf } = node as Node;
    if (typeof $ref === "string") follow(resolve(root, $ref, field));
    for (const list of [anyOf, oneOf, allOf]) if (Array.isArray(list)) for (const item of list) follow(item);
    path.delete(node);
    done.add(node);
  };
  const all = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    if (!Array.isArray(value)) follow(value);
    for (const child of Object.values(value)) all(child);
  };
  all(root);
}

function resolve(root: Node, reference: string, field: string): unknown {
  let node: unknown = root;
  for (const part of reference.slice(1).split("/").slice(1)) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof node !== "object" || node === null || !Object.hasOwn(node, key))
      refuse(field, `the reference ${quote(reference)}`, "one that leads to a part of the schema", "check $defs");
    node = (node as Node)[key];
  }
  return node;
}

/** Groups, repetitions and what a finite automaton cannot do. */
function checkRegex(field: string, pattern: unknown): string {
  if (typeof pattern !== "string" || pattern === "")
    refuse(field, typeof pattern === "string" ? "an empty pattern" : `a ${typeof pattern}`, "a text", "write a pattern");
  if (pattern.length > longestRegex) refuse(field, `${pattern.length} characters`, `at most ${longestRegex}`, "shorten the pattern");
  measureRegex(field, pattern);
  try {
    new RegExp(pattern, "u");
  } catch (cause) {
    throw new RequestError(
      {
        operation: `generate: ${field}`,
        got: quote(pattern, 60),
        expected: "a regular expression",
        cure: cause instanceof Error ? quote(cause.message, 120) : "correct it",
      },
      { cause },
    );
  }
  return pattern;
}

/** The largest number of atoms that the expression stands for when repetitions are written out; refuses what is beyond `mostRepeats`. */
function measureRegex(field: string, pattern: string): void {
  const levels: number[] = [0];
  let last = 0; // size of the atom before
  let inClass = false;
  const add = (size: number) => {
    last = size;
    levels[levels.length - 1] = (levels.at(-1) as number) + size;
    if ((levels.at(-1) as number) > mostRepeats)
      refuse(field, `repetitions that amount to more than ${mostRepeats} characters`, "fewer", "lower the numbers in { }");
  };
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i] as string;
    if (char === "\\") {
      const next = pattern[i + 1] ?? "";
      if (!inClass && (/[1-9]/.test(next) || next === "k"))
        refuse(field, "a back reference", "none: it needs a memory that a grammar lacks", "write it out");
      i++;
      if (!inClass) add(1);
    } else if (inClass) inClass = char !== "]";
    else if (char === "[") {
      inClass = true;
      add(1);
    } else if (char === "(") {
      if (/^\(\?(?:[=!]|<[=!])/.test(pattern.slice(i, i + 4)))
        refuse(field, "a look-around", "none: text before or after is not seen", "leave it out");
      levels.push(0);
      if (levels.length > deepestGroups) refuse(field, `groups nested deeper than ${deepestGroups}`, "fewer", "flatten the pattern");
    } else if (char === ")") {
      if (levels.length > 1) add(levels.pop() as number);
    } else if (char === "{") {
      const [whole, low, high] = /^\{(\d+)(?:,(\d*))?\}/.exec(pattern.slice(i, i + 40)) ?? [];
      if (whole === undefined) continue;
      const times = Math.max(Number(low), high === undefined || high === "" ? Number(low) : Number(high));
      add(last * Math.max(0, times - 1));
      i += whole.length - 1;
    } else if (!"*+?|^$".includes(char)) add(1);
  }
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
  return grammar;
}
