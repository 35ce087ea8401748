// The weight table at work: which checkpoint tensors a model has, as rows [checkpoint name, parameter, action] with their shapes; reading
// them, making them at random, and giving them out again for saving. Everything is checked (names, shapes) before anything is
// allocated. Experts lie one by one in the file and stacked [E, …] in memory.

import type { Device } from "../backend/backend.ts";
import { FormatError, quote } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import { elementCount, type Shape, sameShape, showShape } from "../core/shape.ts";
import { dispose, empty, fromArray, keep, size, type Tensor } from "../tensor/tensor.ts";
import type { WeightRow } from "./model.ts";

/** A row of the table and what is needed to load or make it. */
export type WeightEntry = {
  readonly row: WeightRow;
  /** Of the parameter in memory: [count, …] when stacked. Unused by skip rows. */
  readonly shape: Shape;
  readonly init: "normal" | "ones" | "zeros";
  /** False for buffers: saved, but no gradient trains them. */
  readonly trained: boolean;
};

/** One tensor of a file. */
export type CheckpointTensor = { readonly name: string; readonly shape: Shape; readF32(): Promise<Float32Array> };

/** Also in the shape that the safetensors writer takes. */
export type SavedTensor = CheckpointTensor & { readonly data: () => Promise<Float32Array> };

export type Weights = { readonly parameters: Map<string, Tensor>; readonly buffers: Map<string, Tensor> };

export function matrix(name: string, ...shape: number[]): WeightEntry {
  return { row: { name, parameter: name, action: "as-is" }, shape, init: "normal", trained: true };
}

export function norm(name: string, width: number): WeightEntry {
  return { row: { name, parameter: name, action: "as-is" }, shape: [width], init: "ones", trained: true };
}

export function bias(name: string, width: number): WeightEntry {
  return { row: { name, parameter: name, action: "as-is" }, shape: [width], init: "zeros", trained: true };
}

export function buffer(name: string, ...shape: number[]): WeightEntry {
  return { row: { name, parameter: name, action: "as-is" }, shape, init: "zeros", trained: false };
}

/** `count` tensors whose names hold `{e}`, stacked. */
export function stack(name: string, count: number, ...shape: number[]): WeightEntry {
  return {
    row: { name, parameter: name.replace(".{e}.", "."), action: "stack", count },
    shape: [count, ...shape],
    init: "normal",
    trained: true,
  };
}

/** A tensor that repeats a parameter: not read, but written for engines that look for it there. */
export function copyOf(name: string, parameter: string, shape: Shape): WeightEntry {
  return { row: { name, parameter, action: "copy" }, shape, init: "zeros", trained: false };
}

export function skip(name: string, because: string): WeightEntry {
  return { row: { name, action: "skip", because }, shape: [], init: "zeros", trained: false };
}

/** Checkpoint names of a row. */
function namesOf(row: WeightRow): string[] {
  return row.action === "stack" ? Array.from({ length: row.count }, (_, e) => row.name.replace("{e}", String(e))) : [row.name];
}

/**
 * Reads all tensors of the table. Throws FormatError when a tensor is missing, unknown, there twice or of another shape, naming it and the
 * nearest names; nothing was allocated then. Parameters require gradients; all of it lives until disposed.
 */
export async function loadWeights(device: Device, entries: readonly WeightEntry[], tensors: Iterable<CheckpointTensor>): Promise<Weights> {
  const found = new Map<string, CheckpointTensor>();
  for (const tensor of tensors) {
    if (found.has(tensor.name)) complain(`tensor ${quote(tensor.name)} twice`, "every name once", "write the checkpoint again");
    found.set(tensor.name, tensor);
  }
  checkNames(entries, found);
  for (const entry of entries) checkShapes(entry, found);

  const weights: Weights = { parameters: new Map(), buffers: new Map() };
  try {
    for (const { row, shape, trained } of entries) {
      if (row.action === "skip" || row.action === "copy") continue;
      const parameter = keep(() => empty(device, shape));
      addWeight(weights, row.parameter, parameter, trained);
      const names = namesOf(row);
      const length = size(parameter) / names.length;
      for (const [e, name] of names.entries()) {
        const data = await (found.get(name) as CheckpointTensor).readF32();
        if (data.length !== length)
          complain(`${data.length} numbers in tensor ${quote(name)}`, String(length), "the file is damaged; fetch it again");
        device.write(parameter.storage.buffer, e * length, data);
      }
    }
  } catch (error) {
    disposeWeights(weights);
    throw error;
  }
  return weights;
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
      const readF32 = async () =>
        Float32Array.from(await parameter.storage.device.read(parameter.storage.buffer, parameter.offset + e * length, length));
      tensors.push({ name, shape, readF32, data: readF32 });
    }
  }
  return tensors;
}

export function disposeWeights(weights: {
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly buffers: ReadonlyMap<string, Tensor>;
}): void {
  dispose(...weights.parameters.values(), ...weights.buffers.values());
}

function addWeight(weights: Weights, name: string, tensor: Tensor, trained: boolean): void {
  tensor.requiresGrad = trained;
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

function nearest(name: string, candidates: readonly string[]): string[] {
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
