// Sets of characters, spelled as in a regular expression (`\p{L}`, `[^\s\p{N}]`, `a`). In: one such atom. Out: a quick membership
// test. JavaScript's engine decides membership of one character at a time, 256 neighbours at once when first asked for, so no
// pattern can make it run away. `\s` means Unicode's White_Space, as in Oniguruma: JavaScript's own differs in U+0085 and U+FEFF.

export type CharSet = (codePoint: number) => boolean;

/** Undefined when `atom` is no single character, escape or class. */
export function makeCharSet(atom: string): CharSet | undefined {
  const expression = compile(atom);
  if (!expression) return undefined;
  const pages: (Uint8Array | undefined)[] = [];
  return (codePoint) => {
    const at = codePoint >> 8;
    let page = pages[at];
    if (page === undefined) {
      page = new Uint8Array(256);
      for (let i = 0; i < 256; i++) page[i] = expression.test(String.fromCodePoint((at << 8) | i)) ? 1 : 0;
      pages[at] = page;
    }
    return page[codePoint & 255] === 1;
  };
}

function compile(atom: string): RegExp | undefined {
  if (atom === "^" || atom === "$" || atom === "." || atom === "|") return undefined;
  const source = atom.replace(/\\([sS])/g, (_, letter: string) => (letter === "s" ? "\\p{White_Space}" : "\\P{White_Space}"));
  try {
    return new RegExp(`^${source}$`, "u");
  } catch {
    return undefined;
  }
}

/** The code point at `at`, which lies before `text.length`. */
export function codePointAt(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  return unit < 0xd800 || unit > 0xdbff ? unit : (text.codePointAt(at) as number);
}

/** Length in UTF-16 units. */
export function widthOf(codePoint: number): number {
  return codePoint > 0xffff ? 2 : 1;
}
