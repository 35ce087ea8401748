// Attention of each query row over the key rows first..last, and its gradients. The score of a key is a dot product in four lanes added in one order; keys are
// visited in ascending order, four scores at a time; values are added in one chain per element. So a query's result depends on its own keys alone,
// not on the batch or the cache. Keys in pages are runs of rows; a value's chain of additions goes on from run to run, so the bits are the same.
// Scores live in a scratch row per thread (S floats; two rows in the backward pass).
// Arguments: attention(out, lse, q, k, v, first, last, R, S, H, G, D, Dv, scale, kRowStride, kHeadStride, vRowStride, vHeadStride, scratch,
// scratchStride, pages, slot, tables, tableStride, pageSize); attentionBackward adds dq, dk, dv … as listed there.

import { claim } from "./control";
import { load4, store4 } from "./lanes";
import { exp4, log, madd, maxLanes, sumLanes } from "./math";

/** q·k over D elements. */
// @ts-ignore: decorator
@inline
function dot(q: usize, k: usize, D: i32): f32 {
  let sum = f32x4.splat(0);
  for (let d = 0; d < D; d += 4) sum = madd(load4(q + (<usize>d << 2), D - d), load4(k + (<usize>d << 2), D - d), sum);
  return sumLanes(sum);
}

/** scores[j] = scale·(q·k_j) for `count` keys `stride` bytes apart. Four keys share the loads of q; each keeps its own four lanes. */
function scoreKeys(scores: usize, q: usize, k: usize, count: i32, stride: usize, D: i32, scale: f32): void {
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
function mix(out: usize, weights: usize, v: usize, count: i32, stride: usize, Dv: i32, factor: f32, goesOn: bool): void {
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

/** Rows of one unit of work: neighbours share keys in the cache. */
const ROWS: i32 = 8;

/** The key row where key j lies, given the page table of its sequence. */
// @ts-ignore: decorator
@inline
function pagedRow(table: usize, j: i32, pageSize: i32, pageCount: i32): i32 {
  const page = max(0, min(pageCount - 1, load<i32>(table + (<usize>(j / pageSize) << 2))));
  return page * pageSize + j % pageSize;
}

export function attention(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const lse = <usize>load<u32>(p, 4);
  const q = <usize>load<u32>(p, 8);
  const k = <usize>load<u32>(p, 12);
  const v = <usize>load<u32>(p, 16);
  const first = <usize>load<u32>(p, 20);
  const last = <usize>load<u32>(p, 24);
  const R = load<i32>(p, 28);
  const S = load<i32>(p, 32);
  const H = load<i32>(p, 36);
  const G = load<i32>(p, 40);
  const D = load<i32>(p, 44);
  const Dv = load<i32>(p, 48);
  const scale = load<f32>(p, 52);
  const kRow = <usize>load<i32>(p, 56) << 2;
  const kHead = <usize>load<i32>(p, 60) << 2;
  const vRow = <usize>load<i32>(p, 64) << 2;
  const vHead = <usize>load<i32>(p, 68) << 2;
  const scores = <usize>load<u32>(p, 72) + <usize>thread * <usize>load<u32>(p, 76);
  const pages = <usize>load<u32>(p, 80);
  const slot = <usize>load<u32>(p, 84);
  const tables = load<i32>(p, 88);
  const tableStride = load<i32>(p, 92);
  const pageSize = load<i32>(p, 96);
  const pageCount = pages == 0 ? 0 : S / pageSize;
  const keys = pages == 0 ? S : pageCount == 0 || tables == 0 ? 0 : tableStride * pageSize;
  const perGroup = H / G;
  const blocks = (R + ROWS - 1) / ROWS;
  const units = blocks * H;
  for (let unit = claim(); unit < units; unit = claim()) {
    const h = unit % H;
    const g = <usize>(h / perGroup);
    const end = min(R, (unit / H + 1) * ROWS);
    for (let r = (unit / H) * ROWS; r < end; r++) {
      const begin = load<i32>(first + (<usize>r << 2));
      const stop = load<i32>(last + (<usize>r << 2));
      const from = max(0, min(keys - 1, begin));
      const to = max(0, min(keys - 1, stop));
      const cell = <usize>r * <usize>H + <usize>h;
      const target = out + (cell * <usize>Dv << 2);
      const count = begin > stop || keys == 0 ? 0 : to - from + 1;
      if (count <= 0) {
        memory.fill(target, 0, <usize>Dv << 2);
        store<f32>(lse + (cell << 2), -Infinity);
        continue;
      }
      const query = q + (cell * <usize>D << 2);
      const keyHead = k + g * kHead;
      const valueHead = v + g * vHead;
      let table: usize = 0;
      if (pages == 0) scoreKeys(scores, query, keyHead + <usize>from * kRow, count, kRow, D, scale);
      else {
        table = pages + (<usize>(max(0, min(tables - 1, load<i32>(slot + (<usize>r << 2)))) * tableStride) << 2);
        for (let done = 0; done < count; ) {
          const run = min(count - done, pageSize - (from + done) % pageSize);
          const row = <usize>pagedRow(table, from + done, pageSize, pageCount);
          scoreKeys(scores + (<usize>done << 2), query, keyHead + row * kRow, run, kRow, D, scale);
          done += run;
        }
      }
      let top = f32x4.splat(-Infinity);
      let j = 0;
      for (; j + 4 <= count; j += 4) top = f32x4.max(top, v128.load(scores + (<usize>j << 2)));
      let best = maxLanes(top);
      for (; j < count; j++) best = max(best, load<f32>(scores + (<usize>j << 2)));
      const shift = f32x4.splat(best);
      let sum = f32x4.splat(0);
      for (j = 0; j + 4 <= count; j += 4) {
        const e = exp4(f32x4.sub(v128.load(scores + (<usize>j << 2)), shift));
        v128.store(scores + (<usize>j << 2), e);
        sum = f32x4.add(sum, e);
      }
      let total = sumLanes(sum);
      for (; j < count; j++) {
        const e = f32x4.extract_lane(exp4(f32x4.splat(load<f32>(scores + (<usize>j << 2)) - best)), 0);
        store<f32>(scores + (<usize>j << 2), e);
        total += e;
      }
      store<f32>(lse + (cell << 2), <f32>(<f64>best + log(<f64>total)));
      const share = <f32>(1.0 / <f64>total);
      if (pages == 0) mix(target, scores, valueHead + <usize>from * vRow, count, vRow, Dv, share, false);
      else {
        for (let done = 0; done < count; ) {
          const run = min(count - done, pageSize - (from + done) % pageSize);
          const row = <usize>pagedRow(table, from + done, pageSize, pageCount);
          const factor: f32 = done + run == count ? share : 1;
          mix(target, scores + (<usize>done << 2), valueHead + row * vRow, run, vRow, Dv, factor, done > 0);
          done += run;
        }
      }
    }
  }
}

/** rows[j] += weights[j]·x for `count` rows `stride` bytes apart. */
function spread(rows: usize, weights: usize, x: usize, count: i32, stride: usize, D: i32): void {
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

/**
 * Arguments: dq, dk, dv, dOut, out, lse, q, k, v, first, last, R, S, H, G, D, Dv, scale, batch, kRowStride, kHeadStride, vRowStride, vHeadStride,
 * dkRowStride, dkHeadStride, dvRowStride, dvHeadStride, scratch, scratchStride. A unit is one key head of one part: it alone writes its dk and dv.
 */
export function attentionBackward(p: usize, thread: i32, threads: i32): void {
  const dq = <usize>load<u32>(p);
  const dk = <usize>load<u32>(p, 4);
  const dv = <usize>load<u32>(p, 8);
  const dOut = <usize>load<u32>(p, 12);
  const out = <usize>load<u32>(p, 16);
  const lse = <usize>load<u32>(p, 20);
  const q = <usize>load<u32>(p, 24);
  const k = <usize>load<u32>(p, 28);
  const v = <usize>load<u32>(p, 32);
  const first = <usize>load<u32>(p, 36);
  const last = <usize>load<u32>(p, 40);
  const R = load<i32>(p, 44);
  const S = load<i32>(p, 48);
  const H = load<i32>(p, 52);
  const G = load<i32>(p, 56);
  const D = load<i32>(p, 60);
  const Dv = load<i32>(p, 64);
  const scale = load<f32>(p, 68);
  const batch = load<i32>(p, 72);
  const kRow = <usize>load<i32>(p, 76) << 2;
  const kHead = <usize>load<i32>(p, 80) << 2;
  const vRow = <usize>load<i32>(p, 84) << 2;
  const vHead = <usize>load<i32>(p, 88) << 2;
  const dkRow = <usize>load<i32>(p, 92) << 2;
  const dkHead = <usize>load<i32>(p, 96) << 2;
  const dvRow = <usize>load<i32>(p, 100) << 2;
  const dvHead = <usize>load<i32>(p, 104) << 2;
  const weights = <usize>load<u32>(p, 108) + <usize>thread * <usize>load<u32>(p, 112);
  const slopes = weights + ((<usize>S + 3 & ~3) << 2);
  const perGroup = H / G;
  const rows = R / batch;
  const keys = S / batch;
  const units = batch * G;
  for (let unit = claim(); unit < units; unit = claim()) {
    const part = unit / G;
    const g = unit % G;
    const firstKey = part * keys;
    const lastKey = firstKey + keys - 1;
    const end = (part + 1) * rows;
    for (let r = part * rows; r < end; r++) {
      const begin = load<i32>(first + (<usize>r << 2));
      const stop = load<i32>(last + (<usize>r << 2));
      const from = max(firstKey, min(lastKey, begin));
      const to = max(firstKey, min(lastKey, stop));
      const count = begin > stop || keys == 0 ? 0 : to - from + 1;
      for (let h = g * perGroup; h < (g + 1) * perGroup; h++) {
        const cell = <usize>r * <usize>H + <usize>h;
        const qRow = q + (cell * <usize>D << 2);
        const dqRow = dq + (cell * <usize>D << 2);
        if (count <= 0) {
          memory.fill(dqRow, 0, <usize>D << 2);
          continue;
        }
        const dRow = dOut + (cell * <usize>Dv << 2);
        const keyRows = k + <usize>from * kRow + <usize>g * kHead;
        scoreKeys(weights, qRow, keyRows, count, kRow, D, scale);
        scoreKeys(slopes, dRow, v + <usize>from * vRow + <usize>g * vHead, count, vRow, Dv, 1);
        const shift = v128.load32_splat(lse + (cell << 2));
        const centre = f32x4.splat(dot(dRow, out + (cell * <usize>Dv << 2), Dv));
        const factor = f32x4.splat(scale);
        for (let j = 0; j < count; j += 4) {
          // The scratch rows are padded to whole vectors: reading past `count` is harmless.
          const o = <usize>j << 2;
          const w = exp4(f32x4.sub(v128.load(weights + o), shift));
          v128.store(weights + o, w);
          v128.store(slopes + o, f32x4.mul(f32x4.mul(w, f32x4.sub(v128.load(slopes + o), centre)), factor));
        }
        mix(dqRow, slopes, keyRows, count, kRow, D, 1, false);
        spread(dk + <usize>from * dkRow + <usize>g * dkHead, slopes, qRow, count, dkRow, D);
        spread(dv + <usize>from * dvRow + <usize>g * dvHead, weights, dRow, count, dvRow, Dv);
      }
    }
  }
}
