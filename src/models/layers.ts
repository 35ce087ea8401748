// What at least two families share: projections, the SwiGLU feed-forward, the output head, caches, counting, checks of the input, and
// the freeing of intermediates. Rows are flat: x is [R, C] for R tokens of any number of sequences.

import type { Device } from "../backend/backend.ts";
import { type CacheType, cacheRowWords } from "../core/dtype.ts";
import { ConfigError, ShapeError } from "../core/errors.ts";
import { elementCount, showShape } from "../core/shape.ts";
import type { Strided } from "../ops/attention.ts";
import { zeros } from "../ops/fill.ts";
import { gatherRows } from "../ops/gather-rows.ts";
import { linear } from "../ops/matmul.ts";
import { rmsNorm } from "../ops/rms-norm.ts";
import { swiglu } from "../ops/swiglu.ts";
import { dispose, keep, scope, type Tensor } from "../tensor/tensor.ts";
import { isTrackingGradients } from "../tensor/tracking.ts";
import type { CacheShape, ParameterCount } from "./family.ts";
import type { Halves } from "./halves.ts";
import type { Cache, ForwardInput } from "./model.ts";
import { bias, halvesOf, matrix, type WeightEntry, type Weights } from "./weights.ts";

export type Linear = { readonly weight: Tensor; readonly bias?: Tensor };
export type FeedForward = { readonly gate: Linear; readonly up: Linear; readonly down: Linear };

/** x [R, K] -> [R, N] by a weight [N, K]. */
export function project(x: Tensor, w: Linear): Tensor {
  return linear(x, w.weight, w.bias);
}

/** SwiGLU: x [R, C] -> [R, F] -> [R, C]. (Shazeer 2020.) */
export function feedForward(x: Tensor, w: FeedForward): Tensor {
  return project(swiglu(project(x, w.gate), project(x, w.up)), w.down);
}

/** Final norm and vocabulary projection of the wanted rows: x [R, C] -> [M, V]. */
export function outputHead(x: Tensor, outputRows: Tensor | undefined, norm: Tensor, eps: number, head: Tensor): Tensor {
  return linear(rmsNorm(outputRows ? gatherRows(x, outputRows) : x, norm, eps), head);
}

/** A projection's rows of the weight table: [N, K], and the bias [N] where there is one. */
export function linearEntries(name: string, N: number, K: number, withBias: boolean): WeightEntry[] {
  return [matrix(`${name}.weight`, N, K), ...(withBias ? [bias(`${name}.bias`, N)] : [])];
}

/** Rows of the weight table of a feed-forward of width F below `at`. */
export function mlpEntries(at: string, F: number, C: number, withBias: boolean): WeightEntry[] {
  return [
    ...linearEntries(`${at}.gate_proj`, F, C, withBias),
    ...linearEntries(`${at}.up_proj`, F, C, withBias),
    ...linearEntries(`${at}.down_proj`, C, F, withBias),
  ];
}

export type Finder = {
  tensor(name: string): Tensor;
  /** NAME.weight, and NAME.bias where the table has one. */
  projection(name: string): Linear;
  mlp(name: string): FeedForward;
  /** The halves of NAME.weight, where it lies so. */
  halves(name: string): Halves<Tensor> | undefined;
};

/** Parameters by name, as a family's constructors want them. */
export function finder(weights: Weights): Finder {
  const maybe = (name: string) => weights.parameters.get(name) ?? weights.buffers.get(name);
  const tensor = (name: string): Tensor => {
    const found = maybe(name);
    if (!found)
      throw new ConfigError({
        operation: "build model",
        got: `no parameter ${name}`,
        expected: "every parameter of the weight table",
        cure: "load or make the weights from the same plan",
      });
    return found;
  };
  const projection = (name: string): Linear => ({ weight: tensor(`${name}.weight`), bias: maybe(`${name}.bias`) });
  const mlp = (name: string): FeedForward => ({
    gate: projection(`${name}.gate_proj`),
    up: projection(`${name}.up_proj`),
    down: projection(`${name}.down_proj`),
  });
  return { tensor, projection, mlp, halves: (name) => halvesOf(weights, `${name}.weight`) };
}

/** Runs one block in a scope of its own and frees its input as well, unless the tape needs them. */
export function advance<T extends { readonly x: Tensor }>(x: Tensor, block: (x: Tensor) => T): T {
  const result = scope(() => block(x));
  if (!isTrackingGradients()) dispose(x);
  return result;
}

/** Checks what a forward pass was given; returns R. Throws ShapeError and ConfigError. */
export function checkInput(operation: string, input: ForwardInput, layers: readonly number[], cacheTensors: readonly number[]): number {
  const { ids, positions, first, last, cache, nextIds, outputRows, nextRows, parts = 1 } = input;
  const rows = ids.shape[0] ?? 0;
  for (const [name, tensor] of Object.entries({ ids, positions, first, last, "cache.rows": cache?.rows })) {
    if (tensor) checkIndices(operation, name, tensor, rows);
  }
  for (const [name, tensor] of Object.entries({ outputRows, nextRows })) {
    if (tensor) checkIndices(operation, name, tensor, tensor.shape[0] ?? 0);
  }
  if (!Number.isSafeInteger(parts) || parts < 1 || rows % parts !== 0) {
    throw new ShapeError({
      operation,
      got: `${rows} rows in ${parts} parts`,
      expected: "equal parts",
      cure: "give a number of parts that divides the rows",
    });
  }
  if (nextIds) checkNextRows(operation, nextIds, rows, cache ? rows : rows / parts);
  if (!cache) return rows;
  if (isTrackingGradients()) {
    throw new ConfigError({
      operation,
      got: "a cache while gradients are tracked",
      expected: "one of the two",
      cure: "train without a cache; it would cut the gradients of the keys",
    });
  }
  const { cache: store } = cache;
  if (!layers.includes(store.layers.length) || !store.layers.every((tensors) => cacheTensors.includes(tensors.length))) {
    const got = `a cache of ${store.layers.length} layers with ${store.layers[0]?.length ?? 0} tensors`;
    throw new ShapeError({
      operation,
      got,
      expected: `${layers.join(" or ")} layers with ${cacheTensors.join(" or ")}`,
      cure: "use a cache made by this model's makeCache",
    });
  }
  return rows;
}

function checkNextRows(operation: string, nextIds: Tensor, rows: number, partRows: number): void {
  const count = nextIds.shape[0] ?? 0;
  if (nextIds.dtype === "i32" && nextIds.shape.length === 1 && count > 0 && count <= rows && count % partRows === 0) return;
  throw new ShapeError({
    operation,
    got: `nextIds ${nextIds.dtype} ${showShape(nextIds.shape)}`,
    expected: `i32 [${rows}], or the first of ${rows / partRows} parts of ${partRows} rows`,
    cure: "give one index for each row of whole parts",
  });
}

function checkIndices(operation: string, name: string, tensor: Tensor, rows: number): void {
  if (tensor.dtype !== "i32" || tensor.shape.length !== 1 || tensor.shape[0] !== rows || rows === 0) {
    throw new ShapeError({
      operation,
      got: `${name} ${tensor.dtype} ${showShape(tensor.shape)}`,
      expected: `i32 [${rows || "1 or more"}]`,
      cure: "give one index for each row",
    });
  }
}

/** A cache of zeros: for each layer one tensor per row shape, [slots·length, …rowShape] or narrow rows. */
export function makeCache(device: Device, slots: number, length: number, shape: CacheShape, type: CacheType = "f32"): Cache {
  const { layers, rowShapes } = shape;
  for (const [name, value] of Object.entries({ slots, length })) {
    if (!Number.isSafeInteger(value) || value < 1) {
      throw new ConfigError({
        operation: "makeCache",
        got: `${name} ${value}`,
        expected: "an integer of 1 or more",
        cure: "ask for at least one slot of one token",
      });
    }
  }
  const made: Tensor[][] = [];
  const free = () => dispose(...made.flat());
  try {
    for (let layer = 0; layer < layers; layer++) {
      const tensors: Tensor[] = [];
      made.push(tensors);
      for (const rowShape of rowShapes) {
        const narrow = () => zeros(device, [slots * length, cacheRowWords(type, elementCount(rowShape))], "i32");
        tensors.push(keep(() => (type === "f32" ? zeros(device, [slots * length, ...rowShape]) : narrow())));
      }
    }
  } catch (error) {
    free();
    throw error;
  }
  return { slots, length, type, layers: made, bytesPerToken: cachedBytes(shape, type), dispose: free };
}

/** A layer's cache tensor as attention reads it: heads of `width` numbers side by side in rows of f32 numbers or of words. */
export function cachedHeads(tensor: Tensor, width: number): Strided {
  return { tensor, rowStride: elementCount(tensor.shape.slice(1)), headStride: width, offset: 0 };
}

/** Numbers that a cache holds for one token, over all layers. */
export function cachedNumbers({ layers, rowShapes }: CacheShape): number {
  return layers * rowShapes.reduce((sum, shape) => sum + elementCount(shape), 0);
}

/** Bytes that they take. */
export function cachedBytes({ layers, rowShapes }: CacheShape, type: CacheType): number {
  return 4 * layers * rowShapes.reduce((sum, shape) => sum + cacheRowWords(type, elementCount(shape)), 0);
}

/**
 * Parameters by the weight table alone: all of them; those that one token uses (`share` of the experts, none of the rows whose names begin
 * with `nextHead`); and those rows, the layer of multi-token prediction. Buffers are not parameters.
 */
export function countParameters(entries: readonly WeightEntry[], share: number, nextHead?: string): ParameterCount {
  let total = 0;
  let active = 0;
  let next = 0;
  for (const { row, shape, trained } of entries) {
    if (!trained || row.action === "skip" || row.action === "copy") continue;
    const count = elementCount(shape, row.name);
    total += count;
    if (nextHead !== undefined && row.name.startsWith(nextHead)) next += count;
    else active += row.action === "stack" ? count * share : count;
  }
  return { total, active: Math.round(active), nextHead: next };
}
