// What the thread of grammars does, in Node and browsers: it compiles grammars and makes masks, so that neither a slow compilation nor a crash of the library
// touches the engine. In: the library and messages of grammar-engine.ts. Out: one answer for each, in order.

import type * as XGrammar from "@mlc-ai/web-xgrammar";
import type { GrammarSource } from "../chat/structure-check.ts";
import { jsonCharacters } from "../chat/structure-schema.ts";
import type { GrammarAnswer, GrammarCall, Vocabulary } from "./grammar-messages.ts";

export type GrammarLibrary = typeof XGrammar;

const mostCompiled = 16;

/** What the library prints, which is where it says why it gives up; then it prints that it gives up. */
let printed = "";
export function keepPrinted(...words: unknown[]): void {
  const line = words.join(" ");
  if (line !== "Aborted()") printed = line;
}

let library: GrammarLibrary;
/** Without stop ids an answer ends where the grammar ends. */
let hasStopIds = true;
let compiler: XGrammar.GrammarCompiler | undefined;
const compiled = new Map<string, XGrammar.CompiledGrammar>();
const matchers = new Map<number, XGrammar.GrammarMatcher>();

async function open({ tokens, vocabSize, stopIds }: Vocabulary): Promise<void> {
  hasStopIds = stopIds.length > 0;
  const info = await library.TokenizerInfo.createTokenizerInfo([...tokens], "byte_level", false, vocabSize, [...stopIds]);
  compiler = await library.GrammarCompiler.createGrammarCompiler(info, false);
}

async function compile(source: GrammarSource): Promise<XGrammar.CompiledGrammar> {
  const key = JSON.stringify(source);
  const known = compiled.get(key);
  if (known) return known;
  if (!compiler) throw new Error("no vocabulary");
  const made = await compileNew(compiler, source);
  for (const [old, grammar] of compiled) {
    if (compiled.size < mostCompiled) break;
    grammar.dispose();
    compiled.delete(old);
  }
  compiled.set(key, made);
  return made;
}

async function compileNew(by: XGrammar.GrammarCompiler, source: GrammarSource): Promise<XGrammar.CompiledGrammar> {
  const grammar = await parse(source);
  try {
    return await by.compileGrammar(grammar);
  } finally {
    grammar.dispose();
  }
}

async function parse({ kind, text, rules = [] }: GrammarSource): Promise<XGrammar.Grammar> {
  const { Grammar, Testings } = library;
  // Any white space, as models write it, but not without end.
  if (kind === "regex") return await Grammar.fromStructuralTag({ type: "structural_tag", format: { type: "regex", pattern: text } });
  if (kind === "grammar") return await Grammar.fromEBNF(text);
  // "json": any object.
  const schema = kind === "json" ? '{"type":"object"}' : text;
  let grammar = await Testings._jsonSchemaToEBNF(schema, true, undefined, undefined, kind === "schema", 16);
  // In the recursive rule of the compiler: a loop compiles faster, but then each mask inside a string takes a hundred times as long.
  grammar = grammar.replaceAll('[^\\0-\\x1f\\"\\\\\\r\\n]', jsonCharacters);
  for (const [name, rule] of rules) grammar = grammar.replaceAll(`"\\"${name}\\""`, `(${rule})`);
  return await Grammar.fromEBNF(grammar);
}

async function answer(call: GrammarCall): Promise<Omit<GrammarAnswer, "serial">> {
  if (call.kind === "open") {
    await open(call.vocabulary);
    return {};
  }
  if (call.kind === "drop") {
    matchers.get(call.id)?.dispose();
    matchers.delete(call.id);
    return {};
  }
  let matcher = matchers.get(call.id);
  if (call.kind === "begin") {
    const grammar = await compile(call.source);
    matcher = await library.GrammarMatcher.createGrammarMatcher(grammar, undefined, !hasStopIds);
    matchers.set(call.id, matcher);
  }
  if (!matcher) throw new Error("no such constraint");
  for (const id of call.accepted) if (!matcher.acceptToken(id)) throw new Error(`the grammar does not accept id ${id}`);
  if (matcher.isTerminated()) return { mask: new Int32Array(0) };
  return { mask: (await matcher.getNextTokenBitmask()).slice() };
}

/** Answers through `post`; the function that comes back takes the messages. */
export function serveGrammars(loaded: GrammarLibrary, post: (answer: GrammarAnswer) => void): (call: GrammarCall) => void {
  library = loaded;
  // One after the other: the library's functions are async in name only.
  let queue: Promise<void> = Promise.resolve();
  return (call) => {
    queue = queue.then(async () => {
      try {
        post({ serial: call.serial, ...(await answer(call)) });
      } catch (thrown) {
        const isTrap = thrown instanceof WebAssembly.RuntimeError;
        post({ serial: call.serial, error: describe(thrown), ...(isTrap && { isTrap }) });
      }
    });
  };
}

function describe(thrown: unknown): string {
  // "[FATAL] /path/of/its/source.cc:12: Check failed: (condition) is false: what a user can understand"
  const said = /^\[FATAL\] \S+ (?:Check failed: .* is false: )?(.*)$/s.exec(printed)?.[1];
  printed = "";
  if (said !== undefined) return said;
  return thrown instanceof Error ? thrown.message : "an exception of the grammar compiler";
}
