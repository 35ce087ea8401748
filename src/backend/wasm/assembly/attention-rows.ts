// What attention does with one query row: scores of its keys, the mix of values, and in the backward pass the spread of its gradient over the
// keys. The score of a key is a dot product in four lanes added in one order; values are added in one chain per element, which
// goes on from page to page where keys lie in pages: the bits are those of contiguous keys. Keys come as rows, or as
// panels of eight that `packKeys` made for a run of queries with the same keys: the lanes and their order are the same, so the bits are too.

import { load4, store4 } from "./lanes";
import { expNegative4, log, madd, maxLanes, sumLanes } from "./math";
import { transpose4 } from "./transpose";

/** q·k over D elements. */
// @ts-ignore: decorator
@inline
export function dot(q: usize, k: usize, D: i32): f32 {
  let sum = f32x4.splat(0);
  for (let d = 0; d < D; d += 4) sum = madd(load4(q + (<usize>d << 2), D - d), load4(k + (<usize>d << 2), D - d), sum);
  return sumLanes(sum);
}

/** scores[j] = scale·(q·k_j) for `count` keys `stride` bytes apart. Four keys share the loads of q; each keeps its own four lanes. */
export function scoreKeys(scores: usize, q: usize, k: usize, count: i32, stride: usize, D: i32, scale: f32): void {
  const factor = f32x4.splat(scale);
  let j = 0;
  for (; j + 4 <= count; j += 4) {
    const k1 = k + stride;
    const k2 = k1 + stride;
    const k3 = k2 + stride;
    let s0 = f32x4.splat(0);
    let s1 = f32x4.splat(0);
    let s2 = f32x4.splat(0);
    let s3 = f32x4.splat(0);
    const whole = D & ~3;
    for (let d = 0; d < whole; d += 4) {
      const o = <usize>d << 2;
      const x = v128.load(q + o);
      s0 = madd(x, v128.load(k + o), s0);
      s1 = madd(x, v128.load(k1 + o), s1);
      s2 = madd(x, v128.load(k2 + o), s2);
      s3 = madd(x, v128.load(k3 + o), s3);
    }
    if (whole < D) {
      const o = <usize>whole << 2;
      const x = load4(q + o, D - whole);
      s0 = madd(x, load4(k + o, D - whole), s0);
      s1 = madd(x, load4(k1 + o, D - whole), s1);
      s2 = madd(x, load4(k2 + o, D - whole), s2);
      s3 = madd(x, load4(k3 + o, D - whole), s3);
    }
    // Transpose, then add as sumLanes does: (l0 + l2) + (l1 + l3).
    const a = i32x4.shuffle(s0, s1, 0, 4, 1, 5);
    const b = i32x4.shuffle(s2, s3, 0, 4, 1, 5);
    const c = i32x4.shuffle(s0, s1, 2, 6, 3, 7);
    const e = i32x4.shuffle(s2, s3, 2, 6, 3, 7);
    const even = f32x4.add(i64x2.shuffle(a, b, 0, 2), i64x2.shuffle(c, e, 0, 2));
    const odd = f32x4.add(i64x2.shuffle(a, b, 1, 3), i64x2.shuffle(c, e, 1, 3));
    v128.store(scores + (<usize>j << 2), f32x4.mul(f32x4.add(even, odd), factor));
    k = k3 + stride;
  }
  for (; j < count; j++) {
    store<f32>(scores + (<usize>j << 2), dot(q, k, D) * scale);
    k += stride;
  }
}

/** out[d] = factor·Σ_j weights[j]·v_j[d], j ascending. The sum begins at 0, or with what `out` holds when it `goesOn`. */
export function mix(out: usize, weights: usize, v: usize, count: i32, stride: usize, Dv: i32, factor: f32, goesOn: bool): void {
  const f = f32x4.splat(factor);
  let d = 0;
  for (; d + 32 <= Dv; d += 32) {
    const o = out + (<usize>d << 2);
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    let a4 = f32x4.splat(0);
    let a5 = f32x4.splat(0);
    let a6 = f32x4.splat(0);
    let a7 = f32x4.splat(0);
    if (goesOn) {
      a0 = v128.load(o);
      a1 = v128.load(o, 16);
      a2 = v128.load(o, 32);
      a3 = v128.load(o, 48);
      a4 = v128.load(o, 64);
      a5 = v128.load(o, 80);
      a6 = v128.load(o, 96);
      a7 = v128.load(o, 112);
    }
    let row = v + (<usize>d << 2);
    for (let j = 0; j < count; j++) {
      const w = v128.load32_splat(weights + (<usize>j << 2));
      a0 = madd(w, v128.load(row), a0);
      a1 = madd(w, v128.load(row, 16), a1);
      a2 = madd(w, v128.load(row, 32), a2);
      a3 = madd(w, v128.load(row, 48), a3);
      a4 = madd(w, v128.load(row, 64), a4);
      a5 = madd(w, v128.load(row, 80), a5);
      a6 = madd(w, v128.load(row, 96), a6);
      a7 = madd(w, v128.load(row, 112), a7);
      row += stride;
    }
    v128.store(o, f32x4.mul(a0, f));
    v128.store(o, f32x4.mul(a1, f), 16);
    v128.store(o, f32x4.mul(a2, f), 32);
    v128.store(o, f32x4.mul(a3, f), 48);
    v128.store(o, f32x4.mul(a4, f), 64);
    v128.store(o, f32x4.mul(a5, f), 80);
    v128.store(o, f32x4.mul(a6, f), 96);
    v128.store(o, f32x4.mul(a7, f), 112);
  }
  for (; d + 8 <= Dv; d += 8) {
    const o = out + (<usize>d << 2);
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    if (goesOn) {
      a0 = v128.load(o);
      a1 = v128.load(o, 16);
    }
    let row = v + (<usize>d << 2);
    for (let j = 0; j < count; j++) {
      const w = v128.load32_splat(weights + (<usize>j << 2));
      a0 = madd(w, v128.load(row), a0);
      a1 = madd(w, v128.load(row, 16), a1);
      row += stride;
    }
    v128.store(o, f32x4.mul(a0, f));
    v128.store(o, f32x4.mul(a1, f), 16);
  }
  for (; d < Dv; d += 4) {
    const o = out + (<usize>d << 2);
    let a = goesOn ? load4(o, Dv - d) : f32x4.splat(0);
    let row = v + (<usize>d << 2);
    for (let j = 0; j < count; j++) {
      a = madd(v128.load32_splat(weights + (<usize>j << 2)), load4(row, Dv - d), a);
      row += stride;
    }
    store4(o, Dv - d, f32x4.mul(a, f));
  }
}

/** Scores to weights e^(score - largest) in place; writes the log of their sum and returns the sum, four lanes and then the last one to three in order. */
export function softmaxRow(scores: usize, count: i32, lse: usize): f64 {
  let top = f32x4.splat(-Infinity);
  let j = 0;
  for (; j + 4 <= count; j += 4) top = f32x4.max(top, v128.load(scores + (<usize>j << 2)));
  let best = maxLanes(top);
  for (; j < count; j++) best = max(best, load<f32>(scores + (<usize>j << 2)));
  const shift = f32x4.splat(best);
  let sum = f32x4.splat(0);
  for (j = 0; j + 4 <= count; j += 4) {
    const e = expNegative4(f32x4.sub(v128.load(scores + (<usize>j << 2)), shift));
    v128.store(scores + (<usize>j << 2), e);
    sum = f32x4.add(sum, e);
  }
  let total = sumLanes(sum);
  for (; j < count; j++) {
    const e = f32x4.extract_lane(expNegative4(f32x4.splat(load<f32>(scores + (<usize>j << 2)) - best)), 0);
    store<f32>(scores + (<usize>j << 2), e);
    total += e;
  }
  store<f32>(lse, <f32>(<f64>best + log(<f64>total)));
  return <f64>total;
}

/** Keys in a panel. */
const PANEL: i32 = 8;

/** Panels [D][8] of `count` keys `stride` bytes apart, zeros behind the last; D is a multiple of 4. */
export function packKeys(panels: usize, k: usize, count: i32, stride: usize, D: i32): void {
  for (let j = 0; j < count; j += PANEL) {
    for (let half = 0; half < PANEL; half += 4) {
      const row = k + <usize>half * stride;
      let target = panels + (<usize>half << 2);
      const valid = count - j - half;
      if (valid >= 4) {
        for (let d: usize = 0; d < <usize>D << 2; d += 16) {
          const second = row + stride + d;
          const fourth = second + 2 * stride;
          transpose4(v128.load(row + d), v128.load(second), v128.load(second + stride), v128.load(fourth), target, 32);
          target += 128;
        }
      } else {
        for (let d: usize = 0; d < <usize>D << 2; d += 4) {
          for (let i = 0; i < 4; i++) store<f32>(target + (<usize>i << 2), i < valid ? load<f32>(row + <usize>i * stride + d) : 0);
          target += 32;
        }
      }
    }
    panels += <usize>D << 5;
    k += stride * PANEL;
  }
}

/** scoreKeys over panels; writes whole panels, so up to seven scores behind the last. */
export function scorePanels(scores: usize, q: usize, panels: usize, count: i32, D: i32, scale: f32): void {
  const factor = f32x4.splat(scale);
  for (let j = 0; j < count; j += PANEL) {
    // Lane l of the dot product has the elements d = l, l + 4, …: here each lane is a sum of its own, for keys 0 to 3 (a) and 4 to 7 (b).
    let a0 = f32x4.splat(0);
    let b0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let b1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let b2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    let b3 = f32x4.splat(0);
    for (let d: usize = 0; d < <usize>D << 2; d += 16) {
      const x0 = v128.load32_splat(q + d);
      a0 = madd(x0, v128.load(panels), a0);
      b0 = madd(x0, v128.load(panels, 16), b0);
      const x1 = v128.load32_splat(q + d, 4);
      a1 = madd(x1, v128.load(panels, 32), a1);
      b1 = madd(x1, v128.load(panels, 48), b1);
      const x2 = v128.load32_splat(q + d, 8);
      a2 = madd(x2, v128.load(panels, 64), a2);
      b2 = madd(x2, v128.load(panels, 80), b2);
      const x3 = v128.load32_splat(q + d, 12);
      a3 = madd(x3, v128.load(panels, 96), a3);
      b3 = madd(x3, v128.load(panels, 112), b3);
      panels += 128;
    }
    // As sumLanes: (l0 + l2) + (l1 + l3).
    v128.store(scores, f32x4.mul(f32x4.add(f32x4.add(a0, a2), f32x4.add(a1, a3)), factor));
    v128.store(scores, f32x4.mul(f32x4.add(f32x4.add(b0, b2), f32x4.add(b1, b3)), factor), 16);
    scores += 32;
  }
}

/** rows[j] += weights[j]·x for `count` rows `stride` bytes apart. */
export function spread(rows: usize, weights: usize, x: usize, count: i32, stride: usize, D: i32): void {
  let d = 0;
  for (; d + 16 <= D; d += 16) {
    const x0 = v128.load(x + (<usize>d << 2));
    const x1 = v128.load(x + (<usize>d << 2), 16);
    const x2 = v128.load(x + (<usize>d << 2), 32);
    const x3 = v128.load(x + (<usize>d << 2), 48);
    let row = rows + (<usize>d << 2);
    for (let j = 0; j < count; j++) {
      const w = v128.load32_splat(weights + (<usize>j << 2));
      v128.store(row, madd(w, x0, v128.load(row)));
      v128.store(row, madd(w, x1, v128.load(row, 16)), 16);
      v128.store(row, madd(w, x2, v128.load(row, 32)), 32);
      v128.store(row, madd(w, x3, v128.load(row, 48)), 48);
      row += stride;
    }
  }
  for (; d < D; d += 4) {
    const x0 = load4(x + (<usize>d << 2), D - d);
    let row = rows + (<usize>d << 2);
    for (let j = 0; j < count; j++) {
      store4(row, D - d, madd(v128.load32_splat(weights + (<usize>j << 2)), x0, load4(row, D - d)));
      row += stride;
    }
  }
}

/** spread of two rows x and y, x first: each row of the target is fetched once for both. D is a multiple of 16. */
export function spreadPair(rows: usize, weights: usize, x: usize, others: usize, y: usize, count: i32, stride: usize, D: i32): void {
  for (let d: usize = 0; d < <usize>D << 2; d += 64) {
    const x0 = v128.load(x + d);
    const x1 = v128.load(x + d, 16);
    const x2 = v128.load(x + d, 32);
    const x3 = v128.load(x + d, 48);
    const y0 = v128.load(y + d);
    const y1 = v128.load(y + d, 16);
    const y2 = v128.load(y + d, 32);
    const y3 = v128.load(y + d, 48);
    let row = rows + d;
    for (let j: usize = 0; j < <usize>count << 2; j += 4) {
      const w = v128.load32_splat(weights + j);
      const u = v128.load32_splat(others + j);
      const r0 = madd(u, y0, madd(w, x0, v128.load(row)));
      const r1 = madd(u, y1, madd(w, x1, v128.load(row, 16)));
      const r2 = madd(u, y2, madd(w, x2, v128.load(row, 32)));
      const r3 = madd(u, y3, madd(w, x3, v128.load(row, 48)));
      v128.store(row, r0);
      v128.store(row, r1, 16);
      v128.store(row, r2, 32);
      v128.store(row, r3, 48);
      row += stride;
    }
  }
}
