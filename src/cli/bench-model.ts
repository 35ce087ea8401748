// `gradually bench MODEL`: tokens per second of a model as llama-bench counts them: `pp`, a prompt computed from nothing, and `tg`, generation
// after `depth` ids, for one sequence or several at once. Goes through the engine, so that its own cost is in the numbers. Medians
// of the repeats. Beside them: the bytes of weights that one step reads, and what this machine reads at most, measured between the repeats.

import { type CacheType, isPackedType, packedRowBytes } from "../core/dtype.ts";
import { ConfigError } from "../core/errors.ts";
import { Random } from "../core/random.ts";
import { elementCount } from "../core/shape.ts";
import { Engine } from "../engine/engine.ts";
import type { SpeculationOptions } from "../engine/speculation.ts";
import type { Model } from "../models/model.ts";
import { halvesOf } from "../models/weights.ts";

export type ModelBenchOptions = {
  readonly prompt: number;
  readonly gen: number;
  /** Ids before the generation starts. */
  readonly depth: number;
  readonly parallel: number;
  readonly cacheType: CacheType;
  readonly repeats: number;
  /** Without: plain decoding. */
  readonly speculation?: SpeculationOptions;
};

export type ModelBench = {
  /** Absent with --prompt 0. */
  readonly pp?: { readonly n: number; readonly tok_s: number };
  /** Tokens of all sequences together. Absent with --gen 0. */
  readonly tg?: { readonly n: number; readonly depth: number; readonly parallel: number; readonly tok_s: number };
  /** Drafts of all generations that were verified, and how many came true; with speculation only. */
  readonly drafts?: { readonly kind: string; readonly n: number; readonly accepted: number };
  readonly threads: number;
  readonly device: string;
  readonly cache_type: CacheType;
  /** Bytes of weights that one decoding step of one sequence reads. */
  readonly weights_bytes: number;
  /** weights_bytes times steps per second. */
  readonly read_gb_s?: number;
  readonly limit_gb_s?: number;
};

/** Throws ConfigError when prompt and generation do not fit into the model's context. `now` in seconds. */
export async function benchModel(
  model: Model,
  options: ModelBenchOptions,
  now: () => number,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<ModelBench> {
  const { prompt, gen, depth, parallel, cacheType, repeats, speculation } = options;
  const contextLength = Math.max(prompt + 1, Math.max(depth, 1) + gen);
  if (contextLength > model.contextLength)
    throw new ConfigError({
      operation: "bench",
      got: `${contextLength} tokens of prompt and generation`,
      expected: `at most the model's context, ${model.contextLength}`,
      cure: "lower --prompt, --gen or --depth",
    });
  const random = new Random(1);
  const ids = (count: number) => Array.from({ length: count }, () => random.integer(model.vocabSize));
  const engine = new Engine(model, {
    slots: parallel,
    contextLength,
    prefillTokens: 512,
    cacheType,
    seed: 1,
    ...(speculation && { speculation }),
  });
  const total = repeats * ((prompt > 0 ? 1 : 0) + (gen > 0 ? 1 : 0)) + 1;
  let done = 0;

  /** Seconds until the first token of all sequences, one for each prompt, and from there to the last. */
  async function run(prompts: readonly number[][], maxTokens: number): Promise<{ first: number; rest: number }> {
    const start = now();
    let first = 0;
    let waiting = parallel;
    const onToken = () => {
      if (first === 0 && --waiting === 0) first = now();
    };
    let seen = 0;
    await Promise.all(
      prompts.map((prompt) => {
        let isNew = true;
        return engine.submit(
          { ids: prompt, maxTokens, sampling: { temperature: 0 } },
          {
            onToken: () => {
              if (isNew) onToken();
              isNew = false;
              seen++;
            },
          },
        );
      }),
    );
    onProgress(++done, total);
    return { first: first - start, rest: seen > parallel ? now() - first : 0 };
  }

  try {
    const fresh = (length: number) => Array.from({ length: parallel }, () => ids(length));
    await run(fresh(Math.max(1, Math.min(prompt, 32))), 2); // packs what is packed once
    // The generations begin after the same ids: all but the first find their keys in the cache, so that a deep context is computed once.
    const context = fresh(Math.max(depth, 1));
    const prefill: number[] = [];
    const decode: number[] = [];
    const limits: number[] = [];
    const weights_bytes = bytesPerStep(model);
    for (let i = 0; i < repeats; i++) {
      // Again for each repeat, as much as a step reads: what a shared machine gives changes by the minute, and the cache hides small probes.
      const limit = await model.device.measureLimits?.(now, 64 * Math.ceil(Math.min(Math.max(weights_bytes, 2 ** 26), 2 ** 30) / 64));
      if (limit) limits.push(limit.read_gb_s);
      if (prompt > 0) prefill.push((prompt * parallel) / (await run(fresh(prompt), 1)).first);
      if (gen > 0) decode.push(((gen - 1) * parallel) / (await run(context, gen)).rest);
    }
    const { name, build, threads } = model.device.info;
    const tok_s = gen > 0 ? median(decode) : undefined;
    return {
      ...(prompt > 0 && { pp: { n: prompt, tok_s: median(prefill) } }),
      ...(tok_s !== undefined && { tg: { n: gen, depth, parallel, tok_s } }),
      ...(speculation && { drafts: { kind: speculation.kind, n: engine.counts.drafted, accepted: engine.counts.accepted } }),
      threads,
      device: `${name} ${build}`,
      cache_type: cacheType,
      weights_bytes,
      ...(tok_s !== undefined && { read_gb_s: (weights_bytes * tok_s) / parallel / 1e9 }),
      ...(limits.length > 0 && { limit_gb_s: median(limits) }),
    };
  } finally {
    await engine.dispose();
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

/**
 * All weights but the rows of the embedding table that are not looked up, the layer of multi-token prediction, and the experts that are not chosen, as
 * they lie in memory.
 */
function bytesPerStep(model: Model): number {
  const { config } = model;
  const experts = Number(config.n_routed_experts ?? config.num_experts ?? 0);
  const share = experts > 0 ? Number(config.num_experts_per_tok ?? 0) / experts : 1;
  const isTied = config.tie_word_embeddings === true;
  const nextLayer = `model.layers.${Number(config.num_hidden_layers)}.`;
  let bytes = 0;
  for (const row of model.weightTable) {
    if ((row.action !== "as-is" && row.action !== "stack") || row.name.startsWith(nextLayer)) continue;
    if (row.parameter === "model.embed_tokens.weight" && !isTied) continue;
    const halves = halvesOf(model, row.parameter);
    const whole = model.parameters.get(row.parameter) ?? model.buffers.get(row.parameter);
    for (const parameter of halves ? [halves.keys, halves.values] : whole ? [whole] : []) {
      const width = parameter.shape.at(-1) ?? 1;
      const rows = elementCount(parameter.shape) / Math.max(width, 1);
      const size = isPackedType(parameter.dtype) ? packedRowBytes(parameter.dtype, width) * rows : 4 * width * rows;
      bytes += row.action === "stack" ? size * share : size;
    }
  }
  return bytes;
}
