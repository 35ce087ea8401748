// Where the rows of a tile of 32 keys lie in a cache with or without pages, and looking ahead: while one tile is computed, the next one's rows are read, two lines of each 4 KB
// page at a time. The processor foresees what follows such reads, but not beyond a page, so six pages are begun at once. Without it a token waits for memory a third
// of its attention. The reads have no branches: whole pages are read (memory ends with a page), and a place that is left over holds a page again.
// Layout of the places: byte offsets of 32 keys' rows from the cache's first, of 32 values'. Of what is looked at: see below.

import { bound, pagedRow } from "./attention-ranges";
import { TILE } from "./attention-bytes-weights";

/** Places of one tile. */
export const PLACES_BYTES: usize = 256;
/** Pages that are read side by side, and how many such groups there are at most. */
const SIDES: usize = 6;
const GROUPS: usize = 6;
/** [GROUPS][SIDES] addresses of pages, the group at hand, the end of groups, bytes of its pages that are read, what was read, the end of the last page of keys and of values. */
const GROUP: usize = SIDES << 2;
const AT: usize = GROUPS * GROUP;
const END: usize = AT + 4;
const DONE: usize = AT + 8;
const READ: usize = AT + 12;
const LAST: usize = AT + 16;
export const AHEAD_BYTES: usize = 192;
const PAGE: usize = 4096;

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

/** Nothing is looked at; before a thread's first tile. */
export function beginAhead(ahead: usize): void {
  memory.fill(ahead, 0, AHEAD_BYTES);
}

/** Sets what is looked at next: the rows at `places` where they are a whole tile that lies in one piece, else nothing. */
export function setAhead(p: usize, ahead: usize, places: usize, isWhole: bool): void {
  let end = ahead;
  for (let part: usize = 0; isWhole && part < 2; part++) {
    const begin = load<u32>(places + (part << 7));
    const bytes = load<u32>(p + (part << 3), 56) * 4 * TILE;
    // Rows in ascending order may still have gaps; then what lies between is read in vain, no more.
    if (load<u32>(places + (part << 7), 124) - begin < bytes) end = addPages(ahead, end, ahead + LAST + (part << 2), <usize>load<u32>(p + (part << 2), 12) + begin, bytes);
  }
  store<u32>(ahead, ahead, AT);
  store<u32>(ahead, 0, DONE);
  // The last group is filled up with its last page.
  for (; (end - ahead) % GROUP != 0; end += 4) store<u32>(end, load<u32>(end - 4));
  store<u32>(ahead, end, END);
}

/** Adds the pages of some bytes; the first not where it is the last that was added before. Gives the end of the list. */
function addPages(ahead: usize, end: usize, last: usize, begin: usize, bytes: usize): usize {
  let page = begin & ~(PAGE - 1);
  if (page + PAGE == <usize>load<u32>(last)) page += PAGE;
  for (; page < begin + bytes && end < ahead + AT; page += PAGE) {
    store<u32>(end, page);
    end += 4;
  }
  store<u32>(last, page);
  return end;
}

// @ts-ignore: decorator
@inline
function lines(at: usize, done: usize): u32 {
  const line = <usize>load<u32>(at) + done;
  return load<u32>(line) ^ load<u32>(line, 64);
}

/** Reads the next two lines of each page. Less often and more at a time is slower (4, 8, 16 lines: 6, 10, 27 % of attention), and so is one line more often (8 %). */
// @ts-ignore: decorator
@inline
export function lookAhead(ahead: usize): void {
  const at = <usize>load<u32>(ahead, AT);
  if (at == <usize>load<u32>(ahead, END)) return;
  const done = <usize>load<u32>(ahead, DONE);
  const some = lines(at, done) ^ lines(at + 4, done) ^ lines(at + 8, done);
  const more = lines(at + 12, done) ^ lines(at + 16, done) ^ lines(at + 20, done);
  store<u32>(ahead, some ^ more, READ);
  const next = (done + 128) & (PAGE - 1);
  store<u32>(ahead, next, DONE);
  store<u32>(ahead, at + (next == 0 ? GROUP : 0), AT);
}
