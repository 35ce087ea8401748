// Breaks lines between words while text streams to a terminal. In: text as it comes. Out: text to write; a word waits until it is whole, so that it never
// begins on one line and ends on the next. Words longer than a line are left to the terminal. Indented and quoted text keeps its own breaks.

export type WordWrap = {
  push(text: string): string;
  /** The word that waits. */
  end(): string;
};

export function wordWrap(columns: () => number): WordWrap {
  let column = 0;
  let blanks = "";
  let word = "";

  function place(): string {
    if (word === "") return "";
    const width = widthOf(word);
    let out = blanks;
    if (column > 0 && column + blanks.length + width > columns() - 1) {
      out = "\n";
      column = 0;
    } else column += blanks.length;
    column += width;
    out += word;
    blanks = "";
    word = "";
    return out;
  }

  return {
    push(text) {
      let out = "";
      for (const char of text) {
        if (char === "\n") {
          out += `${place()}\n`;
          blanks = "";
          column = 0;
        } else if (char === " " || char === "\t") {
          out += place();
          blanks += char === "\t" ? "    " : " ";
        } else {
          word += char;
          // Scripts without blanks may break anywhere.
          if (isWide(char)) out += place();
        }
      }
      return out;
    },
    end() {
      const out = place() + blanks;
      blanks = "";
      return out;
    },
  };
}

function widthOf(word: string): number {
  let width = 0;
  for (const char of word) width += isWide(char) ? 2 : 1;
  return width;
}

/** East Asian wide characters and emoji take two columns. */
function isWide(char: string): boolean {
  return /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u.test(
    char,
  );
}
