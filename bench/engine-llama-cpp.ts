// llama.cpp (through node-llama-cpp, its prebuilt CPU library) on one GGUF file. In and out: protocol.ts.

import { getLlama, LlamaLogLevel, type Token } from "node-llama-cpp";
import { readCall, say, someIds } from "./protocol.ts";

const { model: path, threads, tests } = readCall();
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: path, useMmap: true });
const results: Record<string, number> = {};

for (const { name, prompt = 0, gen = 0, depth = 0, parallel = 1 } of tests) {
  const context = await model.createContext({
    contextSize: Math.max(prompt, depth + gen) + 16,
    sequences: parallel,
    batchSize: 512,
    threads,
    flashAttention: true,
  });
  const sequences = Array.from({ length: parallel }, () => context.getSequence());
  const ids = (count: number, sequence = 0) => someIds(count, sequence) as Token[];
  if (prompt > 0) {
    const start = performance.now();
    await sequences[0]?.evaluateWithoutGeneratingNewTokens(ids(prompt));
    results[name] = (prompt / (performance.now() - start)) * 1000;
  } else {
    if (depth > 1) for (const [i, sequence] of sequences.entries()) await sequence.evaluateWithoutGeneratingNewTokens(ids(depth - 1, i));
    let first = 0;
    let begun = 0;
    let tokens = 0;
    await Promise.all(
      sequences.map(async (sequence) => {
        let count = 0;
        for await (const _ of sequence.evaluate([1 as Token], { temperature: 0, yieldEogToken: true })) {
          if (count === 0 && ++begun === parallel) first = performance.now();
          else if (first > 0) tokens++;
          if (++count >= gen) break;
        }
      }),
    );
    results[name] = (tokens / (performance.now() - first)) * 1000;
  }
  await context.dispose();
}
say(results);
await llama.dispose();
process.exit(0);
