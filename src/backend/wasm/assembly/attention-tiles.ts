// Register blocks of attention where eight queries read the same keys: their numbers lie side by side, [D][8] the queries, [keys][8] the scores and weights, so a
// vector holds one thing of four queries and a key is loaded once for all. The sums are those of attention-rows.ts: a score has four chains, d mod 4, added
// (0 + 2) + (1 + 3); values are added in one chain over the keys; so a query has the same bits in company as alone. The blocks with names in 8 and 16 are for the wide
// build (pairs of vectors fuse: every sum is stored once, beside its pair), the others for 16 registers of 128 bits.

import { expNegative4, madd } from "./math";

/** Queries side by side. */
export const LANES: i32 = 8;

/** scores[3][8] = scale·(k·q) of three keys and eight queries; D is a multiple of 4. */
export function score3x8(scores: usize, q: usize, k0: usize, k1: usize, k2: usize, D: i32, scale: f32): void {
  let a0_0_0 = f32x4.splat(0);
  let a0_0_1 = f32x4.splat(0);
  let a0_1_0 = f32x4.splat(0);
  let a0_1_1 = f32x4.splat(0);
  let a0_2_0 = f32x4.splat(0);
  let a0_2_1 = f32x4.splat(0);
  let a0_3_0 = f32x4.splat(0);
  let a0_3_1 = f32x4.splat(0);
  let a1_0_0 = f32x4.splat(0);
  let a1_0_1 = f32x4.splat(0);
  let a1_1_0 = f32x4.splat(0);
  let a1_1_1 = f32x4.splat(0);
  let a1_2_0 = f32x4.splat(0);
  let a1_2_1 = f32x4.splat(0);
  let a1_3_0 = f32x4.splat(0);
  let a1_3_1 = f32x4.splat(0);
  let a2_0_0 = f32x4.splat(0);
  let a2_0_1 = f32x4.splat(0);
  let a2_1_0 = f32x4.splat(0);
  let a2_1_1 = f32x4.splat(0);
  let a2_2_0 = f32x4.splat(0);
  let a2_2_1 = f32x4.splat(0);
  let a2_3_0 = f32x4.splat(0);
  let a2_3_1 = f32x4.splat(0);
  const end = k0 + (<usize>D << 2);
  while (k0 < end) {
    const q0_0 = v128.load(q, 0);
    const q0_1 = v128.load(q, 16);
    const x0_0 = v128.load32_splat(k0, 0);
    a0_0_0 = madd(x0_0, q0_0, a0_0_0);
    a0_0_1 = madd(x0_0, q0_1, a0_0_1);
    const x1_0 = v128.load32_splat(k1, 0);
    a1_0_0 = madd(x1_0, q0_0, a1_0_0);
    a1_0_1 = madd(x1_0, q0_1, a1_0_1);
    const x2_0 = v128.load32_splat(k2, 0);
    a2_0_0 = madd(x2_0, q0_0, a2_0_0);
    a2_0_1 = madd(x2_0, q0_1, a2_0_1);
    const q1_0 = v128.load(q, 32);
    const q1_1 = v128.load(q, 48);
    const x0_1 = v128.load32_splat(k0, 4);
    a0_1_0 = madd(x0_1, q1_0, a0_1_0);
    a0_1_1 = madd(x0_1, q1_1, a0_1_1);
    const x1_1 = v128.load32_splat(k1, 4);
    a1_1_0 = madd(x1_1, q1_0, a1_1_0);
    a1_1_1 = madd(x1_1, q1_1, a1_1_1);
    const x2_1 = v128.load32_splat(k2, 4);
    a2_1_0 = madd(x2_1, q1_0, a2_1_0);
    a2_1_1 = madd(x2_1, q1_1, a2_1_1);
    const q2_0 = v128.load(q, 64);
    const q2_1 = v128.load(q, 80);
    const x0_2 = v128.load32_splat(k0, 8);
    a0_2_0 = madd(x0_2, q2_0, a0_2_0);
    a0_2_1 = madd(x0_2, q2_1, a0_2_1);
    const x1_2 = v128.load32_splat(k1, 8);
    a1_2_0 = madd(x1_2, q2_0, a1_2_0);
    a1_2_1 = madd(x1_2, q2_1, a1_2_1);
    const x2_2 = v128.load32_splat(k2, 8);
    a2_2_0 = madd(x2_2, q2_0, a2_2_0);
    a2_2_1 = madd(x2_2, q2_1, a2_2_1);
    const q3_0 = v128.load(q, 96);
    const q3_1 = v128.load(q, 112);
    const x0_3 = v128.load32_splat(k0, 12);
    a0_3_0 = madd(x0_3, q3_0, a0_3_0);
    a0_3_1 = madd(x0_3, q3_1, a0_3_1);
    const x1_3 = v128.load32_splat(k1, 12);
    a1_3_0 = madd(x1_3, q3_0, a1_3_0);
    a1_3_1 = madd(x1_3, q3_1, a1_3_1);
    const x2_3 = v128.load32_splat(k2, 12);
    a2_3_0 = madd(x2_3, q3_0, a2_3_0);
    a2_3_1 = madd(x2_3, q3_1, a2_3_1);
    q += 128;
    k0 += 16;
    k1 += 16;
    k2 += 16;
  }
  const factor = f32x4.splat(scale);
  v128.store(scores, f32x4.mul(f32x4.add(f32x4.add(a0_0_0, a0_2_0), f32x4.add(a0_1_0, a0_3_0)), factor), 0);
  v128.store(scores, f32x4.mul(f32x4.add(f32x4.add(a0_0_1, a0_2_1), f32x4.add(a0_1_1, a0_3_1)), factor), 16);
  v128.store(scores, f32x4.mul(f32x4.add(f32x4.add(a1_0_0, a1_2_0), f32x4.add(a1_1_0, a1_3_0)), factor), 32);
  v128.store(scores, f32x4.mul(f32x4.add(f32x4.add(a1_0_1, a1_2_1), f32x4.add(a1_1_1, a1_3_1)), factor), 48);
  v128.store(scores, f32x4.mul(f32x4.add(f32x4.add(a2_0_0, a2_2_0), f32x4.add(a2_1_0, a2_3_0)), factor), 64);
  v128.store(scores, f32x4.mul(f32x4.add(f32x4.add(a2_0_1, a2_2_1), f32x4.add(a2_1_1, a2_3_1)), factor), 80);
}

/** The same for four of the eight queries. */
export function score3x4(scores: usize, q: usize, k0: usize, k1: usize, k2: usize, D: i32, scale: f32): void {
  let a0_0_0 = f32x4.splat(0);
  let a0_1_0 = f32x4.splat(0);
  let a0_2_0 = f32x4.splat(0);
  let a0_3_0 = f32x4.splat(0);
  let a1_0_0 = f32x4.splat(0);
  let a1_1_0 = f32x4.splat(0);
  let a1_2_0 = f32x4.splat(0);
  let a1_3_0 = f32x4.splat(0);
  let a2_0_0 = f32x4.splat(0);
  let a2_1_0 = f32x4.splat(0);
  let a2_2_0 = f32x4.splat(0);
  let a2_3_0 = f32x4.splat(0);
  const end = k0 + (<usize>D << 2);
  while (k0 < end) {
    const q0_0 = v128.load(q, 0);
    const x0_0 = v128.load32_splat(k0, 0);
    a0_0_0 = madd(x0_0, q0_0, a0_0_0);
    const x1_0 = v128.load32_splat(k1, 0);
    a1_0_0 = madd(x1_0, q0_0, a1_0_0);
    const x2_0 = v128.load32_splat(k2, 0);
    a2_0_0 = madd(x2_0, q0_0, a2_0_0);
    const q1_0 = v128.load(q, 32);
    const x0_1 = v128.load32_splat(k0, 4);
    a0_1_0 = madd(x0_1, q1_0, a0_1_0);
    const x1_1 = v128.load32_splat(k1, 4);
    a1_1_0 = madd(x1_1, q1_0, a1_1_0);
    const x2_1 = v128.load32_splat(k2, 4);
    a2_1_0 = madd(x2_1, q1_0, a2_1_0);
    const q2_0 = v128.load(q, 64);
    const x0_2 = v128.load32_splat(k0, 8);
    a0_2_0 = madd(x0_2, q2_0, a0_2_0);
    const x1_2 = v128.load32_splat(k1, 8);
    a1_2_0 = madd(x1_2, q2_0, a1_2_0);
    const x2_2 = v128.load32_splat(k2, 8);
    a2_2_0 = madd(x2_2, q2_0, a2_2_0);
    const q3_0 = v128.load(q, 96);
    const x0_3 = v128.load32_splat(k0, 12);
    a0_3_0 = madd(x0_3, q3_0, a0_3_0);
    const x1_3 = v128.load32_splat(k1, 12);
    a1_3_0 = madd(x1_3, q3_0, a1_3_0);
    const x2_3 = v128.load32_splat(k2, 12);
    a2_3_0 = madd(x2_3, q3_0, a2_3_0);
    q += 128;
    k0 += 16;
    k1 += 16;
    k2 += 16;
  }
  const factor = f32x4.splat(scale);
  v128.store(scores, f32x4.mul(f32x4.add(f32x4.add(a0_0_0, a0_2_0), f32x4.add(a0_1_0, a0_3_0)), factor), 0);
  v128.store(scores, f32x4.mul(f32x4.add(f32x4.add(a1_0_0, a1_2_0), f32x4.add(a1_1_0, a1_3_0)), factor), 32);
  v128.store(scores, f32x4.mul(f32x4.add(f32x4.add(a2_0_0, a2_2_0), f32x4.add(a2_1_0, a2_3_0)), factor), 64);
}

/** out[r] += Σ_j weights[j][r]·v_j over `count` keys, 16 columns of four of the eight queries; goes on from what `out` holds. */
export function mix4x16(out: usize, outStride: usize, weights: usize, v: usize, stride: usize, count: i32): void {
  const out1 = out + outStride;
  const out2 = out + 2 * outStride;
  const out3 = out + 3 * outStride;
  let a0_0 = v128.load(out, 0);
  let a0_1 = v128.load(out, 16);
  let a0_2 = v128.load(out, 32);
  let a0_3 = v128.load(out, 48);
  let a1_0 = v128.load(out1, 0);
  let a1_1 = v128.load(out1, 16);
  let a1_2 = v128.load(out1, 32);
  let a1_3 = v128.load(out1, 48);
  let a2_0 = v128.load(out2, 0);
  let a2_1 = v128.load(out2, 16);
  let a2_2 = v128.load(out2, 32);
  let a2_3 = v128.load(out2, 48);
  let a3_0 = v128.load(out3, 0);
  let a3_1 = v128.load(out3, 16);
  let a3_2 = v128.load(out3, 32);
  let a3_3 = v128.load(out3, 48);
  for (let j = 0; j < count; j++) {
    const v0 = v128.load(v, 0);
    const v1 = v128.load(v, 16);
    const v2 = v128.load(v, 32);
    const v3 = v128.load(v, 48);
    const w0 = v128.load32_splat(weights, 0);
    a0_0 = madd(w0, v0, a0_0);
    a0_1 = madd(w0, v1, a0_1);
    a0_2 = madd(w0, v2, a0_2);
    a0_3 = madd(w0, v3, a0_3);
    const w1 = v128.load32_splat(weights, 4);
    a1_0 = madd(w1, v0, a1_0);
    a1_1 = madd(w1, v1, a1_1);
    a1_2 = madd(w1, v2, a1_2);
    a1_3 = madd(w1, v3, a1_3);
    const w2 = v128.load32_splat(weights, 8);
    a2_0 = madd(w2, v0, a2_0);
    a2_1 = madd(w2, v1, a2_1);
    a2_2 = madd(w2, v2, a2_2);
    a2_3 = madd(w2, v3, a2_3);
    const w3 = v128.load32_splat(weights, 12);
    a3_0 = madd(w3, v0, a3_0);
    a3_1 = madd(w3, v1, a3_1);
    a3_2 = madd(w3, v2, a3_2);
    a3_3 = madd(w3, v3, a3_3);
    weights += 32;
    v += stride;
  }
  v128.store(out, a0_0, 0);
  v128.store(out, a0_1, 16);
  v128.store(out, a0_2, 32);
  v128.store(out, a0_3, 48);
  v128.store(out1, a1_0, 0);
  v128.store(out1, a1_1, 16);
  v128.store(out1, a1_2, 32);
  v128.store(out1, a1_3, 48);
  v128.store(out2, a2_0, 0);
  v128.store(out2, a2_1, 16);
  v128.store(out2, a2_2, 32);
  v128.store(out2, a2_3, 48);
  v128.store(out3, a3_0, 0);
  v128.store(out3, a3_1, 16);
  v128.store(out3, a3_2, 32);
  v128.store(out3, a3_3, 48);
}

/** The same with 8 columns. */
export function mix4x8(out: usize, outStride: usize, weights: usize, v: usize, stride: usize, count: i32): void {
  const out1 = out + outStride;
  const out2 = out + 2 * outStride;
  const out3 = out + 3 * outStride;
  let a0_0 = v128.load(out, 0);
  let a0_1 = v128.load(out, 16);
  let a1_0 = v128.load(out1, 0);
  let a1_1 = v128.load(out1, 16);
  let a2_0 = v128.load(out2, 0);
  let a2_1 = v128.load(out2, 16);
  let a3_0 = v128.load(out3, 0);
  let a3_1 = v128.load(out3, 16);
  for (let j = 0; j < count; j++) {
    const v0 = v128.load(v, 0);
    const v1 = v128.load(v, 16);
    const w0 = v128.load32_splat(weights, 0);
    a0_0 = madd(w0, v0, a0_0);
    a0_1 = madd(w0, v1, a0_1);
    const w1 = v128.load32_splat(weights, 4);
    a1_0 = madd(w1, v0, a1_0);
    a1_1 = madd(w1, v1, a1_1);
    const w2 = v128.load32_splat(weights, 8);
    a2_0 = madd(w2, v0, a2_0);
    a2_1 = madd(w2, v1, a2_1);
    const w3 = v128.load32_splat(weights, 12);
    a3_0 = madd(w3, v0, a3_0);
    a3_1 = madd(w3, v1, a3_1);
    weights += 32;
    v += stride;
  }
  v128.store(out, a0_0, 0);
  v128.store(out, a0_1, 16);
  v128.store(out1, a1_0, 0);
  v128.store(out1, a1_1, 16);
  v128.store(out2, a2_0, 0);
  v128.store(out2, a2_1, 16);
  v128.store(out3, a3_0, 0);
  v128.store(out3, a3_1, 16);
}

/** tops[8]: the largest of `count` (1 or more) rows of eight scores, queries apart; NaN is passed over, its weight will be NaN. */
export function largest8(tops: usize, scores: usize, count: i32): void {
  let a0 = v128.load(scores);
  let a1 = v128.load(scores, 16);
  let b0 = a0;
  let b1 = a1;
  let j = 0;
  for (; j + 2 <= count; j += 2) {
    a0 = f32x4.pmax(a0, v128.load(scores));
    a1 = f32x4.pmax(a1, v128.load(scores, 16));
    b0 = f32x4.pmax(b0, v128.load(scores, 32));
    b1 = f32x4.pmax(b1, v128.load(scores, 48));
    scores += 64;
  }
  if (j < count) {
    a0 = f32x4.pmax(a0, v128.load(scores));
    a1 = f32x4.pmax(a1, v128.load(scores, 16));
  }
  v128.store(tops, f32x4.pmax(a0, b0));
  v128.store(tops, f32x4.pmax(a1, b1), 16);
}

/** scores to e^(score - top) in place. Both vectors are loaded before one is stored, else they do not fuse. */
export function weigh8(scores: usize, tops: usize, count: i32): void {
  const t0 = v128.load(tops);
  const t1 = v128.load(tops, 16);
  for (let j = 0; j < count; j++) {
    const e0 = expNegative4(f32x4.sub(v128.load(scores), t0));
    const e1 = expNegative4(f32x4.sub(v128.load(scores, 16), t1));
    v128.store(scores, e0);
    v128.store(scores, e1, 16);
    scores += 32;
  }
}

/** sums[4][8]: of rows 0, 4, 8 …, of rows 1, 5, 9 … and so on; count is a multiple of 4. */
export function sums8(sums: usize, weights: usize, count: i32): void {
  let s0_0 = f32x4.splat(0);
  let s0_1 = f32x4.splat(0);
  let s1_0 = f32x4.splat(0);
  let s1_1 = f32x4.splat(0);
  let s2_0 = f32x4.splat(0);
  let s2_1 = f32x4.splat(0);
  let s3_0 = f32x4.splat(0);
  let s3_1 = f32x4.splat(0);
  for (let j = 0; j < count; j += 4) {
    s0_0 = f32x4.add(s0_0, v128.load(weights, 0));
    s0_1 = f32x4.add(s0_1, v128.load(weights, 16));
    s1_0 = f32x4.add(s1_0, v128.load(weights, 32));
    s1_1 = f32x4.add(s1_1, v128.load(weights, 48));
    s2_0 = f32x4.add(s2_0, v128.load(weights, 64));
    s2_1 = f32x4.add(s2_1, v128.load(weights, 80));
    s3_0 = f32x4.add(s3_0, v128.load(weights, 96));
    s3_1 = f32x4.add(s3_1, v128.load(weights, 112));
    weights += 128;
  }
  v128.store(sums, s0_0, 0);
  v128.store(sums, s0_1, 16);
  v128.store(sums, s1_0, 32);
  v128.store(sums, s1_1, 48);
  v128.store(sums, s2_0, 64);
  v128.store(sums, s2_1, 80);
  v128.store(sums, s3_0, 96);
  v128.store(sums, s3_1, 112);
}
