// Products with packed weights. A weight lies as panels of 8 rows (16 of F16 and BF16; packed-q4.ts, -q5, -q6k, -q8, -half, -codes say how), after 64 bytes that count
// the f16 scales that are not finite, and those that are denormal. x was made ready before (packed-rows.ts; strips of 6 for the 16-bit types). Threads claim chunks of panels. One
// row of x runs through the panel as it lies, which costs least per byte; more rows do so too where 4- and 8-bit codes need little to be ready (packed-tiles.ts), else
// they share a panel that is unpacked into the thread's scratch (codes, or f32) and stays in the cache. The sums and their order are the same, so a row's bits do
// not depend on the number of rows.
//
// Scratch of a thread: 64 bytes of constants, 512 bytes for a tile of results or scales, then a panel unpacked, or tiles of all rows and pieces of eight panels.

import { claim } from "./control";
import { HALF_FACTOR, HALF_MASK } from "./half";
import { storeRow } from "./lanes";
import { tile1x16, tile1x8, tile6x16, tile6x8 } from "./matmul-tiles";
import { codesProduct, PAIR, WIDEN, widenProducts } from "./packed-codes";
import { bf16Product, f16Product, halfUnpack } from "./packed-half";
import { MINIMUM, PLAIN, q4Product, q4Unpack, SUPER } from "./packed-q4";
import { q5Product, q5Unpack } from "./packed-q5";
import { q6kProduct, q6kUnpack } from "./packed-q6k";
import { q8Product, q8Unpack, q8Widen } from "./packed-q8";
import { expertOffset, stripBlockBytes } from "./packed-rows";
import { codesBlockBytes } from "./packed-sums";
import { BYTES, CODES, tileProducts } from "./packed-tiles";

/** Numbers of the types: their order in core/dtype.ts. */
export const F16: i32 = 0;
export const BF16: i32 = 1;
export const Q8_0: i32 = 2;
export const Q4_0: i32 = 3;
export const Q4_1: i32 = 4;
export const Q5_0: i32 = 5;
export const Q5_1: i32 = 6;
export const Q2_K: i32 = 7;
export const Q3_K: i32 = 8;
export const Q4_K: i32 = 9;
export const Q5_K: i32 = 10;
export const Q6_K: i32 = 11;
export const IQ4_NL: i32 = 12;
export const IQ4_XS: i32 = 13;
export const MXFP4: i32 = 14;

/** Panels that rows run through together. */
const TOGETHER: i32 = 8;
const TILE: usize = 64;
const PANEL: usize = 576;
/** Rows of x that go through a block of weights one after the other, and the bytes of their tiles. */
const GROUP: i32 = 32;
const GROUP_BYTES: usize = 8192;
/** Blocks that are unpacked at a time: of TOGETHER panels, what the nearest cache holds. */
const RUN: i32 = 8;

/** 0, 1, 2 for PLAIN, MINIMUM and SUPER of the 4- and 5-bit types. */
// @ts-ignore: decorator
@inline
function kindOf(type: i32): i32 {
  return type == Q4_0 || type == Q5_0 ? PLAIN : type == Q4_1 || type == Q5_1 ? MINIMUM : SUPER;
}

// @ts-ignore: decorator
@inline
function liesAsCodes(type: i32): bool {
  return type == Q2_K || type == Q3_K || type == IQ4_XS || type == MXFP4;
}

/** A panel as codes: where it lies, or unpacked to `target`. */
export function panelCodes(type: i32, careful: bool, w: usize, blocks: i32, target: usize, constants: usize): usize {
  if (liesAsCodes(type)) return w;
  if (type == Q4_0 || type == Q4_1 || type == Q4_K) q4Unpack(kindOf(type), careful, w, blocks, target, constants);
  else if (type == Q5_0 || type == Q5_1 || type == Q5_K) q5Unpack(kindOf(type), careful, w, blocks, target, constants);
  else if (type == Q6_K) q6kUnpack(w, blocks, target, constants);
  else q8Unpack(careful, w, blocks, target, constants);
  return target;
}

/** True when f16 scales need the slow conversion: the quick one is wrong for infinities and NaN, and slow for denormals, 130 cycles each. */
export function isAwkward(w: usize, scales: u64): bool {
  return load<u32>(w) != 0 || <u64>load<u32>(w, 4) * 64 > scales;
}

/** What the kernels read from memory, because V8 makes vector constants anew at each use. */
export function storeConstants(scratch: usize): void {
  store<u32>(scratch, 0x0f0f0f0f);
  store<u32>(scratch, HALF_MASK, 4);
  store<u32>(scratch, HALF_FACTOR, 8);
  store<u32>(scratch, 0x10101010, 12);
  store<u32>(scratch, 0x30303030, 16);
}

/** One row of x by panels as they lie. */
function directProduct(
  type: i32, way: i32, x: usize, w: usize, stride: usize, panels: i32, blocks: i32, tile: usize, constants: usize,
): void {
  if (type == Q4_0 || type == Q4_1 || type == Q4_K) q4Product(way != 0, kindOf(type), x, w, stride, panels, blocks, tile, constants);
  else if (type == Q5_0 || type == Q5_1 || type == Q5_K) q5Product(kindOf(type), x, w, stride, panels, blocks, tile, constants);
  else if (type == Q6_K) q6kProduct(x, w, stride, panels, blocks, tile, constants);
  else if (way == WIDEN) q8Widen(x, w, stride, panels, blocks, tile, constants);
  else q8Product(x, w, stride, panels, blocks, tile, constants);
}

/** `rows` prepared rows of x by panels from..to-1 of block types; out is the first row's. */
function blockProducts(
  out: usize, x: usize, w: usize, rows: i32, N: i32, blocks: i32, from: i32, to: i32, type: i32, lanes: i32, way: i32, halves: i32,
  minimum: bool, direct: bool, inTiles: bool, careful: bool, panelBytes: usize, scratch: usize,
): void {
  const tile = scratch + TILE;
  const stripBytes = <usize>blocks * stripBlockBytes(lanes, way == WIDEN);
  if (direct) {
    for (let panel = from; panel < to; panel += TOGETHER) {
      const weights = w + <usize>panel * panelBytes;
      const count = min(TOGETHER, to - panel);
      for (let r = 0; r < rows; r++) {
        memory.fill(tile, 0, <usize>count << 5);
        directProduct(type, way, x + <usize>r * stripBytes, weights, panelBytes, count, blocks, tile, scratch);
        storeRow(out + (<usize>panel << 5) + (<usize>r * <usize>N << 2), tile, min(count << 3, N - panel * 8));
      }
    }
    return;
  }
  if (lanes == 1) {
    for (let panel = from; panel < to; panel++) {
      const codes = panelCodes(type, careful, w + <usize>panel * panelBytes, blocks, scratch + PANEL, scratch);
      for (let r = 0; r < rows; r++) {
        memory.fill(tile, 0, 32);
        codesProduct(way, halves, minimum, x + <usize>r * stripBytes, codes, blocks, tile);
        storeRow(out + (<usize>panel << 5) + (<usize>r * <usize>N << 2), tile, min(8, N - panel * 8));
      }
    }
    return;
  }
  stripProducts(out, x, w, rows, N, blocks, from, to, type, way, halves, minimum, inTiles && !careful, careful, panelBytes, stripBytes, scratch);
}

/**
 * The same for strips of 8 lanes. Panels that do not go as they lie are unpacked eight together and eight blocks at a time, so that the weights come from memory while
 * the piece before is multiplied. With whole panels one thing waits for the other.
 */
function stripProducts(
  out: usize, x: usize, w: usize, rows: i32, N: i32, blocks: i32, from: i32, to: i32, type: i32, way: i32, halves: i32, minimum: bool,
  inTiles: bool, careful: bool, panelBytes: usize, stripBytes: usize, scratch: usize,
): void {
  const unpacked = !inTiles && !liesAsCodes(type);
  const kind = !inTiles ? CODES : type == Q8_0 || type == IQ4_NL ? BYTES : kindOf(type);
  const run = unpacked ? min(RUN, blocks) : blocks;
  const tiles = scratch + PANEL;
  const tileBytes = <usize>((rows + GROUP - 1) / GROUP) * GROUP_BYTES;
  const codes = tiles + tileBytes;
  const codesBytes = <usize>run * codesBlockBytes(halves, minimum);
  for (let first = from; first < to; first += TOGETHER) {
    const panels = min(TOGETHER, to - first);
    memory.fill(tiles, 0, tileBytes);
    for (let b = 0; b < blocks; b += run) {
      const length = min(run, blocks - b);
      let at = w + <usize>first * panelBytes + <usize>b * (panelBytes / <usize>blocks);
      let stride = panelBytes;
      if (unpacked) {
        for (let i = 0; i < panels; i++) panelCodes(type, careful, at + <usize>i * panelBytes, length, codes + <usize>i * codesBytes, scratch);
        at = codes;
        stride = codesBytes;
      }
      let tile = tiles;
      let strips = x + <usize>b * stripBlockBytes(8, way == WIDEN);
      for (let row = 0; row < rows; row += GROUP) {
        const quads = (min(GROUP, rows - row) + 3) >> 2;
        if (way == WIDEN) widenProducts(halves, minimum, strips, stripBytes, quads << 2, at, stride, panels, length, tile);
        else tileProducts(kind, halves, minimum, way == PAIR, strips, stripBytes, quads, at, stride, panels, length, tile, scratch);
        strips += stripBytes * <usize>(GROUP / 8);
        tile += GROUP_BYTES;
      }
    }
    for (let row = 0; row < rows; row++) {
      // [group of rows][panel][rows of the group, a multiple of 4][8]
      const inGroup = row & (GROUP - 1);
      const step = <usize>((min(GROUP, rows - row + inGroup) + 3) >> 2) << 7;
      let tile = tiles + <usize>(row / GROUP) * GROUP_BYTES + (<usize>inGroup << 5);
      for (let panel = first; panel < first + panels; panel++) {
        storeRow(out + (<usize>panel << 5) + (<usize>row * <usize>N << 2), tile, min(8, N - panel * 8));
        tile += step;
      }
    }
  }
}

/** The same for F16 and BF16: x is rows of f32 (lanes 1), or strips of 6. */
function halfProducts(
  out: usize, x: usize, w: usize, rows: i32, N: i32, K: i32, from: i32, to: i32, isF16: bool, lanes: i32, careful: bool, columns: i32,
  panelBytes: usize, scratch: usize,
): void {
  const tile = scratch + TILE;
  if (lanes == 1 && !careful) {
    for (let panel = from; panel < to; panel += TOGETHER) {
      const weights = w + <usize>panel * panelBytes;
      const count = min(TOGETHER, to - panel);
      for (let r = 0; r < rows; r++) {
        const at = x + <usize>r * <usize>K * 4;
        memory.fill(tile, 0, <usize>count << 6);
        if (isF16) f16Product(at, weights, panelBytes, count, K, tile, scratch);
        else bf16Product(at, weights, panelBytes, count, K, tile);
        storeRow(out + (<usize>panel << 6) + (<usize>r * <usize>N << 2), tile, min(count << 4, N - panel * 16));
      }
    }
    return;
  }
  for (let panel = from; panel < to; panel++) {
    const weights = w + <usize>panel * panelBytes;
    const valid = min(16, N - panel * 16);
    const column = out + (<usize>panel << 6);
    const unpacked = scratch + PANEL;
    halfUnpack(isF16, careful, weights, K, columns, unpacked);
    const upper = unpacked + (<usize>K << 5);
    for (let r = 0; r < rows; r += lanes) {
      const at = x + <usize>r * <usize>K * 4;
      if (lanes > 1) {
        if (columns == 16) tile6x16(at, 4, 24, unpacked, K, tile, 64);
        else {
          tile6x8(at, 4, 24, unpacked, K, tile, 64);
          tile6x8(at, 4, 24, upper, K, tile + 32, 64);
        }
      } else if (columns == 16) tile1x16(at, unpacked, K, tile, 64);
      else {
        tile1x8(at, unpacked, K, tile, 64);
        tile1x8(at, upper, K, tile + 32, 64);
      }
      const tokens = min(lanes, rows - r);
      for (let t = 0; t < tokens; t++) storeRow(column + (<usize>(r + t) * <usize>N << 2), tile + (<usize>t << 6), valid);
    }
  }
}

/**
 * Arguments: out, x (prepared), w, offsets (0: one matrix for all S rows), S, E, N, K, type, lanes, way, halves, minimum, codesOnly (never multiply the panel as it
 * lies), inTiles (more rows by the panel as it lies), panelBytes, rowBlock (a multiple of lanes), panelBlock, columns, scratch, scratchStride.
 */
export function packedMatmul(p: usize, thread: i32, threads: i32): void {
  products(p, thread);
}

/** The same with offsets. */
export function packedGroupedMatmul(p: usize, thread: i32, threads: i32): void {
  products(p, thread);
}

function products(p: usize, thread: i32): void {
  const out = <usize>load<u32>(p);
  const x = <usize>load<u32>(p, 4);
  const w = <usize>load<u32>(p, 8);
  const offsets = <usize>load<u32>(p, 12);
  const S = load<i32>(p, 16);
  const E = load<i32>(p, 20);
  const N = load<i32>(p, 24);
  const K = load<i32>(p, 28);
  const type = load<i32>(p, 32);
  const lanes = load<i32>(p, 36);
  const way = load<i32>(p, 40);
  const halves = load<i32>(p, 44);
  const minimum = load<i32>(p, 48) != 0;
  const codesOnly = load<i32>(p, 52) != 0;
  const inTiles = load<i32>(p, 56) != 0;
  const panelBytes = <usize>load<u32>(p, 60);
  const rowBlock = load<i32>(p, 64);
  const panelBlock = load<i32>(p, 68);
  const columns = load<i32>(p, 72);
  const scratch = <usize>load<u32>(p, 76) + <usize>thread * <usize>load<u32>(p, 80);
  const isHalf = type == F16 || type == BF16;
  const panelRows = isHalf ? 16 : 8;
  const panels = (N + panelRows - 1) / panelRows;
  const panelBlocks = (panels + panelBlock - 1) / panelBlock;
  const blocks = K >> 5;
  const awkward = isAwkward(w, <u64>E * <u64>N * <u64>blocks);
  const direct = lanes == 1 && !codesOnly && !awkward && !liesAsCodes(type);
  const stripBytes = isHalf ? <usize>K * <usize>lanes * 4 : <usize>blocks * stripBlockBytes(lanes, way == WIDEN);
  storeConstants(scratch);
  let unit = 0;
  let strips = 0;
  let mine = claim();
  for (let e = 0; e < E; e++) {
    const from = expertOffset(offsets, e, S);
    const to = expertOffset(offsets, e + 1, S);
    const matrix = w + 64 + <usize>e * <usize>panels * panelBytes;
    for (let row = from; row < to; row += rowBlock) {
      // One row of 16-bit weights: x itself, not prepared.
      const ready = x + <usize>(isHalf && lanes == 1 ? row : strips + (row - from) / lanes) * stripBytes;
      const rows = min(rowBlock, to - row);
      const target = out + (<usize>row * <usize>N << 2);
      for (let b = 0; b < panelBlocks; b++) {
        if (unit++ != mine) continue;
        const last = min(panels, (b + 1) * panelBlock);
        if (isHalf) {
          halfProducts(target, ready, matrix, rows, N, K, b * panelBlock, last, type == F16, lanes, awkward, columns, panelBytes, scratch);
        } else {
          blockProducts(
            target, ready, matrix, rows, N, blocks, b * panelBlock, last, type, lanes, way, halves, minimum, direct, inTiles, awkward,
            panelBytes, scratch,
          );
        }
        mine = claim();
      }
    }
    if (to > from) strips += (to - from + lanes - 1) / lanes;
  }
}
