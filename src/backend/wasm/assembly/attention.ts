// Attention of each query row over the key rows first..last, and its gradients. A query's result depends on its own keys alone, not on the batch or the cache:
// see attention-rows.ts. Neighbouring queries with the same first key (a document in training, a prompt) are a run: its keys are packed once for all.
// Scratch of a thread: the panels of a run's keys (in the backward pass also of its values), then rows of scores.
// Arguments: attention(out, lse, q, k, v, first, last, R, S, H, G, D, Dv, scale, kRowStride, kHeadStride, vRowStride, vHeadStride, panelKeys, scratch,
// scratchStride, pages, slot, tables, tableStride, pageSize); attentionBackward adds dq, dk, dv … as listed there. panelKeys: the longest run of keys that the scratch has room for.

import { bound, furthest, pagedRow, runEnd } from "./attention-ranges";
import { dot, mix, packKeys, scoreKeys, scorePanels, softmaxRow, spread, spreadPair } from "./attention-rows";
import { claim } from "./control";
import { expNegative4 } from "./math";

/** Rows of one unit of work at most. */
const ROWS: i32 = 32;
/** Queries that make packing their keys worth while. */
const FEWEST: i32 = 4;

/** Packs `count` keys from key `from` on, page by page; `from` and pageSize are multiples of 8, so every page but the last fills whole panels. */
function packPages(panels: usize, k: usize, table: usize, from: i32, count: i32, stride: usize, D: i32, pageSize: i32, pageCount: i32): void {
  for (let done = 0; done < count; ) {
    const run = min(count - done, pageSize - (from + done) % pageSize);
    packKeys(panels + (<usize>done * <usize>D << 2), k + pagedRow(table, from + done, pageSize, pageCount) * stride, run, stride, D);
    done += run;
  }
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
  const panelKeys = load<i32>(p, 72);
  const panels = <usize>load<u32>(p, 76) + <usize>thread * <usize>load<u32>(p, 80);
  const scores = panels + (<usize>panelKeys * <usize>D << 2);
  const pages = <usize>load<u32>(p, 84);
  const slot = <usize>load<u32>(p, 88);
  const tables = load<i32>(p, 92);
  const tableStride = load<i32>(p, 96);
  const pageSize = load<i32>(p, 100);
  const pageCount = pages == 0 ? 0 : S / pageSize;
  /** How many keys a row can have. */
  const most = pages == 0 ? S : pageCount == 0 || tables == 0 ? 0 : tableStride * pageSize;
  const perGroup = H / G;
  const rows = max(1, min(ROWS, (R * H) / (8 * threads)));
  const blocks = (R + rows - 1) / rows;
  const units = blocks * H;
  for (let unit = claim(); unit < units; unit = claim()) {
    const h = unit % H;
    const g = <usize>(h / perGroup);
    const end = min(R, (unit / H + 1) * rows);
    const keyHead = k + g * kHead;
    const valueHead = v + g * vHead;
    let next = 0;
    let packed = false;
    let table: usize = 0;
    for (let r = (unit / H) * rows; r < end; r++) {
      if (r >= next) {
        next = runEnd(first, slot, r, end);
        const start = bound(load<i32>(first + (<usize>r << 2)), 0, most - 1);
        const keys = bound(furthest(last, r, next), 0, most - 1) - start + 1;
        packed = next - r >= FEWEST && (D & 3) == 0 && keys > 0 && keys <= panelKeys;
        if (pages == 0) {
          if (packed) packKeys(panels, keyHead + <usize>start * kRow, keys, kRow, D);
        } else {
          table = pages + (<usize>(bound(load<i32>(slot + (<usize>r << 2)), 0, tables - 1) * tableStride) << 2);
          packed = packed && ((start | pageSize) & 7) == 0;
          if (packed) packPages(panels, keyHead, table, start, keys, kRow, D, pageSize, pageCount);
        }
      }
      const begin = load<i32>(first + (<usize>r << 2));
      const stop = load<i32>(last + (<usize>r << 2));
      const from = bound(begin, 0, most - 1);
      const to = bound(stop, 0, most - 1);
      const cell = <usize>r * <usize>H + <usize>h;
      const target = out + (cell * <usize>Dv << 2);
      const count = begin > stop || most == 0 ? 0 : to - from + 1;
      if (count <= 0) {
        memory.fill(target, 0, <usize>Dv << 2);
        store<f32>(lse + (cell << 2), -Infinity);
        continue;
      }
      const query = q + (cell * <usize>D << 2);
      if (packed) scorePanels(scores, query, panels, count, D, scale);
      else if (pages == 0) scoreKeys(scores, query, keyHead + <usize>from * kRow, count, kRow, D, scale);
      else {
        for (let done = 0; done < count; ) {
          const run = min(count - done, pageSize - (from + done) % pageSize);
          scoreKeys(scores + (<usize>done << 2), query, keyHead + pagedRow(table, from + done, pageSize, pageCount) * kRow, run, kRow, D, scale);
          done += run;
        }
      }
      const total = softmaxRow(scores, count, lse + (cell << 2));
      const share = <f32>(1.0 / total);
      if (pages == 0) mix(target, scores, valueHead + <usize>from * vRow, count, vRow, Dv, share, false);
      else {
        for (let done = 0; done < count; ) {
          const run = min(count - done, pageSize - (from + done) % pageSize);
          const rows = valueHead + pagedRow(table, from + done, pageSize, pageCount) * vRow;
          mix(target, scores + (<usize>done << 2), rows, run, vRow, Dv, done + run == count ? share : 1, done > 0);
          done += run;
        }
      }
    }
  }
}

/** Scores to weights, and the products with the values to slopes of the scores, in place; up to seven more of each. */
function softmaxSlopes(weights: usize, slopes: usize, count: i32, lse: f32, centre: f32, scale: f32): void {
  const shift = f32x4.splat(lse);
  const middle = f32x4.splat(centre);
  const factor = f32x4.splat(scale);
  for (let o: usize = 0; o < <usize>count << 2; o += 32) {
    const w0 = expNegative4(f32x4.sub(v128.load(weights + o), shift));
    const w1 = expNegative4(f32x4.sub(v128.load(weights + o, 16), shift));
    const s0 = f32x4.mul(f32x4.mul(w0, f32x4.sub(v128.load(slopes + o), middle)), factor);
    const s1 = f32x4.mul(f32x4.mul(w1, f32x4.sub(v128.load(slopes + o, 16), middle)), factor);
    v128.store(weights + o, w0);
    v128.store(weights + o, w1, 16);
    v128.store(slopes + o, s0);
    v128.store(slopes + o, s1, 16);
  }
}

/**
 * Arguments: dq, dk, dv, dOut, out, lse, q, k, v, first, last, R, S, H, G, D, Dv, scale, batch, kRowStride, kHeadStride, vRowStride, vHeadStride,
 * dkRowStride, dkHeadStride, dvRowStride, dvHeadStride, panelKeys, scratch, scratchStride. A unit is one key head of one part: it alone writes its dk and dv.
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
  const panelKeys = load<i32>(p, 108);
  const keyPanels = <usize>load<u32>(p, 112) + <usize>thread * <usize>load<u32>(p, 116);
  const valuePanels = keyPanels + (<usize>panelKeys * <usize>D << 2);
  // Two rows of weights, each with its slopes behind it.
  const slopesAt = (<usize>S + 7 & ~7) << 2;
  const scores = valuePanels + (<usize>panelKeys * <usize>Dv << 2);
  const perGroup = H / G;
  const rows = R / batch;
  const keys = S / batch;
  const units = batch * G;
  const pairs = perGroup == 1 && (D & 15) == 0 && (Dv & 15) == 0;
  for (let unit = claim(); unit < units; unit = claim()) {
    const part = unit / G;
    const g = <usize>(unit % G);
    const firstKey = part * keys;
    const lastKey = firstKey + keys - 1;
    const end = (part + 1) * rows;
    let next = 0;
    let packed = false;
    // The first row of a pair waits for the second, so that both are spread in one pass over dk and dv.
    let waiting: i32 = -1;
    for (let r = part * rows; r < end; r++) {
      const begin = load<i32>(first + (<usize>r << 2));
      const stop = load<i32>(last + (<usize>r << 2));
      const from = bound(begin, firstKey, lastKey);
      const count = begin > stop || keys == 0 ? 0 : bound(stop, firstKey, lastKey) - from + 1;
      const keyRows = k + <usize>from * kRow + g * kHead;
      const valueRows = v + <usize>from * vRow + g * vHead;
      const dkRows = dk + <usize>from * dkRow + g * dkHead;
      const dvRows = dv + <usize>from * dvRow + g * dvHead;
      if (r >= next) {
        next = runEnd(first, 0, r, end);
        const span = bound(furthest(last, r, next), firstKey, lastKey) - from + 1;
        packed = next - r >= FEWEST && ((D | Dv) & 3) == 0 && span > 0 && span <= panelKeys;
        if (packed) {
          packKeys(keyPanels, keyRows, span, kRow, D);
          packKeys(valuePanels, valueRows, span, vRow, Dv);
        }
      }
      for (let h = g * <usize>perGroup; h < (g + 1) * <usize>perGroup; h++) {
        const cell = <usize>r * <usize>H + h;
        const query = q + (cell * <usize>D << 2);
        const dRow = dOut + (cell * <usize>Dv << 2);
        const weights = scores + (waiting >= 0 ? slopesAt << 1 : 0);
        const slopes = weights + slopesAt;
        if (count <= 0) {
          memory.fill(dq + (cell * <usize>D << 2), 0, <usize>D << 2);
          continue;
        }
        if (packed) {
          scorePanels(weights, query, keyPanels, count, D, scale);
          scorePanels(slopes, dRow, valuePanels, count, Dv, 1);
        } else {
          scoreKeys(weights, query, keyRows, count, kRow, D, scale);
          scoreKeys(slopes, dRow, valueRows, count, vRow, Dv, 1);
        }
        softmaxSlopes(weights, slopes, count, load<f32>(lse + (cell << 2)), dot(dRow, out + (cell * <usize>Dv << 2), Dv), scale);
        mix(dq + (cell * <usize>D << 2), slopes, keyRows, count, kRow, D, 1, false);
        if (pairs && waiting < 0 && r + 1 < next && load<i32>(last + (<usize>r << 2), 4) >= begin) {
          waiting = count;
          continue;
        }
        if (waiting >= 0) {
          const both = min(waiting, count);
          const width = <usize>H * <usize>D << 2;
          const widthV = <usize>H * <usize>Dv << 2;
          spreadPair(dkRows, scores + slopesAt, query - width, slopes, query, both, dkRow, D);
          spreadPair(dvRows, scores, dRow - widthV, weights, dRow, both, dvRow, Dv);
          const rest = <usize>both << 2;
          spread(dkRows + <usize>both * dkRow, scores + slopesAt + rest, query - width, waiting - both, dkRow, D);
          spread(dvRows + <usize>both * dvRow, scores + rest, dRow - widthV, waiting - both, dvRow, Dv);
          spread(dkRows + <usize>both * dkRow, slopes + rest, query, count - both, dkRow, D);
          spread(dvRows + <usize>both * dvRow, weights + rest, dRow, count - both, dvRow, Dv);
          waiting = -1;
        } else {
          spread(dkRows, slopes, query, count, dkRow, D);
          spread(dvRows, weights, dRow, count, dvRow, Dv);
        }
      }
    }
  }
}
