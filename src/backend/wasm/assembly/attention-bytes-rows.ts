// Where the rows of a tile of 32 keys lie in a cache with or without pages, and looking ahead: while one tile is computed, the next one's rows are read, two lines of each 4 KB
// page at a time. The processor foresees what follows such reads, but not beyond a page, so all pages are begun at once. Without it a token waits for memory a third
// of its attention (0.67 against 0.50 ms a layer, 8,192 keys of the 1.1 B shape, two threads).
// Layout of the places: byte offsets of 32 keys' rows from the cache's first, of 32 values'; then what to look at.

import { bound, pagedRow } from "./attention-ranges";
import { TILE } from "./attention-bytes-weights";

/** Pages at most. */
const PAGES: usize = 12;
/** At AHEAD: [PAGES] first address, [PAGES] bytes, what is done of them, how many pages, what was read. Then the next tile's places. */
export const AHEAD: usize = 256;
const BYTES: usize = 48;
const DONE: usize = 96;
const COUNT: usize = 100;
const READ: usize = 104;
const NEXT: usize = 112;
export const PLACES_BYTES: usize = 640;

/** Places of `count` keys of row r from `key` on; behind the last its own again. */
export function placeRows(p: usize, places: usize, r: i32, key: i32, count: i32): void {
  const kRow = load<u32>(p, 56) << 2;
  const vRow = load<u32>(p, 64) << 2;
  const pages = <usize>load<u32>(p, 72);
  if (pages == 0) {
    fill(places, <u32>key, 0, count, kRow, vRow);
    return;
  }
  const pageSize = load<i32>(p, 88);
  const pageCount = load<i32>(p, 32) / pageSize;
  const at = bound(load<i32>(<usize>load<u32>(p, 76) + (<usize>r << 2)), 0, load<i32>(p, 80) - 1);
  const table = pages + (<usize>(at * load<i32>(p, 84)) << 2);
  for (let done = 0; done < count; ) {
    const run = min(count - done, pageSize - (key + done) % pageSize);
    fill(places, <u32>pagedRow(table, key + done, pageSize, pageCount), done, done + run, kRow, vRow);
    done += run;
  }
}

/** Places from..to - 1 are row, row + 1 …; those behind are the last's. */
function fill(places: usize, row: u32, from: i32, to: i32, kRow: u32, vRow: u32): void {
  let k = row * kRow;
  let v = row * vRow;
  const end = places + (<usize>to << 2);
  for (let at = places + (<usize>from << 2); at < end; at += 4) {
    store<u32>(at, k);
    store<u32>(at, v, 128);
    k += kRow;
    v += vRow;
  }
  for (let at = end; at < places + 128; at += 4) {
    store<u32>(at, k - kRow);
    store<u32>(at, v - vRow, 128);
  }
}

/** Sets what is looked at next: `count` keys from `key` on where they are a whole tile that lies in one piece, else nothing. */
export function setAhead(p: usize, places: usize, r: i32, key: i32, count: i32): void {
  const ahead = places + AHEAD;
  store<u32>(ahead, 0, DONE);
  store<u32>(ahead, 0, COUNT);
  if (count < TILE) return;
  const next = ahead + NEXT;
  placeRows(p, next, r, key, count);
  for (let part: usize = 0; part < 2; part++) {
    const begin = load<u32>(next + (part << 7));
    const bytes = load<u32>(p + (part << 3), 56) * 4 * TILE;
    // Rows in ascending order may still have gaps; then what lies between is read in vain, no more.
    if (load<u32>(next + (part << 7), 124) - begin < bytes) addPages(ahead, <usize>load<u32>(p + (part << 2), 12) + begin, bytes);
  }
}

function addPages(ahead: usize, begin: usize, bytes: usize): void {
  let count = load<u32>(ahead, COUNT);
  for (const end = begin + bytes; begin < end && count < <u32>PAGES; count++) {
    const next = min(end, (begin + 4096) & ~4095);
    store<u32>(ahead + (<usize>count << 2), <u32>begin);
    store<u32>(ahead + (<usize>count << 2), <u32>(next - begin) & ~127, BYTES);
    begin = next;
  }
  store<u32>(ahead, count, COUNT);
}

/** Reads the next two lines of each page. */
// @ts-ignore: decorator
@inline
export function lookAhead(ahead: usize): void {
  const done = load<u32>(ahead, DONE);
  const end = ahead + (<usize>load<u32>(ahead, COUNT) << 2);
  let sum: u32 = 0;
  for (let at = ahead; at < end; at += 4) {
    if (done < load<u32>(at, BYTES)) {
      const line = <usize>(load<u32>(at) + done);
      sum ^= load<u32>(line) ^ load<u32>(line, 64);
    }
  }
  store<u32>(ahead, done + 128, DONE);
  store<u32>(ahead, sum, READ);
}
