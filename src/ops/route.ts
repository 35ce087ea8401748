// The gate of a mixture of experts: chooses K of E experts for each row (DeepSeek-V3 section 2.1.2: the bias moves the choice and never the
// weights; groups limit it to topkGroups groups). Weights are differentiable in the scores, the choice is not.

import { addGrad, attach } from "../tensor/autograd.ts";
import { empty, type Tensor, view } from "../tensor/tensor.ts";
import { expectNumbers, expectOneDevice, expectRank, expectShape, expectWhole, wrong } from "./check.ts";

export type RouteOptions = {
  /** Experts chosen for each row. */
  readonly K: number;
  /** Equal groups of neighbouring experts, of which the topkGroups best are kept. 1 and 1: no limit. */
  readonly groups: number;
  readonly topkGroups: number;
  /** A group's score is the sum of its best 1 (V2) or 2 (V3) choices. */
  readonly groupTop: number;
  /** What dropped experts count: -Infinity (DeepSeek) or 0 (transformers). */
  readonly masked: number;
  /** Divide the chosen weights by their sum. */
  readonly normalise: boolean;
  /** routed_scaling_factor. */
  readonly scale: number;
};

/** scores [R, E], bias [E] -> indices i32 [R, K], best first, and weights [R, K]. */
export function route(scores: Tensor, bias: Tensor, options: RouteOptions): { indices: Tensor; weights: Tensor } {
  const { K, groups, topkGroups, groupTop, masked, normalise, scale } = options;
  expectNumbers("route", "scores", scores);
  expectNumbers("route", "bias", bias);
  expectRank("route", "scores", scores, 2, "R, E");
  const [T, E] = scores.shape as [number, number];
  expectShape("route", "bias", bias, [E]);
  expectOneDevice("route", scores, bias);
  expectWhole("route", "groups", groups, 1, E);
  if (E % groups !== 0) throw wrong("route", `${groups} groups of ${E} experts`, "equal groups", "check n_group and n_routed_experts");
  const perGroup = E / groups;
  expectWhole("route", "topkGroups", topkGroups, 1, groups);
  expectWhole("route", "groupTop", groupTop, 1, Math.min(2, perGroup));
  expectWhole("route", "K", K, 1, topkGroups * perGroup);
  const { device } = scores.storage;
  const indices = empty(device, [T, K], "i32");
  const weights = empty(device, [T, K]);
  if (T > 0) {
    device.kernels.route({
      indices: view(indices),
      weights: view(weights),
      scores: view(scores),
      bias: view(bias),
      T,
      E,
      K,
      groups,
      topkGroups,
      groupTop,
      masked,
      normalise,
      scale,
    });
  }
  attach("route", weights, [scores], (dweights) => {
    const dscores = empty(device, scores.shape);
    device.kernels.routeBackward({
      dscores: view(dscores),
      dweights: view(dweights),
      scores: view(scores),
      indices: view(indices),
      T,
      E,
      K,
      normalise,
      scale,
    });
    addGrad(scores, dscores);
  });
  return { indices, weights };
}
