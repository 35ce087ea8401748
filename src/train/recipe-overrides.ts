// `--set path=value` on a recipe, and the list of what differs between two recipes. In: a resolved recipe and texts like stages.0.learningRate=1e-3 (a stage may
// be named too: stages.sft.epochs=5). Out: a new, checked recipe. Values are JSON where they parse as JSON, else text. Only keys that
// exist can be set, but for the free-form parts, whose own readers check them.

import { ConfigError, quote } from "../core/errors.ts";
import { isPlainObject } from "../core/json.ts";
import { nearest, show } from "./options.ts";
import { defineRecipe, type Recipe } from "./recipe.ts";

/** Objects whose keys are not ours: config.json, the options of a task, of traces. */
const freeForm = /^(?:model\.config|task\.options|stages\.\d+\.data\.trace)(?:\.|$)/;

export function applyOverrides(recipe: Recipe, overrides: readonly string[]): Recipe {
  const changed = structuredClone(recipe) as unknown as Record<string, unknown>;
  for (const override of overrides) {
    const equals = override.indexOf("=");
    if (equals < 1)
      throw new ConfigError({
        operation: `--set ${quote(override)}`,
        got: "no =",
        expected: "path=value",
        cure: "e.g. --set stages.0.learningRate=1e-3",
      });
    setPath(changed, override.slice(0, equals), parseValue(override.slice(equals + 1)));
  }
  return defineRecipe(changed as unknown as Recipe);
}

function parseValue(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

function setPath(root: Record<string, unknown>, path: string, value: unknown): void {
  const operation = `--set ${quote(path)}`;
  const keys = path.split(".");
  let place: unknown = root;
  const walked: string[] = [];
  for (const [depth, spelled] of keys.entries()) {
    const last = depth === keys.length - 1;
    const key = Array.isArray(place) ? indexOf(operation, place, spelled) : spelled;
    if (typeof place !== "object" || place === null) {
      throw new ConfigError({
        operation,
        got: `${walked.join(".")}, which is ${show(place)}`,
        expected: "an object on the way",
        cure: "set the whole of it",
      });
    }
    const holder = place as Record<string, unknown>;
    const free = freeForm.test([...walked, ""].join("."));
    if (!Object.hasOwn(holder, key) && !(free && isSafeKey(key))) {
      const near = nearest(key, Object.keys(holder));
      throw new ConfigError({
        operation,
        got: `the unknown key ${quote(key)}`,
        expected: Object.keys(holder).join(", "),
        cure: near === undefined ? "check the path" : `did you mean ${quote([...walked, near].join("."))}?`,
      });
    }
    if (last) holder[key] = value;
    else {
      if (free && !Object.hasOwn(holder, key)) holder[key] = {};
      place = holder[key];
    }
    walked.push(key);
  }
}

function isSafeKey(key: string): boolean {
  return key !== "__proto__" && key.length > 0;
}

/** A number, or the name of a stage. */
function indexOf(operation: string, list: readonly unknown[], spelled: string): string {
  const named = list.findIndex((entry) => isPlainObject(entry) && entry.name === spelled);
  const index = named >= 0 ? named : /^\d+$/.test(spelled) ? Number(spelled) : -1;
  if (index >= 0 && index < list.length) return String(index);
  const names = list.map((entry, i) => (isPlainObject(entry) && typeof entry.name === "string" ? `${i} (${entry.name})` : String(i)));
  throw new ConfigError({ operation, got: quote(spelled), expected: names.join(", "), cure: "choose one of them" });
}

/** Paths at which two plain values differ, as `path: old -> new`; at most ten. */
export function differences(before: unknown, after: unknown): string[] {
  const found: string[] = [];
  const compare = (a: unknown, b: unknown, path: string) => {
    if (found.length >= 10 || a === b) return;
    const both = typeof a === "object" && a !== null && typeof b === "object" && b !== null && Array.isArray(a) === Array.isArray(b);
    if (!both) {
      found.push(`${path}: ${show(a)} -> ${show(b)}`);
      return;
    }
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
      compare((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key], path === "" ? key : `${path}.${key}`);
    }
  };
  compare(before, after, "");
  return found;
}
