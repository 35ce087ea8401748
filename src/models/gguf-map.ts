// A GGUF file as a checkpoint: a config.json, and tensors under the names of Hugging Face, so that the families need no second weight table. In:
// an opened file (formats/gguf.ts). Out: the same kind of object that formats/hf-folder.ts gives. What llama.cpp's converter changed is undone
// on the way: q and k rows of llama are put back (rows move whole, so packed blocks stay what they are), experts are served one by one, kv_b of
// latent attention is put together from its halves. Every name and shape is checked here, in the words of the file.

import { isPackedType, type PackedType, packedRowBytes } from "../core/dtype.ts";
import { FormatError, quote } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { elementCount, type Shape, sameShape, showShape } from "../core/shape.ts";
import { type BlockType, decodeBlocks } from "../formats/blocks/index.ts";
import type { Gguf, GgufTensor } from "../formats/gguf.ts";
import { configOf, readMetadata } from "./gguf-config.ts";
import { interleavedRow, nameInGguf, splitNames } from "./gguf-names.ts";
import { plainMetadata } from "./gguf-plain.ts";
import { familyOf } from "./load.ts";
import { nearest } from "./weight-names.ts";
import type { CheckpointTensor } from "./weights.ts";

/** A tensor of a model's files, whatever their format. */
export type ModelTensor = CheckpointTensor & {
  /** As the file calls it: F32, BF16, Q4_K … */
  readonly dtype: string;
};

export type GgufModel = {
  readonly config: JsonObject;
  /** By checkpoint name. */
  readonly tensors: ReadonlyMap<string, ModelTensor>;
};

/** Throws ConfigError for metadata, FormatError for tensors, each naming what disagrees; nothing but rope_freqs.weight was read then. */
export async function mapGguf(gguf: Gguf, path: string): Promise<GgufModel> {
  // The architecture first: the tensors of another have other names.
  const metadata = plainMetadata(gguf.metadata, (key) => !key.startsWith("tokenizer.") || key.endsWith("_token_id"));
  const read = readMetadata(path, metadata);
  const names = new Set(gguf.tensors.keys());
  const table = gguf.tensors.get("token_embd.weight");
  if (table?.shape.length !== 2)
    fail(path, table ? `token_embd.weight ${showShape(table.shape)}` : "no token_embd.weight", "an embedding table");
  const factors = gguf.tensors.get("rope_freqs.weight");
  const vocabSize = checkVocabulary(gguf, table.shape[0] as number, (got, expected) => fail(path, got, expected));
  const config = configOf(path, metadata, names, factors && (await readFactors(gguf, factors, path)), vocabSize);
  if (table.shape[1] !== config.hidden_size)
    read.refuse("embedding_length", String(config.hidden_size), `${table.shape[1]}, the width of token_embd.weight`);

  const { entries } = familyOf(config.model_type).plan(config, {});
  const tensors = new Map<string, ModelTensor>();
  const unused = new Set(names);
  unused.delete("rope_freqs.weight");
  const missing: string[] = [];
  const take = (name: string, shape: Shape): GgufTensor | undefined => {
    const tensor = gguf.tensors.get(name);
    if (!tensor) {
      missing.push(name);
      return undefined;
    }
    unused.delete(name);
    if (!sameShape(tensor.shape, shape))
      fail(path, `tensor ${quote(name)} of shape ${showShape(tensor.shape)}`, `${showShape(shape)}, as the file's metadata says`);
    return tensor;
  };
  const sizes = headSizes(config);
  for (const { row, shape } of entries) {
    const place = nameInGguf(read.architecture, row.name);
    if (row.action === "copy" && place) unused.delete(place.name);
    if (row.action === "skip" || row.action === "copy") continue;
    if (!place) fail(path, `a config that wants ${quote(row.name)}`, `a tensor that ${read.architecture} files have`);
    const { name, kind } = place;
    if (kind === "keysAndValues" && !names.has(name)) {
      const { keys, values } = splitNames(name);
      const k = take(keys, [sizes.heads, sizes.rank, sizes.nope]);
      const v = take(values, [sizes.heads, sizes.value, sizes.rank]);
      if (k && v) tensors.set(row.name, joined(gguf, row.name, k, v));
      continue;
    }
    const tensor = take(name, shape);
    if (!tensor) continue;
    if (row.action === "stack") {
      for (let e = 0; e < row.count; e++) {
        const part = row.name.replace("{e}", String(e));
        tensors.set(part, rowsOf(gguf, part, tensor, shape.slice(1), e));
      }
    } else if (kind === "queryRows" || kind === "keyRows") {
      tensors.set(row.name, reordered(gguf, row.name, tensor, sizes.head));
    } else {
      tensors.set(row.name, rowsOf(gguf, row.name, tensor, shape, 0));
    }
  }
  checkNames(path, missing, [...unused], [...names]);
  return { config, tensors };
}

function fail(path: string, got: string, expected: string, cure = "the file is damaged or of another kind; fetch it again"): never {
  throw new FormatError({ operation: `load ${quote(path, 300)}`, got, expected, cure });
}

/** Tokens, embedding rows and vocab_size must be the same number: what reads by id would read beyond the table. */
function checkVocabulary(gguf: Gguf, rows: number, complain: (got: string, expected: string) => never): number {
  const tokens = gguf.metadata.get("tokenizer.ggml.tokens");
  const count = tokens?.type === "array" ? tokens.value.length : rows;
  if (count !== rows) complain(`${count} tokenizer.ggml.tokens`, `${rows}, the rows of token_embd.weight`);
  return rows;
}

async function readFactors(gguf: Gguf, tensor: GgufTensor, path: string): Promise<Float32Array> {
  if (tensor.shape.length !== 1 || elementCount(tensor.shape) > 2 ** 14)
    fail(path, `rope_freqs.weight ${showShape(tensor.shape)}`, "one number for each pair of a head");
  return await rowsOf(gguf, tensor.name, tensor, tensor.shape, 0).readF32();
}

function headSizes(config: JsonObject): Readonly<Record<"heads" | "head" | "rank" | "nope" | "value", number>> {
  const size = (key: string) => Number(config[key] ?? 0);
  return {
    heads: size("num_attention_heads"),
    head: size("head_dim"),
    rank: size("kv_lora_rank"),
    nope: size("qk_nope_head_dim"),
    value: size("v_head_dim"),
  };
}

function checkNames(path: string, missing: readonly string[], unused: readonly string[], all: readonly string[]): void {
  if (missing.length === 0 && unused.length === 0) return;
  const list = (names: readonly string[], others: readonly string[]) =>
    names
      .slice(0, 3)
      .map(
        (name) =>
          `${quote(name)} (nearest: ${
            nearest(name, others)
              .map((other) => quote(other))
              .join(", ") || "none"
          })`,
      )
      .join(", ") + (names.length > 3 ? ` and ${names.length - 3} more` : "");
  const wrong: string[] = [];
  if (missing.length > 0) wrong.push(`no ${list(missing, unused.length > 0 ? unused : all)}`);
  if (unused.length > 0) wrong.push(`the unexpected ${list(unused, missing.length > 0 ? missing : all)}`);
  fail(path, `tensors with ${wrong.join(" and ")}`, "the tensors that its metadata promises");
}

// ---- tensors ----------------------------------------------------------------------------------------------------

function decodeRows(type: BlockType, bytes: Uint8Array, count: number): Float32Array {
  const numbers = new Float32Array(count);
  decodeBlocks(type, bytes, numbers);
  return numbers;
}

function rowBytes(tensor: GgufTensor, width: number): number {
  return isPackedType(tensor.type) ? packedRowBytes(tensor.type, width) : (tensor.bytes / Math.max(1, elementCount(tensor.shape))) * width;
}

function packedOf(tensor: GgufTensor): PackedType | undefined {
  return isPackedType(tensor.type) && tensor.shape.length >= 2 ? tensor.type : undefined;
}

/** Part `part` of a tensor that holds several of `shape` one after another. */
function rowsOf(gguf: Gguf, name: string, tensor: GgufTensor, shape: Shape, part: number): ModelTensor {
  const width = shape.at(-1) ?? 1;
  const rows = elementCount(shape) / Math.max(1, width);
  const size = rowBytes(tensor, width);
  const readRows = (first: number, count: number) => gguf.readBytes(tensor, (part * rows + first) * size, count * size);
  return {
    name,
    shape,
    dtype: tensor.type.toUpperCase(),
    readF32: async (first = 0, count = rows - first) => decodeRows(tensor.type, await readRows(first, count), count * width),
    ...withPacked(tensor, readRows),
  };
}

function withPacked(tensor: GgufTensor, readRows: (first: number, count: number) => Promise<Uint8Array>): Pick<ModelTensor, "packed"> {
  const type = packedOf(tensor);
  return type ? { packed: { type, readRows } } : {};
}

/** q or k of llama: whole heads are read, their rows put into the checkpoint's order. A bias is one row of numbers instead. */
function reordered(gguf: Gguf, name: string, tensor: GgufTensor, head: number): ModelTensor {
  const source = rowsOf(gguf, name, tensor, tensor.shape, 0);
  const total = tensor.shape[0] as number;
  if (tensor.shape.length === 1) {
    const readF32 = async () => {
      const stored = await source.readF32();
      return stored.map((_, row) => stored[interleavedRow(row, head)] as number);
    };
    return { name, shape: tensor.shape, dtype: source.dtype, readF32 };
  }
  const width = tensor.shape[1] as number;
  const size = rowBytes(tensor, width);
  const readRows = async (first: number, count: number) => {
    const start = first - (first % head);
    const end = Math.ceil((first + count) / head) * head;
    const stored = await gguf.readBytes(tensor, start * size, (end - start) * size);
    const out = new Uint8Array(count * size);
    for (let i = 0; i < count; i++) {
      const from = (interleavedRow(first + i, head) - start) * size;
      out.set(stored.subarray(from, from + size), i * size);
    }
    return out;
  };
  return {
    name,
    shape: tensor.shape,
    dtype: source.dtype,
    readF32: async (first = 0, count = total - first) => decodeRows(tensor.type, await readRows(first, count), count * width),
    ...withPacked(tensor, readRows),
  };
}

/** kv_b [H·(nope + v), rank] from k_b [H, rank, nope], transposed in each head, and v_b [H, v, rank]. Packed in halves only: the blocks of k_b lie across. */
function joined(gguf: Gguf, name: string, k: GgufTensor, v: GgufTensor): ModelTensor {
  const [heads, rank, nope] = k.shape as [number, number, number];
  const value = v.shape[1] as number;
  const per = nope + value;
  const keys = rowsOf(gguf, k.name, k, k.shape, 0);
  const values = rowsOf(gguf, v.name, v, v.shape, 0);
  const readF32 = async (first = 0, count = heads * per - first) => {
    const out = new Float32Array(count * rank);
    for (let h = Math.floor(first / per); h * per < first + count; h++) {
      const k_b = await keys.readF32(h * rank, rank); // [rank, nope]
      const v_b = await values.readF32(h * value, value); // [v, rank]
      for (let row = Math.max(first, h * per); row < Math.min(first + count, (h + 1) * per); row++) {
        const inside = row - h * per;
        const at = (row - first) * rank;
        if (inside < nope) for (let r = 0; r < rank; r++) out[at + r] = k_b[r * nope + inside] as number;
        else out.set(v_b.subarray((inside - nope) * rank, (inside - nope + 1) * rank), at);
      }
    }
    return out;
  };
  return {
    name,
    shape: [heads * per, rank],
    dtype: k.type === v.type ? k.type.toUpperCase() : `${k.type.toUpperCase()}+${v.type.toUpperCase()}`,
    readF32,
    halves: { keys, values },
  };
}
