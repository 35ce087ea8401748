// attention and attentionBackward: each query row attends to one range of key rows; heads share key heads in groups (GQA; G = 1 is
// MLA's absorbed form). The backward pass recomputes the probabilities from the stored log-sum-exp, as FlashAttention does.

import type { CacheType } from "../../core/dtype.ts";
import { ShapeError } from "../../core/errors.ts";
import type { Kernels, View } from "../backend.ts";
import { floats, ints, span } from "./buffer.ts";
import { type CachedNumber, openCache } from "./cache-write.ts";
import { roundBlock } from "./packed-matmul.ts";

type Range = { readonly start: number; readonly end: number };

/** Key rows start..end-1 that row r sees; empty when first > last or there are no key rows. */
function keyRange(first: number, last: number, S: number): Range {
  if (first > last || S === 0) return { start: 0, end: 0 };
  return { start: Math.max(0, Math.min(first, S - 1)), end: Math.max(0, Math.min(last, S - 1)) + 1 };
}

type AttentionArgs = Parameters<Kernels["attention"]>[0];

/** How many keys a row can have, and where key j of row r lies: at j, or in its sequence's page. */
function keyPlaces(args: AttentionArgs): { readonly keys: number; at(r: number, j: number): number } {
  const { R, S, tables = 0, tableStride = 0, pageSize = 0 } = args;
  if (!args.pages || !args.slot) return { keys: S, at: (_, j) => j };
  const pages = ints(args.pages, tables * tableStride);
  const slot = ints(args.slot, R);
  const count = Math.floor(S / pageSize);
  const bounded = (i: number, n: number) => Math.max(0, Math.min(i, n - 1));
  return {
    keys: count === 0 || tables === 0 ? 0 : tableStride * pageSize,
    at: (r, j) => {
      const page = pages[bounded(slot[r]!, tables) * tableStride + Math.floor(j / pageSize)]!;
      return bounded(page, count) * pageSize + (j % pageSize);
    },
  };
}

/** Number i of a key or value row, whatever the cache holds it in. */
function numbersOf(view: View, type: CacheType | undefined, rows: number, length: number, rowStride: number): CachedNumber {
  if (type && type !== "f32") return openCache(view, rows, rowStride, type);
  const data = floats(view, length);
  return (row, i) => data[row * rowStride + i]!;
}

/** Queries as a cache of q8_0 meets them: rounded in the blocks of 32 of the cached row that the head's numbers lie in. */
function roundQueries({ q, R, H, G, D, kHeadStride }: AttentionArgs): Float64Array {
  const rounded = Float64Array.from(floats(q, R * H * D));
  for (let row = 0; row < R * H; row++) {
    const at = Math.floor((row % H) / (H / G)) * kHeadStride;
    for (let from = 0; from < D; ) {
      const to = Math.min(D, from + 32 - ((at + from) % 32));
      roundBlock(rounded, row * D + from, row * D + to);
      from = to;
    }
  }
  return rounded;
}

export const attention: Kernels["attention"] = (args) => {
  const { R, S, H, G, D, Dv, scale, kRowStride, kHeadStride, vRowStride, vHeadStride } = args;
  const out = floats(args.out, R * H * Dv);
  const lse = floats(args.lse, R * H);
  const q = args.cacheType === "q8_0" ? roundQueries(args) : floats(args.q, R * H * D);
  const k = numbersOf(args.k, args.cacheType, S, span([S, G, D], [kRowStride, kHeadStride, 1]), kRowStride);
  const v = numbersOf(args.v, args.cacheType, S, span([S, G, Dv], [vRowStride, vHeadStride, 1]), vRowStride);
  const first = ints(args.first, R);
  const last = ints(args.last, R);
  const { keys, at } = keyPlaces(args);
  const scores = new Float64Array(keys);
  const rows = new Int32Array(keys);
  for (let r = 0; r < R; r++) {
    const { start, end } = keyRange(first[r]!, last[r]!, keys);
    for (let j = start; j < end; j++) rows[j] = at(r, j);
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h / (H / G));
      let max = Number.NEGATIVE_INFINITY;
      for (let j = start; j < end; j++) {
        let dot = 0;
        for (let d = 0; d < D; d++) dot += q[(r * H + h) * D + d]! * k(rows[j]!, g * kHeadStride + d);
        scores[j] = dot * scale;
        max = Math.max(max, scores[j]!);
      }
      let sum = 0;
      for (let j = start; j < end; j++) {
        scores[j] = Math.exp(scores[j]! - max);
        sum += scores[j]!;
      }
      lse[r * H + h] = max + Math.log(sum); // -Infinity for an empty range
      for (let d = 0; d < Dv; d++) {
        let mean = 0;
        for (let j = start; j < end; j++) mean += (scores[j]! / sum) * v(rows[j]!, g * vHeadStride + d);
        out[(r * H + h) * Dv + d] = mean;
      }
    }
  }
};

export const attentionBackward: Kernels["attentionBackward"] = (args) => {
  const { R, S, H, G, D, Dv, scale, batch, kRowStride, kHeadStride, vRowStride, vHeadStride } = args;
  const { dkRowStride, dkHeadStride, dvRowStride, dvHeadStride } = args;
  if (R % batch !== 0 || S % batch !== 0) {
    throw new ShapeError({
      operation: "attentionBackward",
      got: `${R} rows and ${S} key rows in ${batch} parts`,
      expected: "equal parts",
      cure: "use batch 1 for ragged sequences",
    });
  }
  const dq = floats(args.dq, R * H * D);
  const dk = floats(args.dk, span([S, G, D], [dkRowStride, dkHeadStride, 1]));
  const dv = floats(args.dv, span([S, G, Dv], [dvRowStride, dvHeadStride, 1]));
  const dOut = floats(args.dOut, R * H * Dv);
  const out = floats(args.out, R * H * Dv);
  const lse = floats(args.lse, R * H);
  const q = floats(args.q, R * H * D);
  const k = floats(args.k, span([S, G, D], [kRowStride, kHeadStride, 1]));
  const v = floats(args.v, span([S, G, Dv], [vRowStride, vHeadStride, 1]));
  const first = ints(args.first, R);
  const last = ints(args.last, R);
  const dkSums = new Float64Array(S * G * D);
  const dvSums = new Float64Array(S * G * Dv);
  const dqSums = new Float64Array(D);
  for (let r = 0; r < R; r++) {
    const { start, end } = keyRange(first[r]!, last[r]!, S);
    for (let h = 0; h < H; h++) {
      const g = Math.floor(h / (H / G));
      const row = r * H + h;
      let delta = 0; // Σ_j p_j·dp_j = out · dOut
      for (let d = 0; d < Dv; d++) delta += out[row * Dv + d]! * dOut[row * Dv + d]!;
      dqSums.fill(0);
      for (let j = start; j < end; j++) {
        let dot = 0;
        for (let d = 0; d < D; d++) dot += q[row * D + d]! * k[j * kRowStride + g * kHeadStride + d]!;
        const p = Math.exp(dot * scale - lse[row]!);
        let dp = 0;
        for (let d = 0; d < Dv; d++) {
          dp += dOut[row * Dv + d]! * v[j * vRowStride + g * vHeadStride + d]!;
          dvSums[(j * G + g) * Dv + d]! += p * dOut[row * Dv + d]!;
        }
        const dScore = p * (dp - delta) * scale;
        for (let d = 0; d < D; d++) {
          dqSums[d]! += dScore * k[j * kRowStride + g * kHeadStride + d]!;
          dkSums[(j * G + g) * D + d]! += dScore * q[row * D + d]!;
        }
      }
      for (let d = 0; d < D; d++) dq[row * D + d] = dqSums[d]!;
    }
  }
  for (let j = 0; j < S; j++) {
    for (let g = 0; g < G; g++) {
      for (let d = 0; d < D; d++) dk[j * dkRowStride + g * dkHeadStride + d]! += dkSums[(j * G + g) * D + d]!;
      for (let d = 0; d < Dv; d++) dv[j * dvRowStride + g * dvHeadStride + d]! += dvSums[(j * G + g) * Dv + d]!;
    }
  }
};
