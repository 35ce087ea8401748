// Stable counting sort of slots by expert. Arguments: offsets, sorted, place, indices, slots, E, scratch (E counters). A few thousand
// slots: one thread does it.

export function dispatch(p: usize, thread: i32, threads: i32): void {
  if (thread != 0) return;
  const offsets = <usize>load<u32>(p);
  const sorted = <usize>load<u32>(p, 4);
  const place = <usize>load<u32>(p, 8);
  const indices = <usize>load<u32>(p, 12);
  const slots = load<i32>(p, 16);
  const E = load<i32>(p, 20);
  const next = <usize>load<u32>(p, 24);
  memory.fill(next, 0, <usize>E << 2);
  for (let s: usize = 0; s < <usize>slots; s++) {
    const counter = next + (<usize>expertOf(indices, s, E) << 2);
    store<i32>(counter, load<i32>(counter) + 1);
  }
  let begin = 0;
  for (let e: usize = 0; e < <usize>E; e++) {
    store<i32>(offsets + (e << 2), begin);
    const count = load<i32>(next + (e << 2));
    store<i32>(next + (e << 2), begin);
    begin += count;
  }
  store<i32>(offsets + (<usize>E << 2), begin);
  for (let s: usize = 0; s < <usize>slots; s++) {
    const counter = next + (<usize>expertOf(indices, s, E) << 2);
    const at = load<i32>(counter);
    store<i32>(counter, at + 1);
    store<i32>(sorted + (<usize>at << 2), <i32>s);
    store<i32>(place + (s << 2), at);
  }
}

// @ts-ignore: decorator
@inline
function expertOf(indices: usize, slot: usize, E: i32): i32 {
  return max(0, min(E - 1, load<i32>(indices + (slot << 2))));
}
