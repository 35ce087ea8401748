import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Device } from "../../src/backend/backend.ts";
import { openReference } from "../../src/backend/reference/open.ts";
import { ConfigError, FormatError, ShapeError } from "../../src/core/errors.ts";
import { Random } from "../../src/core/random.ts";
import { openHfFolder } from "../../src/formats/hf-folder.ts";
import { writeHfFolder } from "../../src/formats/hf-folder-writer.ts";
import { createModel, loadModel, saveModel } from "../../src/models/load.ts";
import type { Model } from "../../src/models/model.ts";
import { nodeFiles } from "../../src/platform/node-files.ts";
import { dispose, fromArray, liveStorageCount, read, scope, size } from "../../src/tensor/tensor.ts";
import { trackGradients } from "../../src/tensor/tracking.ts";
import { appended, fixturePath, fromRows, packed, readJson } from "./fixtures.ts";

let device: Device;
let llama: Model;
let deepseek: Model;
const llamaConfig = readJson<Record<string, unknown>>("llama-gqa/config.json");
const deepseekConfig = readJson<Record<string, unknown>>("deepseek-mtp/config.json");

beforeAll(() => {
  device = openReference({ precision: "f32" });
  llama = createModel(device, llamaConfig, new Random(1));
  deepseek = createModel(device, deepseekConfig, new Random(1));
});
afterAll(async () => {
  llama.dispose();
  deepseek.dispose();
  await device.close();
});

async function logits(model: Model): Promise<number[]> {
  const out = scope(() => model.forward(packed(device, [[3, 1, 4, 1, 5]])).logits);
  const values = [...(await read(out))];
  dispose(out);
  return values;
}

describe("createModel", () => {
  test("the same seed gives the same model, another seed another", async () => {
    const same = createModel(device, llamaConfig, new Random(1));
    const other = createModel(device, llamaConfig, new Random(2));
    expect(await logits(same)).toEqual(await logits(llama));
    expect(await logits(other)).not.toEqual(await logits(llama));
    same.dispose();
    other.dispose();
  });

  test("fresh weights predict nearly uniformly, with both families", async () => {
    for (const model of [llama, deepseek]) {
      const values = await logits(model);
      expect(values.every((x) => Math.abs(x) < 1)).toBe(true);
      expect(values.some((x) => x !== 0)).toBe(true);
    }
  });

  test("parameterCount: all of them, and those that one token uses", () => {
    const sizes = (model: Model) => [...model.parameters].reduce((total, [, tensor]) => total + size(tensor), 0);
    expect(llama.parameterCount).toEqual({ total: sizes(llama), active: sizes(llama) });
    expect(deepseek.parameterCount.total).toBe(sizes(deepseek));
    const next = [...deepseek.parameters]
      .filter(([name]) => name.startsWith("model.layers.2."))
      .reduce((total, [, tensor]) => total + size(tensor), 0);
    const unchosen = 3 * 5 * 9 * 20; // gate, up and down of 5 of 8 experts in the one mixture layer
    expect(deepseek.parameterCount.active).toBe(sizes(deepseek) - next - unchosen);
  });

  test("the prediction layer is a mixture even where all layers are dense", async () => {
    const model = createModel(device, { ...deepseekConfig, first_k_dense_replace: 9 }, new Random(1));
    const mixed = [...model.parameters.keys()].filter((name) => name.endsWith("mlp.experts.up_proj.weight"));
    expect(mixed).toEqual(["model.layers.2.mlp.experts.up_proj.weight"]);
    const { routing, mtpLogits } = scope(() => model.forward({ ...packed(device, [[1, 2]]), nextIds: fromRows(device, [2, -1]) }));
    expect(routing.map(({ layer }) => layer)).toEqual([2]);
    expect(mtpLogits?.shape).toEqual([2, 61]);
    model.dispose();
  });

  test("without shared experts; with one expert alone", async () => {
    const single = { n_routed_experts: 1, num_experts_per_tok: 1, n_group: 1, topk_group: 1 };
    for (const settings of [{ n_shared_experts: 0 }, single]) {
      const model = createModel(device, { ...deepseekConfig, ...settings, num_nextn_predict_layers: 0 }, new Random(1));
      expect([...model.parameters.keys()].some((name) => name.includes("shared"))).toBe(settings === single);
      expect((await logits(model)).every(Number.isFinite)).toBe(true);
      model.dispose();
    }
  });

  test("contextLength shrinks tables and is checked", () => {
    const before = liveStorageCount();
    const small = createModel(device, llamaConfig, new Random(1), { contextLength: 5 });
    expect(small.contextLength).toBe(5);
    small.dispose();
    for (const contextLength of [0, -1, 1.5, 65, Number.NaN]) {
      expect(() => createModel(device, llamaConfig, new Random(1), { contextLength })).toThrow(ConfigError);
    }
    expect(liveStorageCount()).toBe(before);
  });
});

describe("loadModel", () => {
  test("another family, no family, no object", async () => {
    for (const config of [
      { ...llamaConfig, model_type: "gpt2" },
      { ...llamaConfig, model_type: undefined },
      { model_type: ["llama"] },
      null,
      5,
      [],
      "llama",
    ]) {
      await expect(loadModel(device, { config, tensors: [] })).rejects.toThrow(ConfigError);
    }
  });

  test("weights that do not belong to the config, T34 among them, are refused before memory is taken", async () => {
    const before = liveStorageCount();
    const { tensors } = saveModel(llama);
    await expect(loadModel(device, { config: { ...llamaConfig, vocab_size: 54 }, tensors })).rejects.toThrow(
      /embed_tokens.weight" of shape \[53, 24\]; expected \[54, 24\]/,
    );
    await expect(loadModel(device, { config: { ...llamaConfig, vocab_size: 52 }, tensors })).rejects.toThrow(
      /embed_tokens.weight" of shape \[53, 24\]; expected \[52, 24\]/,
    );
    await expect(loadModel(device, { config: { ...llamaConfig, num_hidden_layers: 3 }, tensors })).rejects.toThrow(
      /no tensor "model.layers.2.input_layernorm.weight"/,
    );
    await expect(loadModel(device, { config: { ...llamaConfig, num_hidden_layers: 1 }, tensors })).rejects.toThrow(
      /unexpected tensor "model.layers.1.input_layernorm.weight"/,
    );
    await expect(
      loadModel(device, {
        config: { ...llamaConfig, tie_word_embeddings: false },
        tensors: tensors.filter(({ name }) => name !== "lm_head.weight"),
      }),
    ).rejects.toThrow(FormatError);
    expect(liveStorageCount()).toBe(before);
  });

  test("a tied model accepts the head that some files repeat, and rotary buffers of old files", async () => {
    const tied = createModel(device, { ...llamaConfig, tie_word_embeddings: true }, new Random(1));
    const saved = saveModel(tied);
    expect(saved.tensors.some(({ name }) => name === "lm_head.weight")).toBe(false);
    const extra = [
      { name: "lm_head.weight", shape: [53, 24], readF32: async () => new Float32Array(53 * 24) },
      { name: "model.layers.0.self_attn.rotary_emb.inv_freq", shape: [3], readF32: async () => new Float32Array(3) },
    ];
    const loaded = await loadModel(device, { config: saved.config, tensors: [...saved.tensors, ...extra] });
    expect(await logits(loaded)).toEqual(await logits(tied));
    tied.dispose();
    loaded.dispose();
  });

  test("a DeepSeek config that promises a prediction layer which the file lacks loads without it, and says so when it is saved", async () => {
    const { config, tensors } = saveModel(deepseek);
    expect(config.num_nextn_predict_layers).toBe(1);
    const without = tensors.filter(({ name }) => !name.startsWith("model.layers.2."));
    const model = await loadModel(device, { config, tensors: without });
    expect(saveModel(model).config.num_nextn_predict_layers).toBe(0);
    expect(await logits(model)).toEqual(await logits(deepseek));
    expect(() => model.forward({ ...packed(device, [[1, 2]]), nextIds: fromRows(device, [2, -1]) })).toThrow(/num_nextn_predict_layers/);
    model.dispose();
    const half = tensors.filter(({ name }) => !name.startsWith("model.layers.2.") || name.endsWith("eh_proj.weight"));
    await expect(loadModel(device, { config, tensors: half })).rejects.toThrow(/no tensor "model.layers.2.enorm.weight"/);
    await expect(loadModel(device, { config: { ...config, num_nextn_predict_layers: 0 }, tensors })).rejects.toThrow(/unexpected/);
  });
});

describe("saveModel", () => {
  test("through a folder on disk: the same names as transformers wrote, the same weights, settings of storage left to the writer", async () => {
    const folder = await mkdtemp(join(tmpdir(), "gradually-models-"));
    for (const name of ["llama-tied-llama3", "qwen2-biases", "qwen3-moe-sparse", "deepseek-v2-groups", "deepseek-mtp"]) {
      const source = await openHfFolder(nodeFiles, fixturePath(name));
      const model = await loadModel(device, source);
      await writeHfFolder(nodeFiles, join(folder, name), saveModel(model));
      const copy = await openHfFolder(nodeFiles, join(folder, name));
      expect([...copy.tensors.keys()].sort()).toEqual([...source.tensors.keys()].sort());
      for (const [key, tensor] of source.tensors) {
        expect(copy.tensors.get(key)?.shape).toEqual(tensor.shape);
        expect(await copy.tensors.get(key)?.readF32()).toEqual(await tensor.readF32());
      }
      const { dtype, ...rest } = source.config;
      expect(dtype).toBe("float32");
      expect(copy.config).toMatchObject(rest);
      expect(copy.config.dtype).toBeUndefined();
      model.dispose();
      await source.close();
      await copy.close();
    }
    await rm(folder, { recursive: true });
  });

  test("FP8 settings of the source do not survive: the numbers are plain now", async () => {
    const { tensors, config } = saveModel(deepseek);
    const quantization_config = { quant_method: "fp8", fmt: "e4m3", weight_block_size: [128, 128] };
    const model = await loadModel(device, { config: { ...config, quantization_config, torch_dtype: "bfloat16" }, tensors });
    expect(Object.keys(saveModel(model).config).filter((key) => /quant|dtype/.test(key))).toEqual([]);
    model.dispose();
  });
});

test("outside of training more layers need no more memory for intermediates", () => {
  const peak = (num_hidden_layers: number) => {
    const counted = countingDevice(openReference({ precision: "f32" }));
    const model = createModel(counted.device, { ...llamaConfig, num_hidden_layers }, new Random(1));
    const before = counted.live();
    counted.resetPeak();
    scope(() => model.forward(packed(counted.device, [[1, 2, 3, 4, 5, 6, 7]])).logits);
    return counted.peak() - before;
  };
  expect(peak(6)).toBe(peak(2));
});

/** The same device, counting the elements of live buffers. */
function countingDevice(device: Device) {
  let live = 0;
  let peak = 0;
  const counting: Device = {
    info: device.info,
    kernels: device.kernels,
    allocate: (dtype, length) => {
      live += length;
      peak = Math.max(peak, live);
      return device.allocate(dtype, length);
    },
    packedTypes: device.packedTypes,
    allocatePacked: (...args) => device.allocatePacked(...args),
    writePacked: (...args) => device.writePacked(...args),
    release: (buffer) => {
      live -= buffer.length;
      device.release(buffer);
    },
    write: (buffer, offset, data) => device.write(buffer, offset, data),
    read: (buffer, offset, length) => device.read(buffer, offset, length),
    finish: () => device.finish(),
    memory: () => device.memory(),
    close: () => device.close(),
  };
  return {
    device: counting,
    live: () => live,
    peak: () => peak,
    resetPeak: () => {
      peak = live;
    },
  };
}

describe("forward refuses", () => {
  const ids = (...values: number[]) => fromRows(device, values);
  const good = () => packed(device, [[1, 2, 3]]);

  test("indices of another length, dtype or rank", () => {
    for (const model of [llama, deepseek]) {
      for (const key of ["positions", "first", "last"] as const)
        expect(() => model.forward({ ...good(), [key]: ids(0, 1) })).toThrow(ShapeError);
      expect(() => model.forward({ ...good(), positions: fromArray(device, [0, 1, 2], [3]) })).toThrow(/positions f32/);
      expect(() => model.forward({ ...good(), first: fromArray(device, [0, 1, 2], [3, 1], "i32") })).toThrow(ShapeError);
      expect(() => model.forward({ ...good(), parts: 2 })).toThrow(ShapeError);
      expect(() => model.forward({ ...good(), outputRows: fromArray(device, [0], [1]) })).toThrow(/outputRows/);
      expect(() => model.forward(packed(device, []))).toThrow(ShapeError);
    }
  });

  test("another model's cache, a cache in training, prediction heads that are not there", () => {
    const cache = llama.makeCache(1, 8);
    const latent = deepseek.makeCache(1, 8);
    const expanded = deepseek.makeCache(1, 8, { expanded: true });
    const { rows, ...input } = appended(device, 8, [{ slot: 0, past: 0, ids: [1, 2] }]);
    expect(() => llama.forward({ ...input, cache: { cache: latent, rows } })).toThrow(/a cache made by this model/);
    expect(() => trackGradients(() => llama.forward({ ...input, cache: { cache, rows } }))).toThrow(ConfigError);
    expect(() => llama.forward({ ...input, cache: { cache, rows: ids(0) } })).toThrow(/cache.rows/);
    expect(() => deepseek.forward({ ...input, cache: { cache: expanded, rows }, absorbed: true })).toThrow(/absorbed/);
    expect(() => llama.forward({ ...good(), nextIds: ids(2, 3, -1) })).toThrow(/num_nextn_predict_layers/);
    expect(() => deepseek.forward({ ...input, cache: { cache: latent, rows }, nextIds: ids(2, -1) })).toThrow(/nextIds/);
    expect([cache.bytesPerToken, latent.bytesPerToken, expanded.bytesPerToken]).toEqual([
      2 * 2 * 2 * 6 * 4,
      2 * (11 + 6) * 4,
      2 * 3 * (11 + 7) * 4,
    ]);
    for (const one of [cache, latent, expanded]) one.dispose();
  });

  test("narrow caches: their bytes; the plain form over narrow latents is refused", () => {
    const { rows, ...input } = appended(device, 8, [{ slot: 0, past: 0, ids: [1, 2] }]);
    const bytes = (["f16", "q8_0"] as const).map((type) => {
      const [cache, latent] = [llama.makeCache(1, 8, { type }), deepseek.makeCache(1, 8, { type })];
      expect(() => deepseek.forward({ ...input, cache: { cache: latent, rows } })).toThrow(/plain form over a latent cache/);
      expect(deepseek.forward({ ...input, cache: { cache: latent, rows }, absorbed: true }).logits.shape).toHaveLength(2);
      expect(llama.forward({ ...input, cache: { cache, rows } }).logits.shape).toHaveLength(2);
      for (const one of [cache, latent]) one.dispose();
      return [cache.type, cache.bytesPerToken, latent.bytesPerToken];
    });
    // Rows of 12 and of 17 numbers: a factor and pairs of halves, or blocks of nine words.
    expect(bytes).toEqual([
      ["f16", 2 * 2 * 7 * 4, 2 * 10 * 4],
      ["q8_0", 2 * 2 * 9 * 4, 2 * 9 * 4],
    ]);
  });

  test("multi-token prediction where there is no head, no room for its keys, or no hidden state of these rows", () => {
    const qwen = createModel(device, readJson("qwen3-tied/config.json"), new Random(1));
    for (const model of [llama, qwen]) {
      expect(model.predictNext).toBeUndefined();
      expect(() => model.makeCache(1, 8, { nextHead: true })).toThrow(/num_nextn_predict_layers/);
    }
    qwen.dispose();
    const plain = deepseek.makeCache(1, 8);
    const roomy = deepseek.makeCache(1, 8, { nextHead: true });
    expect([plain.layers.length, roomy.layers.length]).toEqual([2, 3]);
    expect(roomy.bytesPerToken).toBe((plain.bytesPerToken * 3) / 2);
    const { rows, ids: _ids, ...input } = appended(device, 8, [{ slot: 0, past: 0, ids: [1, 2] }]);
    const hidden = (...shape: number[]) => fromArray(device, new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);
    const draft = (hiddenRows: number, width: number, cache = roomy, absorbed = false) =>
      deepseek.predictNext?.({ ...input, hidden: hidden(hiddenRows, width), nextIds: ids(2, 3), cache: { cache, rows }, absorbed });
    scope(() => {
      expect(draft(2, 20)?.logits.shape).toEqual([2, 61]);
      expect(() => draft(2, 20, plain)).toThrow(/a cache made by this model/);
      expect(() => draft(3, 20)).toThrow(/hidden/);
      expect(() => draft(2, 19)).toThrow(/hidden/);
      const expanded = deepseek.makeCache(1, 8, { nextHead: true, expanded: true });
      expect(() => draft(2, 20, expanded, true)).toThrow(/absorbed/);
      expanded.dispose();
      expect(() => deepseek.predictNext?.({ ...input, hidden: hidden(2, 20), nextIds: ids(2) })).toThrow(ShapeError);
      expect(() => deepseek.forward({ ...good(), nextIds: ids(2, 3, -1), nextRows: hidden(1) })).toThrow(/nextRows/);
    });
    const lone = createModel(device, { ...deepseekConfig, num_nextn_predict_layers: 0 }, new Random(1));
    expect(lone.predictNext).toBeUndefined();
    expect(() => lone.makeCache(1, 8, { nextHead: true })).toThrow(/num_nextn_predict_layers/);
    lone.dispose();
    for (const one of [plain, roomy]) one.dispose();
  });

  test("caches without room", () => {
    for (const [slots, length] of [
      [0, 4],
      [1, 0],
      [1.5, 4],
      [1, -1],
    ] as const)
      expect(() => llama.makeCache(slots, length)).toThrow(ConfigError);
  });
});
