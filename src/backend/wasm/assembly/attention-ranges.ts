// Which keys a query row sees and where they lie: runs of rows over the same keys, bounds, page tables. Every index that the host or another kernel wrote is
// bounded here before it becomes an address.

/** The last row, before `end`, of the run that begins at r: rows with the same first key, in pages of the same slot (slot 0: no pages). */
export function runEnd(first: usize, slot: usize, r: i32, end: i32): i32 {
  const begin = load<i32>(first + (<usize>r << 2));
  const owner = slot == 0 ? 0 : load<i32>(slot + (<usize>r << 2));
  while (++r < end && load<i32>(first + (<usize>r << 2)) == begin) {
    if (slot != 0 && load<i32>(slot + (<usize>r << 2)) != owner) break;
  }
  return r;
}

/** The largest `last` of rows r..end-1. */
export function furthest(last: usize, r: i32, end: i32): i32 {
  let to = load<i32>(last + (<usize>r << 2));
  while (++r < end) to = max(to, load<i32>(last + (<usize>r << 2)));
  return to;
}

// @ts-ignore: decorator
@inline
export function bound(key: i32, low: i32, high: i32): i32 {
  return max(low, min(high, key));
}

/** The key row where key j lies, given the page table of its sequence. */
// @ts-ignore: decorator
@inline
export function pagedRow(table: usize, j: i32, pageSize: i32, pageCount: i32): usize {
  const page = bound(load<i32>(table + (<usize>(j / pageSize) << 2)), 0, pageCount - 1);
  return <usize>(page * pageSize + j % pageSize);
}
