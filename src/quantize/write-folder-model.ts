// Writes a model as a Hugging Face folder: config.json, model.safetensors, tokenizer and generation settings. In: opened files of any kind and
// the type of the weights. Out: the folder, whole or not at all. Packed weights are decoded; numbers are read and written some rows at a time.

import type { Files } from "../core/host.ts";
import type { JsonObject } from "../core/json.ts";
import { elementCount } from "../core/shape.ts";
import { writeHfFolder } from "../formats/hf-folder-writer.ts";
import type { ModelTensor } from "../models/gguf-map.ts";
import type { ModelFiles } from "../models/model-files.ts";
import { tokenizerFiles } from "./tokenizer-files.ts";
import type { WriteProgress, WriteReport } from "./write-gguf-model.ts";

export type FolderType = "f32" | "bf16" | "f16";

/** Numbers in memory at a time. */
const chunkNumbers = 2 ** 21;

export async function writeFolderModel(
  files: Files,
  out: string,
  model: ModelFiles,
  options: { readonly type: FolderType; readonly onProgress?: WriteProgress },
): Promise<WriteReport> {
  const { type, onProgress = () => {} } = options;
  const tensors = [...model.tensors.values()];
  const total = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  let done = 0;
  const written = (numbers: number) => {
    done += numbers;
    onProgress(done, total);
  };
  const { torch_dtype: _torch, dtype: _dtype, quantization_config: _quantization, ...config } = model.config;
  await writeHfFolder(files, out, {
    config,
    dtype: ({ f32: "F32", bf16: "BF16", f16: "F16" } as const)[type],
    tensors: tensors.map((tensor) => ({ name: tensor.name, shape: tensor.shape, data: () => pieces(tensor, written) })),
    generationConfig: generationOf(model),
    ...(await tokenizerFiles(model)),
  });
  const bytes = total * (type === "f32" ? 4 : 2);
  return { tensors: tensors.length, parameters: total, bytes, types: { [type]: tensors.length }, notes: [] };
}

function generationOf({ config, generationConfig }: ModelFiles): JsonObject {
  const bos = config.bos_token_id;
  return { ...(typeof bos === "number" && { bos_token_id: bos }), ...generationConfig };
}

async function* pieces(tensor: ModelTensor, written: (numbers: number) => void): AsyncGenerator<Float32Array> {
  const width = tensor.shape.at(-1) ?? 1;
  const rows = elementCount(tensor.shape) / Math.max(1, width);
  const step = Math.max(1, Math.floor(chunkNumbers / Math.max(1, width)));
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    const numbers = await (count === rows ? tensor.readF32() : tensor.readF32(first, count));
    yield numbers;
    written(numbers.length);
  }
}
