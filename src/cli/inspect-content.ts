// What lies in a model's files, as `gradually inspect` shows it: metadata, tensors under the file's own names, config.json. Only headers are read,
// unless the numbers themselves are to be counted. A GGUF file of an architecture that we do not run is shown all the same.

import { dirname } from "node:path";
import { ConfigError, GraduallyError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import type { JsonObject } from "../core/json.ts";
import { elementCount, type Shape } from "../core/shape.ts";
import { blockLayout, decodeBlocks } from "../formats/blocks/index.ts";
import { bytesOf } from "../formats/dtypes.ts";
import { type Gguf, openGguf } from "../formats/gguf.ts";
import type { GgufValue } from "../formats/gguf-values.ts";
import { openHfFolder } from "../formats/hf-folder.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { type ModelTensor, mapGguf } from "../models/gguf-map.ts";
import { isGgufPath } from "../models/model-files.ts";
import { findModel } from "./find-model.ts";

export type Entry = {
  readonly name: string;
  readonly dtype: string;
  readonly shape: Shape;
  readonly bytes: number;
  /** Numbers of some rows of the last axis. */
  readonly read: (first: number, count: number) => Promise<Float32Array>;
};

export type Content = {
  readonly path: string;
  readonly kind: "folder" | "file" | "gguf";
  /** Long lists only by their length. */
  readonly metadata: Readonly<Record<string, string | number | boolean>>;
  readonly tensors: readonly Entry[];
  readonly config?: JsonObject;
  /** By checkpoint name, as the model would be loaded. */
  readonly checkpoint?: ReadonlyMap<string, ModelTensor>;
  /** Why this program cannot run it. */
  readonly refusal?: GraduallyError;
  readonly warnings: readonly string[];
  close(): Promise<void>;
};

/** Throws what the readers throw, and ConfigError for a file of another kind. */
export async function openContent(files: Files, reference: string | undefined): Promise<Content> {
  if (reference !== undefined && reference !== "" && (await files.exists(reference)) && !(await files.isFolder(reference))) {
    if (reference.endsWith(".safetensors")) return await openFile(files, reference);
    if (!isGgufPath(reference)) {
      throw new ConfigError({
        operation: `inspect ${quote(reference, 300)}`,
        got: "a file of another kind",
        expected: "a .safetensors file, a .gguf file or a model folder",
        cure: `name such a file, or the folder ${quote(dirname(reference), 300)}`,
      });
    }
  }
  const path = await findModel(files, reference);
  return isGgufPath(path) && !(await files.isFolder(path)) ? await openGgufContent(files, path) : await openFolder(files, path);
}

async function openFolder(files: Files, path: string): Promise<Content> {
  const folder = await openHfFolder(files, path);
  const metadata: Record<string, string> = {};
  for (const name of await files.list(path)) {
    if (!name.endsWith(".safetensors")) continue;
    const source = await files.open(files.join(path, name));
    try {
      Object.assign(metadata, (await openSafetensors(source)).metadata);
    } finally {
      await source.close();
    }
  }
  const tensors = [...folder.tensors.values()].map(({ name, dtype, shape, readF32 }) => ({
    name,
    dtype,
    shape,
    bytes: elementCount(shape) * bytesOf(dtype),
    read: readF32,
  }));
  const { config, warnings, close } = folder;
  return { path, kind: "folder", metadata, tensors, config, checkpoint: folder.tensors, warnings, close };
}

async function openFile(files: Files, path: string): Promise<Content> {
  const source = await files.open(path);
  try {
    const { metadata, tensors, readF32, close } = await openSafetensors(source);
    const entries = [...tensors].map(([name, { dtype, shape, begin, end }]) => {
      const width = shape.at(-1) ?? 1;
      const read = (first: number, count: number) => readF32(name, first * width, count * width);
      return { name, dtype, shape, bytes: end - begin, read };
    });
    return { path, kind: "file", metadata, tensors: entries, warnings: [], close };
  } catch (thrown) {
    await source.close();
    throw thrown;
  }
}

async function openGgufContent(files: Files, path: string): Promise<Content> {
  const gguf = await openGguf(files, path);
  const metadata: Record<string, string | number | boolean> = {};
  for (const [key, value] of gguf.metadata) metadata[key] = showValue(value);
  const common = { path, kind: "gguf" as const, metadata, tensors: ggufEntries(gguf), warnings: [], close: gguf.close };
  try {
    const { config, tensors } = await mapGguf(gguf, path);
    return { ...common, config, checkpoint: tensors };
  } catch (thrown) {
    if (thrown instanceof GraduallyError) return { ...common, refusal: thrown };
    await gguf.close();
    throw thrown;
  }
}

function ggufEntries(gguf: Gguf): Entry[] {
  return [...gguf.tensors.values()].map((tensor) => {
    const { name, type, shape, bytes } = tensor;
    const width = shape.at(-1) ?? 1;
    const { weights, bytes: blockBytes } = blockLayout(type);
    const row = (width / weights) * blockBytes;
    const read = async (first: number, count: number) => {
      const numbers = new Float32Array(count * width);
      decodeBlocks(type, await gguf.readBytes(tensor, first * row, count * row), numbers);
      return numbers;
    };
    return { name, dtype: type.toUpperCase(), shape, bytes, read };
  });
}

const longestText = 2000;

function showValue(value: GgufValue): string | number | boolean {
  if (value.type === "array") return `[${value.value.length} × ${value.of}]`;
  if (typeof value.value === "bigint") return String(value.value);
  if (typeof value.value === "number" && !Number.isFinite(value.value)) return String(value.value);
  return typeof value.value === "string" && value.value.length > longestText ? `${value.value.slice(0, longestText)}…` : value.value;
}
