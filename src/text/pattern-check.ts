// Says whether a regular expression from a tokenizer.json may run. In: the pattern. Out: nothing, or the reason to refuse.
// JavaScript's engine backtracks, so a hostile pattern can hang the process (hazards T01 to T07). Allowed is
// what has no back reference, no group repeated without bound and few unbounded repetitions in one alternative: that rules
// out exponential time (not quadratic time on hostile text). The patterns of GPT, Llama, Qwen and DeepSeek all pass.

const longest = 10_000;
const mostUnbounded = 3;
const mostRepeats = 1000;

/** Why `pattern` is refused, or undefined when it may run. */
export function patternFault(pattern: string): string | undefined {
  if (pattern.length > longest) return `${pattern.length} characters (at most ${longest})`;
  let unbounded = 0;
  let afterGroup = false;
  for (let at = 0; at < pattern.length; ) {
    const char = pattern[at] as string;
    const size = atomSize(pattern, at);
    if (/^\\(?:[1-9]|k)/.test(pattern.slice(at, at + 2)) || pattern.startsWith("(?P=", at)) return "a back reference";
    const repeat = repetition(pattern, at + size);
    if (char === "|") unbounded = 0;
    afterGroup = char === ")";
    if (repeat.most > mostRepeats) {
      if (afterGroup) return "a group that repeats without bound";
      if (Number.isFinite(repeat.most)) return `more than ${mostRepeats} repetitions`;
      unbounded++;
      if (unbounded > mostUnbounded) return `more than ${mostUnbounded} unbounded repetitions in one alternative`;
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
