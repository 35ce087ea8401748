// Writes a model as a GGUF file, a few rows at a time. In: opened files of any kind and a mix of types. Out: one file, whole or not at all. Memory
// stays at some tens of megabytes whatever the model's size: rows are read, put into the file's order, rounded and written.

import { ConfigError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import type { JsonObject } from "../core/json.ts";
import { elementCount } from "../core/shape.ts";
import { encodeBlocks } from "../formats/blocks/index.ts";
import type { GgufValue } from "../formats/gguf-values.ts";
import { type GgufEntry, writeGguf } from "../formats/gguf-writer.ts";
import { type ExportedTensor, exportModel } from "../models/gguf-export.ts";
import { type MetadataToWrite, metadataOf } from "../models/gguf-metadata.ts";
import type { ModelFiles } from "../models/model-files.ts";
import { fileTypeOf, type Mix, type MixContext, type TensorType, typeFor } from "./mix.ts";
import { tokenizerValues } from "./tokenizer-files.ts";

/** Numbers in memory at a time. */
const chunkNumbers = 2 ** 21;

export type WriteReport = {
  readonly tensors: number;
  readonly parameters: number;
  readonly bytes: number;
  /** Tensors by type. */
  readonly types: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
};

/** `done` of `total` numbers are written. */
export type WriteProgress = (done: number, total: number) => void;

export type WriteGgufOptions = {
  readonly mix: Mix;
  /** Becomes general.name. */
  readonly name: string;
  /** In place of the model's own tokenizer. */
  readonly tokenizer?: ReadonlyMap<string, GgufValue>;
  readonly onProgress?: WriteProgress;
};

/** Throws FormatError or ConfigError before a byte is written when GGUF cannot hold the model. */
export async function writeGgufModel(files: Files, out: string, model: ModelFiles, options: WriteGgufOptions): Promise<WriteReport> {
  const { mix, onProgress = () => {} } = options;
  const notes: string[] = [];
  const metadata: MetadataToWrite = metadataOf(model.config, options.name, notes);
  const exported = exportModel(model.config, model.tensors);
  notes.push(...exported.notes);
  metadata.set("general.file_type", { type: "u32", value: fileTypeOf(mix) });
  metadata.set("general.quantization_version", { type: "u32", value: 2 });
  for (const [key, value] of options.tokenizer ?? (await tokenizerValues(model, notes))) metadata.set(key, value);

  const context = contextOf(model.config);
  const total = exported.tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const types: Record<string, number> = {};
  let [done, bytes] = [0, 0];
  const entries = exported.tensors.map((tensor): GgufEntry => {
    const type = typeFor(mix, tensor.name, tensor.shape, context);
    types[type] = (types[type] ?? 0) + 1;
    return {
      name: tensor.name,
      type,
      shape: tensor.shape,
      data: () =>
        encoded(tensor, type, (numbers) => {
          done += numbers;
          onProgress(done, total);
        }),
    };
  });
  async function* counted() {
    for await (const chunk of writeGguf(metadata, entries)) {
      bytes += chunk.length;
      yield chunk;
    }
  }
  await files.writeAtomic(out, counted());
  return { tensors: entries.length, parameters: total, bytes, types, notes };
}

export function contextOf(config: JsonObject): MixContext {
  const layers = Number(config.num_hidden_layers);
  const experts = Number(config.num_experts ?? config.num_local_experts ?? config.n_routed_experts ?? 0);
  const isShared = config.num_attention_heads !== config.num_key_value_heads;
  return {
    layers,
    experts,
    tied: config.tie_word_embeddings === true,
    sharesValues: layers === 80 && ((config.model_type === "llama" && isShared) || config.model_type === "qwen2"),
  };
}

/** The bytes of a tensor, some rows at a time. */
async function* encoded(tensor: ExportedTensor, type: TensorType, written: (numbers: number) => void): AsyncGenerator<Uint8Array> {
  const width = tensor.shape.at(-1) ?? 1;
  const rows = elementCount(tensor.shape) / Math.max(1, width);
  const step = Math.max(1, Math.floor(chunkNumbers / Math.max(1, width)));
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    const numbers = await tensor.readRows(first, count);
    yield encodeBlocks(type, numbers);
    written(numbers.length);
  }
}

/** Refuses to write over what is read, and into a folder. */
export async function checkOutput(files: Files, operation: string, path: string, source: string): Promise<void> {
  const real = async (name: string) => ((await files.exists(name)) && files.realPath ? await files.realPath(name) : name);
  if ((await real(path)) === (await real(source)))
    throw new ConfigError({ operation, got: `${quote(path, 300)} for input and output`, expected: "two places", cure: "name another OUT" });
}
