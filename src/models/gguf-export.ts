// A checkpoint as the tensors of a GGUF file: gguf-map.ts the other way round. In: config.json and tensors by checkpoint name. Out: what llama.cpp
// expects, name by name, with numbers that are read some rows at a time. Llama's q and k rows go into interleaved order, experts into one
// tensor, kv_b into its two halves, Llama 3's rotary scaling into divisors. What GGUF has no place for is refused before anything is written.

import { FormatError, quote } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { elementCount, type Shape, sameShape, showShape } from "../core/shape.ts";
import { parseRope, type RawConfig } from "./config.ts";
import type { Architecture } from "./gguf-config.ts";
import { architectureOf } from "./gguf-metadata.ts";
import { halvedRow, nameInGguf, splitNames } from "./gguf-names.ts";
import { ropeFactorsOf } from "./gguf-rope.ts";
import { familyOf } from "./load.ts";
import type { CheckpointTensor } from "./weights.ts";

/** A tensor to be written. Rows are those of the last axis, counted over all others. */
export type ExportedTensor = {
  readonly name: string;
  readonly shape: Shape;
  /** What it is made of, e.g. BF16; of several the first. */
  readonly sources: readonly CheckpointTensor[];
  readRows(first: number, count: number): Promise<Float32Array>;
};

export type ExportedModel = {
  readonly architecture: Architecture;
  readonly tensors: readonly ExportedTensor[];
  /** What is left out, one line each. */
  readonly notes: readonly string[];
};

/** Throws ConfigError or FormatError for models that GGUF cannot hold, and for tensors that are missing, unknown or of a wrong shape. */
export function exportModel(config: JsonObject, tensors: ReadonlyMap<string, CheckpointTensor>): ExportedModel {
  const architecture = architectureOf(config);
  const names = new Set(tensors.keys());
  const { entries } = familyOf(config.model_type).plan(config, {}, names);
  const nextHead = `model.layers.${config.num_hidden_layers}.`;
  const out: ExportedTensor[] = [];
  const used = new Set<string>();
  let skipped = 0;
  const take = (name: string, shape: Shape): CheckpointTensor => {
    const tensor = tensors.get(name);
    if (!tensor) fail(`no tensor ${quote(name)}`, "every tensor of the config");
    if (!sameShape(tensor.shape, shape))
      fail(`tensor ${quote(name)} of shape ${showShape(tensor.shape)}`, `${showShape(shape)}, as config.json says`);
    used.add(name);
    return tensor;
  };
  const head = Number(config.head_dim ?? Number(config.hidden_size) / Number(config.num_attention_heads));
  for (const { row, shape } of entries) {
    if (row.action === "skip" || row.action === "copy" || row.name.startsWith(nextHead)) {
      if (row.action !== "skip" && row.action !== "copy") skipped++;
      for (let e = 0; e < (row.action === "stack" ? row.count : 1); e++) used.add(row.name.replace("{e}", String(e)));
      continue;
    }
    const place = nameInGguf(architecture, row.name);
    if (!place) fail(`tensor ${quote(row.name)}`, `a tensor that ${architecture} files have`);
    if (row.action === "stack") {
      const parts = Array.from({ length: row.count }, (_, e) => take(row.name.replace("{e}", String(e)), shape.slice(1)));
      out.push(stacked(place.name, shape, parts));
    } else if (place.kind === "queryRows" || place.kind === "keyRows") {
      out.push(interleaved(place.name, take(row.name, shape), head));
    } else if (place.kind === "keysAndValues") {
      out.push(...halves(place.name, take(row.name, shape), config));
    } else out.push(same(place.name, take(row.name, shape)));
  }
  const unknown = [...names].filter((name) => !used.has(name));
  if (unknown.length > 0)
    fail(
      `the unexpected ${unknown
        .slice(0, 3)
        .map((name) => quote(name))
        .join(", ")}`,
      "only tensors of the config",
    );
  const factors = architecture === "deepseek2" ? undefined : ropeFactorsOf(parseRope(config as RawConfig), head);
  if (factors) out.push({ name: "rope_freqs.weight", shape: [factors.length], sources: [], readRows: async () => factors });
  const notes =
    skipped > 0 ? ["the layer that predicts the token after the next is left out: llama.cpp's converter leaves it out too"] : [];
  return { architecture, tensors: out, notes };
}

function fail(got: string, expected: string): never {
  throw new FormatError({ operation: "convert to GGUF", got, expected, cure: "use the config.json that belongs to these weights" });
}

/** Rows of the last axis. */
function rowCount(shape: Shape): number {
  return elementCount(shape) / Math.max(1, shape.at(-1) ?? 1);
}

async function read(tensor: CheckpointTensor, first: number, count: number): Promise<Float32Array> {
  return first === 0 && count === rowCount(tensor.shape) ? await tensor.readF32() : await tensor.readF32(first, count);
}

function same(name: string, tensor: CheckpointTensor): ExportedTensor {
  return { name, shape: tensor.shape, sources: [tensor], readRows: (first, count) => read(tensor, first, count) };
}

function stacked(name: string, shape: Shape, parts: readonly CheckpointTensor[]): ExportedTensor {
  const width = shape.at(-1) as number;
  const per = rowCount(shape) / parts.length;
  const readRows = async (first: number, count: number) => {
    const out = new Float32Array(count * width);
    for (let at = first; at < first + count; ) {
      const inside = at % per;
      const some = Math.min(per - inside, first + count - at);
      out.set(await read(parts[Math.floor(at / per)] as CheckpointTensor, inside, some), (at - first) * width);
      at += some;
    }
    return out;
  };
  return { name, shape, sources: parts, readRows };
}

function interleaved(name: string, tensor: CheckpointTensor, head: number): ExportedTensor {
  const total = tensor.shape[0] as number;
  if (tensor.shape.length === 1) {
    const readRows = async () => {
      const stored = await tensor.readF32();
      return stored.map((_, row) => stored[halvedRow(row, head)] as number);
    };
    return { name, shape: tensor.shape, sources: [tensor], readRows };
  }
  const width = tensor.shape[1] as number;
  const readRows = async (first: number, count: number) => {
    const start = first - (first % head);
    const stored = await read(tensor, start, Math.min(total, Math.ceil((first + count) / head) * head) - start);
    const out = new Float32Array(count * width);
    for (let i = 0; i < count; i++) {
      const from = (halvedRow(first + i, head) - start) * width;
      out.set(stored.subarray(from, from + width), i * width);
    }
    return out;
  };
  return { name, shape: tensor.shape, sources: [tensor], readRows };
}

/** kv_b [H·(nope + v), rank] as k_b [H, rank, nope], transposed in each head, and v_b [H, v, rank]. */
function halves(name: string, tensor: CheckpointTensor, config: JsonObject): ExportedTensor[] {
  const [heads, nope, value, rank] = ["num_attention_heads", "qk_nope_head_dim", "v_head_dim", "kv_lora_rank"].map((key) =>
    Number(config[key]),
  ) as [number, number, number, number];
  const names = splitNames(name);
  const part = async (h: number, from: number, count: number) => await read(tensor, h * (nope + value) + from, count);
  /** Rows of a tensor whose heads have `per` rows of `width`, head by head. */
  const byHead = (per: number, width: number, make: (h: number) => Promise<Float32Array>) => async (first: number, count: number) => {
    const out = new Float32Array(count * width);
    for (let at = first; at < first + count; ) {
      const inside = at % per;
      const some = Math.min(per - inside, first + count - at);
      out.set((await make(Math.floor(at / per))).subarray(inside * width, (inside + some) * width), (at - first) * width);
      at += some;
    }
    return out;
  };
  const keys = byHead(rank, nope, async (h) => {
    const rows = await part(h, 0, nope); // [nope, rank]
    const out = new Float32Array(rank * nope);
    for (let n = 0; n < nope; n++) for (let r = 0; r < rank; r++) out[r * nope + n] = rows[n * rank + r] as number;
    return out;
  });
  return [
    { name: names.keys, shape: [heads, rank, nope], sources: [tensor], readRows: keys },
    { name: names.values, shape: [heads, value, rank], sources: [tensor], readRows: byHead(value, rank, (h) => part(h, nope, value)) },
  ];
}
