// llama.cpp through node-llama-cpp, as far as the checks need it: logits of given ids, and greedy continuations. node-llama-cpp lies in this folder's
// own package (npm install here), so its types are written down here, as much as is used.

type Logits = ReadonlyMap<number, number>;
type Result = { readonly next: { readonly logits?: Logits } } | undefined;
type Sequence = {
  clearHistory(): Promise<void>;
  controlledEvaluate(input: readonly (number | [number, { generateNext: { logits: true } }])[]): Promise<Result[]>;
  evaluate(ids: readonly number[], options: { temperature: number; yieldEogToken: boolean }): AsyncIterable<number>;
};
type Context = { getSequence(): Sequence; dispose(): Promise<void> };
type LoadedModel = { createContext(options: Record<string, unknown>): Promise<Context>; dispose(): Promise<void> };
type Library = {
  getLlama(
    options: Record<string, unknown>,
  ): Promise<{ loadModel(options: Record<string, unknown>): Promise<LoadedModel>; dispose(): Promise<void> }>;
};

export type LlamaCpp = {
  /** Raw logits [V] after each id. */
  logits(ids: readonly number[]): Promise<Float32Array[]>;
  greedy(ids: readonly number[], count: number): Promise<number[]>;
  close(): Promise<void>;
};

/** Loads a GGUF file on the CPU; the cache is f32, so that what differs is the arithmetic alone. */
export async function openLlamaCpp(path: string, contextSize: number, threads = 2): Promise<LlamaCpp> {
  const name = "node-llama-cpp";
  const { getLlama } = (await import(name)) as Library;
  const llama = await getLlama({ gpu: false, build: "never", logLevel: "error" });
  const model = await llama.loadModel({ modelPath: path });
  const context = await model.createContext({
    contextSize,
    threads,
    flashAttention: false,
    experimentalKvCacheKeyType: "F32",
    experimentalKvCacheValueType: "F32",
  });
  const sequence = context.getSequence();
  return {
    async logits(ids) {
      await sequence.clearHistory();
      const results = await sequence.controlledEvaluate(ids.map((id) => [id, { generateNext: { logits: true } }]));
      return results.map((result) => {
        const logits = result?.next.logits;
        const row = new Float32Array(logits?.size ?? 0);
        for (const [id, value] of logits ?? []) row[id] = value;
        return row;
      });
    },
    async greedy(ids, count) {
      await sequence.clearHistory();
      const made: number[] = [];
      for await (const id of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
        made.push(id);
        if (made.length >= count) break;
      }
      return made;
    },
    async close() {
      await context.dispose();
      await model.dispose();
      await llama.dispose();
    },
  };
}
