// What a config.json promises, without any weights and without allocating: parameters, cache, context. In: the parsed JSON of any supported
// family. Out: counts. A model of 671 billion parameters is described as fast as a small one.

import { asObject, type RawConfig } from "./config.ts";
import type { CacheShape, ModelOptions, ParameterCount } from "./family.ts";
import { cachedNumbers } from "./layers.ts";
import { familyOf } from "./load.ts";

export type ModelDescription = {
  readonly modelType: string;
  /** `nextHead` is the layer of multi-token prediction: part of `total`, not of `active`. Both count the embedding and the head. */
  readonly parameters: ParameterCount;
  /** Rows of the embedding table, of which one token reads one: some publishers leave it out of what they call active. */
  readonly embeddingParameters: number;
  readonly vocabSize: number;
  readonly layers: number;
  /** Positions, at most. */
  readonly contextLength: number;
  readonly cacheShape: CacheShape;
  /** Numbers that one token leaves in the cache, over all layers: DeepSeek-V3's latent takes 576 · 61. */
  readonly cachedNumbersPerToken: number;
  /** The same in bytes, as the cache stores them (f32). */
  readonly cacheBytesPerToken: number;
};

/** `names` are the tensors of the file, where there is one: a prediction head that it lacks is then not counted. Throws ConfigError. */
export function describeConfig(config: unknown, options: ModelOptions = {}, names?: ReadonlySet<string>): ModelDescription {
  const raw: RawConfig = asObject(config);
  const family = familyOf(raw.model_type);
  const { entries, parameterCount, cacheShape, vocabSize, contextLength } = family.plan(raw, options, names);
  const table = entries.find(({ row }) => row.name === "model.embed_tokens.weight")?.shape ?? [0];
  const numbers = cachedNumbers(cacheShape);
  return {
    modelType: family.modelType,
    parameters: parameterCount,
    embeddingParameters: table.reduce((product, size) => product * size, 1),
    vocabSize,
    layers: cacheShape.layers,
    contextLength,
    cacheShape,
    cachedNumbersPerToken: numbers,
    cacheBytesPerToken: 4 * numbers,
  };
}
