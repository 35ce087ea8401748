// Options as tables: for each key a default and a check, so that the defaults stay visible in one place and types, validation and
// recipe.json cannot drift apart. In: what a recipe or a flag gave. Out: all values, or a ConfigError that names the key, what it
// takes and, for an unknown key, the nearest one.

import { ConfigError, quote } from "../core/errors.ts";
import { isPlainObject } from "../core/json.ts";

export type Field<T> = {
  readonly value: T;
  /** What is expected, for errors: "a number above 0". */
  readonly takes: string;
  readonly fits: (value: unknown) => boolean;
};

export type Fields = Readonly<Record<string, Field<unknown>>>;

/** All values of a table. */
export type Values<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

export type Range = { readonly min?: number; readonly above?: number; readonly max?: number; readonly below?: number };

/** A finite number within the range. */
export function real(value: number, range: Range = {}): Field<number> {
  return {
    value,
    takes: `a finite number${describe(range)}`,
    fits: (x) => typeof x === "number" && Number.isFinite(x) && within(x, range),
  };
}

export function whole(value: number, range: Range = {}): Field<number> {
  return { value, takes: `an integer${describe(range)}`, fits: (x) => Number.isSafeInteger(x) && within(x as number, range) };
}

export function flag(value: boolean): Field<boolean> {
  return { value, takes: "true or false", fits: (x) => typeof x === "boolean" };
}

export function oneOf<const T extends string>(value: T, names: readonly T[]): Field<T> {
  return { value, takes: names.map((name) => JSON.stringify(name)).join(", "), fits: (x) => names.some((name) => name === x) };
}

export function text(value: string): Field<string> {
  return { value, takes: "a text of 1 to 1000 characters", fits: (x) => typeof x === "string" && x.length > 0 && x.length <= 1000 };
}

/** Any plain object; whoever uses it checks what is inside. */
export function object<T extends object>(value: T): Field<T> {
  return { value, takes: "an object", fits: isPlainObject };
}

/** The same field with another default. */
export function withDefault<T>(field: Field<T>, value: T): Field<T> {
  return { ...field, value };
}

/** The same, or null for "none"; null is the default unless told otherwise. */
export function orNull<T>(field: Field<T>, value: T | null = null): Field<T | null> {
  return { value, takes: `${field.takes}, or null`, fits: (x) => x === null || field.fits(x) };
}

function within(x: number, { min, above, max, below }: Range): boolean {
  return (
    (min === undefined || x >= min) &&
    (above === undefined || x > above) &&
    (max === undefined || x <= max) &&
    (below === undefined || x < below)
  );
}

function describe({ min, above, max, below }: Range): string {
  const parts = [
    ...(min === undefined ? [] : [`of at least ${min}`]),
    ...(above === undefined ? [] : [`above ${above}`]),
    ...(max === undefined ? [] : [`at most ${max}`]),
    ...(below === undefined ? [] : [`below ${below}`]),
  ];
  return parts.length === 0 ? "" : ` ${parts.join(", ")}`;
}

/** `given` over the defaults. undefined counts as not given. Throws ConfigError. */
export function resolveOptions<F extends Fields>(operation: string, fields: F, given: unknown): Values<F> {
  if (!isPlainObject(given)) {
    throw new ConfigError({
      operation,
      got: show(given),
      expected: "an object of options",
      cure: `known keys: ${Object.keys(fields).join(", ")}`,
    });
  }
  refuseUnknown(operation, Object.keys(given), Object.keys(fields));
  const values: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(fields)) {
    const value = given[key] === undefined ? field.value : given[key];
    if (!field.fits(value)) {
      throw new ConfigError({
        operation: `${operation}: ${key}`,
        got: show(value),
        expected: field.takes,
        cure: `leave ${key} out for its default, ${show(field.value)}`,
      });
    }
    values[key] = value;
  }
  return values as Values<F>;
}

/** Throws ConfigError for the first of `keys` that is not known. */
export function refuseUnknown(operation: string, keys: readonly string[], known: readonly string[]): void {
  for (const key of keys) {
    if (known.includes(key)) continue;
    const near = nearest(key, known);
    throw new ConfigError({
      operation,
      got: `the unknown key ${quote(key)}`,
      expected: known.join(", "),
      cure: near === undefined ? "remove it" : `did you mean ${quote(near)}?`,
    });
  }
}

/** The candidate with the smallest edit distance (case aside), when it is near enough to be meant. */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  const wanted = name.toLowerCase().slice(0, 100);
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.ceil(wanted.length / 2)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(wanted, candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

export function show(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return quote(value);
  if (typeof value === "number") return String(value); // JSON has no word for NaN and Infinity
  const shown = JSON.stringify(value) ?? String(value);
  return shown.length > 80 ? `${shown.slice(0, 80)}…` : shown;
}
