// JSON schemas for the grammar compiler. It passes over keywords that it does not know, and a schema that is not obeyed is worse than none, so
// here every keyword is either obeyed, plain commentary, or refused. In: the schema of a request. Out: a schema for the compiler, and
// rules for numbers within bounds that stand in it as constant texts.
//
// Differences from the specification, all on the narrow side but the first: oneOf is anyOf; properties come in the order of the schema; an object with
// `properties` has no others unless additionalProperties says so; patterns match whole strings.

import { quote, show } from "../core/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../core/json.ts";
import { decimalRange, integerRange } from "./number-grammar.ts";
import { checkReferences, copyJson, field, listAt } from "./schema-limits.ts";
import { checkRegex, mostRepeats, refuse } from "./structure-regex.ts";

const mostAlternatives = 500;

export type SchemaSource = {
  /** JSON. */
  readonly text: string;
  /** [constant, rule]: where the schema has this constant text, the grammar has this rule. */
  readonly rules: readonly (readonly [string, string])[];
};

const comments = new Set([
  ...["title", "description", "default", "examples", "example", "$schema", "$id", "$comment", "deprecated", "readOnly", "writeOnly"],
  ...["$defs", "definitions", "format", "contentMediaType", "contentEncoding", "$anchor", "nullable"],
]);
const shapes: Readonly<Record<string, readonly string[]>> = {
  string: ["minLength", "maxLength", "pattern"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  object: ["properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties", "propertyNames"],
  integer: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  boolean: [],
  null: [],
};
const bounds = shapes.number as readonly string[];
const counts = new Set(["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]);

/** Throws RequestError for what is too large, refers elsewhere, cannot be obeyed or cannot be satisfied. */
export function checkSchema(schema: unknown): SchemaSource {
  if (typeof schema !== "object" || schema === null || Array.isArray(schema)) {
    const got = schema === null ? "null" : Array.isArray(schema) ? "a list" : `a ${typeof schema}`;
    refuse(field, got, "a JSON schema, which is an object", "pass an object");
  }
  const root = copyJson(schema) as JsonObject;
  checkReferences(root);
  const rules: [string, string][] = [];
  const text = JSON.stringify(rewrite(root, rules, JSON.stringify(root)));
  return { text, rules };
}

type Rules = [string, string][];

function rewrite(node: JsonValue, rules: Rules, whole: string): JsonValue {
  if (node === false) return refuse(field, "a part that is false", "a part that something satisfies", "take it out");
  if (node === true) return true;
  if (!isJsonObject(node)) return refuse(field, `${quote(JSON.stringify(node), 40)} as a schema`, "an object", "correct the schema");
  const rest: JsonObject = Object.create(null);
  for (const [key, value] of Object.entries(node)) {
    if (key === "$defs" || key === "definitions") rest[key] = mapValues(value as JsonValue, (part) => rewrite(part, rules, whole));
    else if (!comments.has(key) || key === "format") rest[key] = value;
  }
  const asserting = Object.keys(rest).filter((key) => !comments.has(key));
  const only = (key: string, ...others: string[]) => {
    const beside = asserting.find((other) => other !== key && !others.includes(other));
    if (beside !== undefined) refuse(field, `${quote(beside)} beside ${quote(key)}`, `${key} alone`, "move it to where it is meant");
  };
  if (rest.$ref !== undefined) {
    only("$ref");
    return rest;
  }
  for (const key of ["anyOf", "oneOf", "allOf"]) {
    if (rest[key] === undefined) continue;
    only(key);
    const list = listAt(rest, key);
    if (list.length === 0 || list.length > mostAlternatives)
      refuse(`${field}: ${key}`, `${list.length} alternatives`, `1 to ${mostAlternatives}`, "change the list");
    if (key === "allOf" && list.length > 1) refuse(`${field}: allOf`, `${list.length} parts`, "one", "join them into one schema");
    const { [key]: _, ...definitions } = rest;
    return { ...definitions, [key === "oneOf" ? "anyOf" : key]: list.map((item) => rewrite(item, rules, whole)) };
  }
  if (rest.enum !== undefined || rest.const !== undefined) return fixed(rest, only);
  return typed(rest, asserting, rules, whole);
}

/** enum and const: the type is checked here, since the compiler passes over it. */
function fixed(rest: JsonObject, only: (key: string, ...others: string[]) => void): JsonValue {
  const key = rest.enum !== undefined ? "enum" : "const";
  only(key, "type");
  const values = key === "enum" ? listAt(rest, "enum") : [rest.const as JsonValue];
  if (values.length > mostAlternatives)
    refuse(`${field}: enum`, `${values.length} alternatives`, `at most ${mostAlternatives}`, "name fewer");
  const types = typesOf(rest);
  const kept = types ? values.filter((value) => types.some((type) => isOfType(value, type))) : values;
  if (kept.length === 0) refuse(`${field}: ${key}`, "no value of the type", "at least one", "correct type or values");
  const { type: _type, const: _const, ...others } = rest;
  return { ...others, enum: kept };
}

function typed(rest: JsonObject, asserting: readonly string[], rules: Rules, whole: string): JsonValue {
  const types = typesOf(rest);
  if (!types) {
    const keyword = asserting[0];
    if (keyword === undefined) return rest;
    const type = Object.keys(shapes).find((name) => shapes[name]?.includes(keyword));
    if (type === undefined || bounds.includes(keyword)) return unknown(keyword);
    return typed({ ...rest, type }, [...asserting, "type"], rules, whole);
  }
  for (const key of asserting) if (key !== "type" && !types.some((type) => shapes[type]?.includes(key))) unknown(key);
  if (types.length > 1) {
    const { type: _, $defs, definitions, ...others } = rest;
    const parts = types.map((type) => {
      const mine = Object.fromEntries(Object.entries(others).filter(([key]) => shapes[type]?.includes(key)));
      return rewrite({ type, ...mine }, rules, whole);
    });
    return { ...($defs !== undefined && { $defs }), ...(definitions !== undefined && { definitions }), anyOf: parts };
  }
  const [type] = types as [string];
  for (const key of counts) {
    const value = rest[key];
    if (value !== undefined && !(typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= mostRepeats))
      refuse(`${field}: ${key}`, show(value), `an integer from 0 to ${mostRepeats}`, `change ${key}`);
  }
  if (type === "integer" || type === "number") return bounded(rest, type, rules, whole);
  if (type === "string") return textual(rest, rules, whole);
  if (type === "array") return listed(rest, rules, whole);
  return type === "object" ? keyed(rest, rules, whole) : { type };
}

function unknown(keyword: string): never {
  return refuse(
    field,
    `the keyword ${quote(keyword)}`,
    "keywords that can be obeyed token by token",
    "leave it out, and check the answer for it",
  );
}

/**
 * What may stand in a JSON string as it is: ASCII, then UTF-8 byte by byte (RFC 3629, section 4). The compiler's negated classes let bytes through
 * that are no UTF-8, and its classes of characters beyond ASCII compare single bytes
 * (and a class of one byte becomes that character, so first bytes overlap here).
 */
export const jsonCharacters = `([ !#-\\x5b\\x5d-\\x7f] | ${[
  "[\\xc2-\\xdf] T",
  "[\\xe0-\\xec] [\\xa0-\\xbf] T",
  "[\\xe1-\\xec] T T",
  "[\\xec-\\xed] [\\x80-\\x9f] T",
  "[\\xee-\\xef] T T",
  "[\\xf0-\\xf3] [\\x90-\\xbf] T T",
  "[\\xf1-\\xf3] T T T",
  "[\\xf3-\\xf4] [\\x80-\\x8f] T T",
]
  .join(" | ")
  .replaceAll("T", "[\\x80-\\xbf]")})`;

/** One character of a JSON string. Escaped surrogates are left out: two of them would count as one character. */
const stringCharacter = `(${jsonCharacters} | "\\\\" (["\\\\/bfnrt] | "u" ([0-9A-CE-Fa-ce-f] [0-9A-Fa-f] | [Dd] [0-7]) [0-9A-Fa-f] [0-9A-Fa-f]))`;

/** The compiler's own strings of bounded length let control characters through, so there is a rule of ours for them. */
function textual(rest: JsonObject, rules: Rules, whole: string): JsonValue {
  const { minLength, maxLength } = rest;
  const isBounded = minLength !== undefined || maxLength !== undefined;
  if (rest.pattern !== undefined) {
    checkRegex(`${field}: pattern`, rest.pattern, true);
    if (isBounded)
      refuse(`${field}: pattern`, "minLength or maxLength beside it", "one of them", "say the length in the pattern, as in [a-z]{2,5}");
    return { type: "string", pattern: rest.pattern };
  }
  if (!isBounded) return rest;
  checkOrder(rest, "minLength", "maxLength");
  if (maxLength === 0) return standIn('"\\"\\""', rules, whole);
  return standIn(`"\\"" ${stringCharacter}{${minLength ?? 0},${maxLength ?? ""}} "\\""`, rules, whole);
}

function listed(rest: JsonObject, rules: Rules, whole: string): JsonValue {
  const items = rest.items === undefined ? undefined : rest.items === false ? false : rewrite(rest.items, rules, whole);
  const prefixItems = rest.prefixItems === undefined ? undefined : listAt(rest, "prefixItems").map((item) => rewrite(item, rules, whole));
  checkOrder(rest, "minItems", "maxItems");
  return { ...rest, ...(items !== undefined && { items }), ...(prefixItems && { prefixItems }) };
}

function keyed(rest: JsonObject, rules: Rules, whole: string): JsonValue {
  checkOrder(rest, "minProperties", "maxProperties");
  const { additionalProperties: more } = rest;
  const additional = more === undefined || typeof more === "boolean" ? more : rewrite(more, rules, whole);
  const properties = mapValues(rest.properties ?? {}, (part) => rewrite(part, rules, whole));
  for (const name of rest.required === undefined ? [] : listAt(rest, "required")) {
    if (typeof name !== "string") refuse(`${field}: required`, show(name), "names", "correct the list");
    if (Object.hasOwn(properties, name as string)) continue;
    // The compiler passes over required names that have no schema.
    if (more === false) refuse(`${field}: required`, quote(name as string), "names of properties", "add it to properties");
    properties[name as string] = additional === undefined || additional === true ? {} : (additional as JsonValue);
  }
  return {
    ...rest,
    ...(Object.keys(properties).length > 0 && { properties }),
    ...(additional !== undefined && { additionalProperties: additional }),
    ...(rest.patternProperties !== undefined && { patternProperties: patterned(rest.patternProperties, rules, whole) }),
    ...(isJsonObject(rest.propertyNames) && { propertyNames: rewrite({ type: "string", ...rest.propertyNames }, rules, whole) }),
  };
}

function patterned(value: JsonValue, rules: Rules, whole: string): JsonObject {
  if (isJsonObject(value)) for (const pattern of Object.keys(value)) checkRegex(`${field}: patternProperties`, pattern, true);
  return mapValues(value, (part) => rewrite(part, rules, whole));
}

/** Numbers with bounds become a constant text that stands for a rule of ours. */
function bounded(rest: JsonObject, type: "integer" | "number", rules: Rules, whole: string): JsonValue {
  if (!bounds.some((key) => rest[key] !== undefined)) return { type };
  const places = type === "integer" ? 0 : 1 + Math.max(...bounds.map((key) => decimalsOf(rest[key])));
  const low = [scaled(rest.minimum, places, "up", false), scaled(rest.exclusiveMinimum, places, "up", true)].filter(
    (bound) => bound !== undefined,
  );
  const high = [scaled(rest.maximum, places, "down", false), scaled(rest.exclusiveMaximum, places, "down", true)].filter(
    (bound) => bound !== undefined,
  );
  const least = low.sort(byValue).at(-1);
  const most = high.sort(byValue)[0];
  const rule = type === "integer" ? integerRange(least, most) : decimalRange(least, most, places);
  if (rule === undefined || (least !== undefined && most !== undefined && least > most))
    return refuse(field, "bounds with no number between them", "minimum <= maximum", "correct the bounds");
  return standIn(rule, rules, whole);
}

function byValue(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A constant text in the place of a rule. */
function standIn(rule: string, rules: Rules, whole: string): JsonValue {
  let name = `rule-${rules.length}`;
  while (whole.includes(name)) name += "-";
  rules.push([name, rule]);
  return { const: name };
}

function decimalsOf(bound: JsonValue | undefined): number {
  return typeof bound === "number" ? (/^-?\d+(?:\.(\d+))?$/.exec(String(bound))?.[1]?.length ?? 0) : 0;
}

/** A bound in units of 10^-places, moved inwards where it lies between two, or by one when it is excluded. */
function scaled(bound: JsonValue | undefined, places: number, inwards: "up" | "down", excluded: boolean): bigint | undefined {
  if (bound === undefined) return undefined;
  if (typeof bound !== "number" || Math.abs(bound) > 1e15 || decimalsOf(bound) > 8 || /e/.test(String(bound)))
    return refuse(field, `the bound ${show(bound)}`, "numbers up to 10^15 with at most 8 decimals", "change the bound");
  const [, sign, digits = "0", decimals = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(String(bound)) ?? [];
  const exact = BigInt(digits + decimals) * (sign === "-" ? -1n : 1n); // in units of 10^-decimals.length
  const spare = places - decimals.length;
  if (spare >= 0) {
    const value = exact * 10n ** BigInt(spare);
    return excluded ? value + (inwards === "up" ? 1n : -1n) : value;
  }
  const unit = 10n ** BigInt(-spare);
  const down = exact >= 0n ? exact / unit : -((-exact + unit - 1n) / unit);
  const isWhole = down * unit === exact;
  if (inwards === "down") return isWhole && excluded ? down - 1n : down;
  return isWhole && !excluded ? down : down + 1n;
}

function checkOrder(node: JsonObject, low: string, high: string): void {
  const [a, b] = [node[low], node[high]];
  if (typeof a === "number" && typeof b === "number" && a > b)
    refuse(`${field}: ${low}`, `${a} with ${high} ${b}`, `${low} <= ${high}`, "correct one");
}

function typesOf(node: JsonObject): string[] | undefined {
  if (node.type === undefined) return undefined;
  const types = Array.isArray(node.type) ? node.type : [node.type];
  for (const type of types) {
    if (typeof type !== "string" || !Object.hasOwn(shapes, type))
      refuse(`${field}: type`, show(type), Object.keys(shapes).join(", "), "correct the type");
  }
  if (types.length === 0) refuse(`${field}: type`, "no types", "at least one", "leave it out");
  return types as string[];
}

function isOfType(value: JsonValue, type: string): boolean {
  if (type === "integer") return typeof value === "number" && Number.isInteger(value);
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  return type === "object" ? isJsonObject(value) : typeof value === type;
}

function mapValues(value: JsonValue, change: (part: JsonValue) => JsonValue): JsonObject {
  if (!isJsonObject(value)) return refuse(field, quote(JSON.stringify(value), 40), "an object of schemas", "correct the schema");
  const made: JsonObject = Object.create(null);
  for (const [key, part] of Object.entries(value)) if (part !== undefined) made[key] = change(part);
  return made;
}
