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

/** How many keys a row can have. p: arguments of a command that begins as attentionGroups. */
export function keysAtMost(p: usize): i32 {
  const S = load<i32>(p, 32);
  if (load<u32>(p, 72) == 0) return S;
  const pageSize = load<i32>(p, 88);
  return S / pageSize == 0 || load<i32>(p, 80) == 0 ? 0 : load<i32>(p, 84) * pageSize;
}

export function isEmpty(first: usize, last: usize, r: i32, most: i32): bool {
  return most == 0 || load<i32>(first + (<usize>r << 2)) > load<i32>(last + (<usize>r << 2));
}

/** The result of a row without keys, `heads` heads from `head` on. */
export function leaveEmpty(p: usize, r: i32, head: i32, heads: i32): void {
  const Dv = load<i32>(p, 48);
  const cell = <usize>r * <usize>load<i32>(p, 36) + <usize>head;
  memory.fill(<usize>load<u32>(p) + (cell * <usize>Dv << 2), 0, <usize>heads * <usize>Dv << 2);
  for (let h: usize = 0; h < <usize>heads; h++) store<f32>(<usize>load<u32>(p, 4) + ((cell + h) << 2), -Infinity);
}
