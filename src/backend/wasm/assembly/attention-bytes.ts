// Attention over a cache of q8_0 (backend.ts): keys are multiplied by queries that are rounded to 8 bits as well, values by weights of 14 bits, both in integers. A unit takes
// the heads of some key heads, of rows of one sequence, over chunks of 1,024 keys from the rows' first; a chunk runs in tiles of 32 keys, each read once for all its queries.
// A chunk's result (largest score, sum of weights, sums of values) is a record; records are merged in the order of the chunks, in place or by attentionBytesMerge where threads
// share a row's chunks: the bits are the same, whoever computed what.
// Arguments: attention's up to vHeadStride, then pages, slot, tables, tableStride, pageSize, rowsPerUnit, groupsPerUnit, chunksPerUnit, way, kBlocks, vBlocks (of 32 numbers that
// a head touches at most), records (0: merged in place), scratch, scratchStride. Row strides count words of the stored row, head strides its numbers.

import { AHEAD_BYTES, beginAhead, placeRows, PLACES_BYTES, setAhead } from "./attention-bytes-rows";
import { CHUNK, chunksOf, finish, join, recordBytes } from "./attention-bytes-merge";
import { bound, isEmpty, keysAtMost, leaveEmpty, pagedRow, runEnd } from "./attention-ranges";
import { mixBytes, scoreSigned, scoreUnsigned, turnValues } from "./attention-bytes-tiles";
import {
  addWeights, codeBytes, codeBytesCareful, CODES_BYTES, codeWords, codeWordsCareful, CONSTANT_BYTES, largestScales, NO_SCORE, STATE_BYTES, TILE, weighTile, weighTileCareful,
  writeConstants,
} from "./attention-bytes-weights";
import { mixWords, scoreWords, turnWords } from "./attention-bytes-widen";
import { own } from "./control";
import { roundRow, stripBlockBytes } from "./packed-rows";

/** Ways of the products, see ../attention.ts. */
const SIGNED: i32 = 1;
const WIDEN: i32 = 2;
const LANES: i32 = 8;
const BLOCK: usize = 36;
/** Bytes of the scales of a block of values, see turnValues. */
const SCALES: usize = 160;
const LOG2E: f32 = 1.4426950408889634;

/** Bytes of a tile's intermediates: scores, codes, scales, values; or a query. */
// @ts-ignore: decorator
@inline
function tileBytes(kBlocks: i32, vBlocks: i32): usize {
  return 2144 + <usize>max(128 * kBlocks, 2208 * vBlocks);
}

export function attentionBytes(p: usize, thread: i32, threads: i32): void {
  const first = <usize>load<u32>(p, 20);
  const last = <usize>load<u32>(p, 24);
  const R = load<i32>(p, 28);
  const H = load<i32>(p, 36);
  const G = load<i32>(p, 40);
  const slot = <usize>load<u32>(p, 76);
  const rowsPerUnit = load<i32>(p, 92);
  const groupsPerUnit = load<i32>(p, 96);
  const chunksPerUnit = load<i32>(p, 100);
  const most = keysAtMost(p);
  const perGroup = H / G;
  const groupParts = (G + groupsPerUnit - 1) / groupsPerUnit;
  const chunkParts = max(1, (chunksOf(most) + chunksPerUnit - 1) / chunksPerUnit);
  const units = ((R + rowsPerUnit - 1) / rowsPerUnit) * groupParts * chunkParts;
  const scratch = <usize>load<u32>(p, 120) + <usize>thread * <usize>load<u32>(p, 124);
  writeConstants(scratch);
  beginAhead(scratch + CONSTANT_BYTES);
  // The rows and heads whose queries lie rounded in this scratch. Units that follow each other differ in their chunks alone, and those ascend: where one had no keys, later ones have none.
  let rounded: i32 = -1;
  for (let turn = 0; ; turn++) {
    // A thread's chunks follow each other, so the next one's keys are looked at in time.
    const unit = own(units, thread, threads, turn);
    if (unit >= units) return;
    const chunk = (unit % chunkParts) * chunksPerUnit;
    const g = ((unit / chunkParts) % groupParts) * groupsPerUnit;
    const groups = min(groupsPerUnit, G - g);
    let r = (unit / chunkParts / groupParts) * rowsPerUnit;
    const end = min(R, r + rowsPerUnit);
    while (r < end) {
      if (isEmpty(first, last, r, most)) {
        if (chunk == 0) leaveEmpty(p, r, g * perGroup, groups * perGroup);
        r++;
        continue;
      }
      const limit = runEnd(first, slot, r, end);
      let next = r + 1;
      while (next < limit && !isEmpty(first, last, next, most)) next++;
      const isWhole = next - r == end - unit / chunkParts / groupParts * rowsPerUnit;
      attendRun(p, scratch, most, r, next - r, g, groups, chunk, chunk + chunksPerUnit, isWhole && rounded == unit / chunkParts);
      rounded = isWhole ? unit / chunkParts : -1;
      r = next;
    }
  }
}

/** Key heads g .. g + groups - 1 of `rows` rows from r on, which begin at one key of one sequence, over some chunks; query i of a key head is head i mod H/G of row r + ⌊i / (H/G)⌋. */
function attendRun(p: usize, constants: usize, most: i32, r: i32, rows: i32, g: i32, groups: i32, chunk: i32, chunkEnd: i32, isRounded: bool): void {
  const H = load<i32>(p, 36);
  const perGroup = H / load<i32>(p, 40);
  const way = load<i32>(p, 104);
  const kBlocks = load<i32>(p, 108);
  const vBlocks = load<i32>(p, 112);
  const records = <usize>load<u32>(p, 116);
  const room = (load<i32>(p, 92) * perGroup + LANES - 1) / LANES;
  const stripBytes = <usize>kBlocks * stripBlockBytes(LANES, way == WIDEN);
  const sumsBytes = <usize>vBlocks << 10;
  // Scratch of a thread; ../attention.ts counts the same.
  const ahead = constants + CONSTANT_BYTES;
  const tile = ahead + AHEAD_BYTES + 2 * PLACES_BYTES;
  const counts = tile + tileBytes(kBlocks, vBlocks);
  const strips = counts + <usize>room * 32;
  const states = strips + <usize>(groups * room) * stripBytes;
  const sums = states + <usize>(groups * room) * STATE_BYTES;
  const merged = sums + <usize>(groups * room) * sumsBytes;

  const n = rows * perGroup;
  const from = bound(load<i32>(<usize>load<u32>(p, 20) + (<usize>r << 2)), 0, most - 1);
  let keys = 0;
  let least = i32.MAX_VALUE;
  for (let i = 0; i < n; i++) {
    const count = bound(load<i32>(<usize>load<u32>(p, 24) + (<usize>(r + i / perGroup) << 2)), 0, most - 1) - from + 1;
    store<i32>(counts + (<usize>i << 2), count);
    keys = max(keys, count);
    least = min(least, count);
  }
  const blocks = (n + LANES - 1) / LANES;
  if (chunk * CHUNK >= keys) return;
  for (let j = 0; j < groups && !isRounded; j++) roundQueries(p, strips + <usize>(j * blocks) * stripBytes, tile, r, n, g + j);

  const size = recordBytes(vBlocks);
  const allChunks = chunksOf(most);
  for (const end = min(chunkEnd, chunksOf(keys)); chunk < end; chunk++) {
    for (let b: usize = 0; b < <usize>(groups * blocks); b++) {
      const state = states + b * STATE_BYTES;
      memory.fill(state, 0, STATE_BYTES);
      for (let i: usize = 0; i < 32; i += 4) store<f32>(state + i, NO_SCORE);
    }
    memory.fill(sums, 0, <usize>(groups * blocks) * sumsBytes);
    const stop = min(keys, (chunk + 1) * CHUNK);
    let places = ahead + AHEAD_BYTES;
    placeRows(p, places, r, from + chunk * CHUNK, min(TILE, stop - chunk * CHUNK));
    for (let done = chunk * CHUNK; done < stop; done += TILE) {
      const next = 2 * (ahead + AHEAD_BYTES) + PLACES_BYTES - places;
      const left = min(TILE, keys - done - TILE);
      if (left > 0) placeRows(p, next, r, from + done + TILE, left);
      setAhead(p, ahead, next, records != 0 && left == TILE);
      for (let j = 0; j < groups; j++) {
        const b = <usize>(j * blocks);
        attendTile(p, constants, places, strips + b * stripBytes, states + b * STATE_BYTES, sums + b * sumsBytes, n, g + j, done, done + TILE <= least);
      }
      places = next;
    }
    for (let j = 0; j < groups; j++) {
      for (let i = 0; i < n; i++) {
        if (load<i32>(counts + (<usize>i << 2)) <= chunk * CHUNK) continue;
        const b = <usize>(j * blocks + i / LANES);
        const lane = <usize>(i % LANES);
        const state = states + b * STATE_BYTES + (lane << 2);
        const cell = <usize>((r + i / perGroup) * H + (g + j) * perGroup + i % perGroup);
        const place = records == 0 ? merged + <usize>(j * n + i) * size : records + (cell * <usize>allChunks + <usize>chunk) * size;
        join(place, load<f32>(state), load<f32>(state, 32), sums + b * sumsBytes + lane * (<usize>vBlocks << 7), vBlocks, records != 0 || chunk == 0);
      }
    }
  }
  if (records != 0) return;
  for (let j = 0; j < groups; j++) {
    for (let i = 0; i < n; i++) finish(p, merged + <usize>(j * n + i) * size, r + i / perGroup, (g + j) * perGroup + i % perGroup);
  }
}

/** Queries of key head g, rounded, in strips of 8; the head's numbers stand where they do in the cached row's blocks, zeros beside them. */
function roundQueries(p: usize, strips: usize, row: usize, r: i32, n: i32, g: i32): void {
  const q = <usize>load<u32>(p, 8);
  const H = load<i32>(p, 36);
  const perGroup = H / load<i32>(p, 40);
  const D = load<i32>(p, 44);
  const factor = load<f32>(p, 52) * LOG2E;
  const way = load<i32>(p, 104);
  const kBlocks = load<i32>(p, 108);
  const blockBytes = stripBlockBytes(LANES, way == WIDEN);
  const shift = <usize>((g * load<i32>(p, 60)) & 31) << 2;
  memory.fill(strips, 0, <usize>((n + LANES - 1) / LANES * kBlocks) * blockBytes);
  memory.fill(row, 0, <usize>kBlocks << 7);
  for (let i = 0; i < n; i++) {
    const lane = i % LANES;
    memory.copy(row + shift, q + (<usize>((r + i / perGroup) * H + g * perGroup + i % perGroup) * <usize>D << 2), <usize>D << 2);
    let target = strips + <usize>(i / LANES * kBlocks) * blockBytes + (<usize>lane << 2);
    for (let b: usize = 0; b < <usize>kBlocks; b++) {
      roundRow(target, row + (b << 7), 32, lane, way == WIDEN, 1, false, way == SIGNED ? 0 : 128);
      store<f32>(target, load<f32>(target) * factor);
      target += blockBytes;
    }
  }
}

/** One tile, `done` keys behind the first, for the n queries of key head g. */
function attendTile(p: usize, constants: usize, offsets: usize, strips: usize, states: usize, sums: usize, n: i32, g: i32, done: i32, isWhole: bool): void {
  const way = load<i32>(p, 104);
  const kBlocks = load<i32>(p, 108);
  const vBlocks = load<i32>(p, 112);
  const ahead = constants + CONSTANT_BYTES;
  const tile = ahead + AHEAD_BYTES + 2 * PLACES_BYTES;
  const codes = tile + 1024;
  const seen = codes + 2 * CODES_BYTES;
  const scales = seen + 32;
  const values = scales + <usize>vBlocks * SCALES;
  const counts = tile + tileBytes(kBlocks, vBlocks);
  const vHead = g * load<i32>(p, 68);
  const k = <usize>load<u32>(p, 12) + <usize>(g * load<i32>(p, 60) >> 5) * BLOCK;
  const v = <usize>load<u32>(p, 16) + <usize>(vHead >> 5) * BLOCK;
  const kTouched = touched(g * load<i32>(p, 60), load<i32>(p, 44));
  const vTouched = touched(vHead, load<i32>(p, 48));
  const stripBytes = <usize>kBlocks * stripBlockBytes(LANES, way == WIDEN);
  const width = <usize>vBlocks << 7;
  let isTurned = false;
  for (let c = 0; c < n; c += LANES) {
    const lanes = min(LANES, n - c);
    let least = TILE;
    let most = isWhole ? TILE : 0;
    for (let i = c; !isWhole && i < c + lanes; i++) {
      const count = bound(load<i32>(counts + (<usize>i << 2)) - done, 0, TILE);
      least = min(least, count);
      most = max(most, count);
    }
    if (most > 0) {
      if (way == WIDEN) scoreWords(tile, strips, k, offsets, kTouched);
      else if (way == SIGNED) scoreSigned(tile, strips, k, offsets, kTouched, constants);
      else scoreUnsigned(tile, strips, k, offsets, kTouched, constants);
      // Between the scores and what waits for the last of them.
      for (let b: usize = 0; !isTurned && b < <usize>vTouched; b++) {
        if (way == WIDEN) turnWords(values + (b << 11), scales + b * SCALES, v + b * BLOCK, offsets + 128, constants);
        else turnValues(values + (b << 10), scales + b * SCALES, v + b * BLOCK, offsets + 128, constants);
      }
      isTurned = true;
      const careful = least < TILE;
      if (careful) {
        hide(tile, counts + (<usize>c << 2), lanes, done, NO_SCORE);
        weighTileCareful(tile, states);
        hide(tile, counts + (<usize>c << 2), lanes, done, 0);
        addWeights(states, tile);
      } else weighTile(tile, states);
      // A block is coded while the one before it is not yet multiplied, so that neither waits for the other.
      for (let b = 0; b <= vTouched; b++) {
        if (b < vTouched) encode(way, careful, codes + <usize>(b & 1) * CODES_BYTES, tile, states, seen, scales + <usize>b * SCALES, counts + (<usize>c << 2), lanes, done, constants);
        if (b > 0) {
          const before = <usize>(b - 1);
          const given = codes + (before & 1) * CODES_BYTES;
          if (way == WIDEN) mixWords(sums + (before << 7), width, given, values + (before << 11), states + 64, lanes);
          else mixBytes(sums + (before << 7), width, given, values + (before << 10), states + 64, lanes, ahead);
        }
      }
    }
    strips += stripBytes;
    states += STATE_BYTES;
    sums += width << 3;
  }
}

/** Codes of a block of values. */
function encode(
  way: i32, careful: bool, codes: usize, tile: usize, states: usize, seen: usize, scales: usize, counts: usize, lanes: i32, done: i32, constants: usize,
): void {
  const all = scales + 32;
  if (careful) {
    largestScales(seen, all, counts, lanes, done);
    if (way == WIDEN) codeWordsCareful(codes, tile, states, seen, all, constants);
    else codeBytesCareful(codes, tile, states, seen, all, constants);
  } else if (way == WIDEN) codeWords(codes, tile, states, scales, all, constants);
  else codeBytes(codes, tile, states, scales, all, constants);
}

/** Blocks of 32 that D numbers from `element` on lie in. */
// @ts-ignore: decorator
@inline
function touched(element: i32, D: i32): i32 {
  return ((element & 31) + D + 31) >> 5;
}

/** Puts `value` where a query does not see a key of the tile. */
function hide(tile: usize, counts: usize, lanes: i32, done: i32, value: f32): void {
  for (let i: usize = 0; i < <usize>lanes; i++) {
    for (let j = bound(load<i32>(counts + (i << 2)) - done, 0, TILE); j < TILE; j++) store<f32>(tile + (<usize>j << 5) + (i << 2), value);
  }
}
