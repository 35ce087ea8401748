// Runs the patterns of published tokenizers without a regular-expression engine, in linear time whatever the text. In: the pattern
// of a pre-tokenizer. Out: a function that finds the ends of its pieces, or undefined for a pattern of another shape. Known are
// alternatives made of an optional character, fixed ones, one run and a tail that may be empty (` ?\p{L}+`, `\p{N}{1,3}`,
// `[^\r\n\p{L}\p{N}]?\p{L}+`, ` ?[^\s\p{L}\p{N}]+[\r\n]*`), and a few special ones (white space, contractions, capitalised words).
// Each either takes what it has looked at or gives up after a bounded look, which is why no text can make it slow.

import { type CharSet, codePointAt, makeCharSet, widthOf } from "./char-set.ts";
import { type Item, parseItems, splitAlternatives } from "./pattern-parts.ts";

/** Appends to `ends` where each piece of text[from, to) ends; pieces are matches and what lies between them. */
export type Scanner = (text: string, from: number, to: number, ends: number[]) => void;

/** The end of the match that begins at `at`, or -1. Nothing from `to` on exists. */
type Matcher = (text: string, at: number, to: number) => number;

const whiteSpace = makeCharSet("\\s") as CharSet;

const compiled = new Map<string, Scanner | undefined>();

export function makeScanner(pattern: string): Scanner | undefined {
  // Sets remember what they have learnt, so tokenizers share them.
  if (compiled.size > 200) compiled.clear();
  if (!compiled.has(pattern)) compiled.set(pattern, pattern.length > 10_000 ? undefined : compile(pattern));
  return compiled.get(pattern);
}

function compile(pattern: string): Scanner | undefined {
  const matchers: Matcher[] = [];
  const memory = new Memory();
  for (const alternative of splitAlternatives(pattern)) {
    const matcher = makeMatcher(alternative, memory);
    if (!matcher) return undefined;
    matchers.push(matcher);
  }
  const isLast = matchers.length - 1;
  const matchAt: Matcher = (text, at, to) => {
    for (let i = 0; i < isLast; i++) {
      const end = (matchers[i] as Matcher)(text, at, to);
      if (end > at) return end;
    }
    return (matchers[isLast] as Matcher)(text, at, to);
  };
  return (text, from, to, ends) => {
    memory.forget();
    let gap = from;
    for (let at = from; at < to; ) {
      const end = matchAt(text, at, to);
      if (end > at) {
        if (gap < at) ends.push(at);
        ends.push(end);
        gap = end;
        at = end;
      } else {
        at += widthOf(codePointAt(text, at));
      }
    }
    if (gap < to) ends.push(to);
  };
}

const contractionGroups = new Set([
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
  "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
  "'(?i:[sdmt]|ll|ve|re)",
]);

function makeMatcher(alternative: string, memory: Memory): Matcher | undefined {
  if (contractionGroups.has(alternative)) return contraction;
  const space = spaceMatchers.get(alternative.replaceAll("\r", "\\r").replaceAll("\n", "\\n"));
  if (space) return (text, at, to) => (whiteSpace(text.charCodeAt(at)) ? space(memory.space(text, at, to), at, to) : -1);
  const group = [...contractionGroups].find((known) => alternative.endsWith(`${known}?`));
  const items = parseItems(group === undefined ? alternative : alternative.slice(0, -group.length - 1));
  if (!items) return undefined;
  const word = capitalised(items, memory) ?? (group === undefined ? run(items) : undefined);
  if (!word || group === undefined) return word;
  return (text, at, to) => {
    const end = word(text, at, to);
    return end < 0 ? end : Math.max(end, contraction(text, end, to));
  };
}

/** An optional first item, single ones, one run, a tail of any length. */
function run(items: readonly Item[]): Matcher | undefined {
  const [first] = items as [Item];
  const optional = first.least === 0 && first.most === 1 && items.length > 1 ? first : undefined;
  const rest = optional ? items.slice(1) : items;
  const isSingle = (item: Item) => item.least === 1 && item.most === 1;
  const at = rest.findIndex((item) => !isSingle(item));
  const tail = at < 0 ? [] : rest.slice(at + 1);
  const bounded = rest.every((item) => item.least <= 16 && (item.most === Number.POSITIVE_INFINITY || item.most <= 16));
  if (!bounded || tail.length > 1 || tail.some((item) => item.least > 0) || rest[0]?.least === 0) return undefined;
  // A run that may be empty and follows a single is a tail; two of them are not known.
  if (at >= 0 && rest[at]?.least === 0 && tail.length > 0) return undefined;

  const fixed: Matcher = (text, start, to) => {
    let end = start;
    for (const { set, least, most } of rest) {
      let count = 0;
      while (count < most && end < to) {
        const codePoint = codePointAt(text, end);
        if (!set(codePoint)) break;
        end += widthOf(codePoint);
        count++;
      }
      if (count < least) return -1;
    }
    return end;
  };
  return optional ? withOptional(optional, fixed) : fixed;
}

function withOptional(optional: Item, rest: Matcher): Matcher {
  return (text, at, to) => {
    const codePoint = codePointAt(text, at);
    if (optional.set(codePoint)) {
      const end = rest(text, at + widthOf(codePoint), to);
      if (end >= 0 || optional.possessive) return end;
    }
    return rest(text, at, to);
  };
}

/** `X?U*L+` and `X?U+L*`, where U and L may share characters, as upper and lower case do in GPT-4o's pattern. */
function capitalised(items: readonly Item[], memory: Memory): Matcher | undefined {
  const optional = items.length === 3 && items[0]?.least === 0 && items[0].most === 1 ? items[0] : undefined;
  const [upper, lower] = items.slice(optional ? 1 : 0) as [Item?, Item?];
  const unbounded = upper?.most === Number.POSITIVE_INFINITY && lower?.most === Number.POSITIVE_INFINITY;
  if (!unbounded || items.length !== (optional ? 3 : 2) || upper.least + lower.least !== 1) return undefined;
  if (upper.possessive || lower.possessive) return undefined;
  const failure = memory.newFailure();
  const word: Matcher = (text, at, to) => {
    if (failure.from <= at && at < failure.end) return -1;
    let end = at;
    let afterLower = -1;
    while (end < to) {
      const codePoint = codePointAt(text, end);
      if (!upper.set(codePoint)) break;
      end += widthOf(codePoint);
      if (lower.set(codePoint)) afterLower = end;
    }
    const afterUpper = end;
    while (end < to) {
      const codePoint = codePointAt(text, end);
      if (!lower.set(codePoint)) break;
      end += widthOf(codePoint);
    }
    if (upper.least === 1) return afterUpper > at ? end : -1;
    if (end > afterUpper) return end;
    // From any later place in this run it would fail too.
    if (afterLower < 0) [failure.from, failure.end] = [at, afterUpper];
    return afterLower;
  };
  return optional ? withOptional(optional, word) : word;
}

const contraction: Matcher = (text, at, to) => {
  if (text.charCodeAt(at) !== 39 || at + 1 >= to) return -1;
  // U+017F, the long s, is an s to Oniguruma when case does not matter.
  const first = text.charAt(at + 1).toLowerCase();
  if (first === "s" || first === "t" || first === "m" || first === "d" || first === "\u017f") return at + 2;
  if (at + 2 >= to) return -1;
  const two = text.slice(at + 1, at + 3).toLowerCase();
  return two === "re" || two === "ve" || two === "ll" ? at + 3 : -1;
};

type SpaceRun = { from: number; end: number /** Where its last line break ends, or -1. */; afterBreak: number; lastFeed: number };

/** What was found out by looking far ahead in the text that is being scanned, so that nobody looks there twice. */
class Memory {
  readonly #space: SpaceRun = { from: 0, end: -1, afterBreak: -1, lastFeed: -1 };
  readonly #failures: { from: number; end: number }[] = [];

  forget(): void {
    this.#space.end = -1;
    for (const failure of this.#failures) failure.end = -1;
  }

  newFailure(): { from: number; end: number } {
    const failure = { from: 0, end: -1 };
    this.#failures.push(failure);
    return failure;
  }

  /** The white space around `at`. */
  space(text: string, at: number, to: number): SpaceRun {
    const run = this.#space;
    if (run.from <= at && at < run.end) return run;
    run.from = at;
    run.afterBreak = -1;
    run.lastFeed = -1;
    let end = at;
    for (; end < to; end++) {
      const unit = text.charCodeAt(end);
      if (!whiteSpace(unit)) break;
      if (unit === 10) run.lastFeed = end;
      if (unit === 10 || unit === 13) run.afterBreak = end + 1;
    }
    run.end = end;
    return run;
  }
}

/** Each says where its match ends, given the run of white space that holds `at`. */
const spaceMatchers = new Map<string, (run: SpaceRun, at: number, to: number) => number>([
  ["\\s*[\\r\\n]+", ({ afterBreak }, at) => (afterBreak > at ? afterBreak : -1)],
  ["\\s+(?!\\S)", ({ end }, at, to) => (end >= to ? end : end - 1 > at ? end - 1 : -1)],
  // `$` is also before a line feed, as in Oniguruma.
  ["\\s+$", ({ end, lastFeed }, at, to) => (end >= to ? end : lastFeed > at ? lastFeed : -1)],
]);
