// Takes a regular expression of a pre-tokenizer apart. In: its text. Out: its alternatives, each a list of items: a set of
// characters and how often it may come. Only what published tokenizers use is known; anything else gives undefined.

import { type CharSet, makeCharSet } from "./char-set.ts";

export type Item = {
  readonly source: string;
  readonly set: CharSet;
  readonly least: number;
  readonly most: number;
  /** `?+`: what was taken is not given back. */
  readonly possessive: boolean;
};

/** The alternatives of the outermost `|`, as text. */
export function splitAlternatives(pattern: string): string[] {
  const parts: string[] = [];
  let from = 0;
  let depth = 0;
  for (let at = 0; at < pattern.length; at += atomSize(pattern, at)) {
    const char = pattern[at];
    if (char === "(") depth++;
    else if (char === ")") depth--;
    else if (char === "|" && depth === 0) {
      parts.push(pattern.slice(from, at));
      from = at + 1;
    }
  }
  parts.push(pattern.slice(from));
  return parts;
}

/** Undefined when the alternative has groups, anchors, or anything that is not a set with a quantifier. */
export function parseItems(alternative: string): Item[] | undefined {
  const items: Item[] = [];
  for (let at = 0; at < alternative.length; ) {
    if ("()|?*+{}".includes(alternative[at] as string)) return undefined;
    const size = atomSize(alternative, at);
    const source = alternative.slice(at, at + size);
    const set = makeCharSet(source);
    if (!set) return undefined;
    const repeat = repetition(alternative, at + size);
    if (repeat.lazy) return undefined;
    items.push({ source, set, least: repeat.least, most: repeat.most, possessive: repeat.possessive });
    at += size + repeat.size;
  }
  return items.length > 0 ? items : undefined;
}

/** Length of the character, escape, class or bracket at `at`. */
export function atomSize(pattern: string, at: number): number {
  if (pattern[at] === "\\") {
    const braced = /^\\[pPxu]\{[^}]*\}/.exec(pattern.slice(at, at + 60));
    return braced ? braced[0].length : Math.min(1 + widthAt(pattern, at + 1), pattern.length - at);
  }
  if (pattern[at] !== "[") return widthAt(pattern, at);
  let depth = 0;
  for (let i = at; i < pattern.length; i++) {
    if (pattern[i] === "\\") i++;
    else if (pattern[i] === "[") depth++;
    else if (pattern[i] === "]" && --depth === 0) return i + 1 - at;
  }
  return pattern.length - at;
}

function widthAt(pattern: string, at: number): number {
  return (pattern.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
}

export type Repetition = {
  readonly size: number;
  readonly least: number;
  readonly most: number;
  readonly lazy: boolean;
  readonly possessive: boolean;
};

/** The quantifier at `at`; {1} where there is none. */
export function repetition(pattern: string, at: number): Repetition {
  const match = /^(?:([*+?])|\{(\d*)(,?)(\d*)\})([?+]?)/.exec(pattern.slice(at, at + 40));
  if (!match) return { size: 0, least: 1, most: 1, lazy: false, possessive: false };
  const [whole, sign, low, comma, high, after] = match;
  const counts =
    sign === undefined
      ? { least: Number(low), most: comma === "" ? Number(low) : high === "" ? Number.POSITIVE_INFINITY : Number(high) }
      : { least: sign === "+" ? 1 : 0, most: sign === "?" ? 1 : Number.POSITIVE_INFINITY };
  return { size: whole.length, ...counts, lazy: after === "?", possessive: after === "+" };
}
