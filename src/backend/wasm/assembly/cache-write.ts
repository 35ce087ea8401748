// Rows of a key cache in fewer bits. In: rows of f32, the cache row of each. Out: words of the cache; `openRows` gives those of f16 back as f32, those of q8_0 are
// multiplied as they lie (attention-bytes.ts). What a row is rounded to depends on the row alone. Layouts (backend.ts):
//   f16   one f32 factor for the row, then 16-bit floats: factor·2^-112·(the float), no infinities, no denormals
//   q8_0  for each block of 32 one f32 scale, then 32 bytes, 128 more than the integer

import { share } from "./control";

const F16: i32 = 1;
/** Bytes of a block of q8_0. */
const BLOCK: usize = 36;
/** Sign and the 15 low bits of a 16-bit float after a shift by 13. */
const HALF_MASK: i32 = 0x8fffe000;
/** 1.5·2^23: added to a number below 2^22 and taken away again, it leaves the nearest integer, ties to even. */
const ROUNDER: f32 = 12582912;

/** The largest magnitude of `count` numbers; NaN counts as the largest of all. */
function largest(x: usize, count: i32): f32 {
  let top: i32 = 0;
  for (let i = 0; i < count; i++) top = max(top, load<i32>(x + (<usize>i << 2)) & 0x7fffffff);
  return reinterpret<f32>(top);
}

/** A row of 16-bit floats: scaled by a power of two so that the largest is in 2^14 .. 2^15, rounded to nearest even, below 2^-14 (2^-28 of the largest) to 0. */
function roundHalf(target: usize, x: usize, width: i32): void {
  const top = largest(x, width);
  const tiny = top < 1e-30;
  const exponent = ((reinterpret<i32>(top) >> 23) & 255) - 127;
  // Beyond 2^30 the factor would not be a float: such rows, and those with NaN or an infinity, are NaN.
  const broken = !(top < 1073741824);
  const factor: f32 = broken ? NaN : tiny ? 0 : reinterpret<f32>((exponent + 225) << 23);
  const up = reinterpret<f32>((141 - exponent) << 23);
  store<f32>(target, factor);
  if (broken || tiny) {
    memory.fill(target + 4, 0, <usize>width << 1);
    return;
  }
  for (let i: usize = 0; i < <usize>width; i++) {
    const bits = reinterpret<i32>(load<f32>(x + (i << 2)) * up);
    const magnitude = bits & 0x7fffffff;
    const half = magnitude < 113 << 23 ? 0 : ((magnitude + 0xfff + ((magnitude >> 13) & 1)) >> 13) - (112 << 10);
    store<i16>(target + 4 + (i << 1), <i16>(half | ((bits >> 16) & 0x8000)));
  }
}

/** Blocks of q8_0: q = x·(127/max), to nearest even, as packed products round x; the last block is filled up with zeros. */
function roundBlocks(target: usize, x: usize, width: i32): void {
  for (let from = 0; from < width; from += 32) {
    const count = min(32, width - from);
    const top = largest(x, count);
    const finite = top <= f32.MAX_VALUE;
    const tiny = top < 1e-30;
    const inverse: f32 = tiny || !finite ? 0 : <f32>127 / top;
    store<f32>(target, tiny ? 0 : finite ? top / 127 : NaN);
    memory.fill(target + 4, 128, 32);
    if (finite) {
      for (let i: usize = 0; i < <usize>count; i++) store<u8>(target + 4 + i, <u8>(<i32>(load<f32>(x + (i << 2)) * inverse + ROUNDER - ROUNDER) + 128));
    }
    target += BLOCK;
    x += 128;
  }
}

/** cache[index[r]] = x[r], rounded. Arguments: out, x, index, rows, width, outRows, rowWords, type (1: f16, 2: q8_0). */
export function cacheWrite(p: usize, thread: i32, threads: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const index = <usize>load<u32>(p, 8);
  const rows = load<i32>(p, 12);
  const width = load<i32>(p, 16);
  const outRows = load<i32>(p, 20);
  const rowBytes = <usize>load<i32>(p, 24) << 2;
  const type = load<i32>(p, 28);
  const to = share(rows, thread + 1, threads);
  for (let r = share(rows, thread, threads); r < to; r++) {
    const at = load<i32>(index + (<usize>r << 2));
    if (<u32>at >= <u32>outRows) continue;
    const target = out + <usize>at * rowBytes;
    const source = x + (<usize>r * <usize>width << 2);
    if (type == F16) roundHalf(target, source, width);
    else roundBlocks(target, source, width);
  }
}

/** Elements element .. element + D - 1 of `count` rows of f16, rowBytes apart, as f32 rows of D numbers. */
export function openRows(target: usize, rows: usize, rowBytes: usize, element: i32, D: i32, count: i32): void {
  const mask = i32x4.splat(HALF_MASK);
  for (let j = 0; j < count; j++) {
    const factor = v128.load32_splat(rows);
    const x = rows + 4 + (<usize>element << 1);
    let d: usize = 0;
    for (; d + 8 <= <usize>D; d += 8) {
      // Two loads that widen four numbers each would be fewer steps, but V8 fuses such a pair into one that gives the second half twice.
      const halves = v128.load(x + (d << 1));
      const a = i32x4.extend_low_i16x8_s(halves);
      const b = i32x4.extend_high_i16x8_s(halves);
      v128.store(target + (d << 2), f32x4.mul(v128.and(i32x4.shl(a, 13), mask), factor));
      v128.store(target + (d << 2), f32x4.mul(v128.and(i32x4.shl(b, 13), mask), factor), 16);
    }
    for (; d < <usize>D; d++) {
      store<f32>(target + (d << 2), reinterpret<f32>((load<i16>(x + (d << 1)) << 13) & HALF_MASK) * load<f32>(rows));
    }
    target += <usize>D << 2;
    rows += rowBytes;
  }
}
