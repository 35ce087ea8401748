// Markdown of models and users to safe HTML. In: text that anybody may have written. Out: blocks, each with its source, so that only the block that
// grows is drawn again. Three walls: HTML in the text is shown as text; pictures become links, so nothing is fetched; DOMPurify lets through
// a short list of tags and attributes. Math (\( \), \[ \], $$ $$) becomes a code element that math.ts turns into a formula.

import DOMPurify from "dompurify";
import { Marked, type Token, type TokenizerAndRendererExtension, type Tokens } from "marked";

export type Block =
  | { readonly kind: "html"; readonly raw: string; readonly html: string }
  | { readonly kind: "code"; readonly raw: string; readonly text: string; readonly language: string };

const tags = "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre s strong sub sup table tbody td th thead tr ul span input".split(
  " ",
);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => escaped(text),
    image: ({ href, text }) => `<a href="${escaped(href)}">${escaped(text || href)}</a>`,
  },
  extensions: [
    math("block", /^\\\[([\s\S]+?)\\\](?:\n|$)/, /\\\[/),
    math("block", /^\$\$([\s\S]+?)\$\$(?:\n|$)/, /\$\$/),
    math("inline", /^\\\(([\s\S]+?)\\\)/, /\\\(/),
    math("inline", /^\\\[([\s\S]+?)\\\]/, /\\\[/, true),
    math("inline", /^\$\$([\s\S]+?)\$\$/, /\$\$/, true),
    math("inline", /^\$(?=\S)((?:[^$\\\n]|\\.)*?[^\s\\])\$(?!\d)/, /\$/),
  ],
});

function math(level: "block" | "inline", rule: RegExp, start: RegExp, isDisplay = level === "block"): TokenizerAndRendererExtension {
  // Two rules of one name would share a renderer.
  const name = `${level} math ${rule.source}`;
  return {
    name,
    level,
    start: (text) => {
      const at = text.search(start);
      return at < 0 ? undefined : at;
    },
    tokenizer(text) {
      const found = rule.exec(text);
      return found ? { type: name, raw: found[0], text: (found[1] ?? "").trim() } : undefined;
    },
    renderer: ({ text }) => `<code class="${isDisplay ? "math-block" : "math-inline"}">${escaped(text as string)}</code>`,
  };
}

/** Text beyond this is shown as it is: parsing it at every token would make the page slow. */
const mostCharacters = 200_000;

export function toBlocks(text: string): Block[] {
  if (text.length > mostCharacters) return [{ kind: "code", raw: text, text, language: "" }];
  const tokens = marked.lexer(text);
  return tokens.filter(({ type }) => type !== "space" && type !== "def").map((token) => toBlock(token));
}

function toBlock(token: Token): Block {
  if (token.type === "code") {
    const { text, lang = "" } = token as Tokens.Code;
    return { kind: "code", raw: token.raw, text, language: lang.split(/\s/)[0]?.slice(0, 30) ?? "" };
  }
  return { kind: "html", raw: token.raw, html: clean(marked.parser([token])) };
}

DOMPurify.addHook("afterSanitizeAttributes", (element) => {
  if (element.tagName === "A") {
    element.setAttribute("target", "_blank");
    element.setAttribute("rel", "noopener noreferrer nofollow");
  }
  // A task list's box; any other field has no place in an answer.
  if (element.tagName === "INPUT" && element.getAttribute("type") !== "checkbox") element.remove();
});

export function clean(html: string): string {
  return DOMPurify.sanitize(html, {
    ALLOWED_TAGS: tags,
    ALLOWED_ATTR: ["href", "class", "start", "align", "type", "checked", "disabled"],
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  });
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
