// Structured output in a browser: grammar-engine.ts with a worker of the engine's worker. Its file, a megabyte, is fetched when the first structure comes.
// Unusual: browsers do not tell processor time, so compilations are timed by the clock, with eight times Node's patience.

import type { GrammarEngine } from "../../chat/grammar.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { openGrammarEngine } from "../grammar-engine.ts";
import { handleOf } from "./host.ts";
import type { PlainLoadOptions } from "./options.ts";

const defaultMilliseconds = 4000;

export async function openBrowserGrammars(
  tokenizer: Tokenizer,
  vocabSize: number,
  stopIds: readonly number[],
  { compileMilliseconds = defaultMilliseconds }: PlainLoadOptions,
): Promise<GrammarEngine> {
  const spawn = () => handleOf(new Worker(new URL("./grammar-thread.js", import.meta.url), { type: "module" }));
  return await openGrammarEngine(spawn, tokenizer, vocabSize, stopIds, compileMilliseconds);
}
