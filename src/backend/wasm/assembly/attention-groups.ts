// Attention where several queries share their keys: the heads of a group, and rows of a prompt with the same first key. A key and a value are read once for all of
// them, run by run (a page, or part of one), and opened first where the cache holds fewer bits (cache-write.ts). Up to 8 queries side by side go through the register
// blocks of attention-tiles.ts; one or two go one by one through attention-rows.ts. A query has the same bits on either way, and in attention.ts.
// Arguments: attention's up to vHeadStride, then pages, slot, tables, tableStride, pageSize, type, rowsPerUnit, headsPerUnit, runKeys, wide, scratch, scratchStride.
// With type 1 (f16) row strides count words of the stored row and head strides elements in it. Scratch of a thread, for n = rowsPerUnit·headsPerUnit
// queries rounded up to 8: queries [n][D], sums [n][Dv], counts [n], 64 numbers for a block, column [runKeys], opened rows [runKeys][max(D, Dv)], scores [n][keys + 8].

import { bound, isEmpty, keysAtMost, leaveEmpty, pagedRow, runEnd } from "./attention-ranges";
import { mix, packKeys, scoreKeys, softmaxRow } from "./attention-rows";
import { LANES, largest8, mix4x16, mix4x8, score3x4, score3x8, sums8, weigh8 } from "./attention-tiles";
import { openRows } from "./cache-write";
import { claim } from "./control";
import { expNegative4, log } from "./math";

/** Queries that make a register block worth while. */
const FEWEST: i32 = 3;

export function attentionGroups(p: usize, thread: i32, threads: i32): void {
  const first = <usize>load<u32>(p, 20);
  const last = <usize>load<u32>(p, 24);
  const R = load<i32>(p, 28);
  const H = load<i32>(p, 36);
  const G = load<i32>(p, 40);
  const slot = <usize>load<u32>(p, 76);
  const rowsPerUnit = load<i32>(p, 96);
  const headsPerUnit = load<i32>(p, 100);
  const perGroup = H / G;
  const parts = (perGroup + headsPerUnit - 1) / headsPerUnit;
  const units = ((R + rowsPerUnit - 1) / rowsPerUnit) * G * parts;
  const most = keysAtMost(p);
  for (let unit = claim(); unit < units; unit = claim()) {
    const part = unit % parts;
    const g = (unit / parts) % G;
    const head = g * perGroup + part * headsPerUnit;
    const heads = min(headsPerUnit, perGroup - part * headsPerUnit);
    let r = (unit / parts / G) * rowsPerUnit;
    const end = min(R, r + rowsPerUnit);
    while (r < end) {
      if (isEmpty(first, last, r, most)) {
        leaveEmpty(p, r, head, heads);
        r++;
        continue;
      }
      const limit = runEnd(first, slot, r, end);
      let next = r + 1;
      while (next < limit && !isEmpty(first, last, next, most)) next++;
      attendRun(p, thread, most, r, next - r, g, head, heads);
      r = next;
    }
  }
}

/** `heads` heads from `head` on of `rows` rows from r on, which begin at one key in pages of one sequence; query i is head i mod heads of row r + ⌊i / heads⌋. */
function attendRun(p: usize, thread: i32, most: i32, r: i32, rows: i32, g: i32, head: i32, heads: i32): void {
  const out = <usize>load<u32>(p);
  const lse = <usize>load<u32>(p, 4);
  const q = <usize>load<u32>(p, 8);
  const k = <usize>load<u32>(p, 12);
  const v = <usize>load<u32>(p, 16);
  const last = <usize>load<u32>(p, 24);
  const S = load<i32>(p, 32);
  const H = load<i32>(p, 36);
  const D = load<i32>(p, 44);
  const Dv = load<i32>(p, 48);
  const scale = load<f32>(p, 52);
  const kRow = <usize>load<i32>(p, 56) << 2;
  const vRow = <usize>load<i32>(p, 64) << 2;
  const pages = <usize>load<u32>(p, 72);
  const pageSize = load<i32>(p, 88);
  const type = load<i32>(p, 92);
  const runKeys = load<i32>(p, 104);
  const wide = load<i32>(p, 108) != 0;
  const kHead = g * load<i32>(p, 60);
  const vHead = g * load<i32>(p, 68);
  const room = (load<i32>(p, 96) * load<i32>(p, 100) + LANES - 1) & ~(LANES - 1);
  const queries = <usize>load<u32>(p, 112) + <usize>thread * <usize>load<u32>(p, 116);
  const sums = queries + (<usize>room * <usize>D << 2);
  const counts = sums + (<usize>room * <usize>Dv << 2);
  const block = counts + (<usize>room << 2);
  const column = block + 256;
  const opened = column + (<usize>runKeys << 2);
  const scores = opened + (<usize>runKeys * <usize>max(D, Dv) << 2);
  const lane = <usize>(most + 8) << 2;

  const from = bound(load<i32>(<usize>load<u32>(p, 20) + (<usize>r << 2)), 0, most - 1);
  const pageCount = pages == 0 ? 0 : S / pageSize;
  const tables = load<i32>(p, 80);
  const table =
    pages == 0 ? 0 : pages + (<usize>(bound(load<i32>(<usize>load<u32>(p, 76) + (<usize>r << 2)), 0, tables - 1) * load<i32>(p, 84)) << 2);
  const n = rows * heads;
  const inTiles = (D & 3) == 0 && (Dv & 15) == 0;
  let keys = 0;
  for (let i = 0; i < n; i++) {
    const count = bound(load<i32>(last + (<usize>(r + i / heads) << 2)), 0, most - 1) - from + 1;
    store<i32>(counts + (<usize>i << 2), count);
    keys = max(keys, count);
  }
  for (let c = 0; c < n; c += LANES) {
    if (isTile(inTiles, n - c)) arrange(queries + (<usize>c * <usize>D << 2), q, r, c, min(LANES, n - c), H, head, heads, D);
  }

  for (let done = 0; done < keys; ) {
    const run = runLength(from + done, keys - done, runKeys, pages == 0 ? 0 : pageSize);
    const row = pages == 0 ? <usize>(from + done) : pagedRow(table, from + done, pageSize, pageCount);
    let x = k + row * kRow + (<usize>kHead << 2);
    let stride = kRow;
    if (type != 0) {
      openRows(opened, k + row * kRow, kRow, kHead, D, run);
      x = opened;
      stride = <usize>D << 2;
    }
    for (let c = 0; c < n; c += LANES) {
      const target = scores + <usize>c * lane;
      if (isTile(inTiles, n - c)) {
        const valid = min(run, mostOf(counts, c, n) - done);
        scoreRun(target + (<usize>done << 5), queries + (<usize>c * <usize>D << 2), x, valid, stride, D, scale, n - c, wide);
      } else {
        for (let i = c; i < min(n, c + LANES); i++) {
          const valid = min(run, load<i32>(counts + (<usize>i << 2)) - done);
          const query = q + (<usize>cellOf(r, i, H, head, heads) * <usize>D << 2);
          if (valid > 0) scoreKeys(target + <usize>(i - c) * lane + (<usize>done << 2), query, x, valid, stride, D, scale);
        }
      }
    }
    done += run;
  }

  // From here on the queries' place holds what the sums are multiplied by in the end.
  const shares = queries;
  for (let c = 0; c < n; c += LANES) {
    const weights = scores + <usize>c * lane;
    const isTiled = isTile(inTiles, n - c);
    if (isTiled) {
      weighTile(weights, counts, c, n, block);
      memory.fill(sums + (<usize>c * <usize>Dv << 2), 0, <usize>(LANES * Dv) << 2);
    }
    for (let i = c; i < min(n, c + LANES); i++) {
      const mine = lse + (<usize>cellOf(r, i, H, head, heads) << 2);
      const count = load<i32>(counts + (<usize>i << 2));
      const total = isTiled
        ? finishLane(weights + (<usize>(i - c) << 2), count, leastOf(counts, c, n), block + (<usize>(i - c) << 2), mine)
        : softmaxRow(weights + <usize>(i - c) * lane, count, mine);
      store<f32>(shares + (<usize>i << 2), <f32>(1.0 / total));
    }
  }

  for (let done = 0; done < keys; ) {
    const run = runLength(from + done, keys - done, runKeys, pages == 0 ? 0 : pageSize);
    const row = pages == 0 ? <usize>(from + done) : pagedRow(table, from + done, pageSize, pageCount);
    let x = v + row * vRow + (<usize>vHead << 2);
    let stride = vRow;
    if (type != 0) {
      openRows(opened, v + row * vRow, vRow, vHead, Dv, run);
      x = opened;
      stride = <usize>Dv << 2;
    }
    for (let c = 0; c < n; c += LANES) {
      const weights = scores + <usize>c * lane;
      if (isTile(inTiles, n - c)) {
        const whole = min(run, leastOf(counts, c, n) - done);
        if (whole > 0) mixRun(sums + (<usize>c * <usize>Dv << 2), weights + (<usize>done << 5), x, whole, stride, Dv, n - c, wide);
        for (let i = c; i < min(n, c + LANES); i++) {
          const begin = max(whole, 0);
          const valid = min(run, load<i32>(counts + (<usize>i << 2)) - done);
          if (valid <= begin) continue;
          for (let j = begin; j < valid; j++) store<f32>(column + (<usize>(j - begin) << 2), load<f32>(weights + (<usize>(done + j) << 5) + (<usize>(i - c) << 2)));
          mix(sums + (<usize>i * <usize>Dv << 2), column, x + <usize>begin * stride, valid - begin, stride, Dv, 1, true);
        }
      } else {
        for (let i = c; i < min(n, c + LANES); i++) {
          const count = load<i32>(counts + (<usize>i << 2));
          const valid = min(run, count - done);
          if (valid <= 0) continue;
          const target = out + (<usize>cellOf(r, i, H, head, heads) * <usize>Dv << 2);
          const factor: f32 = done + valid == count ? load<f32>(shares + (<usize>i << 2)) : 1;
          mix(target, weights + <usize>(i - c) * lane + (<usize>done << 2), x, valid, stride, Dv, factor, done > 0);
        }
      }
    }
    done += run;
  }

  for (let c = 0; c < n; c += LANES) {
    if (!isTile(inTiles, n - c)) continue;
    for (let i = c; i < min(n, c + LANES); i++) {
      const target = out + (<usize>cellOf(r, i, H, head, heads) * <usize>Dv << 2);
      const source = sums + (<usize>i * <usize>Dv << 2);
      const share = v128.load32_splat(shares + (<usize>i << 2));
      for (let d: usize = 0; d < <usize>Dv << 2; d += 16) v128.store(target + d, f32x4.mul(v128.load(source + d), share));
    }
  }
}

// @ts-ignore: decorator
@inline
function isTile(inTiles: bool, left: i32): bool {
  return inTiles && left >= FEWEST;
}

/** Number of query i among all rows' heads. */
// @ts-ignore: decorator
@inline
function cellOf(r: i32, i: i32, H: i32, head: i32, heads: i32): i32 {
  return (r + i / heads) * H + head + i % heads;
}

/** Keys from `key` on that are taken at once: they lie in one page (pageSize 0: no pages). */
// @ts-ignore: decorator
@inline
function runLength(key: i32, left: i32, runKeys: i32, pageSize: i32): i32 {
  const run = min(left, runKeys);
  return pageSize == 0 ? run : min(run, pageSize - key % pageSize);
}

/** The fewest keys of a query among c .. c + 7. */
function leastOf(counts: usize, c: i32, n: i32): i32 {
  let least = i32.MAX_VALUE;
  for (let i = c; i < min(n, c + LANES); i++) least = min(least, load<i32>(counts + (<usize>i << 2)));
  return least;
}

function mostOf(counts: usize, c: i32, n: i32): i32 {
  let most = 0;
  for (let i = c; i < min(n, c + LANES); i++) most = max(most, load<i32>(counts + (<usize>i << 2)));
  return most;
}

/** Queries c .. c + count - 1 as [D][8], zeros beside the last. */
function arrange(panel: usize, q: usize, r: i32, c: i32, count: i32, H: i32, head: i32, heads: i32, D: i32): void {
  if (c / heads == (c + count - 1) / heads) {
    packKeys(panel, q + (<usize>cellOf(r, c, H, head, heads) * <usize>D << 2), count, <usize>D << 2, D);
    return;
  }
  for (let i = 0; i < LANES; i++) {
    const query = q + (<usize>cellOf(r, c + i, H, head, heads) * <usize>D << 2);
    for (let d: usize = 0; d < <usize>D; d++) store<f32>(panel + (d << 5) + (<usize>i << 2), i < count ? load<f32>(query + (d << 2)) : 0);
  }
}

/** Scores of `count` keys for `n` queries, 0 for what is missing to eight; writes up to two rows of eight behind the last. */
function scoreRun(scores: usize, queries: usize, k: usize, count: i32, stride: usize, D: i32, scale: f32, n: i32, wide: bool): void {
  const none = f32x4.splat(0);
  for (let j = 0; j < count; j += 3) {
    const k1 = j + 1 < count ? k + stride : k;
    const k2 = j + 2 < count ? k1 + stride : k;
    if (wide) score3x8(scores, queries, k, k1, k2, D, scale);
    else {
      score3x4(scores, queries, k, k1, k2, D, scale);
      if (n > 4) score3x4(scores + 16, queries + 16, k, k1, k2, D, scale);
      else for (let row: usize = 0; row < 96; row += 32) v128.store(scores + row, none, 16);
    }
    scores += 96;
    k += 3 * stride;
  }
}

/** Scores to weights as far as all queries of the block go. block: the largest scores [8], then sums [4][8] of the weights of every fourth key. */
function weighTile(scores: usize, counts: usize, c: i32, n: i32, block: usize): void {
  const least = leastOf(counts, c, n);
  largest8(block, scores, least);
  for (let i = c; i < min(n, c + LANES); i++) {
    const mine = <usize>(i - c) << 2;
    let top = load<f32>(block + mine);
    for (let j = least; j < load<i32>(counts + (<usize>i << 2)); j++) top = max(top, load<f32>(scores + (<usize>j << 5) + mine));
    store<f32>(block + mine, top);
  }
  weigh8(scores, block, least);
  sums8(block + 32, scores, least & ~3);
}

/** The keys that only some queries of the block see; writes the log of the sum of weights and returns the sum, in softmaxRow's order. */
function finishLane(scores: usize, count: i32, least: i32, block: usize, lse: usize): f64 {
  const best = load<f32>(block);
  const sums = block + 32;
  const whole = count & ~3;
  let total: f32 = 0;
  for (let j = least & ~3; j <= count; j++) {
    if (j == whole) total = (load<f32>(sums) + load<f32>(sums, 64)) + (load<f32>(sums, 32) + load<f32>(sums, 96));
    if (j == count) break;
    const at = scores + (<usize>j << 5);
    if (j >= least) store<f32>(at, f32x4.extract_lane(expNegative4(f32x4.splat(load<f32>(at) - best)), 0));
    if (j >= whole) total += load<f32>(at);
    else {
      const sum = sums + (<usize>(j & 3) << 5);
      store<f32>(sum, load<f32>(sum) + load<f32>(at));
    }
  }
  store<f32>(lse, <f32>(<f64>best + log(<f64>total)));
  return <f64>total;
}

/** sums[8][Dv] += weights·values over `count` keys, for the first `queries` of the eight. */
function mixRun(sums: usize, weights: usize, v: usize, count: i32, stride: usize, Dv: i32, queries: i32, wide: bool): void {
  const width = <usize>Dv << 2;
  const halves = queries > 4 ? 2 : 1;
  for (let half = 0; half < halves; half++) {
    for (let d: usize = 0; d < width; d += 64) {
      if (wide) mix4x16(sums + d, width, weights, v + d, stride, count);
      else {
        mix4x8(sums + d, width, weights, v + d, stride, count);
        mix4x8(sums + d + 32, width, weights, v + d + 32, stride, count);
      }
    }
    sums += width << 2;
    weights += 16;
  }
}
