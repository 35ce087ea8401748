// The mixture of experts that DeepSeekMoE and Qwen3-MoE share: a gate (sigmoid with a selection bias, or softmax), K chosen experts per row,
// and DeepSeek's shared expert. In: rows [R, C]. Out: rows [R, C] and what the gate chose. Settings keep DeepSeek's spelling; a family
// that spells them otherwise translates. The gate computes in f32, whatever type the weights were stored in.

import { add } from "../ops/binary.ts";
import { dispatch, expertCombine, expertGather } from "../ops/dispatch.ts";
import { zeros } from "../ops/fill.ts";
import { groupedLinear } from "../ops/grouped-matmul.ts";
import { linear } from "../ops/matmul.ts";
import { route } from "../ops/route.ts";
import { softmax } from "../ops/softmax.ts";
import { swiglu } from "../ops/swiglu.ts";
import { sigmoid } from "../ops/unary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type FeedForward, type Finder, feedForward, mlpEntries } from "./layers.ts";
import type { Routing } from "./model.ts";
import { buffer, exact, matrix, stack, type WeightEntry } from "./weights.ts";

export type MixtureConfig = {
  readonly n_routed_experts: number;
  /** 0: none. */
  readonly n_shared_experts: number;
  readonly num_experts_per_tok: number;
  readonly moe_intermediate_size: number;
  readonly scoring_func: "sigmoid" | "softmax";
  /** noaux_tc: e_score_correction_bias sways the choice, and a group is worth its two best experts; otherwise its best one. */
  readonly topk_method: "greedy" | "group_limited_greedy" | "noaux_tc";
  /** 1 and 1: no groups. */
  readonly n_group: number;
  readonly topk_group: number;
  readonly norm_topk_prob: boolean;
  readonly routed_scaling_factor: number;
};

export type Mixture = {
  readonly config: MixtureConfig;
  readonly gate: Tensor; // [E, C]
  readonly bias: Tensor | undefined; // [E], noaux_tc only
  readonly experts: { readonly gate: Tensor; readonly up: Tensor; readonly down: Tensor }; // [E, F, C], [E, F, C], [E, C, F]
  readonly shared: FeedForward | undefined;
};

/** Rows of the weight table below `at`, e.g. "model.layers.3.mlp". C: hidden_size. */
export function mixtureEntries(at: string, moe: MixtureConfig, C: number): WeightEntry[] {
  const { n_routed_experts: E, moe_intermediate_size: F } = moe;
  return [
    exact(matrix(`${at}.gate.weight`, E, C)), // scores are those of f32
    ...(moe.topk_method === "noaux_tc" ? [buffer(`${at}.gate.e_score_correction_bias`, E)] : []),
    stack(`${at}.experts.{e}.gate_proj.weight`, E, F, C),
    stack(`${at}.experts.{e}.up_proj.weight`, E, F, C),
    stack(`${at}.experts.{e}.down_proj.weight`, E, C, F),
    ...(moe.n_shared_experts ? mlpEntries(`${at}.shared_experts`, F * moe.n_shared_experts, C, false) : []),
  ];
}

export function makeMixture({ tensor, mlp }: Finder, at: string, moe: MixtureConfig): Mixture {
  const expert = (name: string) => tensor(`${at}.experts.${name}_proj.weight`);
  return {
    config: moe,
    gate: tensor(`${at}.gate.weight`),
    bias: moe.topk_method === "noaux_tc" ? tensor(`${at}.gate.e_score_correction_bias`) : undefined,
    experts: { gate: expert("gate"), up: expert("up"), down: expert("down") },
    shared: moe.n_shared_experts ? mlp(`${at}.shared_experts`) : undefined,
  };
}

/**
 * x [R, C] -> [R, C] through the K chosen experts of each row and the shared one. `masked`: what experts of dropped groups count.
 * Sources: DeepSeek-V2 2.2 (softmax), DeepSeek-V3 2.1.2 (sigmoid, bias); Qwen3-MoE as transformers computes it.
 */
export function mix(x: Tensor, w: Mixture, layer: number, masked: number): { out: Tensor; routing: Routing } {
  const { n_routed_experts: E, num_experts_per_tok: K, n_group, topk_group, norm_topk_prob, routed_scaling_factor } = w.config;
  const logits = linear(x, w.gate); // [R, E]
  const scores = w.config.scoring_func === "softmax" ? softmax(logits) : sigmoid(logits);
  const groupTop = w.bias ? Math.min(2, E / n_group) : 1;
  const gate = { K, groups: n_group, topkGroups: topk_group, groupTop, masked, normalise: norm_topk_prob, scale: routed_scaling_factor };
  const { indices, weights } = route(scores, w.bias ?? zeros(x.storage.device, [E]), gate); // [R, K] each
  const places = dispatch(indices, E);
  const sorted = expertGather(x, places, K); // [R·K, C], in expert order
  const hidden = swiglu(groupedLinear(sorted, w.experts.gate, places.offsets), groupedLinear(sorted, w.experts.up, places.offsets)); // [R·K, F]
  const routed = expertCombine(groupedLinear(hidden, w.experts.down, places.offsets), places, weights); // [R, C]
  const routing = { layer, indices, scores, bias: w.bias };
  return { out: w.shared ? add(routed, feedForward(x, w.shared)) : routed, routing };
}
