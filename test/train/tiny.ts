// Small models, batches and hosts for the training tests.

import { recipe } from "../../recipes/tiny.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import type { Files, Host } from "../../src/core/host.ts";
import { Random } from "../../src/core/random.ts";
import { type Batch, type Document, packBatch } from "../../src/data/pack.ts";
import { createModel } from "../../src/models/load.ts";
import type { Model } from "../../src/models/model.ts";
import { nodeHost } from "../../src/platform/node.ts";
import { read } from "../../src/tensor/tensor.ts";

export const llamaConfig = {
  model_type: "llama",
  vocab_size: 13,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  initializer_range: 0.2,
  rope_theta: 10000,
  tie_word_embeddings: false,
};

/** The shape of the tiny recipe: mixture, gate bias, prediction head. */
export const deepseekConfig = { ...recipe.model.config, vocab_size: 13, initializer_range: 0.2, tie_word_embeddings: false };

export function tinyModel(config: object, precision: "f32" | "f64" = "f32", seed = 1): Model {
  return createModel(openReference({ precision }), config, new Random(seed));
}

/** `count` documents of random ids, the first half of each a prompt when `masked`. */
export function documents(count: number, masked: boolean, seed = 3): Document[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const ids = Array.from({ length: 4 + random.integer(8) }, () => random.integer(13));
    return masked ? { ids, mask: ids.map((_, i) => (i < ids.length / 2 ? 0 : 1)) } : { ids };
  });
}

export function pack(list: readonly Document[], B: number, T: number): Batch {
  let i = 0;
  const batch = packBatch(() => list[i++], { B, T });
  if (batch.documents !== list.length) throw new Error(`only ${batch.documents} of ${list.length} documents fit`);
  return batch;
}

/** Every number of every parameter. */
export async function weightsOf(model: Model): Promise<number[]> {
  const all: number[] = [];
  for (const tensor of [...model.parameters.values(), ...model.buffers.values()]) all.push(...(await read(tensor)));
  return all;
}

export async function gradientsOf(model: Model): Promise<Map<string, number[]>> {
  const all = new Map<string, number[]>();
  for (const [name, tensor] of model.parameters) if (tensor.grad) all.set(name, Array.from(await read(tensor.grad)));
  return all;
}

/** The Node host with some file operations replaced. */
export function hostWith(files: Partial<Files>): Host {
  const host = nodeHost();
  return { ...host, files: { ...host.files, ...files } };
}
