// Writes a Hugging Face model folder that other engines open: config.json, model.safetensors, tokenizer and generation
// settings. In: configuration objects with checkpoint spelling, tensors fetched one at a time. Out: files, all or none.
// Weights are stored as F32, BF16 or F16; those that `fp8` accepts as DeepSeek-V3 stores them (codes and block scales).

import { ConfigError, FormatError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { type Shape, showShape } from "../core/shape.ts";
import { type Block, blockGrid, deepseekBlock, divideByScales, findScales, scaleSuffix } from "./fp8-blocks.ts";
import { type SafetensorsEntry, writeSafetensors } from "./safetensors-writer.ts";

export type TensorToWrite = {
  readonly name: string;
  readonly shape: Shape;
  /** The numbers, or a function that fetches them (called once; twice for FP8), at once or, but for FP8, piece by piece. */
  readonly data: Float32Array | (() => Float32Array | Promise<Float32Array> | AsyncIterable<Float32Array>);
};

export type HfContent = {
  /** config.json; `torch_dtype` and, with `fp8`, `quantization_config` are set here. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: Iterable<TensorToWrite>;
  /** Default F32. */
  readonly dtype?: "F32" | "BF16" | "F16";
  /** Which matrices to store as FP8 codes with a scale per block. */
  readonly fp8?: (name: string, shape: Shape) => boolean;
  /** Default [128, 128]. */
  readonly fp8Block?: Block;
  readonly generationConfig?: Readonly<Record<string, unknown>>;
  /** The text of tokenizer.json. */
  readonly tokenizerJson?: string;
  readonly tokenizerConfig?: Readonly<Record<string, unknown>>;
};

/** Writes the folder whole or not at all; a folder that is there is replaced. */
export async function writeHfFolder(files: Files, path: string, content: HfContent): Promise<void> {
  await files.writeFolderAtomic(path, (folder) => fillHfFolder(files, folder, content));
}

/** Writes the files into a folder that is there: for callers that put more beside them before the rename. */
export async function fillHfFolder(files: Files, folder: string, content: HfContent): Promise<void> {
  const { dtype = "F32", fp8, fp8Block = deepseekBlock, generationConfig, tokenizerJson, tokenizerConfig } = content;
  const config: Record<string, unknown> = { ...content.config, torch_dtype: { F32: "float32", BF16: "bfloat16", F16: "float16" }[dtype] };
  const entries: SafetensorsEntry[] = [];
  for (const tensor of content.tensors) {
    if (fp8?.(tensor.name, tensor.shape)) entries.push(...fp8Entries(tensor, fp8Block));
    else entries.push({ ...tensor, dtype });
  }
  if (fp8)
    config.quantization_config = { quant_method: "fp8", fmt: "e4m3", weight_block_size: [...fp8Block], activation_scheme: "dynamic" };

  const write = (name: string, data: string | AsyncIterable<Uint8Array>) => files.writeAtomic(files.join(folder, name), data);
  await write("config.json", json("config.json", config));
  await write("model.safetensors", writeSafetensors(entries));
  if (generationConfig) await write("generation_config.json", json("generation_config.json", generationConfig));
  if (tokenizerJson !== undefined) await write("tokenizer.json", tokenizerJson);
  if (tokenizerConfig) await write("tokenizer_config.json", json("tokenizer_config.json", tokenizerConfig));
}

function fp8Entries({ name, shape, data }: TensorToWrite, block: Block): SafetensorsEntry[] {
  const operation = `store ${quote(name)} as FP8`;
  if (shape.length !== 2)
    throw new FormatError({ operation, got: `shape ${showShape(shape)}`, expected: "a matrix", cure: "let fp8 accept matrices only" });
  const fetch = async () => {
    const values = typeof data === "function" ? await data() : data;
    const expected = (shape[0] as number) * (shape[1] as number);
    if (values instanceof Float32Array && values.length === expected) return values;
    throw new FormatError({
      operation,
      got: values instanceof Float32Array ? `${values.length} numbers` : "numbers piece by piece",
      expected: `${expected} for shape ${showShape(shape)}`,
      cure: "correct the entry that is to be saved",
    });
  };
  return [
    {
      name: name + scaleSuffix,
      dtype: "F32",
      shape: blockGrid(shape, block),
      data: async () => findScales(name, await fetch(), shape, block),
    },
    {
      name,
      dtype: "F8_E4M3",
      shape,
      data: async () => {
        const values = await fetch();
        return divideByScales(values, shape, findScales(name, values, shape, block), block);
      },
    },
  ];
}

/** JSON.stringify writes null for NaN and infinity; a configuration with null in their place would be another one. */
/**
 * Keys that transformers insists on reading as floats: `1` is refused there, `1.0` is not, and JSON.stringify writes whole numbers without a point.
 */
const floatKeys =
  /^(\s*"(?:routed_scaling_factor|rope_theta|factor|mscale|mscale_all_dim|beta_fast|beta_slow|low_freq_factor|high_freq_factor|attention_factor|partial_rotary_factor|rms_norm_eps|initializer_range|attention_dropout|router_aux_loss_coef|temperature|top_p|min_p|repetition_penalty)": -?\d+)(,?)$/gm;

function json(file: string, value: Readonly<Record<string, unknown>>): string {
  const check = (key: string, inner: unknown): unknown => {
    if (typeof inner !== "number" || Number.isFinite(inner)) return inner;
    throw new ConfigError({
      operation: `write ${file}`,
      got: `${inner} for ${quote(key)}`,
      expected: "a finite number",
      cure: "correct the setting",
    });
  };
  return `${JSON.stringify(value, check, 2).replace(floatKeys, "$1.0$2")}\n`;
}
