// The weight table at work: which checkpoint tensors a model has, as rows [checkpoint name, parameter, action] with their shapes; reading
// them, making them at random, and giving them out again for saving. Everything is checked (names, shapes) before anything is
// allocated (weight-names.ts). Experts lie one by one in the file and stacked [E, …] in memory.

import type { Device } from "../backend/backend.ts";
import { isPackedType, type PackedType, packedRowBytes } from "../core/dtype.ts";
import { quote } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { elementCount, type Shape } from "../core/shape.ts";
import { packedEmbedding } from "../ops/packed-embedding.ts";
import { dispose, empty, emptyPacked, fromArray, keep, read, scope, type Tensor } from "../tensor/tensor.ts";
import { type HalfSizes, type Halves, halfNames, halfShapes, joinHalves, packedHalves } from "./halves.ts";
import type { WeightRow } from "./model.ts";
import { checkNames, checkShapes, complain, namesOf } from "./weight-names.ts";

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
  /** Of kv_b: where its halves can stay packed, two parameters hold them (halfNames). */
  readonly halves?: HalfSizes;
};

/** One tensor of a file. Rows are those of the last axis, counted over all others. */
export type CheckpointTensor = {
  readonly name: string;
  readonly shape: Shape;
  /** The numbers of `count` rows from `first` on as f32; all without arguments. */
  readF32(first?: number, count?: number): Promise<Float32Array>;
  /** Where the file stores a packed type in whole rows: the bytes of rows. */
  readonly packed?: { readonly type: PackedType; readRows(first: number, count: number): Promise<Uint8Array> };
  /** Of kv_b, where the file stores it in halves. */
  readonly halves?: Halves<CheckpointTensor>;
};

/** "f32" decodes everything, as training needs it; "stored" keeps packed types as they lie in the file where the device multiplies by them. */
export type WeightStorage = "f32" | "stored";

/** Also in the shape that the safetensors writer takes. */
export type SavedTensor = CheckpointTensor & { readonly data: () => Promise<Float32Array> };

export type Weights = { readonly parameters: Map<string, Tensor>; readonly buffers: Map<string, Tensor> };

export function matrix(name: string, ...shape: number[]): WeightEntry {
  return { row: { name, parameter: name, action: "as-is" }, shape, init: "normal", trained: true, packable: true };
}

/** The same, always kept as f32: for the router, whose scores must be those of f32. */
export function exact(entry: WeightEntry): WeightEntry {
  return { ...entry, packable: false };
}

/** kv_b: in packed halves, or as f32. */
export function halved(name: string, sizes: HalfSizes): WeightEntry {
  return { ...exact(matrix(name, sizes.heads * (sizes.keyRows + sizes.valueRows), sizes.rank)), halves: sizes };
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
      const { row, trained } = entry;
      if (row.action === "skip" || row.action === "copy") continue;
      const given = namesOf(row).map((name) => found.get(name) as CheckpointTensor);
      for (const { name, type, shape, sources } of storage === "stored" ? storedParts(entry, given, device) : [wholePart(entry, given)]) {
        const parameter = keep(() => (type ? emptyPacked(device, type, shape) : empty(device, shape)));
        addWeight(weights, name, parameter, trained);
        for (const [e, source] of sources.entries()) await fill(parameter, e, source, sent);
      }
    }
  } catch (error) {
    disposeWeights(weights);
    throw error;
  }
  return weights;
}

/** A parameter that an entry becomes; `type`: the packed type that it keeps. */
export type StoredPart = {
  readonly name: string;
  readonly type: PackedType | undefined;
  readonly shape: Shape;
  readonly sources: readonly CheckpointTensor[];
};

function wholePart({ row, shape }: WeightEntry, sources: readonly CheckpointTensor[], type?: PackedType): StoredPart {
  return { name: row.action === "skip" ? row.name : row.parameter, type, shape, sources };
}

/** The parameters of an entry where packed types stay packed: one, or the halves of kv_b. */
export function storedParts(entry: WeightEntry, sources: readonly CheckpointTensor[], device: Device): StoredPart[] {
  const [source] = sources;
  const halves = entry.halves && source && packedHalves(source, entry.halves);
  const whole = wholePart(entry, sources, packedTypeOf(entry, sources, device));
  if (!halves) return [whole];
  const [names, shapes] = [halfNames(whole.name), halfShapes(entry.halves as HalfSizes)];
  const parts = (["keys", "values"] as const).map(
    (half): StoredPart => ({ name: names[half], type: halves[half].packed?.type, shape: shapes[half], sources: [halves[half]] }),
  );
  return parts.every(({ type }) => type && device.packedTypes.has(type)) ? parts : [whole];
}

/** Bytes, as they lie in the file, and types of the tensors that may stay packed: what openDevice wants to know of a model. */
export function packedWeights(tensors: Iterable<CheckpointTensor>): { bytes: number; types: Set<PackedType> } {
  let bytes = 0;
  const types = new Set<PackedType>();
  for (const { shape, packed } of [...tensors].flatMap((tensor) =>
    tensor.halves ? [tensor.halves.keys, tensor.halves.values] : [tensor],
  )) {
    const width = shape.at(-1) ?? 0;
    if (!packed || shape.length < 2 || width === 0) continue;
    bytes += (elementCount(shape) / width) * packedRowBytes(packed.type, width);
    types.add(packed.type);
  }
  return { bytes, types };
}

/** The packed type that all sources of a parameter share, when it may stay packed. */
function packedTypeOf(entry: WeightEntry, sources: readonly CheckpointTensor[], device: Device): PackedType | undefined {
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
    const halves = halvesOf(weights, row.parameter);
    if (halves) {
      const sizes = sizesOf(halves);
      const readF32 = async () =>
        joinHalves({ keys: await readNumbers(halves.keys, 0), values: await readNumbers(halves.values, 0) }, sizes);
      const shape = [sizes.heads * (sizes.keyRows + sizes.valueRows), sizes.rank];
      tensors.push({ name: row.name, shape, readF32, data: readF32 });
      continue;
    }
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
async function readNumbers(parameter: Tensor, first: number, length = elementCount(parameter.shape) - first): Promise<Float32Array> {
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

/** The parameters that hold kv_b where it lies in halves. */
export function halvesOf(weights: { readonly parameters: ReadonlyMap<string, Tensor> }, parameter: string): Halves<Tensor> | undefined {
  const names = halfNames(parameter);
  const [keys, values] = [weights.parameters.get(names.keys), weights.parameters.get(names.values)];
  return names.keys !== parameter && keys && values ? { keys, values } : undefined;
}

function sizesOf({ keys, values }: Halves<Tensor>): HalfSizes {
  const [heads, rank, keyRows] = keys.shape as [number, number, number];
  return { heads, rank, keyRows, valueRows: values.shape[1] as number };
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
