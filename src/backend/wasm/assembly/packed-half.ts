// F16 and BF16 weights. Layout of a panel of 16 rows: for F16 first [16] f32 factors (64 bytes), then [K][16] of 16 bits. F16 rows are stored times 2^10 where all
// of the row stays below 2^16: then no stored weight is a denormal, whose conversion by a multiplication would cost some 130 cycles; the factor takes the
// power back. One row of x multiplies the panel as it lies; more rows go through f32 panels and the register blocks of matmul-tiles.ts, with the same bits.

import { share } from "./control";
import { half4, HALF_MASK, quickHalf4 } from "./half";
import { madd } from "./math";
import { expertOffset } from "./packed-rows";

/** Factors of stored f16 bits that were moved up 13: 2^112, and 2^102 for rows stored times 2^10. */
const FULL: f32 = 5.192296858534828e33;
const SCALED: f32 = 5.070602400912918e30;

/** Numbers along k that one panel gives before the next has its turn. */
const RUN: i32 = 16;

/**
 * One row of x [K] f32 by panels `stride` bytes apart: adds to out [panels][16], one chain over k each. Runs of 16 k from each panel in turn: several
 * streams of weights wait less for memory than one. constants: see packed-matmul.ts.
 */
export function f16Product(x: usize, w: usize, stride: usize, panels: i32, K: i32, out: usize, constants: usize): void {
  const mask = v128.load32_splat(constants, 4);
  const end = out + (<usize>panels << 6);
  for (let k = 0; k < K; k += RUN) {
    const last = x + (<usize>min(RUN, K - k) << 2);
    let panel = w;
    for (let o = out; o < end; o += 64) {
      const m0 = v128.load(panel);
      const m1 = v128.load(panel, 16);
      const m2 = v128.load(panel, 32);
      const m3 = v128.load(panel, 48);
      let f0 = v128.load(o);
      let f1 = v128.load(o, 16);
      let f2 = v128.load(o, 32);
      let f3 = v128.load(o, 48);
      let v = panel + 64 + (<usize>k << 5);
      for (let y = x; y < last; y += 4) {
        const q = v128.load32_splat(y);
        f0 = madd(q, quickHalf4(v, mask, m0), f0);
        f1 = madd(q, quickHalf4(v + 8, mask, m1), f1);
        f2 = madd(q, quickHalf4(v + 16, mask, m2), f2);
        f3 = madd(q, quickHalf4(v + 24, mask, m3), f3);
        v += 32;
      }
      v128.store(o, f0);
      v128.store(o, f1, 16);
      v128.store(o, f2, 32);
      v128.store(o, f3, 48);
      panel += stride;
    }
    x = last;
  }
}

export function bf16Product(x: usize, w: usize, stride: usize, panels: i32, K: i32, out: usize): void {
  const end = out + (<usize>panels << 6);
  for (let k = 0; k < K; k += RUN) {
    const last = x + (<usize>min(RUN, K - k) << 2);
    let panel = w;
    for (let o = out; o < end; o += 64) {
      let f0 = v128.load(o);
      let f1 = v128.load(o, 16);
      let f2 = v128.load(o, 32);
      let f3 = v128.load(o, 48);
      let v = panel + (<usize>k << 5);
      for (let y = x; y < last; y += 4) {
        const q = v128.load32_splat(y);
        f0 = madd(q, i32x4.shl(v128.load16x4_u(v), 16), f0);
        f1 = madd(q, i32x4.shl(v128.load16x4_u(v, 8), 16), f1);
        f2 = madd(q, i32x4.shl(v128.load16x4_u(v, 16), 16), f2);
        f3 = madd(q, i32x4.shl(v128.load16x4_u(v, 24), 16), f3);
        v += 32;
      }
      v128.store(o, f0);
      v128.store(o, f1, 16);
      v128.store(o, f2, 32);
      v128.store(o, f3, 48);
      panel += stride;
    }
    x = last;
  }
}

/** Four f16 of a panel, exactly. `factor` as stored. */
// @ts-ignore: decorator
@inline
function exact4(address: usize, factor: v128): v128 {
  return f32x4.mul(half4(address), f32x4.mul(factor, f32x4.splat(1.925929944387236e-34)));
}

/** A panel as f32: [K][16], or two panels [K][8] one after the other. */
export function halfUnpack(isF16: bool, careful: bool, w: usize, K: i32, columns: i32, target: usize): void {
  const mask = i32x4.splat(HALF_MASK);
  const zero = f32x4.splat(0);
  const m0 = isF16 ? v128.load(w) : zero;
  const m1 = isF16 ? v128.load(w, 16) : zero;
  const m2 = isF16 ? v128.load(w, 32) : zero;
  const m3 = isF16 ? v128.load(w, 48) : zero;
  if (isF16) w += 64;
  // The upper 8 columns: 32 bytes on, or a panel on.
  const upper = columns == 16 ? 32 : <usize>K << 5;
  const step = <usize>columns << 2;
  for (const end = w + (<usize>K << 5); w < end; w += 32) {
    let v0: v128;
    let v1: v128;
    let v2: v128;
    let v3: v128;
    if (!isF16) {
      v0 = i32x4.shl(v128.load16x4_u(w), 16);
      v1 = i32x4.shl(v128.load16x4_u(w, 8), 16);
      v2 = i32x4.shl(v128.load16x4_u(w, 16), 16);
      v3 = i32x4.shl(v128.load16x4_u(w, 24), 16);
    } else if (careful) {
      v0 = exact4(w, m0);
      v1 = exact4(w + 8, m1);
      v2 = exact4(w + 16, m2);
      v3 = exact4(w + 24, m3);
    } else {
      v0 = quickHalf4(w, mask, m0);
      v1 = quickHalf4(w + 8, mask, m1);
      v2 = quickHalf4(w + 16, mask, m2);
      v3 = quickHalf4(w + 24, mask, m3);
    }
    v128.store(target, v0);
    v128.store(target, v1, 16);
    v128.store(target + upper, v2);
    v128.store(target + upper, v3, 16);
    target += step;
  }
}

/** Row `row` of a panel as f32, for embeddings. */
export function halfRow(isF16: bool, w: usize, row: usize, K: i32, out: usize): void {
  const factor = isF16 ? load<f32>(w + row * 4) * <f32>1.925929944387236e-34 : 1;
  if (isF16) w += 64;
  w += row * 2;
  for (const end = out + (<usize>K << 2); out < end; out += 4) {
    if (isF16) store<f32>(out, f32x4.extract_lane(half4(w), 0) * factor);
    else store<u32>(out, <u32>load<u16>(w) << 16);
    w += 32;
  }
}

/** K numbers of a row of the file, from column k on, into lane `row` of a panel. `scaled`: f16 times 2^10. */
function moveHalves(target: usize, row: usize, from: usize, k: i32, to: i32, scaled: bool): void {
  target += row * 2 + (<usize>k << 5);
  from += <usize>k << 1;
  const magnitude = i16x8.splat(0x7fff);
  for (; k + 8 <= to; k += 8) {
    let v = v128.load(from);
    if (scaled) {
      const m = v128.and(v, magnitude);
      const nothing = i16x8.eq(m, i16x8.splat(0));
      if (v128.any_true(v128.andnot(i16x8.lt_s(m, i16x8.splat(0x400)), nothing))) {
        for (let i: usize = 0; i < 8; i++) store<u16>(target + (i << 5), scaledHalf(load<u16>(from + (i << 1))));
        from += 16;
        target += 256;
        continue;
      }
      v = i16x8.add(v, v128.andnot(i16x8.splat(10 << 10), nothing));
    }
    v128.store16_lane(target, v, 0);
    v128.store16_lane(target, v, 1, 32);
    v128.store16_lane(target, v, 2, 64);
    v128.store16_lane(target, v, 3, 96);
    v128.store16_lane(target, v, 4, 128);
    v128.store16_lane(target, v, 5, 160);
    v128.store16_lane(target, v, 6, 192);
    v128.store16_lane(target, v, 7, 224);
    from += 16;
    target += 256;
  }
  for (; k < to; k++) {
    const bits = load<u16>(from);
    store<u16>(target, scaled ? scaledHalf(bits) : bits);
    from += 2;
    target += 32;
  }
}

/** The bits of an f16 times 2^10, where that stays below 2^16. */
function scaledHalf(bits: u32): u16 {
  const magnitude = bits & 0x7fff;
  if (magnitude == 0) return <u16>bits;
  if (magnitude >= 0x400) return <u16>(bits + (10 << 10));
  // m·2^-24 = 1.f·2^(top - 24); times 2^10 its exponent field is top + 1.
  const top = 31 - clz(magnitude);
  return <u16>((bits & 0x8000) | ((top + 1) << 10) | ((magnitude << (10 - top)) & 0x3ff));
}

/** Rows of the file into lanes first..first+count-1 of a panel; returns 1 when one holds an f16 that is not finite. */
export function halfRepack(isF16: bool, target: usize, first: usize, count: usize, from: usize, K: i32): u32 {
  const rowBytes = <usize>K << 1;
  let found: u32 = 0;
  if (isF16) {
    for (let i: usize = 0; i < count; i++) {
      const largest = largestHalf(from + i * rowBytes, K);
      if (largest >= 0x7c00) found = 1;
      store<f32>(target + ((first + i) << 2), largest < 0x5400 ? SCALED : FULL);
    }
  }
  const body = isF16 ? target + 64 : target;
  // 256 columns of all rows at a time stay in the nearest cache.
  for (let k = 0; k < K; k += 256) {
    for (let i: usize = 0; i < count; i++) {
      const scaled = isF16 && load<f32>(target + ((first + i) << 2)) == SCALED;
      moveHalves(body, first + i, from + i * rowBytes, k, min(K, k + 256), scaled);
    }
  }
  return found;
}

function largestHalf(from: usize, K: i32): u32 {
  const magnitude = i16x8.splat(0x7fff);
  let most = i16x8.splat(0);
  let largest: u32 = 0;
  let k = 0;
  for (; k + 8 <= K; k += 8) most = i16x8.max_s(most, v128.and(v128.load(from + (<usize>k << 1)), magnitude));
  for (; k < K; k++) largest = max(largest, <u32>load<u16>(from + (<usize>k << 1)) & 0x7fff);
  const pairs = i16x8.max_s(most, i32x4.shuffle(most, most, 2, 3, 0, 1));
  for (let i = 0; i < 2; i++) {
    const two = <u32>(i == 0 ? i32x4.extract_lane(pairs, 0) : i32x4.extract_lane(pairs, 1));
    largest = max(largest, max(two & 0xffff, two >> 16));
  }
  return largest;
}

/**
 * Rows of x as strips of 6 [K][6] for the register blocks, zeros below the last; rows of each expert begin a strip of their own. Arguments: target,
 * x, offsets (0: one expert with all S rows), S, E, K.
 */
export function packedHalfRows(p: usize, thread: i32, threads: i32): void {
  let target = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const offsets = <usize>load<u32>(p, 8);
  const S = load<i32>(p, 12);
  const E = load<i32>(p, 16);
  const K = load<i32>(p, 20);
  const fromK = share(K, thread, threads);
  const toK = share(K, thread + 1, threads);
  for (let e = 0; e < E; e++) {
    const end = expertOffset(offsets, e + 1, S);
    for (let row = expertOffset(offsets, e, S); row < end; row += 6) {
      for (let r = 0; r < 6; r++) {
        let from = x + ((<usize>(row + r) * <usize>K + <usize>fromK) << 2);
        let to = target + <usize>fromK * 24 + (<usize>r << 2);
        const valid = row + r < end;
        for (let k = fromK; k < toK; k++) {
          store<f32>(to, valid ? load<f32>(from) : 0);
          from += 4;
          to += 24;
        }
      }
      target += <usize>K * 24;
    }
  }
}
