// From the text of a chat template to its syntax tree, in bounded time. In: text from a stranger. Out: the tree of `@huggingface/jinja`,
// or a FormatError. The library's reader backtracks over white space and recurses, so both are limited before it runs.

import { parse, tokenize } from "@huggingface/jinja";
import { FormatError, quote } from "../core/errors.ts";

/** The longest published templates have 20,000 characters. */
const longest = 200_000;
const longestSpace = 500;
const mostTokens = 50_000;
const deepest = 200;

export type Program = ReturnType<typeof parse>;

/** `name` is where the template comes from. Throws FormatError. */
export function parseTemplate(text: string, name: string): Program {
  const fail = (got: string, expected: string, cause?: unknown): never => {
    throw new FormatError(
      { operation: `read the chat template of ${quote(name, 300)}`, got, expected, cure: "use the template of the model's publisher" },
      { cause },
    );
  };
  if (text.length > longest) fail(`${text.length} characters`, `at most ${longest}`);
  // The library looks for `{% generation %}` with a pattern that takes time by the square of the white space before it.
  if (longSpace.test(text)) fail(`more than ${longestSpace} white-space characters in a row`, "fewer");
  try {
    const tokens = tokenize(text, { lstrip_blocks: true, trim_blocks: true });
    if (tokens.length > mostTokens) fail(`${tokens.length} words and signs`, `at most ${mostTokens}`);
    if (nesting(tokens) > deepest) fail(`blocks and brackets nested deeper than ${deepest}`, "a flatter template");
    const program = parse(tokens);
    if (depthOf(program) > deepest) fail(`expressions nested deeper than ${deepest}`, "a flatter template");
    return program;
  } catch (cause) {
    if (cause instanceof FormatError) throw cause;
    // Chains without brackets, such as 50,000 times "not", recurse too.
    if (cause instanceof RangeError) return fail("expressions nested too deep", "a flatter template", cause);
    const end =
      cause instanceof TypeError ? "a template that ends too early" : cause instanceof Error ? quote(cause.message, 200) : "an error";
    return fail(end, "a Jinja template", cause);
  }
}

const longSpace = new RegExp(`\\s{${longestSpace + 1}}`);

type Token = ReturnType<typeof tokenize>[number];

/** Deepest nesting of brackets and blocks; every `elif` is a block in the else of the one before. */
function nesting(tokens: readonly Token[]): number {
  let depth = 0;
  let most = 0;
  for (const [i, { type, value }] of tokens.entries()) {
    const word = tokens[i - 1]?.type === "OpenStatement" ? value : "";
    if (/^Open(?:Paren|SquareBracket|CurlyBracket)$/.test(type) || opening.has(word)) depth++;
    else if (/^Close(?:Paren|SquareBracket|CurlyBracket)$/.test(type) || word.startsWith("end")) depth--;
    most = Math.max(most, depth);
  }
  return most;
}

const opening = new Set(["if", "elif", "for", "macro", "call", "filter"]);

/** Levels of the tree, found without recursion. */
function depthOf(program: Program): number {
  let depth = 0;
  let level: object[] = [program];
  while (level.length > 0 && depth <= deepest) {
    depth++;
    level = level.flatMap((node) => [...childrenOf(node)]);
  }
  return depth;
}

function* childrenOf(node: object): Generator<object> {
  for (const value of node instanceof Map ? [...node].flat() : Object.values(node)) {
    if (Array.isArray(value) || value instanceof Map) yield* childrenOf(value);
    else if (typeof value === "object" && value !== null && typeof value.type === "string") yield value;
  }
}
