// Matrix product in three steps: B is packed into panels of `columns` (8, or 16 in the wide build) columns, [panel][K][columns], zero-padded (a
// command of its own, skipped while a weight's packed copy is current); threads take blocks of rows and panels; each runs the register blocks of
// matmul-tiles.ts over the rows of A as they lie, or over strips of 6, [K][6], which it packs in its own scratch where they do not lie along k or
// are fewer than six. Called by linear, matmul and the grouped products. Measured: see `gradually bench kernels`.

import { claim, own, share } from "./control";
import { packRows, ROWS } from "./matmul-pack";
import { tile1x16, tile1x8, tile6x16, tile6x8 } from "./matmul-tiles";

/** A block of rows by panels fromPanel..toPanel-1. `panelStride` in bytes; `scratch` holds the packed rows and one edge tile. */
function block(
  out: usize, outStride: usize, a: usize, rows: i32, mStride: usize, kStride: usize, packed: usize, panelStride: usize,
  K: i32, N: i32, columns: i32, fromPanel: i32, toPanel: i32, accumulate: bool, scratch: usize,
): void {
  if (rows <= 0) return;
  const tile = scratch;
  const strips = scratch + 512;
  const single = rows < 3;
  // One or two rows: no packing where a row of A is already contiguous.
  const direct = single && kStride == 4;
  if (single && !direct) {
    for (let m = 0; m < rows; m++) {
      for (let k = 0; k < K; k++) {
        store<f32>(strips + ((<usize>m * <usize>K + <usize>k) << 2), load<f32>(a + <usize>m * mStride + <usize>k * kStride));
      }
    }
  }
  // Rows that lie along k are read as they are; only a strip with fewer than six of them is packed, with zeros.
  const along = kStride == 4 && !single;
  const whole = along ? rows - (rows % ROWS) : 0;
  if (!single && whole < rows) packRows(strips, a + <usize>whole * mStride, rows - whole, K, mStride, kStride);
  const wide = columns == 16;
  for (let panel = fromPanel; panel < toPanel; panel++) {
    const b = packed + <usize>panel * panelStride;
    const n0 = panel * columns;
    const valid = min(columns, N - n0);
    const target = out + (<usize>n0 << 2);
    if (single) {
      for (let m = 0; m < rows; m++) {
        const row = direct ? a + <usize>m * mStride : strips + ((<usize>m * <usize>K) << 2);
        const o = target + <usize>m * outStride;
        if (valid == columns && !accumulate) {
          if (wide) tile1x16(row, b, K, o, outStride);
          else tile1x8(row, b, K, o, outStride);
        } else {
          if (wide) tile1x16(row, b, K, tile, 64);
          else tile1x8(row, b, K, tile, 64);
          copyTile(o, outStride, tile, 1, valid, accumulate);
        }
      }
      continue;
    }
    for (let m = 0; m < rows; m += ROWS) {
      const lies = m < whole;
      const rowStride = lies ? mStride : 4;
      const step: usize = lies ? 4 : 24;
      const strip = lies ? a + <usize>m * mStride : strips + <usize>((m - whole) / ROWS) * <usize>K * 24;
      const o = target + <usize>m * outStride;
      if (valid == columns && m + ROWS <= rows && !accumulate) {
        if (wide) tile6x16(strip, rowStride, step, b, K, o, outStride);
        else tile6x8(strip, rowStride, step, b, K, o, outStride);
      } else {
        if (wide) tile6x16(strip, rowStride, step, b, K, tile, 64);
        else tile6x8(strip, rowStride, step, b, K, tile, 64);
        copyTile(o, outStride, tile, min(ROWS, rows - m), valid, accumulate);
      }
    }
  }
}

/** Moves the valid part of a tile (rows 64 bytes apart), or adds it to what is there. */
function copyTile(out: usize, outStride: usize, tile: usize, rows: i32, columns: i32, accumulate: bool): void {
  for (let r = 0; r < rows; r++) {
    const o = out + <usize>r * outStride;
    const t = tile + (<usize>r << 6);
    let n: usize = 0;
    if (accumulate) {
      for (; n + 4 <= <usize>columns; n += 4) v128.store(o + (n << 2), f32x4.add(v128.load(o + (n << 2)), v128.load(t + (n << 2))));
    }
    for (; n < <usize>columns; n++) {
      const value = load<f32>(t + (n << 2));
      store<f32>(o + (n << 2), accumulate ? load<f32>(o + (n << 2)) + value : value);
    }
  }
}

/**
 * Arguments: out, a, packed, M, N, K, mStride, kStride (elements), columns, accumulate, batch, outBatchStride, aBatchStride (elements),
 * packedBatchStride (bytes), rowBlocks, panelBlock, scratch, scratchStride (bytes).
 */
export function matmul(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const a = <usize>load<u32>(p, 4);
  const packed = <usize>load<u32>(p, 8);
  const M = load<i32>(p, 12);
  const N = load<i32>(p, 16);
  const K = load<i32>(p, 20);
  const mStride = <usize>load<i32>(p, 24) << 2;
  const kStride = <usize>load<i32>(p, 28) << 2;
  const columns = load<i32>(p, 32);
  const accumulate = load<i32>(p, 36) != 0;
  const batch = load<i32>(p, 40);
  const outBatch = <usize>load<i32>(p, 44) << 2;
  const aBatch = <usize>load<i32>(p, 48) << 2;
  const packedBatch = <usize>load<u32>(p, 52);
  const rowBlocks = load<i32>(p, 56);
  const panelBlock = load<i32>(p, 60);
  const scratch = <usize>load<u32>(p, 64) + <usize>thread * <usize>load<u32>(p, 68);
  const panels = (N + columns - 1) / columns;
  const strips = (M + ROWS - 1) / ROWS;
  const panelBlocks = (panels + panelBlock - 1) / panelBlock;
  const perBatch = rowBlocks * panelBlocks;
  const units = perBatch * batch;
  for (let turn = 0, unit = own(units, thread, threads, 0); unit < units; unit = own(units, thread, threads, ++turn)) {
    const z = unit / perBatch;
    const inner = unit % perBatch;
    const m0 = share(strips, inner / panelBlocks, rowBlocks) * ROWS;
    const m1 = min(M, share(strips, inner / panelBlocks + 1, rowBlocks) * ROWS);
    const panel0 = (inner % panelBlocks) * panelBlock;
    block(
      out + <usize>z * outBatch + <usize>m0 * (<usize>N << 2), <usize>N << 2,
      a + <usize>z * aBatch + <usize>m0 * mStride, m1 - m0, mStride, kStride,
      packed + <usize>z * packedBatch, <usize>K * <usize>columns << 2, K, N, columns, panel0, min(panels, panel0 + panelBlock), accumulate, scratch,
    );
  }
}

/** Clamped offset e of a device table [E+1]: 0..S, never below the one before it. */
// @ts-ignore: decorator
@inline
function offsetOf(offsets: usize, e: i32, S: i32): i32 {
  return max(0, min(S, load<i32>(offsets + (<usize>e << 2))));
}

/**
 * Rows of expert e times its matrix. Arguments: out, x, packed, offsets, S, E, N, K, columns, rowBlock, scratch, scratchStride.
 * Experts' packed matrices are panels·K·columns apart.
 */
export function groupedMatmul(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const packed = <usize>load<u32>(p, 8);
  const offsets = <usize>load<u32>(p, 12);
  const S = load<i32>(p, 16);
  const E = load<i32>(p, 20);
  const N = load<i32>(p, 24);
  const K = load<i32>(p, 28);
  const columns = load<i32>(p, 32);
  const rowBlock = load<i32>(p, 36);
  const scratch = <usize>load<u32>(p, 40) + <usize>thread * <usize>load<u32>(p, 44);
  const panels = (N + columns - 1) / columns;
  const panelStride = <usize>K * <usize>columns << 2;
  let unit = 0;
  let mine = claim();
  for (let e = 0; e < E; e++) {
    const from = offsetOf(offsets, e, S);
    const to = offsetOf(offsets, e + 1, S);
    for (let row = from; row < to; row += rowBlock) {
      if (unit++ != mine) continue;
      block(
        out + (<usize>row * <usize>N << 2), <usize>N << 2, x + (<usize>row * <usize>K << 2), min(rowBlock, to - row), <usize>K << 2, 4,
        packed + <usize>e * <usize>panels * panelStride, panelStride, K, N, columns, 0, panels, false, scratch,
      );
      mine = claim();
    }
  }
}

/**
 * dw[e] [N, K] += dyᵀ·x over the expert's rows; x is packed as panels of [S][columns] along its K columns. Arguments: dw, dy, packed,
 * offsets, S, E, N, K, columns, rowBlock, scratch, scratchStride.
 */
export function groupedMatmulWeightGrad(p: usize, thread: i32, threads: i32): void {
  const dw = <usize>load<u32>(p);
  const dy = <usize>load<u32>(p, 4);
  const packed = <usize>load<u32>(p, 8);
  const offsets = <usize>load<u32>(p, 12);
  const S = load<i32>(p, 16);
  const E = load<i32>(p, 20);
  const N = load<i32>(p, 24);
  const K = load<i32>(p, 28);
  const columns = load<i32>(p, 32);
  const rowBlock = load<i32>(p, 36);
  const scratch = <usize>load<u32>(p, 40) + <usize>thread * <usize>load<u32>(p, 44);
  const panels = (K + columns - 1) / columns;
  const panelStride = <usize>S * <usize>columns << 2;
  const rowBlocks = (N + rowBlock - 1) / rowBlock;
  const units = E * rowBlocks;
  for (let unit = claim(); unit < units; unit = claim()) {
    const e = unit / rowBlocks;
    const n0 = (unit % rowBlocks) * rowBlock;
    const from = offsetOf(offsets, e, S);
    const count = offsetOf(offsets, e + 1, S) - from;
    if (count <= 0) continue;
    block(
      dw + ((<usize>e * <usize>N + <usize>n0) * <usize>K << 2), <usize>K << 2,
      dy + ((<usize>from * <usize>N + <usize>n0) << 2), min(rowBlock, N - n0), 4, <usize>N << 2,
      packed + (<usize>from * <usize>columns << 2), panelStride, count, K, columns, 0, panels, true, scratch,
    );
  }
}
