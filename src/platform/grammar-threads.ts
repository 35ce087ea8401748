// Structured output in Node: grammar-engine.ts with a thread of Node's, which tells what it uses of the processor.

import { Worker } from "node:worker_threads";
import type { GrammarEngine } from "../chat/grammar.ts";
import { DeviceError } from "../core/errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type GrammarHandle, openGrammarEngine } from "./grammar-engine.ts";
import { mayHaveThreads, nodeHandle } from "./node.ts";

export type GrammarOptions = {
  /**
   * Longest compilation, in time of the processor where Node tells it (from 24.6 on), so that a busy machine refuses nothing that a quiet one
   * accepts; eight times as long by the clock at most. Default 500.
   */
  readonly compileMilliseconds?: number;
};

/** `stopIds` end an answer where the grammar may end. */
export async function openGrammarThreads(
  tokenizer: Tokenizer,
  vocabSize: number,
  stopIds: readonly number[],
  options: GrammarOptions = {},
): Promise<GrammarEngine> {
  if (!mayHaveThreads()) {
    throw new DeviceError({
      operation: "compile a structure",
      got: "a process that may start no thread (node --permission)",
      expected: "a thread, which a grammar that explodes cannot leave",
      cure: "add --allow-worker, or ask for no structure",
    });
  }
  return await openGrammarEngine(spawn, tokenizer, vocabSize, stopIds, options.compileMilliseconds ?? 500);
}

function spawn(): GrammarHandle {
  const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
  const worker = new Worker(new URL(`../platform/grammar-worker${extension}`, import.meta.url));
  return { ...nodeHandle(worker), processorMilliseconds: () => processorMilliseconds(worker) };
}

async function processorMilliseconds(worker: Worker): Promise<number> {
  if (typeof worker.cpuUsage !== "function") return Number.NaN;
  try {
    const { user, system } = await worker.cpuUsage();
    return (user + system) / 1000;
  } catch {
    return Number.NaN; // it has ended
  }
}
