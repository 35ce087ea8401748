// Says whether a regular expression from a tokenizer.json may run. In: the pattern. Out: nothing, or the reason to refuse.
// JavaScript's engine backtracks, so a hostile pattern can hang the process (hazards T01 to T07). The patterns of the
// published families are let through; any other must have no back reference, no group repeated without bound and few
// unbounded repetitions in a row, which rules out exponential time (not quadratic time on hostile text).

const contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const rest = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const known: ReadonlySet<string> = new Set([
  // GPT-2
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  // Llama 3; Qwen 2, 2.5 and 3
  `${contraction}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${rest}`,
  `${contraction}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${rest}`,
]);

const longest = 10_000;
const mostInARow = 3;
const mostRepeats = 1000;

/** Why `pattern` is refused, or undefined when it may run. */
export function patternFault(pattern: string): string | undefined {
  if (known.has(pattern)) return undefined;
  if (pattern.length > longest) return `${pattern.length} characters (at most ${longest})`;
  let inRow = 0;
  let afterGroup = false;
  for (let at = 0; at < pattern.length; ) {
    const char = pattern[at] as string;
    const size = atomSize(pattern, at);
    if (/^\\(?:[1-9]|k)/.test(pattern.slice(at, at + 2)) || pattern.startsWith("(?P=", at)) return "a back reference";
    const repeat = repetition(pattern, at + size);
    if (char === "|") inRow = 0;
    afterGroup = char === ")";
    if (repeat.most > mostRepeats) {
      if (afterGroup) return "a group that repeats without bound";
      if (Number.isFinite(repeat.most)) return `more than ${mostRepeats} repetitions`;
      inRow++;
      if (inRow > mostInARow) return `more than ${mostInARow} unbounded repetitions in a row`;
    }
    at += size + repeat.size;
  }
  return undefined;
}

/** Length of the character, escape, class or bracket at `at`. */
function atomSize(pattern: string, at: number): number {
  if (pattern[at] === "\\") return /^\\(?:[pPxu]\{[^}]*\}|[\s\S]?)/u.exec(pattern.slice(at))?.[0].length ?? 1;
  if (pattern[at] !== "[") return 1;
  let depth = 0;
  for (let i = at; i < pattern.length; i++) {
    if (pattern[i] === "\\") i++;
    else if (pattern[i] === "[") depth++;
    else if (pattern[i] === "]" && --depth === 0) return i + 1 - at;
  }
  return pattern.length - at;
}

/** The quantifier at `at`: how long it is and how often it repeats at most. */
function repetition(pattern: string, at: number): { size: number; most: number } {
  const match = /^(?:([*+])|\{\d*(,?)(\d*)\})[?+]?/.exec(pattern.slice(at, at + 40));
  if (!match) return { size: 0, most: 1 };
  const unbounded = match[1] !== undefined || (match[2] === "," && match[3] === "");
  const numbers = match[0].match(/\d+/g) ?? ["1"];
  return { size: match[0].length, most: unbounded ? Number.POSITIVE_INFINITY : Math.max(...numbers.map(Number)) };
}
