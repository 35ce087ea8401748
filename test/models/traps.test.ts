// Where implementations of these models go wrong: one test for each known trap. Each changes a checkpoint in a way whose effect only the right
// reading has, beside the equality with transformers that model-suite.ts holds. (Chat templates, a trap too, are text's.)

import { afterAll, beforeAll, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { Engine } from "../../src/engine/engine.ts";
import { openHfFolder } from "../../src/formats/hf-folder.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { parseRope } from "../../src/models/config.ts";
import type { ModelOptions } from "../../src/models/family.ts";
import { loadModel } from "../../src/models/load.ts";
import type { ForwardInput, ForwardOutput, Model } from "../../src/models/model.ts";
import { softmaxFactor } from "../../src/models/rope-tables.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { dispose, read, scope, type Tensor } from "../../src/tensor/tensor.ts";
import { type Expected, fixturePath, fromRows, packed, readExpected, readJson } from "./fixtures.ts";

let device: Device;
beforeAll(() => {
  device = openReference({ precision: "f32" });
});
afterAll(() => device.close());

type Changes = {
  readonly config?: Readonly<Record<string, unknown>>;
  /** New numbers of a tensor, changed in place. */
  readonly tensors?: (name: string, values: Float32Array, shape: readonly number[]) => void;
  readonly options?: ModelOptions;
};

/** Loads a fixture with some of its settings and numbers changed, hands it to `use`, and frees it. */
async function altered<T>(name: string, { config, tensors, options }: Changes, use: (model: Model) => Promise<T>): Promise<T> {
  const folder = await openHfFolder(nodeFiles, fixturePath(name));
  const changed = [...folder.tensors.values()].map((tensor) => ({
    ...tensor,
    readF32: async () => {
      const values = await tensor.readF32();
      tensors?.(tensor.name, values, tensor.shape);
      return values;
    },
  }));
  const model = await loadModel(device, { config: { ...folder.config, ...config }, tensors: changed }, options);
  try {
    return await use(model);
  } finally {
    model.dispose();
    await folder.close();
  }
}

async function run(model: Model, name: string, more: Partial<ForwardInput> = {}, pick = (out: ForwardOutput): Tensor => out.logits) {
  const { ids } = readJson<Expected>(`${name}/expected.json`);
  const out = scope(() => pick(model.forward({ ...packed(device, ids), ...more })));
  const values = [...(await read(out))];
  dispose(out);
  return values;
}

function logitsOf(name: string, changes: Changes = {}): Promise<number[]> {
  return altered(name, changes, (model) => run(model, name));
}

function distance(a: readonly number[], b: readonly number[]): number {
  expect(a.length).toBe(b.length);
  return Math.max(...a.map((x, i) => Math.abs(x - (b[i] as number))));
}

/** Multiplies whole rows of a matrix. */
function scaleRows(values: Float32Array, [, width]: readonly number[], factor: (row: number) => number): void {
  for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) * factor(Math.floor(i / (width as number)));
}

function scaleAll(values: Float32Array, factor: number): void {
  for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) * factor;
}

test("1: dropped groups count -Infinity by default, as DeepSeek has it; 0, as transformers 4 had it, on request", async () => {
  const expected = [...(await readExpected("deepseek-masked-zero"))].flatMap(([, values]) => [...values]);
  const zero = await logitsOf("deepseek-masked-zero", { options: { maskedGroupScore: 0 } });
  const infinite = await logitsOf("deepseek-masked-zero");
  expect(distance(zero, expected)).toBeLessThan(1e-4);
  expect(distance(infinite, expected)).toBeGreaterThan(0.1);
  expect(await logitsOf("deepseek-masked-zero", { options: { maskedGroupScore: Number.NEGATIVE_INFINITY } })).toEqual(infinite);
});

test("2: eh_proj takes the embedding of the next token first, the hidden state second", async () => {
  const name = "deepseek-mtp";
  const C = readJson<{ hidden_size: number }>(`${name}/config.json`).hidden_size;
  const rows = readJson<Expected>(`${name}/expected.json`).ids.flat().length;
  const predictions = (half: "first" | "second", id: number) =>
    altered(
      name,
      {
        tensors: (tensor, values, [, width]) => {
          if (!tensor.endsWith("eh_proj.weight")) return;
          for (let i = 0; i < values.length; i++) if ((i % (width as number) < C ? "first" : "second") === half) values[i] = 0;
        },
      },
      (model) => run(model, name, { nextIds: fromRows(device, Array(rows).fill(id)) }, (out) => out.mtpLogits as Tensor),
    );
  expect(await predictions("first", 5)).toEqual(await predictions("first", 9)); // deaf to the next token
  expect(distance(await predictions("second", 5), await predictions("second", 9))).toBeGreaterThan(0.1);
});

test("3: weight_scale_inv multiplies", async () => {
  const name = "deepseek-fp8";
  const folder = await openHfFolder(nodeFiles, fixturePath(name));
  const file = await openSafetensors(await nodeFiles.open(fixturePath(`${name}/model.safetensors`)));
  const [rows, columns] = readJson<{ quantization_config: { weight_block_size: [number, number] } }>(`${name}/config.json`)
    .quantization_config.weight_block_size;
  const weight = "model.layers.1.self_attn.q_b_proj.weight";
  const [codes, scales, values] = await Promise.all([
    file.readF32(weight),
    file.readF32(`${weight}_scale_inv`),
    folder.tensors.get(weight)?.readF32(),
  ]);
  const [N, K] = (folder.tensors.get(weight)?.shape ?? []) as [number, number];
  expect([N % rows, K % columns]).not.toEqual([0, 0]); // ragged
  for (let n = 0; n < N; n++) {
    for (let k = 0; k < K; k++) {
      const scale = scales[Math.floor(n / rows) * Math.ceil(K / columns) + Math.floor(k / columns)] as number;
      expect(values?.[n * K + k]).toBe(Math.fround((codes[n * K + k] as number) * scale));
    }
  }
  await file.close();
  await folder.close();
});

test("4: e_score_correction_bias sways the choice alone: the same shift of all of it changes no bit", async () => {
  const name = "deepseek-groups";
  const shifted = (by: number) =>
    logitsOf(name, {
      tensors: (tensor, values) => {
        if (tensor.endsWith("e_score_correction_bias")) for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) + by;
      },
    });
  const plain = await logitsOf(name);
  expect(await shifted(0.25)).toEqual(plain);
  expect(await shifted(-2)).toEqual(plain);
});

test("5: the gate computes in f32 from a bf16 file: scores that bf16 could not tell apart differ as they should", async () => {
  const name = "deepseek-v2-bf16";
  const step = 2 ** -13; // bf16 has 8 bits
  const scores = await altered(
    name,
    {
      tensors: (tensor, values, shape) => {
        if (!tensor.endsWith("layers.0.mlp.gate.weight")) return;
        const [E, C] = shape as [number, number];
        for (let i = 0; i < E * C; i++) values[i] = (values[i % C] as number) * (1 + Math.floor(i / C) * step);
      },
    },
    (model) => run(model, name, {}, (out) => out.routing[0]?.scores as Tensor),
  );
  const E = 6;
  for (let r = 0; r * E < scores.length; r++) {
    const log = (e: number) => Math.log((scores[r * E + e] as number) / (scores[r * E] as number));
    expect(Math.abs(log(E - 1))).toBeGreaterThan(1e-6);
    for (let e = 1; e < E; e++) expect(Math.abs(log(e) - (log(E - 1) * e) / (E - 1))).toBeLessThan(5e-7);
  }
});

test("6: DeepSeek's files pair neighbours; in half-split order the rotary rows of q and k lie elsewhere", async () => {
  const name = "deepseek-groups";
  const { qk_nope_head_dim: nope, qk_rope_head_dim: turned } = readJson<Record<string, number>>(`${name}/config.json`) as {
    qk_nope_head_dim: number;
    qk_rope_head_dim: number;
  };
  /** Row `row` of a turned part, half-split, is row `from` of the interleaved one. */
  const from = (row: number) => (row < turned / 2 ? 2 * row : 2 * (row - turned / 2) + 1);
  const reorder = (values: Float32Array, width: number, start: number) => {
    const rows = values.slice(start * width, (start + turned) * width);
    for (let row = 0; row < turned; row++) values.set(rows.subarray(from(row) * width, (from(row) + 1) * width), (start + row) * width);
  };
  const split: Changes = {
    config: { rope_interleave: false },
    tensors: (tensor, values, [N, width]) => {
      if (tensor.endsWith("q_b_proj.weight"))
        for (let head = nope; head < (N as number); head += nope + turned) reorder(values, width as number, head);
      if (tensor.endsWith("kv_a_proj_with_mqa.weight")) reorder(values, width as number, (N as number) - turned);
    },
  };
  const plain = await logitsOf(name);
  expect(distance(await logitsOf(name, split), plain)).toBeLessThan(2e-5);
  expect(distance(await logitsOf(name, { config: { rope_interleave: false } }), plain)).toBeGreaterThan(0.1);
});

test("7: YaRN's mscale is squared in the softmax scale", async () => {
  const name = "deepseek-long-yarn";
  const config = readJson<Record<string, unknown>>(`${name}/config.json`);
  const { mscale: _one, mscale_all_dim: _all, ...rope } = config.rope_parameters as Record<string, number>;
  const mscale = 0.1 * Math.log(rope.factor as number) + 1;
  expect(softmaxFactor(parseRope(config))).toBeCloseTo(mscale ** 2, 12);
  const byHand = await logitsOf(name, {
    config: { rope_parameters: { ...rope, attention_factor: 1 } },
    tensors: (tensor, values) => {
      if (tensor.endsWith("q_b_proj.weight")) scaleAll(values, mscale ** 2);
    },
  });
  expect(distance(byHand, await logitsOf(name))).toBeLessThan(2e-5);
});

test("8: the latent is normalised, the rotary key is not", async () => {
  const name = "deepseek-groups";
  const {
    kv_lora_rank: rank,
    qk_nope_head_dim: nope,
    qk_rope_head_dim: turned,
  } = readJson<Record<string, number>>(`${name}/config.json`) as {
    kv_lora_rank: number;
    qk_nope_head_dim: number;
    qk_rope_head_dim: number;
  };
  const scaled = (part: string, factor: (row: number) => number) =>
    logitsOf(name, {
      tensors: (tensor, values, shape) => {
        if (tensor.endsWith(`${part}.weight`)) scaleRows(values, shape, factor);
      },
    });
  const plain = await logitsOf(name);
  const latent = await scaled("kv_a_proj_with_mqa", (row) => (row < rank ? 64 : 1));
  expect(distance(latent, plain)).toBeLessThan(1e-3); // but for eps
  const key = await scaled("kv_a_proj_with_mqa", (row) => (row < rank ? 1 : 1.5));
  const query = await scaled("q_b_proj", (row) => (row % (nope + turned) < nope ? 1 : 1.5));
  expect(distance(key, plain)).toBeGreaterThan(0.1);
  expect(distance(key, query)).toBeLessThan(2e-5);
});

test("9: the layer after the last belongs to multi-token prediction; the main model skips it", async () => {
  const name = "deepseek-mtp";
  const layer = `model.layers.${readJson<{ num_hidden_layers: number }>(`${name}/config.json`).num_hidden_layers}.`;
  let touched = 0;
  const changed = await logitsOf(name, {
    tensors: (tensor, values) => {
      if (!tensor.startsWith(layer)) return;
      touched++;
      values.fill(Number.NaN);
    },
  });
  expect(touched).toBeGreaterThan(10);
  expect(changed).toEqual(await logitsOf(name));
});

test("10: padded vocabulary ids are never sampled, however large their logits", async () => {
  const name = "llama-gqa";
  const V = readJson<{ vocab_size: number }>(`${name}/config.json`).vocab_size;
  const limit = V - 9;
  const loud: Changes = {
    tensors: (tensor, values, shape) => {
      if (tensor === "lm_head.weight") scaleRows(values, shape, (row) => (row < limit ? 1 : 50));
    },
  };
  const generated = (vocabLimit: number | undefined) =>
    altered(name, loud, async (model) => {
      const engine = new Engine(model, { slots: 2, contextLength: 40, ...(vocabLimit !== undefined && { vocabLimit }) });
      const prompts = [0, 1].map((temperature) => ({ ids: [3, 1, 4], maxTokens: 24, sampling: { temperature, seed: 7 } }));
      const results = await engine.generate(prompts);
      await engine.dispose();
      return results.flatMap(({ ids }) => ids);
    });
  expect(Math.max(...(await generated(undefined)))).toBeGreaterThanOrEqual(limit);
  const ids = await generated(limit);
  expect(ids).toHaveLength(48);
  expect(Math.max(...ids)).toBeLessThan(limit);
});

test("12: V2's gate is a softmax that is not normalised again, times 16", async () => {
  const name = "deepseek-v2-groups";
  expect(readJson(`${name}/config.json`)).toMatchObject({ norm_topk_prob: false, routed_scaling_factor: 16 });
  const bigger: Changes["tensors"] = (tensor, values) => {
    if (/mlp\.experts\.\d+\.down_proj/.test(tensor)) scaleAll(values, 16);
  };
  const plain = await logitsOf(name);
  expect(distance(await logitsOf(name, { config: { routed_scaling_factor: 1 }, tensors: bigger }), plain)).toBeLessThan(2e-5);
  const normalised = await logitsOf(name, { config: { routed_scaling_factor: 1, norm_topk_prob: true }, tensors: bigger });
  expect(distance(normalised, plain)).toBeGreaterThan(0.1);
});
