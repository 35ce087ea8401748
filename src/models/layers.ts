// What at least two families share: projections, the SwiGLU feed-forward, the output head, cache writing, checks of the input, and
// the freeing of intermediates. Rows are flat: x is [R, C] for R tokens of any number of sequences.

import type { Device } from "../backend/backend.ts";
import { ConfigError, ShapeError } from "../core/errors.ts";
import { elementCount, type Shape, showShape } from "../core/shape.ts";
import { zeros } from "../ops/fill.ts";
import { gatherRows } from "../ops/gather-rows.ts";
import { linear } from "../ops/matmul.ts";
import { rmsNorm } from "../ops/rms-norm.ts";
import { swiglu } from "../ops/swiglu.ts";
import { dispose, keep, scope, size, type Tensor } from "../tensor/tensor.ts";
import { isTrackingGradients } from "../tensor/tracking.ts";
import type { Cache, ForwardInput } from "./model.ts";
import type { WeightEntry, Weights } from "./weights.ts";

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

/** Parameters by name, as a family's constructors want them. */
export function finder(weights: Weights) {
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
  return { tensor, projection, mlp };
}

/** Runs one block in a scope of its own and frees its input as well, unless the tape needs them. */
export function advance<T extends { readonly x: Tensor }>(x: Tensor, block: (x: Tensor) => T): T {
  const result = scope(() => block(x));
  if (!isTrackingGradients()) dispose(x);
  return result;
}

/** Checks what a forward pass was given; returns R. Throws ShapeError and ConfigError. */
export function checkInput(operation: string, input: ForwardInput, layers: number, cacheTensors: readonly number[]): number {
  const { ids, positions, first, last, cache, nextIds, outputRows, parts = 1 } = input;
  const rows = ids.shape[0] ?? 0;
  for (const [name, tensor] of Object.entries({ ids, positions, first, last, "cache.rows": cache?.rows })) {
    if (tensor) checkIndices(operation, name, tensor, rows);
  }
  if (outputRows) checkIndices(operation, "outputRows", outputRows, outputRows.shape[0] ?? 0);
  if (!Number.isSafeInteger(parts) || parts < 1 || rows % parts !== 0) {
    throw new ShapeError({
      operation,
      got: `${rows} rows in ${parts} parts`,
      expected: "equal parts",
      cure: "give a number of parts that divides the rows",
    });
  }
  if (nextIds) checkNextRows(operation, nextIds, rows, rows / parts);
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
  if (store.layers.length !== layers || !store.layers.every((tensors) => cacheTensors.includes(tensors.length))) {
    const got = `a cache of ${store.layers.length} layers with ${store.layers[0]?.length ?? 0} tensors`;
    throw new ShapeError({
      operation,
      got,
      expected: `${layers} layers with ${cacheTensors.join(" or ")}`,
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

/** A cache of zeros: for each layer one tensor [slots·length, …rowShape] per row shape. */
export function makeCache(device: Device, slots: number, length: number, layers: number, rowShapes: readonly Shape[]): Cache {
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
      for (const rowShape of rowShapes) tensors.push(keep(() => zeros(device, [slots * length, ...rowShape])));
    }
  } catch (error) {
    free();
    throw error;
  }
  const bytesPerToken = 4 * layers * rowShapes.reduce((sum, shape) => sum + elementCount(shape), 0);
  return { slots, length, layers: made, bytesPerToken, dispose: free };
}

/** Parameters in all, and those that one token uses: `share` of the experts, none of those that `unused` names. */
export function countParameters(
  entries: readonly WeightEntry[],
  weights: Weights,
  share: number,
  unused?: string,
): { readonly total: number; readonly active: number } {
  let total = 0;
  let active = 0;
  for (const { row } of entries) {
    const parameter = row.action === "as-is" || row.action === "stack" ? weights.parameters.get(row.parameter) : undefined;
    if (!parameter) continue;
    total += size(parameter);
    if (unused === undefined || !row.name.startsWith(unused)) active += row.action === "stack" ? size(parameter) * share : size(parameter);
  }
  return { total, active: Math.round(active) };
}
