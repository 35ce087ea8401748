// Formulas: KaTeX, loaded when the first one is met. In: an element with code.math-inline or code.math-block in it. Out: the same with formulas in their
// place. KaTeX writes elements, not HTML, so the page's policy holds; commands that fetch or link are off, sizes and expansions bounded.

let loading: Promise<typeof import("katex")> | undefined;

async function load(): Promise<typeof import("katex")> {
  const [katex] = await Promise.all([import("katex"), import("katex/dist/katex.min.css")]);
  return katex;
}

/** A longer formula would hold the page up for seconds; it stays as it was written. */
const mostCharacters = 3000;

export async function renderMath(root: Element): Promise<void> {
  const places = [...root.querySelectorAll("code.math-inline, code.math-block")];
  if (places.length === 0) return;
  loading ??= load();
  const { default: katex } = await loading;
  for (const place of places) {
    const text = place.textContent ?? "";
    if (!place.isConnected || text.length > mostCharacters) continue;
    const formula = document.createElement("span");
    formula.className = place.className;
    try {
      katex.render(text, formula, {
        displayMode: place.className === "math-block",
        throwOnError: true,
        trust: false,
        strict: "ignore",
        maxSize: 20,
        maxExpand: 200,
      });
      place.replaceWith(formula);
    } catch {
      // What is no formula stays as it was written.
    }
  }
}
