// Opens a Hugging Face model folder: config.json, generation_config.json, model.safetensors or its shards, tokenizer files.
// In: Files and a path, contents possibly from a stranger. Out: checked configuration and tensors that are read when asked for.
// Unusual: FP8 weights with block scales appear as one tensor, already scaled. No name from the index becomes a path
// unless it is a bare name that the folder lists, and no link leads out of the folder (or of its own entry in the Hugging
// Face cache). Nothing in the folder is ever executed. Hazards H01 to H13 and H31 to H37.

import type { PackedType } from "../core/dtype.ts";
import { FormatError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { isJsonObject, type JsonObject, parseJson } from "../core/json.ts";
import type { Shape } from "../core/shape.ts";
import { bytesOf, type FileDType } from "./dtypes.ts";
import { applyScales, checkScales, readBlockSize, scaleSuffix } from "./fp8-blocks.ts";
import { openSafetensors, type Safetensors } from "./safetensors.ts";
import { smallFile } from "./small-file.ts";

const configLimit = 10_000_000;
const indexLimit = 100_000_000;
const textLimit = 200_000_000;
const shardCountLimit = 1000;

export type StoredTensor = {
  readonly name: string;
  readonly shape: Shape;
  /** As stored; FP8 weights say F8_E4M3 though readF32 gives scaled values. */
  readonly dtype: FileDType;
  /** Row-major numbers as f32: `count` rows (of the last axis, counted over all others) from `first` on; all without arguments. */
  readF32(first?: number, count?: number): Promise<Float32Array>;
  /** The bytes of rows, where they are a packed type that devices multiply by. */
  readonly packed?: { readonly type: PackedType; readRows(first: number, count: number): Promise<Uint8Array> };
};

const packedNames: Partial<Record<FileDType, PackedType>> = { F16: "f16", BF16: "bf16" };

export type HfFolder = {
  readonly path: string;
  /** config.json, keys as spelled there. */
  readonly config: JsonObject;
  readonly generationConfig: JsonObject | undefined;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** What is odd but harmless, one line each. */
  readonly warnings: readonly string[];
  /** A text file of the folder, e.g. tokenizer.json, or undefined when there is none. */
  readText(name: string): Promise<string | undefined>;
  close(): Promise<void>;
};

/** Opens and checks everything but the tensors' bytes. Throws FormatError, or ConfigError for FP8 settings. */
export async function openHfFolder(files: Files, path: string): Promise<HfFolder> {
  const folder = await lookInto(files, path);
  const config = await folder.readJson("config.json", configLimit);
  if (!config) fail(path, "a folder without config.json", "a Hugging Face model folder", "check the path");
  const generationConfig = await folder.readJson("generation_config.json", configLimit);
  const warnings: string[] = [];
  const shards = await openShards(folder, warnings);
  const close = async () => {
    await Promise.all(shards.map((shard) => shard.close()));
  };
  try {
    return { path, config, generationConfig, tensors: gatherTensors(shards, config), warnings, readText: folder.readText, close };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

function fail(path: string, got: string, expected: string, cure = "the folder is damaged; fetch it again"): never {
  throw new FormatError({ operation: `load ${quote(path, 300)}`, got, expected, cure });
}

type Folder = {
  readonly path: string;
  readonly names: ReadonlySet<string>;
  /** The path of a file that the folder lists, after checking where its links lead. */
  resolve(name: string): Promise<string>;
  readText(name: string, limit?: number): Promise<string | undefined>;
  readJson(name: string, limit: number): Promise<JsonObject | undefined>;
  openTensors(name: string): Promise<Safetensors>;
};

async function lookInto(files: Files, path: string): Promise<Folder> {
  if (!(await files.isFolder(path))) fail(path, "no folder there", "a Hugging Face model folder", "check the path");
  const names = new Set(await files.list(path));
  const roots = await linkRoots(files, path);

  async function resolve(name: string): Promise<string> {
    const target = files.join(path, name);
    if (!files.realPath) return target;
    const real = await files.realPath(target);
    if (!roots.some((root) => real.startsWith(root)))
      fail(path, `${quote(name)}, a link out of the folder`, "files inside the folder", "copy the file into the folder");
    return target;
  }

  async function readText(name: string, limit = textLimit): Promise<string | undefined> {
    return names.has(name) ? await files.readText(await resolve(name), limit) : undefined;
  }

  async function readJson(name: string, limit: number): Promise<JsonObject | undefined> {
    const text = await readText(name, limit);
    if (text === undefined) return undefined;
    const value = parseJson(text, { source: files.join(path, name) });
    if (!isJsonObject(value)) fail(path, `${name} that is no JSON object`, "an object");
    return value;
  }

  async function openTensors(name: string): Promise<Safetensors> {
    const source = smallFile(await files.open(await resolve(name)));
    try {
      return await openSafetensors(source);
    } catch (thrown) {
      await source.close();
      throw thrown;
    }
  }

  return { path, names, resolve, readText, readJson, openTensors };
}

/**
 * Where links may lead: the folder itself; for `models--ORG--NAME/snapshots/REVISION` of the Hugging Face cache, its blobs too, and the blobs that
 * the whole cache shares (since huggingface_hub 2 a blob may be a link to one of those).
 */
async function linkRoots(files: Files, path: string): Promise<string[]> {
  if (!files.realPath) return [];
  const real = await files.realPath(path);
  const separator = files.join("a", "b").slice(1, -1);
  const parts = real.split(separator);
  const [repository, snapshots] = parts.slice(-3, -1);
  if (snapshots !== "snapshots" || !repository?.startsWith("models--")) return [real + separator];
  const join = (...names: string[]) => [...names, ""].join(separator);
  return [join(...parts.slice(0, -2)), join(...parts.slice(0, -3), "blobs")];
}

async function openShards(folder: Folder, warnings: string[]): Promise<Safetensors[]> {
  if (folder.names.has("model.safetensors")) return [await folder.openTensors("model.safetensors")];
  const index = await folder.readJson("model.safetensors.index.json", indexLimit);
  if (!index)
    fail(
      folder.path,
      "neither model.safetensors nor model.safetensors.index.json",
      "weights as safetensors",
      "convert the model to safetensors",
    );
  const weightMap = checkWeightMap(folder, index);
  const shards: Safetensors[] = [];
  try {
    for (const name of new Set(weightMap.values())) shards.push(await folder.openTensors(name));
    checkIndex(folder, index, weightMap, shards, warnings);
  } catch (thrown) {
    await Promise.all(shards.map((shard) => shard.close()));
    throw thrown;
  }
  return shards;
}

/** One path segment of plain characters; Windows' device names would open a device there. */
const shardName = /^(?!(?:con|prn|aux|nul|com\d|lpt\d)\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,200}\.safetensors$/i;

/** Tensor to shard. Throws FormatError for names that are no bare file names or that the folder does not list. */
export function checkWeightMap(folder: Pick<Folder, "path" | "names">, index: JsonObject): Map<string, string> {
  const listed = index.weight_map;
  if (!isJsonObject(listed)) fail(folder.path, "an index without weight_map", "an object of tensor names and file names");
  const map = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(listed)) {
    if (typeof shard !== "string" || !shardName.test(shard)) {
      fail(
        folder.path,
        `shard ${typeof shard === "string" ? quote(shard) : quote(JSON.stringify(shard) ?? "")} for tensor ${quote(tensor)}`,
        "a bare file name that ends in .safetensors",
        "do not trust this folder",
      );
    }
    map.set(tensor, shard);
  }
  const shards = new Set(map.values());
  if (shards.size > shardCountLimit) fail(folder.path, `an index of ${shards.size} files`, `at most ${shardCountLimit}`);
  const absent = [...shards].filter((shard) => !folder.names.has(shard));
  if (absent.length > 0) fail(folder.path, `no file ${listNames(absent)}`, "every shard that the index names", "fetch the missing files");
  return map;
}

function checkIndex(
  folder: Folder,
  index: JsonObject,
  map: ReadonlyMap<string, string>,
  shards: readonly Safetensors[],
  warnings: string[],
): void {
  const holders = new Map<string, string>();
  let bytes = 0;
  for (const shard of shards) {
    const name = baseName(shard.path);
    for (const [tensor, { begin, end }] of shard.tensors) {
      const other = holders.get(tensor);
      if (other !== undefined) fail(folder.path, `tensor ${quote(tensor)} in both ${other} and ${name}`, "each tensor once");
      holders.set(tensor, name);
      bytes += end - begin;
    }
  }
  const missing = [...map].filter(([tensor, shard]) => holders.get(tensor) !== shard).map(([tensor]) => tensor);
  if (missing.length > 0) fail(folder.path, `shards without ${listNames(missing)}`, "each tensor in the shard that the index names");
  const unlisted = [...holders.keys()].filter((tensor) => !map.has(tensor));
  if (unlisted.length > 0)
    fail(folder.path, `shards with ${listNames(unlisted)}, which the index does not list`, "only tensors of the index");
  const total = isJsonObject(index.metadata) ? index.metadata.total_size : undefined;
  if (total !== undefined && total !== bytes)
    warnings.push(`the index says total_size ${JSON.stringify(total)}, the shards hold ${bytes} bytes`);
}

function baseName(path: string): string {
  return path.slice(Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
}

function listNames(names: readonly string[]): string {
  const shown = names.slice(0, 5).map((name) => quote(name));
  return names.length > shown.length ? `${shown.join(", ")} and ${names.length - shown.length} more` : shown.join(", ");
}

/** All shards as one list; a scale disappears into its weight. */
function gatherTensors(shards: readonly Safetensors[], config: JsonObject): Map<string, StoredTensor> {
  const owners = new Map(shards.flatMap((shard) => [...shard.tensors.keys()].map((name) => [name, shard] as const)));
  const tensors = new Map<string, StoredTensor>();
  for (const [name, shard] of owners) {
    const weight = name.endsWith(scaleSuffix) ? name.slice(0, -scaleSuffix.length) : undefined;
    const scaleOwner = owners.get(name + scaleSuffix);
    const { shape, dtype } = shard.tensors.get(name) ?? { shape: [], dtype: "F32" };
    if (weight !== undefined) {
      if (!owners.has(weight)) fail(shard.path, `scales ${quote(name)} without a weight`, `a tensor ${quote(weight)}`);
    } else if (scaleOwner) {
      tensors.set(name, scaledTensor(name, shard, scaleOwner, config));
    } else {
      tensors.set(name, plainTensor(name, shard, shape, dtype));
    }
  }
  return tensors;
}

function plainTensor(name: string, shard: Safetensors, shape: Shape, dtype: FileDType): StoredTensor {
  const width = shape.at(-1) ?? 1;
  const elements = (first?: number, count?: number) =>
    [first === undefined ? undefined : first * width, count === undefined ? undefined : count * width] as const;
  const readF32 = (first?: number, count?: number) => shard.readF32(name, ...elements(first, count));
  const type = packedNames[dtype];
  const packed = type && { type, readRows: (first: number, count: number) => shard.read(name, ...elements(first, count)) };
  return { name, shape, dtype, readF32, ...(packed && { packed }) };
}

function scaledTensor(name: string, shard: Safetensors, scaleShard: Safetensors, config: JsonObject): StoredTensor {
  const place = shard.tensors.get(name);
  const scale = scaleShard.tensors.get(name + scaleSuffix);
  if (place?.dtype !== "F8_E4M3" || !scale || !["F32", "BF16", "F8_E8M0"].includes(scale.dtype)) {
    fail(shard.path, `${quote(name)} of ${place?.dtype} with scales of ${scale?.dtype}`, "F8_E4M3 with F32, BF16 or F8_E8M0 scales");
  }
  const block = readBlockSize(config);
  checkScales(name, place.shape, scale.shape, block);
  const [rows, width] = place.shape as [number, number];
  const readF32 = async (first = 0, count = rows - first) => {
    const values = await shard.readF32(name, first * width, count * width);
    applyScales(values, [count, width], await scaleShard.readF32(name + scaleSuffix), block, first);
    return values;
  };
  return { name, shape: place.shape, dtype: place.dtype, readF32 };
}

/** Bytes that all tensors take in the files. */
export function storedBytes(tensors: ReadonlyMap<string, StoredTensor>): number {
  let bytes = 0;
  for (const { shape, dtype } of tensors.values()) bytes += shape.reduce((product, size) => product * size, bytesOf(dtype));
  return bytes;
}
