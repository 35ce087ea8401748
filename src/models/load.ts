// Models from checkpoints, from nothing, and back. In: a checkpoint (config and tensors, as formats/ reads a Hugging Face folder), or a config and
// a seed. Out: a Model; or a checkpoint again. Unusual: saving gives the same kind of object that loading takes, so that a round trip
// needs no file.

import type { Device } from "../backend/backend.ts";
import type { Random } from "../core/random.ts";
import { asObject, refuse, show } from "./config.ts";
import { deepseekV2, deepseekV3 } from "./deepseek.ts";
import type { Family, ModelOptions } from "./family.ts";
import { llama } from "./llama.ts";
import type { Model } from "./model.ts";
import { qwen2, qwen3, qwen3Moe } from "./qwen.ts";
import { type CheckpointTensor, disposeWeights, listTensors, loadWeights, makeWeights, type SavedTensor } from "./weights.ts";

/** A Hugging Face folder (formats/hf-folder.ts fits) or a GGUF file: the parsed config.json, and tensors that are read when they are asked for. */
export type Checkpoint = { readonly config: unknown; readonly tensors: Iterable<CheckpointTensor> | ReadonlyMap<string, CheckpointTensor> };

/** What saving gives: a Checkpoint, and as it stands the content of formats/hf-folder-writer.ts. */
export type SavedModel = { readonly config: Readonly<Record<string, unknown>>; readonly tensors: readonly SavedTensor[] };

const families: readonly Family[] = [llama, qwen2, qwen3, qwen3Moe, deepseekV2, deepseekV3];

/** The family that config.json names; ConfigError when it is none of ours. */
export function familyOf(model_type: unknown): Family {
  const family = families.find(({ modelType }) => modelType === model_type);
  return (
    family ??
    refuse("model_type", show(model_type), families.map(({ modelType }) => modelType).join(" or "), "use a model of a supported family")
  );
}

/**
 * Loads a model. Throws ConfigError for a config that is wrong or asks for what is not supported, FormatError for tensors
 * that are missing, unknown or of another shape, both before memory is taken, and DeviceError when it does not fit.
 */
export async function loadModel(device: Device, checkpoint: Checkpoint, options: ModelOptions = {}): Promise<Model> {
  const raw = asObject(checkpoint.config);
  const tensors =
    checkpoint.tensors instanceof Map ? [...checkpoint.tensors.values()] : [...(checkpoint.tensors as Iterable<CheckpointTensor>)];
  const plan = familyOf(raw.model_type).plan(raw, options, new Set(tensors.map(({ name }) => name)));
  const weights = await loadWeights(device, plan.entries, tensors, options.weights);
  return orDispose(weights, () => plan.build(device, weights));
}

/** A new model: matrices normal with standard deviation initializer_range, norms 1, biases 0. The same config and random state give the same weights. */
export function createModel(device: Device, config: unknown, random: Random, options: ModelOptions = {}): Model {
  const raw = asObject(config);
  const plan = familyOf(raw.model_type).plan(raw, options);
  const weights = makeWeights(device, plan.entries, random, plan.initializerRange);
  return orDispose(weights, () => plan.build(device, weights));
}

/**
 * The model as a checkpoint, under the names that transformers reads. Numbers are read from the device one tensor at a time; how they are
 * stored (dtype, quantisation) is for the writer to say, so those keys are left out.
 */
export function saveModel(model: Model): SavedModel {
  const { torch_dtype: _torch, dtype: _dtype, quantization_config: _quantization, ...rest } = model.config;
  const config = { architectures: [familyOf(model.modelType).architecture], ...rest, model_type: model.modelType };
  return { config, tensors: listTensors(model.weightTable, model) };
}

function orDispose(weights: Parameters<typeof disposeWeights>[0], build: () => Model): Model {
  try {
    return build();
  } catch (error) {
    disposeWeights(weights);
    throw error;
  }
}
