// Multi-head latent attention (MLA; DeepSeek-V2 2.1). In: rows [R, C], positions and key ranges. Out: rows [R, C]. The cache holds per token the
// normalised latent and one rotated key for all heads. Unusual: two forms beside each other, plain (training, prefill, exact rollouts)
// and absorbed (decoding over the latent); tests hold them together. The norm covers the latent only, never the rotary part.

import type { CacheType } from "../core/dtype.ts";
import { ConfigError } from "../core/errors.ts";
import type { Shape } from "../core/shape.ts";
import { attention, attentionStrided } from "../ops/attention.ts";
import { cacheWrite } from "../ops/cache-write.ts";
import { concat, expand, slice, transpose } from "../ops/copy.ts";
import { groupedLinear } from "../ops/grouped-matmul.ts";
import { headMatmul } from "../ops/matmul.ts";
import { packedEmbedding } from "../ops/packed-embedding.ts";
import { reshape } from "../ops/reshape.ts";
import { rmsNorm } from "../ops/rms-norm.ts";
import { rope } from "../ops/rope.ts";
import { fromArray, type Tensor } from "../tensor/tensor.ts";
import type { DeepseekConfig } from "./deepseek-config.ts";
import type { Halves } from "./halves.ts";
import { cachedHeads, type Finder, type Linear, project } from "./layers.ts";
import type { ForwardInput } from "./model.ts";
import { type RopeTables, softmaxFactor } from "./rope-tables.ts";

export type LatentAttention = {
  /** q_proj, or down to the latent, norm, and up. */
  readonly q: Linear | { readonly down: Linear; readonly norm: Tensor; readonly up: Linear };
  /** kv_a_proj_with_mqa: the latent and, in its last rows, the rotary key that all heads share. */
  readonly kvDown: Linear;
  readonly kvNorm: Tensor;
  /** kv_b_proj [H·(nope + v), latent]: for each head nope rows, then v rows; or its packed halves, keys transposed [H, latent, nope] and values [H, v, latent]. */
  readonly kvUp: Linear | Halves<Tensor>;
  readonly o: Linear;
};

/** What all layers of one forward pass share. */
export type AttentionContext = {
  readonly config: DeepseekConfig;
  readonly tables: RopeTables;
  readonly input: Pick<ForwardInput, "positions" | "first" | "last" | "parts" | "cache" | "absorbed">;
  /** i32 [H + 1], the first of each head's rows in [H·R, …]: for the absorbed form with kv_b in halves. */
  readonly headOffsets: Tensor | undefined;
};

/** MLA's inner norms have this eps whatever rms_norm_eps is (transformers, the class default). */
const latentEps = 1e-6;

/** Row shapes of a layer's cache: the latent and the rotary key in one, or keys and values of every head. */
export function cacheRowShapes(config: DeepseekConfig, isExpanded: boolean): Shape[] {
  const { num_attention_heads: H, qk_nope_head_dim: nope, qk_rope_head_dim: turned, kv_lora_rank: rank, v_head_dim: Dv } = config;
  return isExpanded
    ? [
        [H, nope + turned],
        [H, Dv],
      ]
    : [[rank + turned]];
}

/** `at`: e.g. "model.layers.3.self_attn". */
export function makeAttention({ tensor, projection, halves }: Finder, at: string, config: DeepseekConfig): LatentAttention {
  const latentQuery = () => ({
    down: projection(`${at}.q_a_proj`),
    norm: tensor(`${at}.q_a_layernorm.weight`),
    up: projection(`${at}.q_b_proj`),
  });
  return {
    q: config.q_lora_rank ? latentQuery() : projection(`${at}.q_proj`),
    kvDown: projection(`${at}.kv_a_proj_with_mqa`),
    kvNorm: tensor(`${at}.kv_a_layernorm.weight`),
    kvUp: halves(`${at}.kv_b_proj`) ?? projection(`${at}.kv_b_proj`),
    o: projection(`${at}.o_proj`),
  };
}

/** x [R, C] -> [R, C]; `stored` is the layer's cache: [latent] or [keys, values]. */
export function attend(x: Tensor, w: LatentAttention, context: AttentionContext, stored: readonly Tensor[] | undefined): Tensor {
  const { config, tables, input } = context;
  const { num_attention_heads: H, qk_nope_head_dim: nope, qk_rope_head_dim: turned, kv_lora_rank: rank, v_head_dim: Dv } = config;
  const R = x.shape[0] as number;
  const interleaved = config.rope_interleave;

  const flat = "up" in w.q ? project(rmsNorm(project(x, w.q.down), w.q.norm, latentEps), w.q.up) : project(x, w.q);
  const q = rope(reshape(flat, [R, H, nope + turned]), input.positions, tables, { offset: nope, dims: turned, interleaved }); // [R, H, nope + turned]
  const down = project(x, w.kvDown); // [R, rank + turned]
  const latent = rmsNorm(slice(down, 1, 0, rank), w.kvNorm, latentEps); // [R, rank]
  const shared = reshape(slice(down, 1, rank, rank + turned), [R, 1, turned]);
  const kRope = rope(shared, input.positions, tables, { offset: 0, dims: turned, interleaved }); // [R, 1, turned]

  const scale = (nope + turned) ** -0.5 * softmaxFactor(config.rope);
  let out: Tensor; // [R, H, Dv]
  if (stored && input.cache && stored.length === 1) {
    const rows = stored[0] as Tensor; // [S, rank + turned]
    const { type } = input.cache.cache;
    cacheWrite(rows, type, concat([latent, reshape(kRope, [R, turned])], 1), input.cache.rows);
    if (input.absorbed) out = attendAbsorbed(q, rows, type, w, context, scale);
    else if (type !== "f32") {
      throw new ConfigError({
        operation: "latent attention",
        got: `the plain form over a latent cache of ${type}`,
        expected: "the absorbed form, an expanded cache or f32",
        cure: "make the cache with `expanded`, or leave its type out",
      });
    } else {
      const kept = slice(rows, 1, rank, rank + turned); // [S, turned]
      const { k, v } = expandLatent(slice(rows, 1, 0, rank), reshape(kept, [rows.shape[0] as number, 1, turned]), w, config);
      out = attention(q, k, v, { first: input.first, last: input.last, scale, pages: input.cache.pages });
    }
  } else {
    const { k, v } = expandLatent(latent, kRope, w, config); // [R, H, nope + turned], [R, H, Dv]
    const { first, last, parts } = input;
    if (stored && input.cache) {
      const { cache, rows, pages } = input.cache;
      const [keys, values] = stored as [Tensor, Tensor];
      cacheWrite(keys, cache.type, k, rows);
      cacheWrite(values, cache.type, v, rows);
      out = attentionStrided({
        q,
        k: cachedHeads(keys, nope + turned),
        v: cachedHeads(values, Dv),
        first,
        last,
        S: keys.shape[0] as number,
        G: H,
        Dv,
        scale,
        pages,
        type: cache.type,
      });
    } else out = attention(q, k, v, { first, last, parts, scale });
  }
  return project(reshape(out, [R, H * Dv]), w.o);
}

/** Plain form: keys and values of every head from the latent [S, rank] and the rotated shared key [S, 1, turned]. */
function expandLatent(latent: Tensor, kRope: Tensor, w: LatentAttention, config: DeepseekConfig): { k: Tensor; v: Tensor } {
  const { num_attention_heads: H, qk_nope_head_dim: nope, qk_rope_head_dim: turned, v_head_dim: Dv } = config;
  const S = latent.shape[0] as number;
  const up = "weight" in w.kvUp ? w.kvUp : { weight: joined(w.kvUp) };
  const kv = reshape(project(latent, up), [S, H, nope + Dv]);
  const k = concat([slice(kv, 2, 0, nope), expand(kRope, [S, H, turned])], 2); // [S, H, nope + turned]
  return { k, v: slice(kv, 2, nope, nope + Dv) }; // v [S, H, Dv]
}

/**
 * Absorbed form: kv_b's nope rows are folded into the query and its v rows into the output, so attention runs over the stored rows
 * [S, rank + turned] as one shared key head, whose first `rank` elements are the value too.
 */
function attendAbsorbed(q: Tensor, rows: Tensor, type: CacheType, w: LatentAttention, context: AttentionContext, scale: number): Tensor {
  const { config, input } = context;
  const { qk_nope_head_dim: nope, qk_rope_head_dim: turned, kv_lora_rank: rank, v_head_dim: Dv } = config;
  const qNope = transpose(slice(q, 2, 0, nope), 0, 1); // [H, R, nope]
  const qLatent = transpose(foldKeys(qNope, w.kvUp, Dv, context.headOffsets), 0, 1); // [R, H, rank]
  const folded = concat([qLatent, slice(q, 2, nope, nope + turned)], 2); // [R, H, rank + turned]
  const store = cachedHeads(rows, 0);
  const { first, last } = input;
  const S = rows.shape[0] as number;
  const mixed = attentionStrided({ q: folded, k: store, v: store, first, last, S, G: 1, Dv: rank, scale, pages: input.cache?.pages, type }); // [R, H, rank]
  return transpose(foldValues(transpose(mixed, 0, 1), w.kvUp, nope, context.headOffsets), 0, 1);
}

/** q [H, R, nope] by each head's rows of keys -> [H, R, rank]. */
function foldKeys(q: Tensor, up: LatentAttention["kvUp"], Dv: number, offsets: Tensor | undefined): Tensor {
  if ("keys" in up) return headProducts(q, up.keys, offsets);
  const nope = q.shape[2] as number;
  return headMatmul(q, up.weight, { rows: nope + Dv, from: 0, to: nope, transpose: false });
}

/** x [H, R, rank] by each head's rows of values -> [H, R, Dv]. */
function foldValues(x: Tensor, up: LatentAttention["kvUp"], nope: number, offsets: Tensor | undefined): Tensor {
  if ("values" in up) return headProducts(x, up.values, offsets);
  const rows = (up.weight.shape[0] as number) / (x.shape[0] as number);
  return headMatmul(x, up.weight, { rows, from: nope, to: rows, transpose: true });
}

/** x [H, R, K] by a packed matrix for each head, w [H, N, K] -> [H, R, N]: heads are to the grouped product what experts are. */
function headProducts(x: Tensor, w: Tensor, offsets: Tensor | undefined): Tensor {
  const [H, R, K] = x.shape as [number, number, number];
  return reshape(groupedLinear(reshape(x, [H * R, K]), w, offsets as Tensor), [H, R, w.shape[1] as number]);
}

/** What one pass of R rows through these layers shares. */
export function makeContext(
  { config, tables, input }: Omit<AttentionContext, "headOffsets">,
  layers: readonly LatentAttention[],
): AttentionContext {
  const H = config.num_attention_heads;
  const R = input.positions.shape[0] as number;
  const isNeeded = input.absorbed && layers.some(({ kvUp }) => "keys" in kvUp);
  const starts = Int32Array.from({ length: H + 1 }, (_, h) => h * R);
  return { config, tables, input, headOffsets: isNeeded ? fromArray(tables.cos.storage.device, starts, [H + 1], "i32") : undefined };
}

/** kv_b [H·(nope + v), rank] as f32 from its halves, for the plain form: the numbers of the file, exactly. */
function joined({ keys, values }: Halves<Tensor>): Tensor {
  const [H, rank, nope] = keys.shape as [number, number, number];
  const Dv = values.shape[1] as number;
  return reshape(concat([transpose(decoded(keys), 1, 2), decoded(values)], 1), [H * (nope + Dv), rank]);
}

function decoded(w: Tensor): Tensor {
  const rows = (w.shape[0] as number) * (w.shape[1] as number);
  const all = fromArray(
    w.storage.device,
    Int32Array.from({ length: rows }, (_, i) => i),
    [rows],
    "i32",
  );
  return reshape(packedEmbedding(w, all), w.shape);
}
