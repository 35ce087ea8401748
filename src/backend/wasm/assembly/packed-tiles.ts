// Rows of x (strips of 8 lanes, packed-rows.ts) by panels of 4- and 8-bit codes as they lie (packed-q4.ts, packed-q8.ts), or of plain codes (packed-codes.ts). A register block is 4
// rows of x by 16 of weights: 8 fused pairs of vectors hold its sums, and a splat of x serves four vectors of weights; of 4-bit codes these cost a load, a shift and two masks each time,
// which is less than unpacking a panel and reading it again, for any number of rows. Block by block through eight panels, so that the weights come from memory as fast as one row
// draws them; 32 rows find them in the nearest cache.
//
// Two cores of a Xeon (Sapphire Rapids, AVX-VNNI), wide build, 8 and 512 rows: 5,632 × 2,048 of Q4_0 345 and 440 GOP/s (unpacked first, 8 rows by 8 of weights: 220 and 345), Q8_0 286 and 427,
// 2,048 × 2,048 of Q5_K 183 and 400, Q6_K 160 and 309. One core makes 230 where its two multipliers end at 370: scales take a fourth. The four rounds of the inner loop written out
// are slower, V8 moves all loads to the front and spills; so is a sum that begins at 1.5·2^23 to spare the conversion.

import { dot, pairDot } from "./packed-codes";
import { quickHalf4 } from "./half";
import { byteScale, MINIMUM, PLAIN, SUPER } from "./packed-q4";
import { stripBlockBytes } from "./packed-rows";
import { codesBlockBytes, finish } from "./packed-sums";

/** Kinds beside those of the 4-bit types: Q8_0, and codes with f32 scales (packed-codes.ts). */
export const BYTES: i32 = 3;
export const CODES: i32 = 4;

/** Bytes of a tile of four rows of x and eight of weights. */
const TILE: usize = 128;

/** Bytes before a block's codes. */
// @ts-ignore: decorator
@inline
function headBytes(kind: i32, halves: i32, minimum: bool): usize {
  return kind == CODES ? codesBlockBytes(halves, minimum) - 256 : kind == MINIMUM ? 32 : 16;
}

// @ts-ignore: decorator
@inline
function begin(zero: bool, c: usize): v128 {
  return zero ? i32x4.splat(0) : v128.load32_splat(c);
}

// @ts-ignore: decorator
@inline
function step(pair: bool, q: v128, w: v128, r: v128, u: v128, sum: v128): v128 {
  return pair ? i16x8.add(sum, i16x8.add(pairDot(q, w), pairDot(r, u))) : dot(r, u, dot(q, w, sum));
}

/** Scales, and minima, of the block of a panel at v, as f32 at `target`. top: the scales of the super-block. */
// @ts-ignore: decorator
@inline
function storeScales(kind: i32, minimum: bool, v: usize, top: usize, target: usize, constants: usize): void {
  const mask = v128.load32_splat(constants, 4);
  const factor = v128.load32_splat(constants, 8);
  const head = kind == SUPER ? top : v;
  let s0 = quickHalf4(head, mask, factor);
  let s1 = quickHalf4(head + 8, mask, factor);
  if (kind == SUPER) {
    const scales = v128.load8x8_u(v);
    s0 = byteScale(scales, s0, false);
    s1 = byteScale(scales, s1, true);
  }
  v128.store(target, s0);
  v128.store(target, s1, 16);
  if (!minimum) return;
  let m0 = quickHalf4(head + 16, mask, factor);
  let m1 = quickHalf4(head + 24, mask, factor);
  if (kind == SUPER) {
    const minima = v128.load8x8_u(v, 8);
    m0 = byteScale(minima, f32x4.neg(m0), false);
    m1 = byteScale(minima, f32x4.neg(m1), true);
  }
  v128.store(target, m0, 32);
  v128.store(target, m1, 48);
}

/** The sums of four rows of x with a panel join the tile at o. c: what belongs to the sums of x. */
// @ts-ignore: decorator
@inline
function finishFour(
  pair: bool, halves: i32, minimum: bool, a0: v128, a1: v128, b0: v128, b1: v128, c0: v128, c1: v128, d0: v128, d1: v128, x: usize, c: usize,
  scales: usize, o: usize,
): void {
  const s0 = v128.load(scales);
  const s1 = v128.load(scales, 16);
  const m0 = minimum ? v128.load(scales + <usize>halves * 32) : s0;
  const m1 = minimum ? v128.load(scales + <usize>halves * 32, 16) : s1;
  finish(minimum, whole(pair, minimum, a0, c), whole(pair, minimum, a1, c), x, c, s0, s1, m0, m1, o);
  o += 32;
  finish(minimum, whole(pair, minimum, b0, c + 4), whole(pair, minimum, b1, c + 4), x + 4, c + 4, s0, s1, m0, m1, o);
  o += 32;
  finish(minimum, whole(pair, minimum, c0, c + 8), whole(pair, minimum, c1, c + 8), x + 8, c + 8, s0, s1, m0, m1, o);
  o += 32;
  finish(minimum, whole(pair, minimum, d0, c + 12), whole(pair, minimum, d1, c + 12), x + 12, c + 12, s0, s1, m0, m1, o);
}

/** The sum in 32 bits. */
// @ts-ignore: decorator
@inline
function whole(pair: bool, minimum: bool, sum: v128, c: usize): v128 {
  if (!pair) return sum;
  const wide = i32x4.extadd_pairwise_i16x8_s(sum);
  return minimum ? wide : i32x4.add(wide, v128.load32_splat(c));
}

/** `quads` times four rows of x by `panels` panels, `stride` bytes apart: adds to out [panels][quads][4][8]. An odd last panel is multiplied twice, once for nothing. */
// @ts-ignore: decorator
@inline
function product(
  kind: i32, halves: i32, minimum: bool, pair: bool, x: usize, stripBytes: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize,
  constants: usize,
): void {
  const low = v128.load32_splat(constants);
  const zero = pair || minimum;
  // Nibbles hold groups g and g + 4 of a block; of bytes groups g and g + 1 are taken together.
  const isByte = kind == BYTES || kind == CODES;
  const tiles = <usize>quads * TILE;
  let top = w;
  for (let block = 0; block < blocks; block++) {
    if (kind == SUPER && (block & 7) == 0) {
      top = w;
      w += 32;
    }
    let panel = w;
    let o = out;
    for (let i = 0; i < panels; i += 2) {
      const next = i + 1 < panels ? panel + stride : panel;
      let scales = panel;
      let scalesNext = next;
      if (kind != CODES) {
        scales = constants + 64;
        scalesNext = constants + 128;
        storeScales(kind, minimum, panel, top + (panel - w), scales, constants);
        storeScales(kind, minimum, next, top + (next - w), scalesNext, constants);
      }
      let strip = x;
      for (let quad = 0; quad < quads; quad++) {
        const y = strip + ((quad & 1) << 4);
        let z = y;
        let v = panel + headBytes(kind, halves, minimum);
        let u = next + headBytes(kind, halves, minimum);
        // So written, the compiler makes no loop of a single round.
        for (let half = 0; ; half++) {
          const c = y + 32 + <usize>half * 32;
          let a0 = begin(zero, c);
          let a1 = begin(zero, c);
          let a2 = begin(zero, c);
          let a3 = begin(zero, c);
          let b0 = begin(zero, c + 4);
          let b1 = begin(zero, c + 4);
          let b2 = begin(zero, c + 4);
          let b3 = begin(zero, c + 4);
          let c0 = begin(zero, c + 8);
          let c1 = begin(zero, c + 8);
          let c2 = begin(zero, c + 8);
          let c3 = begin(zero, c + 8);
          let d0 = begin(zero, c + 12);
          let d1 = begin(zero, c + 12);
          let d2 = begin(zero, c + 12);
          let d3 = begin(zero, c + 12);
          for (const stop = v + <usize>(isByte ? 256 / halves : 128); v < stop; v += isByte ? 64 : 32) {
            const p0 = v128.load(v);
            const p1 = v128.load(v, 16);
            const p2 = v128.load(u);
            const p3 = v128.load(u, 16);
            const w0 = isByte ? p0 : v128.and(p0, low);
            const w1 = isByte ? p1 : v128.and(p1, low);
            const w2 = isByte ? p2 : v128.and(p2, low);
            const w3 = isByte ? p3 : v128.and(p3, low);
            const u0 = isByte ? v128.load(v, 32) : v128.and(i16x8.shr_u(p0, 4), low);
            const u1 = isByte ? v128.load(v, 48) : v128.and(i16x8.shr_u(p1, 4), low);
            const u2 = isByte ? v128.load(u, 32) : v128.and(i16x8.shr_u(p2, 4), low);
            const u3 = isByte ? v128.load(u, 48) : v128.and(i16x8.shr_u(p3, 4), low);
            const q0 = v128.load32_splat(z, 96);
            const r0 = isByte ? v128.load32_splat(z, 128) : v128.load32_splat(z, 224);
            a0 = step(pair, q0, w0, r0, u0, a0);
            a1 = step(pair, q0, w1, r0, u1, a1);
            a2 = step(pair, q0, w2, r0, u2, a2);
            a3 = step(pair, q0, w3, r0, u3, a3);
            const q1 = v128.load32_splat(z, 100);
            const r1 = isByte ? v128.load32_splat(z, 132) : v128.load32_splat(z, 228);
            b0 = step(pair, q1, w0, r1, u0, b0);
            b1 = step(pair, q1, w1, r1, u1, b1);
            b2 = step(pair, q1, w2, r1, u2, b2);
            b3 = step(pair, q1, w3, r1, u3, b3);
            const q2 = v128.load32_splat(z, 104);
            const r2 = isByte ? v128.load32_splat(z, 136) : v128.load32_splat(z, 232);
            c0 = step(pair, q2, w0, r2, u0, c0);
            c1 = step(pair, q2, w1, r2, u1, c1);
            c2 = step(pair, q2, w2, r2, u2, c2);
            c3 = step(pair, q2, w3, r2, u3, c3);
            const q3 = v128.load32_splat(z, 108);
            const r3 = isByte ? v128.load32_splat(z, 140) : v128.load32_splat(z, 236);
            d0 = step(pair, q3, w0, r3, u0, d0);
            d1 = step(pair, q3, w1, r3, u1, d1);
            d2 = step(pair, q3, w2, r3, u2, d2);
            d3 = step(pair, q3, w3, r3, u3, d3);
            z += isByte ? 64 : 32;
            u += isByte ? 64 : 32;
          }
          finishFour(pair, halves, minimum, a0, a1, b0, b1, c0, c1, d0, d1, y, c, scales + <usize>half * 32, o);
          finishFour(pair, halves, minimum, a2, a3, b2, b3, c2, c3, d2, d3, y, c, scalesNext + <usize>half * 32, o + tiles);
          if (halves == 1 || half == 1) break;
        }
        o += TILE;
        if ((quad & 1) != 0) strip += stripBytes;
      }
      o += tiles;
      panel += stride << 1;
    }
    w += headBytes(kind, halves, minimum) + <usize>(isByte ? 256 : 128);
    x += stripBlockBytes(8, false);
  }
}

// Each a function of its own, see packed-codes.ts.

export function tilesPlain(x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(PLAIN, 1, false, false, x, strip, quads, w, stride, panels, blocks, out, constants);
}

export function tilesMinimum(x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(MINIMUM, 1, true, false, x, strip, quads, w, stride, panels, blocks, out, constants);
}

export function tilesSuper(x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(SUPER, 1, true, false, x, strip, quads, w, stride, panels, blocks, out, constants);
}

export function tilesBytes(x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(BYTES, 1, false, false, x, strip, quads, w, stride, panels, blocks, out, constants);
}

export function tilesPairPlain(x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(PLAIN, 1, false, true, x, strip, quads, w, stride, panels, blocks, out, constants);
}

export function tilesPairMinimum(x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(MINIMUM, 1, true, true, x, strip, quads, w, stride, panels, blocks, out, constants);
}

export function tilesPairSuper(x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(SUPER, 1, true, true, x, strip, quads, w, stride, panels, blocks, out, constants);
}

export function tilesCodes(x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(CODES, 1, false, false, x, strip, quads, w, stride, panels, blocks, out, constants);
}

export function tilesCodesMinimum(x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(CODES, 1, true, false, x, strip, quads, w, stride, panels, blocks, out, constants);
}

export function tilesCodesHalves(x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(CODES, 2, false, false, x, strip, quads, w, stride, panels, blocks, out, constants);
}

export function tilesCodesHalvesMinimum(x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, out: usize, constants: usize): void {
  product(CODES, 2, true, false, x, strip, quads, w, stride, panels, blocks, out, constants);
}

/** `quads` times four rows of x, at best ROWS, by `panels` panels: adds to tiles [panels][quads][4][8]; after an odd last panel there is place for one more. */
export function tileProducts(
  kind: i32, halves: i32, minimum: bool, pair: bool, x: usize, strip: usize, quads: i32, w: usize, stride: usize, panels: i32, blocks: i32, tiles: usize,
  constants: usize,
): void {
  if (kind == CODES) {
    if (halves == 1) minimum ? tilesCodesMinimum(x, strip, quads, w, stride, panels, blocks, tiles, constants) : tilesCodes(x, strip, quads, w, stride, panels, blocks, tiles, constants);
    else minimum ? tilesCodesHalvesMinimum(x, strip, quads, w, stride, panels, blocks, tiles, constants) : tilesCodesHalves(x, strip, quads, w, stride, panels, blocks, tiles, constants);
  } else if (kind == BYTES) tilesBytes(x, strip, quads, w, stride, panels, blocks, tiles, constants);
  else if (pair) {
    if (kind == PLAIN) tilesPairPlain(x, strip, quads, w, stride, panels, blocks, tiles, constants);
    else if (kind == MINIMUM) tilesPairMinimum(x, strip, quads, w, stride, panels, blocks, tiles, constants);
    else tilesPairSuper(x, strip, quads, w, stride, panels, blocks, tiles, constants);
  } else if (kind == PLAIN) tilesPlain(x, strip, quads, w, stride, panels, blocks, tiles, constants);
  else if (kind == MINIMUM) tilesMinimum(x, strip, quads, w, stride, panels, blocks, tiles, constants);
  else tilesSuper(x, strip, quads, w, stride, panels, blocks, tiles, constants);
}
