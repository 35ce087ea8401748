// The thread that runs xgrammar: it compiles grammars and makes masks, so that neither a slow compilation nor a crash of that library touches the
// engine. In: messages of grammar-threads.ts. Out: one answer for each. The library is a script in a package that says it is a module, so Node
// cannot import it: it is compiled as a function, with the names of a web page and without those of Node, which keeps it from
// reaching for files.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { compileFunction } from "node:vm";
import { parentPort } from "node:worker_threads";
import type * as XGrammar from "@mlc-ai/web-xgrammar";
import type { GrammarAnswer, GrammarCall, Vocabulary } from "./grammar-messages.ts";

const mostCompiled = 16;

function loadLibrary(): typeof XGrammar {
  const file = fileURLToPath(import.meta.resolve("@mlc-ai/web-xgrammar"));
  const names = ["exports", "module", "window", "location", "document", "process"];
  const run = compileFunction(readFileSync(file, "utf8"), names, { filename: file });
  const module = { exports: {} };
  run.call(module.exports, module.exports, module, {}, { href: "" }, undefined, undefined);
  return module.exports as typeof XGrammar;
}

const library = loadLibrary();
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

async function compile(kind: string, text: string): Promise<XGrammar.CompiledGrammar> {
  const key = `${kind} ${text}`;
  const known = compiled.get(key);
  if (known) return known;
  if (!compiler) throw new Error("no vocabulary");
  const made = await compileNew(compiler, kind, text);
  for (const [old, grammar] of compiled) {
    if (compiled.size < mostCompiled) break;
    grammar.dispose();
    compiled.delete(old);
  }
  compiled.set(key, made);
  return made;
}

async function compileNew(by: XGrammar.GrammarCompiler, kind: string, text: string): Promise<XGrammar.CompiledGrammar> {
  // Any white space, as models write it, but not without end.
  if (kind === "json") return await by.compileJSONSchema('{"type":"object"}', true, undefined, undefined, false, 16);
  if (kind === "schema") return await by.compileJSONSchema(text, true, undefined, undefined, true, 16);
  const grammar =
    kind === "regex"
      ? await library.Grammar.fromStructuralTag({ type: "structural_tag", format: { type: "regex", pattern: text } })
      : await library.Grammar.fromEBNF(text);
  try {
    return await by.compileGrammar(grammar);
  } finally {
    grammar.dispose();
  }
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
    const grammar = await compile(call.source.kind, call.source.text);
    matcher = await library.GrammarMatcher.createGrammarMatcher(grammar, undefined, !hasStopIds);
    matchers.set(call.id, matcher);
  }
  if (!matcher) throw new Error("no such constraint");
  for (const id of call.accepted) if (!matcher.acceptToken(id)) throw new Error(`the grammar does not accept id ${id}`);
  if (matcher.isTerminated()) return { mask: new Int32Array(0) };
  return { mask: (await matcher.getNextTokenBitmask()).slice() };
}

// One after the other: the library's functions are async in name only.
let queue: Promise<void> = Promise.resolve();
parentPort?.on("message", (call: GrammarCall) => {
  queue = queue.then(async () => {
    try {
      parentPort?.postMessage({ serial: call.serial, ...(await answer(call)) });
    } catch (thrown) {
      const isTrap = thrown instanceof WebAssembly.RuntimeError;
      parentPort?.postMessage({ serial: call.serial, error: describe(thrown), ...(isTrap && { isTrap }) });
    }
  });
});

function describe(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message;
  return typeof thrown === "number" ? "an exception of the grammar compiler" : String(thrown);
}
