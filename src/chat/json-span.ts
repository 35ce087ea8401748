// Where a JSON value ends, for a value that is still being written. In: text as it comes. Out: the place behind the value's last character. Looks
// at brackets and strings only; what is between them is not checked.

export class JsonSpan {
  #depth = 0;
  #inString = false;
  #isEscaped = false;
  #isPlain = false;
  #hasBegun = false;

  /** The place in `text`, which goes on where the skipped text ended; -1 when the value goes on. Changes nothing. */
  end(text: string): number {
    const copy = new JsonSpan();
    copy.#depth = this.#depth;
    copy.#inString = this.#inString;
    copy.#isEscaped = this.#isEscaped;
    copy.#isPlain = this.#isPlain;
    copy.#hasBegun = this.#hasBegun;
    return copy.#scan(text);
  }

  /** Takes note of text that was passed on. */
  skip(text: string): void {
    this.#scan(text);
  }

  #scan(text: string): number {
    for (let i = 0; i < text.length; i++) {
      const char = text[i] as string;
      if (this.#inString) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (char === "\\") this.#isEscaped = true;
        else if (char === '"') {
          this.#inString = false;
          if (this.#depth === 0) return i + 1;
        }
      } else if (char === '"') {
        this.#inString = true;
        this.#hasBegun = true;
      } else if (char === "{" || char === "[") {
        this.#depth++;
        this.#hasBegun = true;
      } else if (char === "}" || char === "]") {
        if (this.#depth === 0) return i; // the end of a number or word
        if (--this.#depth === 0) return i + 1;
      } else if (this.#depth === 0 && !/\s/.test(char)) {
        if (char === "," && this.#hasBegun) return i;
        this.#isPlain = true;
        this.#hasBegun = true;
      } else if (this.#depth === 0 && this.#isPlain) return i;
    }
    return -1;
  }
}
