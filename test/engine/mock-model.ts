// Models without weights for the engine's tests: the logits after a row are byPosition[position] + byId[id], nothing else. And tiny random
// models of the real families, whose logits depend on the whole prefix through the cache.

import type { Device } from "../../src/backend/backend.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { Random } from "../../src/core/random.ts";
import { createModel } from "../../src/models/load.ts";
import type { Model } from "../../src/models/model.ts";
import { add } from "../../src/ops/binary.ts";
import { gatherRows } from "../../src/ops/gather-rows.ts";
import { dispose, fromArray, keep, type Tensor } from "../../src/tensor/tensor.ts";

export type Script = {
  readonly vocabSize: number;
  readonly contextLength?: number;
  /** Logits that a last position, or a last id, adds. */
  readonly byPosition?: (position: number, id: number) => number;
  readonly byId?: (last: number, id: number) => number;
  /** Gives the model a next head: it says what the model will say, but for rows at positions where this is true; there it says id 0. */
  readonly headErrs?: (position: number) => boolean;
  /** Called at each forward with its number from 1 and its rows; may throw. */
  readonly onForward?: (step: number, rows: number) => void;
};

export function mockModel(script: Script, device: Device = openReference()): Model {
  const { vocabSize: V, contextLength = 64 } = script;
  const table = (rows: number, logit: (row: number, id: number) => number) =>
    keep(() =>
      fromArray(
        device,
        Array.from({ length: rows * V }, (_, i) => logit(Math.floor(i / V), i % V)),
        [rows, V],
      ),
    );
  const positions = table(contextLength, script.byPosition ?? (() => 0));
  const ids = table(V, script.byId ?? (() => 0));
  const { headErrs, byPosition = () => 0 } = script;
  const next = headErrs && table(contextLength, (p, id) => byPosition(p + 1, id) + (headErrs(p) && id === 0 ? 1000 : 0));
  let steps = 0;
  return {
    device,
    config: {},
    modelType: "mock",
    vocabSize: V,
    contextLength,
    parameters: new Map(),
    buffers: new Map(),
    weightTable: [],
    parameterCount: { total: 0, active: 0 },
    forward(input) {
      script.onForward?.(++steps, input.ids.shape[0] as number);
      const pick = (rows: typeof ids) => (input.outputRows ? gatherRows(rows, input.outputRows) : rows);
      const logits = add(gatherRows(positions, pick(input.positions)), gatherRows(ids, pick(input.ids)));
      return { logits, routing: [], ...(input.withHidden && { hidden: gatherRows(ids, input.ids) }) };
    },
    ...(next && {
      predictNext: ({ outputRows, positions, nextIds }) => {
        const pick = (rows: Tensor) => (outputRows ? gatherRows(rows, outputRows) : rows);
        return { logits: add(gatherRows(next, pick(positions)), gatherRows(ids, pick(nextIds))), routing: [] };
      },
    }),
    makeCache: (slots, length) => ({ slots, length, type: "f32", layers: [], bytesPerToken: 0, dispose: () => {} }),
    dispose: () => dispose(positions, ids, ...(next ? [next] : [])),
  };
}

/** After prompt ids of any kind the completion is exactly `script`, then `script`'s last id for ever; `promptLength` says where it begins. */
export function scriptedModel(
  script: readonly number[],
  promptLength: number,
  vocabSize: number,
  more: Partial<Script> = {},
  device: Device = openReference(),
): Model {
  const at = (position: number) => script[Math.min(Math.max(0, position - promptLength + 1), script.length - 1)];
  return mockModel({ vocabSize, byPosition: (position, id) => (id === at(position) ? 40 : 0), ...more }, device);
}

const common = {
  vocab_size: 41,
  hidden_size: 16,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  hidden_act: "silu",
  initializer_range: 0.6,
};

export function tinyLlama(device: Device = openReference(), more: Partial<typeof common> = {}): Model {
  const config = {
    ...common,
    ...more,
    model_type: "llama",
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
  };
  return createModel(device, config, new Random(7));
}

/** `nextHead`: 1 for a head of multi-token prediction. */
export function tinyDeepseek(device: Device = openReference(), nextHead = 0): Model {
  const config = {
    ...common,
    model_type: "deepseek_v3",
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    q_lora_rank: null,
    kv_lora_rank: 8,
    qk_nope_head_dim: 6,
    qk_rope_head_dim: 4,
    v_head_dim: 6,
    first_k_dense_replace: 1,
    n_routed_experts: 4,
    num_experts_per_tok: 2,
    n_shared_experts: 1,
    moe_intermediate_size: 12,
    n_group: 1,
    topk_group: 1,
    norm_topk_prob: true,
    routed_scaling_factor: 1,
    scoring_func: "sigmoid",
    topk_method: "noaux_tc",
    num_nextn_predict_layers: nextHead,
    rope_theta: 10000,
  };
  return createModel(device, config, new Random(11));
}
