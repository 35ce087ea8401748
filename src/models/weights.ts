// The weight table at work: which checkpoint tensors a model has, as rows [checkpoint name, parameter, action] with their shapes; reading
// them, making them at random, and giving them out again for saving. Everything is checked (names, shapes) before anything is
// allocated. Experts lie one by one in the file and stacked [E, …] in memory.

import type { Device } from "../backend/backend.ts";
import { isPackedType, type PackedType, packedRowBytes } from "../core/dtype.ts";
import { FormatError, quote } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { elementCount, type Shape, sameShape, showShape } from "../core/shape.ts";
import { packedEmbedding } from "../ops/packed-embedding.ts";
import { dispose, empty, emptyPacked, fromArray, keep, read, scope, type Tensor } from "../tensor/tensor.ts";
import type { WeightRow } from "./model.ts";

/** A row of the table and what is needed to load or make it. */
export type WeightEntry = {
  readonly row: WeightRow;
  /** Of the parameter in memory: [count, …] when stacked. Unused by skip rows. */
  readonly shape: Shape;
  readonly init: "normal" | "ones" | "zeros";
  /** False for buffers: saved, but no gradient trains them. */
  readonly trained: boolean;
  /** Whether it may stay in a packed type (quantised blocks, 16-bit floats) when the checkpoint stores it so: only products and lookups use it. */
  readonly packable: boolean;
};

/** One tensor of a file. Rows are those of the last axis, counted over all others. */
export type CheckpointTensor = {
  readonly name: string;
  readonly shape: Shape;
  /** The numbers of `count` rows from `first` on as f32; all without arguments. */
  readF32(first?: number, count?: number): Promise<Float32Array>;
  /** Where the file stores a packed type in whole rows: the bytes of rows. */
  readonly packed?: { readonly type: PackedType; readRows(first: number, count: number): Promise<Uint8Array> };
};

/** "f32" decodes everything, as training needs it; "stored" keeps packed types as they lie in the file where the device multiplies by them. */
export type WeightStorage = "f32" | "stored";

/** Also in the shape that the safetensors writer takes. */
export type SavedTensor = CheckpointTensor & { readonly data: () => Promise<Float32Array> };

export type Weights = { readonly parameters: Map<string, Tensor>; readonly buffers: Map<string, Tensor> };

export function matrix(name: string, ...shape: number[]): WeightEntry {
  return { row: { name, parameter: name, action: "as-is" }, shape, init: "normal", trained: true, packable: true };
}

/** The same, always kept as f32: for weights that are sliced, and for the router, whose scores must be those of f32. */
export function exact(entry: WeightEntry): WeightEntry {
  return { ...entry, packable: false };
}

export function norm(name: string, width: number): WeightEntry {
  return { row: { name, parameter: name, action: "as-is" }, shape: [width], init: "ones", trained: true, packable: false };
}

export function bias(name: string, width: number): WeightEntry {
  return { row: { name, parameter: name, action: "as-is" }, shape: [width], init: "zeros", trained: true, packable: false };
}

export function buffer(name: string, ...shape: number[]): WeightEntry {
  return { row: { name, parameter: name, action: "as-is" }, shape, init: "zeros", trained: false, packable: false };
}

/** `count` tensors whose names hold `{e}`, stacked. */
export function stack(name: string, count: number, ...shape: number[]): WeightEntry {
  return {
    row: { name, parameter: name.replace(".{e}.", "."), action: "stack", count },
    shape: [count, ...shape],
    init: "normal",
    trained: true,
    packable: true,
  };
}

/** A tensor that repeats a parameter: not read, but written for engines that look for it there. */
export function copyOf(name: string, parameter: string, shape: Shape): WeightEntry {
  return { row: { name, parameter, action: "copy" }, shape, init: "zeros", trained: false, packable: false };
}

export function skip(name: string, because: string): WeightEntry {
  return { row: { name, action: "skip", because }, shape: [], init: "zeros", trained: false, packable: false };
}

/** Checkpoint names of a row. */
export function namesOf(row: WeightRow): string[] {
  return row.action === "stack" ? Array.from({ length: row.count }, (_, e) => row.name.replace("{e}", String(e))) : [row.name];
}

/** Numbers decoded at a time, and bytes handed to the device before it is waited for: what loading needs beside the model itself. */
const chunkNumbers = 2 ** 22;
const bytesInFlight = 2 ** 26;

/**
 * Reads all tensors of the table. Throws FormatError when a tensor is missing, unknown, there twice or of another shape, naming it and the
 * nearest names; nothing was allocated then. Parameters that stay f32 require gradients; all of it lives until disposed.
 */
export async function loadWeights(
  device: Device,
  entries: readonly WeightEntry[],
  tensors: Iterable<CheckpointTensor>,
  storage: WeightStorage = "f32",
): Promise<Weights> {
  const found = new Map<string, CheckpointTensor>();
  for (const tensor of tensors) {
    if (found.has(tensor.name)) complain(`tensor ${quote(tensor.name)} twice`, "every name once", "write the checkpoint again");
    found.set(tensor.name, tensor);
  }
  checkNames(entries, found);
  for (const entry of entries) checkShapes(entry, found);

  const weights: Weights = { parameters: new Map(), buffers: new Map() };
  let inFlight = 0;
  const sent = async (bytes: number) => {
    inFlight += bytes;
    if (inFlight < bytesInFlight) return;
    inFlight = 0;
    await device.finish();
  };
  try {
    for (const entry of entries) {
      const { row, shape, trained } = entry;
      if (row.action === "skip" || row.action === "copy") continue;
      const sources = namesOf(row).map((name) => found.get(name) as CheckpointTensor);
      const type = storage === "stored" ? packedTypeOf(entry, sources, device) : undefined;
      const parameter = keep(() => (type ? emptyPacked(device, type, shape) : empty(device, shape)));
      addWeight(weights, row.parameter, parameter, trained);
      for (const [e, source] of sources.entries()) await fill(parameter, e, source, sent);
    }
  } catch (error) {
    disposeWeights(weights);
    throw error;
  }
  return weights;
}

/** Bytes, as they lie in the file, and types of the tensors that may stay packed: what openDevice wants to know of a model. */
export function packedWeights(tensors: Iterable<CheckpointTensor>): { bytes: number; types: Set<PackedType> } {
  let bytes = 0;
  const types = new Set<PackedType>();
  for (const { shape, packed } of tensors) {
    const width = shape.at(-1) ?? 0;
    if (!packed || shape.length < 2 || width === 0) continue;
    bytes += (elementCount(shape) / width) * packedRowBytes(packed.type, width);
    types.add(packed.type);
  }
  return { bytes, types };
}

/** The packed type that all sources of a parameter share, when it may stay packed. */
export function packedTypeOf(entry: WeightEntry, sources: readonly CheckpointTensor[], device: Device): PackedType | undefined {
  const type = sources[0]?.packed?.type;
  if (!entry.packable || type === undefined || !device.packedTypes.has(type)) return undefined;
  return sources.every((source) => source.packed?.type === type) ? type : undefined;
}

/** Copies a tensor of the file to where its numbers lie in the parameter, some rows at a time: part `e` of a stack. */
async function fill(parameter: Tensor, e: number, source: CheckpointTensor, sent: (bytes: number) => Promise<void>): Promise<void> {
  const { device, buffer } = parameter.storage;
  const width = source.shape.at(-1) ?? 1;
  const total = elementCount(source.shape);
  const rows = width === 0 ? 0 : total / width;
  const step = Math.max(1, Math.floor(chunkNumbers / Math.max(width, 1)));
  const wrongSize = (got: string, expected: number) =>
    complain(`${got} in tensor ${quote(source.name)}`, String(expected), "the file is damaged; fetch it again");
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    if (source.packed && parameter.dtype === source.packed.type) {
      const bytes = await source.packed.readRows(first, count);
      const expected = count * packedRowBytes(source.packed.type, width);
      if (bytes.length !== expected) wrongSize(`${bytes.length} bytes for ${count} rows`, expected);
      device.writePacked(buffer, e * rows + first, bytes);
      await sent(bytes.length);
    } else {
      const data = await (count === rows ? source.readF32() : source.readF32(first, count));
      if (data.length !== count * width) wrongSize(`${data.length} numbers`, count * width);
      device.write(buffer, e * total + first * width, data);
      await sent(data.byteLength);
    }
  }
}

/** New weights: matrices normal with standard deviation `std`, norms 1, biases 0. Each tensor has its own random stream, named by the parameter. */
export function makeWeights(device: Device, entries: readonly WeightEntry[], random: Random, std: number): Weights {
  const weights: Weights = { parameters: new Map(), buffers: new Map() };
  try {
    for (const { row, shape, init, trained } of entries) {
      if (row.action === "skip" || row.action === "copy") continue;
      const data = new Float32Array(elementCount(shape, row.parameter));
      if (init === "ones") data.fill(1);
      if (init === "normal") {
        const draws = random.fork(row.parameter);
        for (let i = 0; i < data.length; i++) data[i] = draws.normal() * std;
      }
      addWeight(
        weights,
        row.parameter,
        keep(() => fromArray(device, data, shape)),
        trained,
      );
    }
  } catch (error) {
    disposeWeights(weights);
    throw error;
  }
  return weights;
}

/** The tensors of a checkpoint, in the order of the table; each is read from the device when its numbers are asked for. */
export function listTensors(
  table: readonly WeightRow[],
  weights: { readonly parameters: ReadonlyMap<string, Tensor>; readonly buffers: ReadonlyMap<string, Tensor> },
): SavedTensor[] {
  const tensors: SavedTensor[] = [];
  for (const row of table) {
    if (row.action === "skip") continue;
    const parameter = weights.parameters.get(row.parameter) ?? weights.buffers.get(row.parameter);
    if (!parameter) continue;
    const names = namesOf(row);
    const shape = row.action === "stack" ? parameter.shape.slice(1) : parameter.shape;
    const length = elementCount(shape);
    for (const [e, name] of names.entries()) {
      const readF32 = () => readNumbers(parameter, e * length, length);
      tensors.push({ name, shape, readF32, data: readF32 });
    }
  }
  return tensors;
}

/** Elements of a parameter as f32; a packed one is decoded row by row. */
async function readNumbers(parameter: Tensor, first: number, length: number): Promise<Float32Array> {
  const { device, buffer } = parameter.storage;
  if (!isPackedType(parameter.dtype)) return Float32Array.from(await device.read(buffer, parameter.offset + first, length));
  const width = parameter.shape.at(-1) as number;
  const rows = scope(() =>
    packedEmbedding(parameter, fromArray(device, rowNumbers(first / width, length / width), [length / width], "i32")),
  );
  const numbers = Float32Array.from(await read(rows));
  dispose(rows);
  return numbers;
}

function rowNumbers(first: number, count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => first + i);
}

export function disposeWeights(weights: {
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly buffers: ReadonlyMap<string, Tensor>;
}): void {
  dispose(...weights.parameters.values(), ...weights.buffers.values());
}

function addWeight(weights: Weights, name: string, tensor: Tensor, trained: boolean): void {
  tensor.requiresGrad = trained && tensor.dtype === "f32";
  (trained ? weights.parameters : weights.buffers).set(name, tensor);
}

function complain(got: string, expected: string, cure: string): never {
  throw new FormatError({ operation: "load weights", got, expected, cure });
}

/** A missing and an unexpected name are often one misspelling, so each is shown beside the nearest of the other kind. */
function checkNames(entries: readonly WeightEntry[], found: ReadonlyMap<string, CheckpointTensor>): void {
  const known = new Set<string>();
  const missing: string[] = [];
  for (const { row } of entries) {
    for (const name of namesOf(row)) {
      known.add(name);
      if (row.action !== "skip" && row.action !== "copy" && !found.has(name)) missing.push(name);
    }
  }
  const unexpected = [...found.keys()].filter((name) => !known.has(name));
  if (missing.length === 0 && unexpected.length === 0) return;
  const wrong: string[] = [];
  if (missing.length > 0) wrong.push(`no ${list(missing, unexpected.length ? unexpected : [...found.keys()])}`);
  if (unexpected.length > 0) wrong.push(`the unexpected ${list(unexpected, missing.length ? missing : [...known])}`);
  complain(wrong.join(", and "), `the ${known.size} tensors of this config`, "use the config.json that belongs to these weights");
}

function checkShapes({ row, shape }: WeightEntry, found: ReadonlyMap<string, CheckpointTensor>): void {
  if (row.action === "skip") return;
  const expected = row.action === "stack" ? shape.slice(1) : shape;
  for (const name of namesOf(row)) {
    const tensor = found.get(name);
    if (tensor && !sameShape(tensor.shape, expected)) {
      complain(
        `tensor ${quote(name)} of shape ${showShape(tensor.shape)}`,
        `${showShape(expected)}, as config.json says`,
        "use the config.json that belongs to these weights",
      );
    }
  }
}

/** At most three names, each with up to two of the nearest candidates. */
function list(names: readonly string[], candidates: readonly string[]): string {
  const shown = names.slice(0, 3).map(
    (name) =>
      `${quote(name, 120)} (nearest: ${
        nearest(name, candidates)
          .map((other) => quote(other, 120))
          .join(", ") || "none"
      })`,
  );
  const rest = names.length - shown.length;
  return `tensor ${shown.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

export function nearest(name: string, candidates: readonly string[]): string[] {
  const scored = candidates.slice(0, 4000).map((other) => ({ other, distance: editDistance(name.slice(0, 200), other.slice(0, 200)) }));
  return scored
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 2)
    .map(({ other }) => other);
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
