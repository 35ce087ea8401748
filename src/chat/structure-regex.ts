// The gate for regular expressions of structures: groups and repetitions are counted, and what a finite automaton cannot do is refused.

import { quote, RequestError } from "../core/errors.ts";

export const mostRepeats = 10_000;
const longestRegex = 4000;
const deepestGroups = 50;

export function refuse(field: string, got: string, expected: string, cure: string): never {
  throw new RequestError({ operation: `generate: ${field}`, got, expected, cure });
}

/**
 * `inJson`: the text will stand in a JSON string, where quotes, backslashes and control characters have another spelling: patterns that could
 * match them are refused, since the compiler would put them there as they are. Throws RequestError.
 */
export function checkRegex(field: string, pattern: unknown, inJson: boolean): string {
  if (typeof pattern !== "string" || pattern === "")
    return refuse(field, pattern === "" ? "an empty pattern" : `a ${typeof pattern}`, "a text", "write a pattern");
  if (pattern.length > longestRegex) refuse(field, `${pattern.length} characters`, `at most ${longestRegex}`, "shorten the pattern");
  measure(field, pattern);
  if (inJson) checkJsonSafe(field, pattern);
  try {
    new RegExp(pattern, "u");
  } catch (cause) {
    const why = cause instanceof Error ? quote(cause.message, 120) : "correct it";
    const complaint = { operation: `generate: ${field}`, got: quote(pattern, 60), expected: "a regular expression", cure: why };
    throw new RequestError(complaint, { cause });
  }
  return pattern;
}

/** How many atoms the expression stands for when repetitions are written out. */
function measure(field: string, pattern: string): void {
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
      if (!inClass && (next === "b" || next === "B"))
        refuse(field, "a word boundary", "none: text before or after is not seen", "leave it out");
      if (inClass && /[uxpP]/.test(next)) refuseClass(field);
      i++;
      if (!inClass) add(1);
    } else if (inClass) {
      if (char > "\u007e") refuseClass(field);
      inClass = char !== "]";
    } else if (char === "[") {
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

/** The compiler compares such classes byte by byte, which matches something else. */
function refuseClass(field: string): never {
  return refuse(field, "characters beyond ASCII in [ ]", "ASCII there", "write alternatives instead, as in (ä|ö|ü)");
}

function checkJsonSafe(field: string, pattern: string): void {
  const unsafe = (got: string): never =>
    refuse(field, got, "characters that need no escape in a JSON string", "name the characters that may come, as in [A-Za-z0-9 ._-]");
  let inClass = false;
  for (let i = 0; i < pattern.length; i++) {
    let char = pattern[i] as string;
    if (char === "\\") {
      const next = pattern[++i] ?? "";
      if (!/[dw.^$*+?()[\]{}|/-]/.test(next)) unsafe(`\\${next}`);
      if (/[dw]/.test(next)) continue;
      char = next;
    } else if (!inClass && char === "[") {
      inClass = true;
      if (pattern[i + 1] === "^") unsafe("a negated class");
      continue;
    } else if (inClass && char === "]") {
      inClass = false;
      continue;
    } else if (!inClass && char === ".") continue;
    const code = char.charCodeAt(0);
    if (code < 0x20 || char === '"') unsafe(quote(char));
    if (inClass && pattern[i + 1] === "-" && pattern[i + 2] !== undefined && pattern[i + 2] !== "]") {
      const end = pattern.charCodeAt(i + 2);
      if (pattern[i + 2] === "\\") unsafe("a class range that ends with an escape");
      if ((code <= 0x22 && end >= 0x22) || (code <= 0x5c && end >= 0x5c)) unsafe(`the range ${quote(pattern.slice(i, i + 3))}`);
      i += 2;
    }
  }
}
