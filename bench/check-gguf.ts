// Do we and llama.cpp compute the same from the same GGUF file? For each file: logits of some ids, and 24 greedy tokens after them, in both.
//
// Run: node bench/check-gguf.ts [FILE.gguf …] [--types f32,q8_0,…] [--ids 1,2,3] [--keep DIR]
// Without files it makes small random models of every architecture with this project's own converter, in every type asked for. Prints a
// table; exit 1 when the logits of the decoded weights differ by more than 1e-3 of their spread, or their greedy tokens differ.
//
// A quantised file is compared twice. Decoded: our f32 weights against llama.cpp on the same weights written as f32: exact but for the order of sums.
// Packed: as `run` computes, against llama.cpp on the file itself. Both round what they multiply by to 8 bits, each in its own
// way; the column of llama.cpp's rounding says how far that takes llama.cpp from its own decoded result, so how much is to be expected. A
// greedy token may then differ where two logits are that close. KLD: of our distributions from llama.cpp's on the same file, and of both from the decoded weights'.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openDevice } from "../src/backend/open.ts";
import { computeLogits } from "../src/cli/logits.ts";
import { table } from "../src/cli/output.ts";
import { Random } from "../src/core/random.ts";
import { Engine } from "../src/engine/engine.ts";
import { writeHfFolder } from "../src/formats/hf-folder-writer.ts";
import { openModelFiles } from "../src/models/files.ts";
import { createModel, loadModel, saveModel } from "../src/models/load.ts";
import { nodeHost } from "../src/platform/node.ts";
import { isMix, type Mix } from "../src/quantize/mix.ts";
import { writeGgufModel } from "../src/quantize/write-gguf-model.ts";
import { plainTokenizer } from "../tools/plain-tokenizer.ts";
import { openLlamaCpp } from "./llama-cpp.ts";

const shared = {
  vocab_size: 512,
  hidden_size: 256,
  intermediate_size: 512,
  num_hidden_layers: 4,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-6,
  initializer_range: 0.08,
  hidden_act: "silu",
  tie_word_embeddings: false,
};
const heads = { num_attention_heads: 8, num_key_value_heads: 2, head_dim: 32 };
const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16, beta_fast: 32, beta_slow: 1 };
const latent = {
  ...shared,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  kv_lora_rank: 64,
  qk_nope_head_dim: 64,
  qk_rope_head_dim: 32,
  v_head_dim: 64,
  first_k_dense_replace: 1,
  n_routed_experts: 8,
  n_shared_experts: 1,
  num_experts_per_tok: 2,
  moe_intermediate_size: 256,
};
const v2 = { ...latent, model_type: "deepseek_v2", topk_method: "greedy", scoring_func: "softmax", norm_topk_prob: false };
const v3 = {
  ...latent,
  model_type: "deepseek_v3",
  q_lora_rank: 64,
  topk_method: "noaux_tc",
  scoring_func: "sigmoid",
  norm_topk_prob: true,
  routed_scaling_factor: 2.5,
};

/** By what they are there for. */
const models: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  llama: { ...shared, ...heads, model_type: "llama" },
  "llama llama3 tied": {
    ...shared,
    ...heads,
    model_type: "llama",
    tie_word_embeddings: true,
    rope_theta: 5000,
    rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 16 },
  },
  "llama biases yarn": { ...shared, ...heads, model_type: "llama", attention_bias: true, mlp_bias: true, rope_scaling: yarn },
  "llama linear head_dim": { ...shared, ...heads, head_dim: 64, model_type: "llama", rope_scaling: { rope_type: "linear", factor: 2 } },
  qwen2: { ...shared, ...heads, model_type: "qwen2", rope_theta: 1e6 },
  "qwen2 yarn tied": { ...shared, ...heads, model_type: "qwen2", tie_word_embeddings: true, rope_scaling: yarn },
  qwen3: { ...shared, ...heads, head_dim: 64, model_type: "qwen3", rope_theta: 1e6 },
  qwen3moe: {
    ...shared,
    ...heads,
    model_type: "qwen3_moe",
    num_experts: 8,
    num_experts_per_tok: 2,
    moe_intermediate_size: 256,
    norm_topk_prob: true,
  },
  "deepseek2 V2-Lite": {
    ...v2,
    hidden_size: 128,
    num_hidden_layers: 27,
    q_lora_rank: null,
    n_shared_experts: 2,
    routed_scaling_factor: 1,
    rope_scaling: { ...yarn, mscale: 0.75, mscale_all_dim: 0.75 },
  },
  "deepseek2 V2": { ...v2, q_lora_rank: 64, routed_scaling_factor: 16 },
  "deepseek2 V3": { ...v3, n_group: 4, topk_group: 2, rope_scaling: { ...yarn, mscale: 1, mscale_all_dim: 1 } },
};

const anyIds = "1,17,301,42,99,256,311,5,128,77,400,210";
const greedyTokens = 24;
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { types: { type: "string", default: "f32,q8_0,q4_k_m" }, keep: { type: "string" }, ids: { type: "string", default: anyIds } },
});
const prompt = values.ids.split(",").map(Number);
const host = nodeHost();
const device = await openDevice(host, {});
const folder = values.keep ?? mkdtempSync(join(tmpdir(), "gradually-check-"));
const rows = [
  [
    "model",
    "type",
    "decoded: difference",
    "of a spread of",
    "greedy",
    "packed: difference",
    "llama.cpp's rounding",
    "KLD",
    "from decoded: ours",
    "llama.cpp's",
    "greedy",
  ],
];
let failed = false;

try {
  if (positionals.length > 0) for (const path of positionals) await check(path, host.files.baseName(path), "");
  else {
    const types = values.types.split(",");
    for (const [name, config] of Object.entries(models)) {
      for (const type of types) {
        if (!isMix(type)) throw new Error(`no type ${type}`);
        await check(await makeFile(name, config, type), name, type);
      }
    }
  }
} finally {
  console.log(table(rows, [2, 3, 5, 6, 7, 8, 9]));
  await device.close();
  if (!values.keep) rmSync(folder, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);

/** A random model through a Hugging Face folder to a GGUF file. */
async function makeFile(name: string, config: Readonly<Record<string, unknown>>, mix: Mix): Promise<string> {
  const base = join(folder, name.replaceAll(" ", "-"));
  const model = createModel(device, config, new Random(7), {});
  const biases = [...model.parameters].filter(([parameter]) => parameter.endsWith(".bias"));
  for (const [i, [, tensor]] of biases.entries()) {
    const random = new Random(i);
    tensor.storage.device.write(
      tensor.storage.buffer,
      0,
      Float32Array.from({ length: tensor.shape[0] as number }, () => 0.3 * random.normal()),
    );
  }
  await writeHfFolder(host.files, base, saveModel(model));
  model.dispose();
  const opened = await openModelFiles(host.files, base);
  const path = `${base}-${mix}.gguf`;
  await writeGgufModel(host.files, path, opened, { mix, name, tokenizer: plainTokenizer(shared.vocab_size) });
  await opened.close();
  return path;
}

async function check(path: string, name: string, type: string): Promise<void> {
  const theirs = await runTheirs(path);
  const ours = await runOurs(path, "stored");
  const plain = isPlain(path) ? ours : await runOurs(path, "f32");
  const decoded = isPlain(path) ? theirs : await runTheirs(await decode(path));
  const difference = (a: Run, b: Run) =>
    Math.max(...a.logits.map((row, i) => Math.max(...row.map((value, id) => Math.abs(value - (b.logits[i]?.[id] ?? Number.NaN))))));
  const spread = Math.max(...theirs.logits.map((row) => Math.max(...row) - Math.min(...row)));
  const exact = difference(plain, decoded);
  const isEqual = same(plain, decoded);
  if (!(exact < 1e-3 * spread && isEqual)) failed = true;
  const rounding = decoded === theirs ? "" : difference(decoded, theirs).toExponential(1);
  const at = theirs.greedy.findIndex((id, i) => id !== ours.greedy[i]);
  const quantised =
    decoded === theirs
      ? ""
      : at < 0
        ? "equal"
        : `to ${at}, then by ${(await marginAt(path, [...prompt, ...ours.greedy.slice(0, at)], theirs.greedy[at] as number)).toFixed(3)}`;
  rows.push([
    name,
    type,
    exact.toExponential(1),
    spread.toFixed(1),
    isEqual ? "equal" : "NOT",
    difference(ours, theirs).toExponential(1),
    rounding,
    ...(decoded === theirs
      ? ["", "", ""]
      : [kld(theirs, ours), kld(decoded, ours), kld(decoded, theirs)].map((value) => value.toExponential(1))),
    quantised,
  ]);
  console.error(rows.at(-1)?.join("  "));
}

type Run = { readonly logits: readonly (readonly number[])[]; readonly greedy: readonly number[] };

/** Mean over the places of the Kullback-Leibler divergence of q's distribution from p's, in nats. */
function kld(p: Run, q: Run): number {
  const logSoftmax = (row: readonly number[]) => {
    const most = Math.max(...row);
    const log = most + Math.log(row.reduce((sum, value) => sum + Math.exp(value - most), 0));
    return row.map((value) => value - log);
  };
  const ofPlace = (row: readonly number[], i: number) => {
    const [a, b] = [logSoftmax(row), logSoftmax(q.logits[i] as readonly number[])];
    return a.reduce((sum, value, id) => sum + Math.exp(value) * (value - (b[id] as number)), 0);
  };
  return p.logits.reduce((sum, row, i) => sum + ofPlace(row, i), 0) / p.logits.length;
}

function same(a: Run, b: Run): boolean {
  return a.greedy.length === b.greedy.length && a.greedy.every((id, i) => id === b.greedy[i]);
}

function isPlain(path: string): boolean {
  return path.endsWith("f32.gguf");
}

/** The same weights as f32, so that llama.cpp does not round what it multiplies them by. */
async function decode(path: string): Promise<string> {
  const out = join(folder, "decoded.f32.gguf");
  const opened = await openModelFiles(host.files, path);
  await writeGgufModel(host.files, out, opened, { mix: "f32", name: "decoded" });
  await opened.close();
  return out;
}

async function runTheirs(path: string): Promise<Run> {
  const llama = await openLlamaCpp(path, 256);
  const run = { logits: (await llama.logits(prompt)).map((row) => Array.from(row)), greedy: await llama.greedy(prompt, greedyTokens) };
  await llama.close();
  return run;
}

/** How far our logit of `id` lies below our best one. */
async function marginAt(path: string, ids: readonly number[], id: number): Promise<number> {
  const opened = await openModelFiles(host.files, path);
  const model = await loadModel(device, opened, { weights: "stored" });
  const [row] = (await computeLogits(model, ids, false)) as [number[]];
  model.dispose();
  await opened.close();
  return Math.max(...row) - (row[id] as number);
}

async function runOurs(path: string, weights: "f32" | "stored"): Promise<Run> {
  const opened = await openModelFiles(host.files, path);
  const model = await loadModel(device, opened, { weights });
  const logits = await computeLogits(model, prompt, true);
  const engine = new Engine(model, { slots: 1, contextLength: prompt.length + greedyTokens });
  const { ids } = await engine.submit({ ids: prompt, maxTokens: greedyTokens, sampling: { temperature: 0 } });
  await engine.dispose();
  model.dispose();
  await opened.close();
  return { logits, greedy: ids };
}
