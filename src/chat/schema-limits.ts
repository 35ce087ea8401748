// The first gate for JSON schemas: a copy of plain data within limits of depth, number and size, whose references stay inside and lead somewhere.

import { quote, show } from "../core/errors.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../core/json.ts";
import { refuse } from "./structure-regex.ts";

/** What errors call the schema. */
export const field = "structure.schema";
const mostCharacters = 100_000;
const mostNodes = 20_000;
const mostDepth = 64;

/** Own data within limits: depth, number of values, characters. */
export function copyJson(schema: unknown): JsonValue {
  let nodes = 0;
  let characters = 0;
  const count = (text: string) => {
    characters += text.length;
    if (characters > mostCharacters) refuse(field, `more than ${mostCharacters} characters`, "fewer", "make the schema smaller");
  };
  const copy = (value: unknown, depth: number): JsonValue => {
    if (++nodes > mostNodes) refuse(field, `more than ${mostNodes} values`, "fewer", "make the schema smaller");
    if (depth > mostDepth) refuse(field, `nesting deeper than ${mostDepth}`, "less", "flatten the schema, or use $defs");
    if (typeof value === "string") {
      count(value);
      return value;
    }
    if (typeof value === "boolean" || value === null) return value;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    if (typeof value !== "object") return refuse(field, `the value ${show(value)}`, "plain JSON", "pass data");
    if (Array.isArray(value)) {
      if (value.length > mostNodes) refuse(field, `a list of ${value.length} alternatives or values`, `at most ${mostNodes}`, "name fewer");
      return value.map((item) => copy(item, depth + 1));
    }
    const object: JsonObject = Object.create(null);
    for (const [key, child] of Object.entries(value)) {
      if (child === undefined) continue;
      count(key);
      object[key] = copy(child, depth + 1);
    }
    return object;
  };
  return copy(schema, 0);
}

/** References stay inside, lead somewhere, and not back to themselves without a property or an item in between. */
export function checkReferences(root: JsonObject): void {
  const done = new Set<JsonValue>();
  const path = new Set<JsonValue>();
  const follow = (node: JsonValue): void => {
    if (!isJsonObject(node) || done.has(node)) return;
    if (path.has(node)) refuse(field, "a $ref that leads back to itself", "a property or an item in between", "break the circle");
    path.add(node);
    if (node.$ref !== undefined) follow(resolve(root, node.$ref));
    for (const key of ["anyOf", "oneOf", "allOf"]) for (const item of listAt(node, key)) follow(item);
    path.delete(node);
    done.add(node);
  };
  const all = (value: JsonValue): void => {
    if (Array.isArray(value)) for (const item of value) all(item);
    else if (isJsonObject(value)) {
      follow(value);
      for (const child of Object.values(value)) if (child !== undefined) all(child);
    }
  };
  all(root);
}

function resolve(root: JsonObject, reference: JsonValue): JsonValue {
  if (typeof reference !== "string" || !/^#(?:\/|$)/.test(reference)) {
    return refuse(
      field,
      `the reference ${show(reference)}`,
      "a path into the schema itself, which begins with #/",
      "copy what it refers to into $defs",
    );
  }
  let node: JsonValue = root;
  for (const part of reference.slice(1).split("/").slice(1)) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    const next: JsonValue | undefined = isJsonObject(node) && Object.hasOwn(node, key) ? node[key] : undefined;
    if (next === undefined)
      return refuse(field, `the reference ${quote(reference)}`, "one that leads to a part of the schema", "check $defs");
    node = next;
  }
  return node;
}

export function listAt(node: JsonObject, key: string): JsonValue[] {
  const value = node[key];
  if (value === undefined) return [];
  return Array.isArray(value) ? value : refuse(`${field}: ${key}`, `a ${typeof value}`, "a list", "correct the schema");
}
