// Finds added tokens (`<|im_start|>`, `<think>`) in a text: leftmost first, then longest, in one pass over a trie. In: the tokens.
// Out: a function that cuts a text into plain sections and tokens. Tokens are at most 512 characters long, which bounds the time.

import { makeCharSet, widthOf } from "./char-set.ts";
import type { AddedToken } from "./tokenizer-definition.ts";

/** A stretch of plain text, or a token in its place. */
export type Section = string | AddedToken;

type Node = { readonly children: Map<number, Node>; token?: AddedToken };

const isWordCharacter = makeCharSet("[\\p{L}\\p{M}\\p{Nd}\\p{Pc}]") as (codePoint: number) => boolean;

/**
 * Puts `mark` behind the first character of whatever begins a token, so that it is one no more. Tokens of a single character cannot be
 * broken up and stay.
 */
export function makeBreaker(tokens: readonly AddedToken[], mark: string): (text: string) => string {
  const { root, starts } = makeTrie(
    tokens.filter(({ content }) => content.length > widthOf(content.codePointAt(0) as number)),
    (content) => content,
  );
  return (text) => {
    let broken = "";
    let from = 0;
    for (let at = 0; at < text.length; at++) {
      if (starts[text.charCodeAt(at)] !== 1 || !longest(root, text, at)) continue;
      const end = at + widthOf(text.codePointAt(at) as number);
      broken += text.slice(from, end) + mark;
      from = end;
    }
    return broken + text.slice(from);
  };
}

/** `spelling` says how a token looks in the texts that will come; default: its content. */
export function makeSplitter(
  tokens: readonly AddedToken[],
  spelling: (content: string) => string = (content) => content,
): (text: string) => Section[] {
  const { root, starts } = makeTrie(tokens, spelling);
  if (root.children.size === 0) return (text) => [text];
  return (text) => {
    const sections: Section[] = [];
    let plain = 0;
    for (let at = 0; at < text.length; ) {
      const found = starts[text.charCodeAt(at)] === 1 ? longest(root, text, at) : undefined;
      if (!found) {
        at++;
        continue;
      }
      const { token } = found;
      let [from, to] = [at, found.end];
      if (token.lstrip) from = Math.max(plain, text.slice(plain, at).trimEnd().length + plain);
      if (token.rstrip) to = text.length - text.slice(to).trimStart().length;
      if (from > plain) sections.push(text.slice(plain, from));
      sections.push(token);
      plain = to;
      at = to;
    }
    if (plain < text.length) sections.push(text.slice(plain));
    return sections;
  };
}

type Trie = { readonly root: Node /** By the first UTF-16 unit: 1 where a token begins with it. */; readonly starts: Uint8Array };

function makeTrie(tokens: readonly AddedToken[], spelling: (content: string) => string): Trie {
  const root: Node = { children: new Map() };
  for (const token of tokens) {
    let node = root;
    const spelled = spelling(token.content);
    for (let i = 0; i < spelled.length; i++) {
      const unit = spelled.charCodeAt(i);
      let child = node.children.get(unit);
      if (!child) {
        child = { children: new Map() };
        node.children.set(unit, child);
      }
      node = child;
    }
    if (node !== root) node.token ??= token;
  }
  const starts = new Uint8Array(65536);
  for (const unit of root.children.keys()) starts[unit] = 1;
  return { root, starts };
}

function longest(root: Node, text: string, at: number): { token: AddedToken; end: number } | undefined {
  let best: { token: AddedToken; end: number } | undefined;
  let node: Node | undefined = root;
  for (let end = at; node; ) {
    if (node.token && (!node.token.singleWord || standsAlone(text, at, end))) best = { token: node.token, end };
    if (end === text.length) break;
    node = node.children.get(text.charCodeAt(end++));
  }
  return best;
}

function standsAlone(text: string, from: number, to: number): boolean {
  return !isWordCharacter(text.charCodeAt(from - 1) || 32) && !isWordCharacter(text.charCodeAt(to) || 32);
}
