// Moving rows to their experts and back. `dispatch` sorts the slots (slot = row·K + k) by expert; expertGather brings the rows into that
// order, expertCombine adds each row's K results with their weights; expertLoad counts.

import { showShape } from "../core/shape.ts";
import { addGrad, attach, giveGrad } from "../tensor/autograd.ts";
import { empty, size, type Tensor, view } from "../tensor/tensor.ts";
import { expectIndices, expectNumbers, expectOneDevice, expectRank, expectShape, expectWhole, wrong } from "./check.ts";
import { fillWith } from "./fill.ts";

export type Dispatch = {
  /** i32 [E+1]: the sorted places of expert e are offsets[e]..offsets[e+1]-1. */
  readonly offsets: Tensor;
  /** i32 [R·K]: the slot at each sorted place. */
  readonly sorted: Tensor;
  /** i32 [R·K]: the sorted place of each slot. */
  readonly place: Tensor;
};

/** indices i32 [R, K] of E experts; those outside 0..E-1 are clamped. Stable: slots of one expert stay in order. */
export function dispatch(indices: Tensor, E: number): Dispatch {
  expectRank("dispatch", "indices", indices, 2, "R, K");
  expectIndices("dispatch", "indices", indices, indices.shape);
  expectWhole("dispatch", "E", E, 1, 2 ** 24);
  const { device } = indices.storage;
  const slots = size(indices);
  const offsets = empty(device, [E + 1], "i32");
  const sorted = empty(device, [slots], "i32");
  const place = empty(device, [slots], "i32");
  if (slots === 0) fillWith(offsets, 0);
  else device.kernels.dispatch({ offsets: view(offsets), sorted: view(sorted), place: view(place), indices: view(indices), slots, E });
  return { offsets, sorted, place };
}

/** x [R, C] -> [R·K, C]: the row of each slot, in the order of the experts. Differentiable. */
export function expertGather(x: Tensor, d: Dispatch, K: number): Tensor {
  expectNumbers("expertGather", "x", x);
  expectRank("expertGather", "x", x, 2, "R, C");
  expectWhole("expertGather", "K", K, 1, Number.MAX_SAFE_INTEGER);
  const [R, width] = x.shape as [number, number];
  expectSlots("expertGather", d, R, K);
  expectOneDevice("expertGather", x, d.sorted);
  const { device } = x.storage;
  const slots = R * K;
  const out = empty(device, [slots, width]);
  if (slots * width > 0) device.kernels.expertGather({ out: view(out), x: view(x), sorted: view(d.sorted), slots, K, width });
  return attach("expertGather", out, [x], (dy) =>
    giveGrad(x, (dx, accumulate) =>
      device.kernels.expertCombine({ out: view(dx), y: view(dy), place: view(d.place), T: R, K, width, accumulate }),
    ),
  );
}

/** y [R·K, C] in the order of the experts, weights [R, K] -> [R, C]: each row's weighted sum, k ascending. Differentiable in y and weights. */
export function expertCombine(y: Tensor, d: Dispatch, weights: Tensor): Tensor {
  expectNumbers("expertCombine", "y", y);
  expectNumbers("expertCombine", "weights", weights);
  expectRank("expertCombine", "y", y, 2, "R·K, C");
  expectRank("expertCombine", "weights", weights, 2, "R, K");
  const [R, K] = weights.shape as [number, number];
  const width = y.shape[1] as number;
  const slots = R * K;
  if (y.shape[0] !== slots)
    throw wrong(
      "expertCombine",
      `y ${showShape(y.shape)} with weights ${showShape(weights.shape)}`,
      `y [${slots}, C]`,
      "give one row for each slot",
    );
  expectSlots("expertCombine", d, R, K);
  expectOneDevice("expertCombine", y, weights);
  expectOneDevice("expertCombine", y, d.place);
  const { device } = y.storage;
  const out = empty(device, [R, width]);
  if (K === 0) fillWith(out, 0);
  else if (R * width > 0)
    device.kernels.expertCombine({ out: view(out), y: view(y), place: view(d.place), weights: view(weights), T: R, K, width });
  return attach("expertCombine", out, [y, weights], (dOut) => {
    if (K === 0) return;
    if (y.requiresGrad) {
      const dy = empty(device, y.shape);
      device.kernels.expertGather({ out: view(dy), x: view(dOut), sorted: view(d.sorted), weights: view(weights), slots, K, width });
      addGrad(y, dy);
    }
    if (weights.requiresGrad) {
      const dweights = empty(device, weights.shape);
      device.kernels.expertCombineWeightGrad({
        dweights: view(dweights),
        y: view(y),
        dOut: view(dOut),
        place: view(d.place),
        T: R,
        K,
        width,
      });
      addGrad(weights, dweights);
    }
  });
}

/** How often each expert occurs in each of `parts` equal parts of indices i32 [R, K] -> [parts, E], f32. No gradient. */
export function expertLoad(indices: Tensor, parts: number, E: number): Tensor {
  expectRank("expertLoad", "indices", indices, 2, "R, K");
  expectIndices("expertLoad", "indices", indices, indices.shape);
  expectWhole("expertLoad", "E", E, 1, 2 ** 24);
  const R = indices.shape[0] as number;
  expectWhole("expertLoad", "parts", parts, 1, Math.max(R, 1));
  if (R % parts !== 0)
    throw wrong("expertLoad", `${parts} parts of ${R} rows`, "equal parts", "give all sequences one length, or use one part");
  const { device } = indices.storage;
  const slots = size(indices);
  const counts = empty(device, [parts, E]);
  if (slots === 0) fillWith(counts, 0);
  else device.kernels.expertLoad({ counts: view(counts), indices: view(indices), slots, parts, E });
  return counts;
}

function expectSlots(operation: string, d: Dispatch, R: number, K: number): void {
  expectIndices(operation, "sorted", d.sorted, [R * K]);
  expectShape(operation, "place", d.place, [R * K]);
}
