// llama.cpp (through node-llama-cpp, its prebuilt CPU library) on one GGUF file. In: MODEL THREADS and a list of tests as JSON. Out: one line of JSON,
// tokens per second by test. Tests are those of rivals.ts: a prompt from nothing, or generation after `depth` ids by `parallel` sequences.

import { getLlama, LlamaLogLevel, type Token } from "node-llama-cpp";

type Test = { readonly name: string; readonly prompt?: number; readonly gen?: number; readonly depth?: number; readonly parallel?: number };

const [path = "", threads = "2", list = "[]"] = process.argv.slice(2);
const tests = JSON.parse(list) as Test[];
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: path, useMmap: true });
const results: Record<string, number> = {};

for (const { name, prompt = 0, gen = 0, depth = 0, parallel = 1 } of tests) {
  const context = await model.createContext({
    contextSize: Math.max(prompt, depth + gen) + 16,
    sequences: parallel,
    batchSize: 512,
    threads: Number(threads),
    flashAttention: true,
  });
  const sequences = Array.from({ length: parallel }, () => context.getSequence());
  const ids = (count: number) => Array.from({ length: count }, (_, i) => (300 + ((i * 7919) % 30000)) as Token);
  if (prompt > 0) {
    const start = performance.now();
    await sequences[0]?.evaluateWithoutGeneratingNewTokens(ids(prompt));
    results[name] = (prompt / (performance.now() - start)) * 1000;
  } else {
    if (depth > 1) for (const sequence of sequences) await sequence.evaluateWithoutGeneratingNewTokens(ids(depth - 1));
    let first = 0;
    let begun = 0;
    let tokens = 0;
    await Promise.all(
      sequences.map(async (sequence) => {
        let count = 0;
        for await (const _ of sequence.evaluate([1 as Token], { temperature: 0 })) {
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
process.stdout.write(`${JSON.stringify(results)}\n`);
await llama.dispose();
process.exit(0);
