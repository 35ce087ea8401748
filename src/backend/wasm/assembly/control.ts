// How threads meet. The first kilobyte of the shared memory is the control block (same addresses in ../control.ts): a generation
// barrier, a work counter that is zeroed at every barrier, and the queue of command lists. Threads spin first, then sleep. A list may begin without its
// last thread, the caller, who comes later or never: into the command that runs, where its units are claimed, else whoever is last at a barrier lets it in.
// No static data, no heap: every address comes from the host.

/** Set by a thread that traps: nobody is to wait for it. */
export const DEAD: usize = 0;
/** The last list that the caller's stand-in takes, the thread with its number; the others take all of them. */
export const CALLED: usize = 32;
/** Of the list that began without the caller: 1: it waits to be let in; 2: it is a member from now on. */
export const JOINING: usize = 40;
/** Where the caller, let in at a barrier, is to go on; the list's end when it is done; 0 before. */
export const AT: usize = 48;
/** Of the same list: the command that the caller may come into while it runs, plus 1 when it did; 0: none. */
export const OPEN: usize = 52;
/** How many threads run the command behind the last barrier: who was waiting there reads it. */
export const TEAM: usize = 56;
export const GENERATION: usize = 64;
export const ARRIVED: usize = 128;
export const WORK: usize = 192;
export const SUBMITTED: usize = 256;
export const DONE: usize = 320;
export const SLEEPERS: usize = 384;
export const STOP: usize = 448;
/** Start and end address of list i at QUEUE + (i mod 64)·8; the start plus 1 when it begins without the caller. */
export const QUEUE: usize = 512;

/**
 * Threads wait for each other five hundred times a token, some tens of microseconds where a product ends unevenly: whoever falls asleep there costs as much
 * again to wake. So they spin for half a millisecond (38 against 32 ms a token for 1.1 B weights of Q4_0); but where another process has one of the cores, the
 * spinning keeps the thread that is waited for from running (130 against 66 ms), so after a wait that long the next ones are short.
 */
const LONG: i32 = 400000;
const SHORT: i32 = 20000;
/** How many waits are yet to be short: those of some lists. With 24 the long waits come back too soon (9.2 against 10.2 thousand tokens/s beside a busy process). */
export const HASTE: usize = 456;
const HASTY_WAITS: i32 = 400;
/**
 * After a list that the caller took part in the others look for the next one so long (2.5 ms): the caller is choosing ids meanwhile, and to wake them takes
 * a tenth of a millisecond and often takes the caller's own core from it.
 */
const LINGER: i32 = 2000000;

/** Of this instance, so of this thread: how many tenths of a second a sleep at a barrier may last before the others are taken for dead; 0: for ever. */
let patience: i32 = 0;

export function setPatience(tenths: i32): void {
  patience = tenths;
}

/** Waits until all threads came; the last one zeroes the work counter. */
export function barrier(threads: i32): void {
  if (threads == 1) {
    store<i32>(WORK, 0);
    return;
  }
  const generation = atomic.load<i32>(GENERATION);
  if (atomic.add<i32>(ARRIVED, 1) == threads - 1) release(threads);
  else awaitOthers(generation);
}

// @ts-ignore: decorator
@inline
function release(threads: i32): void {
  atomic.store<i32>(ARRIVED, 0);
  atomic.store<i32>(WORK, 0);
  atomic.add<i32>(GENERATION, 1);
  if (atomic.load<i32>(SLEEPERS) != 0) atomic.notify(GENERATION, threads);
}

/**
 * The barrier of a list that began without the caller, between the command at `current` and that at `next`, which `opens` where the caller may come into it. `list` is
 * below 0 for the caller itself, which came into `current`. Returns how many threads run the next one.
 */
export function openBarrier(threads: i32, current: usize, next: usize, end: usize, list: i32, opens: bool): i32 {
  const generation = atomic.load<i32>(GENERATION);
  const before = atomic.add<i32>(ARRIVED, 1);
  if (before == threads - 1) {
    // The caller is among them.
    atomic.store<i32>(OPEN, 0);
    atomic.store<i32>(TEAM, threads);
    release(threads);
    return threads;
  }
  // Whoever is last of the others shuts the command, unless the caller is in it.
  if (before == threads - 2 && list >= 0 && atomic.cmpxchg<i32>(OPEN, <i32>current, 0) != <i32>(current | 1)) {
    const joins = next < end && atomic.load<i32>(JOINING) == 1;
    if (joins) atomic.store<i32>(JOINING, 2);
    const team = joins ? threads : threads - 1;
    atomic.store<i32>(TEAM, team);
    release(threads);
    // After the generation has moved: the caller waits for the next one as soon as it sees any of these.
    if (opens && !joins) atomic.store<i32>(OPEN, <i32>next);
    if (next == end) {
      atomic.store<i32>(DONE, list);
      atomic.notify(DONE, i32.MAX_VALUE);
    }
    if (joins || next == end) {
      atomic.store<i32>(AT, <i32>next);
      atomic.notify(AT, 1);
    }
    return team;
  }
  awaitOthers(generation);
  return atomic.load<i32>(TEAM);
}

/**
 * Brings the caller into the list that began without it: into the command that runs, where that is open, else with the next one, else after the end. Returns where
 * to go on, plus 1 for a command that the others have begun.
 */
export function join(): usize {
  if (atomic.load<i32>(AT) == 0) {
    const open = atomic.load<i32>(OPEN);
    if (open != 0 && atomic.cmpxchg<i32>(OPEN, open, open | 1) == open) {
      atomic.store<i32>(JOINING, 2);
      return <usize>(<u32>open) | 1;
    }
    atomic.store<i32>(JOINING, 1);
    if (!spinsAsLately(AT, 0)) sleep(AT, 0);
  }
  return <usize>(<u32>atomic.load<i32>(AT));
}

function awaitOthers(generation: i32): void {
  if (spinsAsLately(GENERATION, generation)) return;
  atomic.add<i32>(SLEEPERS, 1);
  sleep(GENERATION, generation);
  atomic.sub<i32>(SLEEPERS, 1);
}

/** False when the word is still `value` after a while: a long one, unless a wait was as long lately. */
function spinsAsLately(address: usize, value: i32): bool {
  // Not atomic: a count that goes wrong makes a wait longer or shorter, no more.
  const haste = load<i32>(HASTE);
  if (haste > 0) store<i32>(HASTE, haste - 1);
  if (spins(address, value, haste > 0 ? SHORT : LONG)) return true;
  if (haste <= 0) store<i32>(HASTE, HASTY_WAITS);
  return false;
}

/** Returns when there is another list than the `seen` ones for any thread but the caller's stand-in. */
export function awaitList(seen: i32): void {
  const joined = atomic.load<i32>(CALLED) < seen;
  if (!spins(SUBMITTED, seen, joined ? LINGER : SHORT)) sleep(SUBMITTED, seen);
}

/** Returns when there is another list than the last `called` one for the caller's stand-in. */
export function awaitCall(called: i32): void {
  if (!spins(CALLED, called, SHORT)) sleep(CALLED, called);
}

/** False when the word is still `value` after `most` looks. */
// @ts-ignore: decorator
@inline
function spins(address: usize, value: i32, most: i32): bool {
  for (let spin = 0; spin < most; spin++) {
    if (atomic.load<i32>(address) != value) return true;
  }
  return false;
}

function sleep(address: usize, value: i32): void {
  let left = patience;
  while (atomic.load<i32>(address) == value) {
    if (patience == 0) {
      atomic.wait<i32>(address, value, -1);
      continue;
    }
    // Short waits, counted, and not one long: a process that was stopped for a while has waited once.
    if (atomic.load<i32>(DEAD) != 0) unreachable();
    if (atomic.wait<i32>(address, value, 100000000) == 2 && --left <= 0) unreachable();
  }
}

/** The next unit of work of this command; units are claimed in order by whichever thread is free. */
// @ts-ignore: decorator
@inline
export function claim(): i32 {
  return atomic.add<i32>(WORK, 1);
}

/** First unit of `units` that belongs to `thread`, units being split evenly. */
// @ts-ignore: decorator
@inline
export function share(units: i32, thread: i32, threads: i32): i32 {
  return <i32>((<i64>units * thread) / threads);
}

/**
 * The unit that `thread` takes at its `turn`: first those of its own share, the same ones each time the command runs, so that what it wrote there last is in
 * its own cache; the last quarter, at least a unit a thread, goes to whoever is free, the thread numbered `threads` too, which came later. `units` or more: none is left.
 */
// @ts-ignore: decorator
@inline
export function own(units: i32, thread: i32, threads: i32, turn: i32): i32 {
  const kept = max(0, units - max(threads, units >> 2));
  const first = share(kept, thread, threads);
  const mine = thread < threads ? share(kept, thread + 1, threads) - first : 0;
  return turn < mine ? first + turn : kept + claim();
}
