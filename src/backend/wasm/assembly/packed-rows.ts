// Rows of x made ready for packed products: rounded to 8 bits in blocks of 32 along k (the rounding is in backend.ts), in strips of `lanes` rows (1 or 8).
// Layout of a strip: for each block [lanes] f32 scale, [lanes] c0, [lanes] c1, then the integers as [8 groups of 4 k][lanes][4], each a byte, or 16 bits when
// `wide`. c0 and c1 belong to the block's halves of 16 (c0 to the whole block when halves = 1): -offset·Σq as i32, where weights are codes minus an offset,
// or scale·Σq as f32 (`sums`), where weights have a minimum. Rows beyond the last are zeros.

import { share } from "./control";

/** Bytes of a block of a strip. */
// @ts-ignore: decorator
@inline
export function stripBlockBytes(lanes: i32, wide: bool): usize {
  return <usize>(lanes * (wide ? 76 : 44));
}

/**
 * Each expert's rows begin a strip of their own: strip s of expert e is number Σ ceil(rows / lanes) of the experts before + s.
 * Arguments: target, x, offsets (0: one expert with all S rows), S, E, K, lanes, wide, halves, sums, offset.
 */
export function packedRows(p: usize, thread: i32, threads: i32): void {
  let target = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const offsets = <usize>load<u32>(p, 8);
  const S = load<i32>(p, 12);
  const E = load<i32>(p, 16);
  const K = load<i32>(p, 20);
  const lanes = load<i32>(p, 24);
  const wide = load<i32>(p, 28) != 0;
  const halves = load<i32>(p, 32);
  const sums = load<i32>(p, 36) != 0;
  const offset = load<i32>(p, 40);
  const blocks = K >> 5;
  const blockBytes = stripBlockBytes(lanes, wide);
  const fromBlock = share(blocks, thread, threads);
  const toBlock = share(blocks, thread + 1, threads);
  for (let e = 0; e < E; e++) {
    const end = expertOffset(offsets, e + 1, S);
    for (let row = expertOffset(offsets, e, S); row < end; row += lanes) {
      for (let b = fromBlock; b < toBlock; b++) {
        const from = x + ((<usize>row * <usize>K + <usize>b * 32) << 2);
        roundBlock(target + <usize>b * blockBytes, from, <usize>K << 2, min(lanes, end - row), lanes, wide, halves, sums, offset);
      }
      target += <usize>blocks * blockBytes;
    }
  }
}

/** Offset e of a device table [E+1], clamped to 0..S; of no table (0) all S rows are the first expert's. */
// @ts-ignore: decorator
@inline
export function expertOffset(offsets: usize, e: i32, S: i32): i32 {
  if (offsets == 0) return e == 0 ? 0 : S;
  return max(0, min(S, load<i32>(offsets + (<usize>e << 2))));
}

/** One block of `valid` rows, rowStride bytes apart. */
function roundBlock(
  target: usize, x: usize, rowStride: usize, valid: i32, lanes: i32, wide: bool, halves: i32, sums: bool, offset: i32,
): void {
  if (valid < lanes) memory.fill(target, 0, stripBlockBytes(lanes, wide));
  const step = <usize>lanes << 2;
  for (let lane = 0; lane < valid; lane++) {
    roundRow(target + (<usize>lane << 2), x + <usize>lane * rowStride, step, lane, wide, halves, sums, offset);
  }
}

/** 1.5·2^23: added to a number below 2^22 and taken away again, it leaves the nearest integer, ties to even, in the low bits. */
const ROUNDER: f32 = 12582912;

/** 32 numbers of one row. `step`: bytes between a strip's fields. */
export function roundRow(t: usize, x: usize, step: usize, lane: i32, wide: bool, halves: i32, sums: bool, offset: i32): void {
  const magnitude = i32x4.splat(0x7fffffff);
  let top = v128.and(v128.load(x), magnitude);
  for (let i: usize = 16; i < 128; i += 16) top = i32x4.max_s(top, v128.and(v128.load(x + i), magnitude));
  const pair = i32x4.max_s(top, i32x4.shuffle(top, top, 2, 3, 0, 1));
  // As integers, so that NaN is the largest.
  const largest = reinterpret<f32>(max(i32x4.extract_lane(pair, 0), i32x4.extract_lane(pair, 1)));
  const finite = largest <= f32.MAX_VALUE;
  const tiny = largest < 1e-30;
  const scale: f32 = tiny ? 0 : finite ? largest / 127 : NaN;
  const inverse = f32x4.splat(tiny || !finite ? 0 : <f32>127 / largest);
  const rounder = f32x4.splat(ROUNDER);
  const base = i32x4.splat(0x4b400000);
  let q = t + 3 * step + (wide ? <usize>lane << 2 : 0);
  let sum0 = 0;
  let sum1 = 0;
  for (let half = 0; half < 2; half++) {
    const q0 = i32x4.sub(f32x4.add(f32x4.mul(v128.load(x), inverse), rounder), base);
    const q1 = i32x4.sub(f32x4.add(f32x4.mul(v128.load(x, 16), inverse), rounder), base);
    const q2 = i32x4.sub(f32x4.add(f32x4.mul(v128.load(x, 32), inverse), rounder), base);
    const q3 = i32x4.sub(f32x4.add(f32x4.mul(v128.load(x, 48), inverse), rounder), base);
    x += 64;
    const all = i32x4.add(i32x4.add(q0, q1), i32x4.add(q2, q3));
    const sum = i32x4.extract_lane(all, 0) + i32x4.extract_lane(all, 1) + i32x4.extract_lane(all, 2) + i32x4.extract_lane(all, 3);
    if (half == 0 || halves == 1) sum0 += sum;
    else sum1 = sum;
    const low = i16x8.narrow_i32x4_s(q0, q1);
    const high = i16x8.narrow_i32x4_s(q2, q3);
    if (wide) {
      store<i64>(q, i64x2.extract_lane(low, 0));
      store<i64>(q + 2 * step, i64x2.extract_lane(low, 1));
      store<i64>(q + 4 * step, i64x2.extract_lane(high, 0));
      store<i64>(q + 6 * step, i64x2.extract_lane(high, 1));
      q += 8 * step;
    } else {
      const bytes = i8x16.narrow_i16x8_s(low, high);
      v128.store32_lane(q, bytes, 0);
      v128.store32_lane(q + step, bytes, 1);
      v128.store32_lane(q + 2 * step, bytes, 2);
      v128.store32_lane(q + 3 * step, bytes, 3);
      q += 4 * step;
    }
  }
  store<f32>(t, scale);
  if (sums) {
    store<f32>(t + step, scale * <f32>sum0);
    store<f32>(t + 2 * step, scale * <f32>sum1);
  } else {
    store<i32>(t + step, -offset * sum0);
    store<i32>(t + 2 * step, -offset * sum1);
  }
}
