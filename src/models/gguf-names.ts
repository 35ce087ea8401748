// The names of tensors in GGUF files beside those of checkpoints, as tables. A checkpoint name `model.layers.N.SUFFIX` is the file's
// `blk.N.OTHER`; what else differs is the kind: rows in another order, experts in one tensor, a matrix in two parts. Both directions, reading
// and writing, go by these rows (llama.cpp, src/llama-arch.cpp and conversion/).

import type { Architecture } from "./gguf-config.ts";

/**
 * `plain`: the same numbers. `queryRows`, `keyRows`: llama's rows, which GGUF keeps in the order that interleaved rotation wants.
 * `experts`: one tensor [E, N, K] for the `{e}` of the checkpoint. `keysAndValues`: kv_b of latent attention, in newer files split by attn_k_b
 * (transposed in each head) and attn_v_b.
 */
export type NameKind = "plain" | "queryRows" | "keyRows" | "experts" | "keysAndValues";

export type NameRow = { readonly checkpoint: string; readonly gguf: string; readonly kind: NameKind };

const plain = (checkpoint: string, gguf: string): NameRow => ({ checkpoint, gguf, kind: "plain" });

const outside: readonly NameRow[] = [
  plain("model.embed_tokens.weight", "token_embd.weight"),
  plain("model.norm.weight", "output_norm.weight"),
  plain("lm_head.weight", "output.weight"),
];

const feedForward: readonly NameRow[] = ["gate", "up", "down"].flatMap((part) => [
  plain(`mlp.${part}_proj.weight`, `ffn_${part}.weight`),
  plain(`mlp.${part}_proj.bias`, `ffn_${part}.bias`),
  plain(`mlp.shared_experts.${part}_proj.weight`, `ffn_${part}_shexp.weight`),
  { checkpoint: `mlp.experts.{e}.${part}_proj.weight`, gguf: `ffn_${part}_exps.weight`, kind: "experts" as const },
]);

const shared: readonly NameRow[] = [
  plain("input_layernorm.weight", "attn_norm.weight"),
  plain("post_attention_layernorm.weight", "ffn_norm.weight"),
  plain("self_attn.o_proj.weight", "attn_output.weight"),
  plain("self_attn.o_proj.bias", "attn_output.bias"),
  plain("self_attn.v_proj.weight", "attn_v.weight"),
  plain("self_attn.v_proj.bias", "attn_v.bias"),
  plain("self_attn.q_norm.weight", "attn_q_norm.weight"),
  plain("self_attn.k_norm.weight", "attn_k_norm.weight"),
  plain("mlp.gate.weight", "ffn_gate_inp.weight"),
  plain("mlp.gate.e_score_correction_bias", "exp_probs_b.bias"),
  ...feedForward,
];

const latent: readonly NameRow[] = [
  plain("self_attn.q_a_proj.weight", "attn_q_a.weight"),
  plain("self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight"),
  plain("self_attn.q_b_proj.weight", "attn_q_b.weight"),
  plain("self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight"),
  plain("self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight"),
  { checkpoint: "self_attn.kv_b_proj.weight", gguf: "attn_kv_b.weight", kind: "keysAndValues" },
  plain("eh_proj.weight", "nextn.eh_proj.weight"),
  plain("enorm.weight", "nextn.enorm.weight"),
  plain("hnorm.weight", "nextn.hnorm.weight"),
  plain("embed_tokens.weight", "nextn.embed_tokens.weight"),
  plain("shared_head.norm.weight", "nextn.shared_head_norm.weight"),
  plain("shared_head.head.weight", "nextn.shared_head_head.weight"),
];

function queriesAndKeys(architecture: Architecture): NameRow[] {
  const turned = architecture === "llama";
  return ["weight", "bias"].flatMap((part): NameRow[] => [
    { checkpoint: `self_attn.q_proj.${part}`, gguf: `attn_q.${part}`, kind: turned ? "queryRows" : "plain" },
    { checkpoint: `self_attn.k_proj.${part}`, gguf: `attn_k.${part}`, kind: turned ? "keyRows" : "plain" },
  ]);
}

/** The file's name for a checkpoint name (`{e}` included), and what differs; undefined for names that GGUF has no place for. */
export function nameInGguf(architecture: Architecture, checkpoint: string): { name: string; kind: NameKind } | undefined {
  const layer = /^model\.layers\.(\d+)\.(.+)$/.exec(checkpoint);
  if (!layer) {
    const row = outside.find((candidate) => candidate.checkpoint === checkpoint);
    return row && { name: row.gguf, kind: row.kind };
  }
  const [, number, suffix] = layer;
  const row = tables(architecture).get(suffix as string);
  return row && { name: `blk.${number}.${row.gguf}`, kind: row.kind };
}

/** blk.3.attn_kv_b.weight -> its two halves. */
export function splitNames(name: string): { readonly keys: string; readonly values: string } {
  return { keys: name.replace("attn_kv_b", "attn_k_b"), values: name.replace("attn_kv_b", "attn_v_b") };
}

const made = new Map<Architecture, ReadonlyMap<string, NameRow>>();

function tables(architecture: Architecture): ReadonlyMap<string, NameRow> {
  let table = made.get(architecture);
  if (!table) {
    const rows = [...shared, ...queriesAndKeys(architecture), ...(architecture === "deepseek2" ? latent : [])];
    table = new Map(rows.map((row) => [row.checkpoint, row]));
    made.set(architecture, table);
  }
  return table;
}

/** Where row `row` of a checkpoint's q or k matrix lies in llama's GGUF: within a head, (half, i) becomes (i, half). */
export function interleavedRow(row: number, headSize: number): number {
  const inside = row % headSize;
  const half = headSize / 2;
  return row - inside + (inside < half ? 2 * inside : 2 * (inside - half) + 1);
}

/** The other way: which row of the checkpoint lies at row `row` of the file. */
export function halvedRow(row: number, headSize: number): number {
  const inside = row % headSize;
  return row - inside + (inside % 2 === 0 ? inside / 2 : headSize / 2 + (inside - 1) / 2);
}
