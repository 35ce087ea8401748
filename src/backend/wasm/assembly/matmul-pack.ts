// Both sides of a matrix product in the order in which the register blocks read them: B in panels [K][columns] (a command of its own), A in strips
// [K][6], which each thread packs for itself as it goes.

import { share } from "./control";
import { transpose2, transpose4 } from "./transpose";

/** Rows of a strip. */
export const ROWS: i32 = 6;

/**
 * Packs `count` matrices B, each [K, N] (element k, n at k·kStride + n·nStride) into panels. Arguments: packed, b, K, N, kStride, nStride,
 * columns, count, bStride (elements between matrices; packed ones are panels·K·columns apart).
 */
export function packPanels(p: usize, thread: i32, threads: i32): void {
  const packed = <usize>load<u32>(p);
  const b = <usize>load<u32>(p, 4);
  const K = load<i32>(p, 8);
  const N = load<i32>(p, 12);
  const kStride = <usize>load<i32>(p, 16);
  const nStride = <usize>load<i32>(p, 20);
  const columns = load<i32>(p, 24);
  const count = load<i32>(p, 28);
  const bStride = <usize>load<i32>(p, 32);
  const panels = (N + columns - 1) / columns;
  if (nStride == 1 && N % columns == 0) {
    packRuns(packed, b, K, panels, kStride << 2, columns, count, bStride << 2, thread, threads);
    return;
  }
  const units = panels * count;
  const from = share(units, thread, threads);
  const to = share(units, thread + 1, threads);
  for (let unit = from; unit < to; unit++) {
    const n0 = (unit % panels) * columns;
    const source = b + ((<usize>(unit / panels)) * bStride << 2) + ((<usize>n0 * nStride) << 2);
    const target = packed + (<usize>unit * <usize>K * <usize>columns << 2);
    packPanel(target, source, K, min(columns, N - n0), columns, kStride << 2, nStride << 2);
  }
}

/** Rows of B that are whole panels, shared out by rows: they are read as they lie. Strides in bytes. */
function packRuns(
  packed: usize, b: usize, K: i32, panels: i32, kStride: usize, columns: i32, count: i32, bStride: usize, thread: i32, threads: i32,
): void {
  const width = <usize>columns << 2;
  const panelStride = width * <usize>K;
  const to = share(K * count, thread + 1, threads);
  for (let row = share(K * count, thread, threads); row < to; row++) {
    const k = row % K;
    const matrix = <usize>(row / K);
    let source = b + matrix * bStride + <usize>k * kStride;
    let target = packed + matrix * <usize>panels * panelStride + <usize>k * width;
    for (let panel = 0; panel < panels; panel++) {
      for (let n: usize = 0; n < width; n += 32) {
        v128.store(target + n, v128.load(source + n));
        v128.store(target + n, v128.load(source + n, 16), 16);
      }
      source += width;
      target += panelStride;
    }
  }
}

/** One panel: valid columns from `source`, zeros beside them. Strides in bytes. */
function packPanel(target: usize, source: usize, K: i32, valid: i32, columns: i32, kStride: usize, nStride: usize): void {
  if (nStride == 4 && valid == columns) {
    for (let k = 0; k < K; k++) {
      for (let n = 0; n < columns; n += 4) v128.store(target + (<usize>n << 2), v128.load(source + (<usize>n << 2)));
      target += <usize>columns << 2;
      source += kStride;
    }
    return;
  }
  if (kStride == 4 && valid == columns) {
    // Rows of B lie along k: transpose 4×4 blocks.
    const K4 = K & ~3;
    for (let n = 0; n < columns; n += 4) {
      const r0 = source + <usize>n * nStride;
      const r1 = r0 + nStride;
      const r2 = r1 + nStride;
      const r3 = r2 + nStride;
      let t = target + (<usize>n << 2);
      const step = <usize>columns << 2;
      let k: usize = 0;
      for (; k < <usize>K4; k += 4) {
        transpose4(v128.load(r0 + (k << 2)), v128.load(r1 + (k << 2)), v128.load(r2 + (k << 2)), v128.load(r3 + (k << 2)), t, step);
        t += step << 2;
      }
      for (; k < <usize>K; k++) {
        store<f32>(t, load<f32>(r0 + (k << 2)));
        store<f32>(t, load<f32>(r1 + (k << 2)), 4);
        store<f32>(t, load<f32>(r2 + (k << 2)), 8);
        store<f32>(t, load<f32>(r3 + (k << 2)), 12);
        t += step;
      }
    }
    return;
  }
  for (let k = 0; k < K; k++) {
    for (let n = 0; n < columns; n++) {
      store<f32>(target + (<usize>n << 2), n < valid ? load<f32>(source + <usize>n * nStride) : 0);
    }
    target += <usize>columns << 2;
    source += kStride;
  }
}

/** Packs `rows` rows of A (element m, k at m·mStride + k·kStride, bytes) into strips of 6, zero rows below. */
export function packRows(target: usize, a: usize, rows: i32, K: i32, mStride: usize, kStride: usize): void {
  for (let m = 0; m < rows; m += ROWS) {
    const strip = a + <usize>m * mStride;
    const valid = min(ROWS, rows - m);
    if (valid == ROWS && mStride == 4) {
      let s = strip;
      for (let k = 0; k < K; k++) {
        v128.store64_lane(target, v128.load64_zero(s, 16), 0, 16);
        v128.store(target, v128.load(s));
        target += 24;
        s += kStride;
      }
    } else if (valid == ROWS) {
      const s1 = strip + mStride;
      const s2 = s1 + mStride;
      const s3 = s2 + mStride;
      const s4 = s3 + mStride;
      const s5 = s4 + mStride;
      let o: usize = 0;
      let k = 0;
      if (kStride == 4) {
        for (; k + 4 <= K; k += 4) {
          transpose4(v128.load(strip + o), v128.load(s1 + o), v128.load(s2 + o), v128.load(s3 + o), target, 24);
          transpose2(v128.load(s4 + o), v128.load(s5 + o), target + 16, 24);
          target += 96;
          o += 16;
        }
      }
      for (; k < K; k++) {
        store<f32>(target, load<f32>(strip + o));
        store<f32>(target, load<f32>(s1 + o), 4);
        store<f32>(target, load<f32>(s2 + o), 8);
        store<f32>(target, load<f32>(s3 + o), 12);
        store<f32>(target, load<f32>(s4 + o), 16);
        store<f32>(target, load<f32>(s5 + o), 20);
        target += 24;
        o += kStride;
      }
    } else {
      for (let k = 0; k < K; k++) {
        for (let r = 0; r < ROWS; r++) {
          store<f32>(target + (<usize>r << 2), r < valid ? load<f32>(strip + <usize>r * mStride + <usize>k * kStride) : 0);
        }
        target += 24;
      }
    }
  }
}
