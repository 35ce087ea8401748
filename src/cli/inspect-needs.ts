// What running a model takes, from its config and the types of its tensors: parameters, memory, cache. The model is built on a device without
// memory, so a model of 671 billion parameters is measured on any machine.

import { packedRowBytes } from "../core/dtype.ts";
import { GraduallyError } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { elementCount } from "../core/shape.ts";
import { defaultCacheType } from "../models/cache-type.ts";
import type { ModelTensor } from "../models/gguf-map.ts";
import { familyOf } from "../models/load.ts";
import { namesOf } from "../models/weight-names.ts";
import { disposeWeights, storedParts, type Weights } from "../models/weights.ts";
import { memoryLimit } from "../platform/node-memory.ts";
import { empty, emptyPacked, keep } from "../tensor/tensor.ts";
import { measuringDevice } from "./measuring-device.ts";

/** Where one memory of the WebAssembly device ends; packed weights take as many as they need. */
const oneMemory = 2 ** 32;
const shownContext = 4096;

export type Needs = {
  readonly parameters: { readonly total: number; readonly active: number };
  readonly context_length: number;
  /** The latent and rope key of each layer for MLA; keys and values otherwise. */
  readonly cache_bytes_per_token: number;
  readonly memory: {
    /** As `run` loads them: packed types stay what they are, where the device multiplies by them. */
    readonly weights: number;
    /** Copies of f32 matrices in the order in which the kernels read them, made when first used. */
    readonly packed: number;
    /** One sequence of the whole context (at most 4,096 tokens). */
    readonly cache: number;
    readonly total: number;
    /** What there is: this machine's memory, or its container's. */
    readonly limit: number;
    /** Within the limit, and what is not packed (f32 weights, their copies, cache) within the 4 GiB of one memory. */
    readonly fits: boolean;
  };
};

/** Builds the model without memory. Returns the error that says why it cannot run. */
export function measureNeeds(config: JsonObject, tensors: ReadonlyMap<string, ModelTensor>): Needs | GraduallyError {
  const device = measuringDevice();
  const weights: Weights = { parameters: new Map(), buffers: new Map() };
  try {
    const { entries, build } = familyOf(config.model_type).plan(config, {}, new Set(tensors.keys()));
    let copies = 0;
    let packed = 0;
    for (const entry of entries) {
      const { row, trained } = entry;
      if (row.action === "skip" || row.action === "copy") continue;
      const sources = namesOf(row).flatMap((name) => tensors.get(name) ?? []);
      for (const { name, type, shape } of storedParts(entry, sources, device)) {
        const parameter = keep(() => (type ? emptyPacked(device, type, shape) : empty(device, shape)));
        if (type) packed += packedRowBytes(type, elementCount(shape));
        (trained ? weights.parameters : weights.buffers).set(name, parameter);
        const isTable = name.endsWith("embed_tokens.weight") && config.tie_word_embeddings !== true;
        if (!type && shape.length >= 2 && !isTable) copies += elementCount(shape) * 4;
      }
    }
    const model = build(device, weights);
    const before = device.memory().used;
    const { total, active } = model.parameterCount;
    const cache = keep(() => model.makeCache(1, 1, { type: defaultCacheType(tensors.values()) }));
    const { bytesPerToken } = cache;
    cache.dispose();
    const { contextLength } = model;
    model.dispose();
    const cacheBytes = bytesPerToken * Math.min(contextLength, shownContext);
    const limit = memoryLimit();
    const all = before + copies + cacheBytes;
    const fits = all <= limit && all - packed <= oneMemory;
    return {
      parameters: { total, active },
      context_length: contextLength,
      cache_bytes_per_token: bytesPerToken,
      memory: { weights: before, packed: copies, cache: cacheBytes, total: all, limit, fits },
    };
  } catch (error) {
    disposeWeights(weights);
    if (error instanceof GraduallyError) return error;
    throw error;
  }
}
