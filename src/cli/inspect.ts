// `gradually inspect FILE|DIR`: what is in a .safetensors file or a model folder, and, for a model that this program runs, how many parameters it
// has, what a token takes in the cache and whether this machine's memory is enough. Only headers are read.

import { totalmem } from "node:os";
import { dirname } from "node:path";
import type { Command } from "commander";
import { ConfigError, GraduallyError, quote } from "../core/errors.ts";
import type { Files } from "../core/host.ts";
import { formatCount } from "../core/human.ts";
import type { JsonObject } from "../core/json.ts";
import { elementCount, type Shape, showShape } from "../core/shape.ts";
import { bytesOf, type FileDType } from "../formats/dtypes.ts";
import { openHfFolder } from "../formats/hf-folder.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { familyOf } from "../models/load.ts";
import { disposeWeights, type Weights } from "../models/weights.ts";
import { nodeHost } from "../platform/node.ts";
import { empty, keep } from "../tensor/tensor.ts";
import { measuringDevice } from "./measuring-device.ts";
import { findModel } from "./model.ts";
import { formatBytes, say, showControls, table, writeJson } from "./output.ts";

/** Where the memory of the WebAssembly device ends. */
const deviceLimit = 2 ** 32;

type Entry = { readonly name: string; readonly dtype: FileDType; readonly shape: Shape; readonly bytes: number };

type Content = {
  readonly path: string;
  readonly kind: "folder" | "file";
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: readonly Entry[];
  readonly config?: JsonObject;
  readonly warnings: readonly string[];
};

export type Needs = {
  readonly parameters: { readonly total: number; readonly active: number };
  readonly context_length: number;
  /** The latent and rope key of each layer for MLA; keys and values otherwise. */
  readonly cache_bytes_per_token: number;
  readonly memory: {
    readonly weights: number;
    /** Copies of the matrices in the order in which the kernels read them, made when first used. */
    readonly packed: number;
    /** One sequence of the whole context (at most 4,096 tokens). */
    readonly cache: number;
    readonly total: number;
    /** What the device can have: this machine's memory, at most 4 GiB. */
    readonly limit: number;
    readonly fits: boolean;
  };
};

export function inspectCommand(program: Command): void {
  program
    .command("inspect")
    .description("Show what is in a .safetensors file or a model folder, and what running it needs.")
    .argument("[path]", "a .safetensors file, a model folder, hf:org/name, or the name of a bundled model (default: the bundled model)")
    .option("--all", "list every tensor (for people; --json always does)")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExamples:\n  $ gradually inspect ./my-model\n  $ gradually inspect ./my-model/model.safetensors --all\n  $ gradually inspect ./my-model --json",
    )
    .action(inspect);
}

async function inspect(reference: string | undefined, flags: { readonly all?: boolean; readonly json?: boolean }): Promise<void> {
  const { files } = nodeHost();
  const content = await readContent(files, reference);
  const { path, kind, metadata, tensors, config, warnings } = content;
  const bytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const dtypes = countDtypes(tensors);
  const needs = config && measureNeeds(config, tensors);
  if (flags.json) {
    const runnable =
      needs === undefined
        ? {}
        : needs instanceof GraduallyError
          ? { runs: false, why_not: needs.message }
          : { runs: needs.memory.fits, ...needs };
    const type = config && { model_type: config.model_type ?? null };
    writeJson({
      path,
      kind,
      ...type,
      tensor_count: tensors.length,
      bytes,
      dtypes,
      ...runnable,
      metadata,
      warnings,
      ...(config && { config }),
      tensors,
    });
    return;
  }
  const rows = [["path", path]];
  if (config) rows.push(["model type", String(config.model_type ?? "not named")]);
  rows.push(["tensors", `${tensors.length}, ${formatBytes(bytes)}`]);
  for (const [dtype, { tensors: count, bytes: size }] of Object.entries(dtypes))
    rows.push([`  ${dtype}`, `${count}, ${formatBytes(size)}`]);
  for (const [key, value] of Object.entries(metadata)) rows.push([`metadata ${key}`, value.slice(0, 200)]);
  if (needs instanceof GraduallyError) rows.push(["runs", `no: ${needs.message}`]);
  else if (needs) rows.push(...describeNeeds(needs));
  for (const warning of warnings) rows.push(["note", warning]);
  say(showControls(table(rows)));
  const shown = flags.all ? tensors : tensors.slice(0, 8);
  say(`\n${showControls(table(shown.map(({ name, dtype, shape, bytes: size }) => [name, dtype, showShape(shape), formatBytes(size)])))}`);
  if (shown.length < tensors.length) say(`… and ${tensors.length - shown.length} more (--all)`);
}

function describeNeeds({ parameters, context_length, cache_bytes_per_token, memory }: Needs): string[][] {
  const { total, active } = parameters;
  return [
    ["parameters", `${formatCount(total)}${active === total ? "" : `, ${formatCount(active)} active for a token`}`],
    ["context", `${context_length} tokens, ${formatBytes(cache_bytes_per_token)} of cache each`],
    [
      "memory",
      `${formatBytes(memory.total)}: weights ${formatBytes(memory.weights)}, packed copies ${formatBytes(memory.packed)}, cache ${formatBytes(memory.cache)}`,
    ],
    ["runs", memory.fits ? "yes" : `no: more than the ${formatBytes(memory.limit)} that the device can have; use a smaller model`],
  ];
}

async function readContent(files: Files, reference: string | undefined): Promise<Content> {
  if (reference?.endsWith(".safetensors") && !(await files.isFolder(reference))) {
    const file = await readFile(files, reference);
    return { path: reference, kind: "file", ...file, warnings: [] };
  }
  if (reference !== undefined && reference !== "" && (await files.exists(reference)) && !(await files.isFolder(reference))) {
    const cure = `name a .safetensors file, or the folder ${quote(dirname(reference), 300)}`;
    throw new ConfigError({
      operation: `inspect ${quote(reference, 300)}`,
      got: "a file of another kind",
      expected: "a .safetensors file or a model folder",
      cure,
    });
  }
  const path = await findModel(files, reference);
  const folder = await openHfFolder(files, path);
  try {
    const metadata: Record<string, string> = {};
    for (const name of await files.list(path)) {
      if (name.endsWith(".safetensors")) Object.assign(metadata, (await readFile(files, files.join(path, name))).metadata);
    }
    const tensors = [...folder.tensors.values()].map(({ name, dtype, shape }) => entry(name, dtype, shape));
    return { path, kind: "folder", metadata, tensors, config: folder.config, warnings: folder.warnings };
  } finally {
    await folder.close();
  }
}

async function readFile(files: Files, path: string): Promise<{ metadata: Record<string, string>; tensors: Entry[] }> {
  const source = await files.open(path);
  try {
    const { metadata, tensors } = await openSafetensors(source);
    return { metadata: { ...metadata }, tensors: [...tensors].map(([name, { dtype, shape }]) => entry(name, dtype, shape)) };
  } finally {
    await source.close();
  }
}

function entry(name: string, dtype: FileDType, shape: Shape): Entry {
  return { name, dtype, shape, bytes: elementCount(shape) * bytesOf(dtype) };
}

function countDtypes(tensors: readonly Entry[]): Record<string, { tensors: number; bytes: number }> {
  const counts: Record<string, { tensors: number; bytes: number }> = {};
  for (const { dtype, bytes } of tensors) {
    counts[dtype] ??= { tensors: 0, bytes: 0 };
    const count = counts[dtype];
    count.tensors++;
    count.bytes += bytes;
  }
  return counts;
}

/** Builds the model without memory. Returns the error that says why it cannot run. */
export function measureNeeds(config: JsonObject, tensors: readonly Pick<Entry, "name">[]): Needs | GraduallyError {
  const device = measuringDevice();
  const weights: Weights = { parameters: new Map(), buffers: new Map() };
  try {
    const { entries, build } = familyOf(config.model_type).plan(config, {}, new Set(tensors.map(({ name }) => name)));
    let packed = 0;
    for (const { row, shape, trained } of entries) {
      if (row.action === "skip" || row.action === "copy") continue;
      (trained ? weights.parameters : weights.buffers).set(
        row.parameter,
        keep(() => empty(device, shape)),
      );
      const isTable = row.parameter.endsWith("embed_tokens.weight") && config.tie_word_embeddings !== true;
      if (shape.length >= 2 && !isTable) packed += elementCount(shape) * 4;
    }
    const model = build(device, weights);
    const before = device.memory().used;
    const { total, active } = model.parameterCount;
    const cache = keep(() => model.makeCache(1, 1));
    const { bytesPerToken } = cache;
    cache.dispose();
    const { contextLength } = model;
    model.dispose();
    const cacheBytes = bytesPerToken * Math.min(contextLength, 4096);
    const limit = Math.min(deviceLimit, totalmem());
    const all = before + packed + cacheBytes;
    return {
      parameters: { total, active },
      context_length: contextLength,
      cache_bytes_per_token: bytesPerToken,
      memory: { weights: before, packed, cache: cacheBytes, total: all, limit, fits: all <= limit },
    };
  } catch (error) {
    disposeWeights(weights);
    if (error instanceof GraduallyError) return error;
    throw error;
  }
}
