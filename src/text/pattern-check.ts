// Says whether a regular expression that no scanner knows may run, and on how long a text. JavaScript's engine backtracks, so a
// hostile pattern can hang the process (hazards T01 to T07). Refused are back references, repeated groups and huge repetitions,
// which leaves polynomial time: with k long repetitions in one alternative at most n^(k+1) steps. The longest text is where that
// reaches the limit, some tenths of a second.

import { isJsonObject, type JsonValue } from "../core/json.ts";
import { atomSize, repetition } from "./pattern-parts.ts";

const longest = 10_000;
const mostUnbounded = 3;
const mostRepeats = 1000;
/** A bounded repetition up to this counts as a constant. */
const fewRepeats = 16;
const stepLimit = 2e8;

/** Why `pattern` is refused, or undefined when it may run. */
export function patternFault(pattern: string): string | undefined {
  if (pattern.length > longest) return `${pattern.length} characters (at most ${longest})`;
  for (const { char, prefix, least, most } of repetitions(pattern)) {
    if (/^\\(?:[1-9]|k)/.test(prefix) || prefix.startsWith("(?P=")) return "a back reference";
    if (char === ")" && most > 1) return most > mostRepeats ? "a group that repeats without bound" : "a group that repeats";
    if (Number.isFinite(most) && (most > mostRepeats || least > mostRepeats)) return `more than ${mostRepeats} repetitions`;
  }
  if (degree(pattern) > mostUnbounded) return `more than ${mostUnbounded} unbounded repetitions in one alternative`;
  return undefined;
}

/** How long a text may be that the patterns inside `config` see. */
export function longestText(config: unknown): number {
  let most = Number.POSITIVE_INFINITY;
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    else if (isJsonObject(value as JsonValue)) {
      const { Regex: regex, ...rest } = value as Record<string, unknown>;
      if (typeof regex === "string") most = Math.min(most, Math.floor((stepLimit / regex.length) ** (1 / (degree(regex) + 1))));
      Object.values(rest).forEach(visit);
    }
  };
  visit(config);
  return most;
}

/** Most long repetitions in one alternative. */
function degree(pattern: string): number {
  let most = 0;
  let now = 0;
  for (const repeated of repetitions(pattern)) {
    if (repeated.char === "|") now = 0;
    else if (repeated.most > fewRepeats) most = Math.max(most, ++now);
  }
  return most;
}

function* repetitions(pattern: string): Generator<{ char: string; prefix: string; least: number; most: number }> {
  for (let at = 0; at < pattern.length; ) {
    const size = atomSize(pattern, at);
    const { size: signs, least, most } = repetition(pattern, at + size);
    yield { char: pattern[at] as string, prefix: pattern.slice(at, at + 4), least, most };
    at += size + signs;
  }
}
