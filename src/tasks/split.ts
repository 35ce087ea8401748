// Which problems are held out. The split is a function of the problem's key alone, so training and test rows are disjoint by construction,
// on any machine, in any order, with no list to keep. `assertDisjoint` checks it all the same.

import { ConfigError, quote } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { Task } from "./task.ts";

export type Split = "train" | "test";

/** Share of all problems that is held out unless told otherwise: of the 4,717 problems of the default countdown, some 1,200. */
export const defaultTestShare = 0.25;

/** FNV-1a over UTF-16 units, then the finaliser of MurmurHash3: every bit of a short key reaches every bit of the hash. Returns [0, 2^32). */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** `testShare` in (0, 1). A problem that is in the test split of a small share is also in that of a larger one. */
export function splitOf(key: string, testShare = defaultTestShare): Split {
  return hashText(key) < testShare * 4294967296 ? "test" : "train";
}

/** Draws a row of one split, by rejection. */
export function sampleFrom<Row>(task: Task<Row>, split: Split, random: Random, testShare = defaultTestShare): Row {
  for (let tries = 0; tries < 100_000; tries++) {
    const row = task.sample(random);
    if (splitOf(task.key(row), testShare) === split) return row;
  }
  throw tooFew(task.name, split, 0, 1);
}

/** `count` different problems of one split. Throws ConfigError when the task does not have so many. */
export function distinctRows<Row>(task: Task<Row>, split: Split, count: number, random: Random, testShare = defaultTestShare): Row[] {
  const rows = new Map<string, Row>();
  let misses = 0;
  while (rows.size < count) {
    const row = sampleFrom(task, split, random, testShare);
    const key = task.key(row);
    if (!rows.has(key)) {
      rows.set(key, row);
      misses = 0;
    } else if (++misses > 20_000) {
      throw tooFew(task.name, split, rows.size, count);
    }
  }
  return [...rows.values()];
}

/** Throws ConfigError when a test problem is among the keys that some stage saw. */
export function assertDisjoint<Row>(task: Task<Row>, seenKeys: ReadonlySet<string>, testRows: readonly Row[]): void {
  const shared = testRows.map((row) => task.key(row)).filter((key) => seenKeys.has(key));
  if (shared.length === 0) return;
  throw new ConfigError({
    operation: `hold out ${task.name}`,
    got: `${shared.length} of ${testRows.length} test problems that a training stage saw, e.g. ${quote(shared[0] as string)}`,
    expected: "no problem in both splits",
    cure: "draw training rows with sampleFrom(task, 'train', …) and the same test share",
  });
}

function tooFew(name: string, split: Split, got: number, wanted: number): ConfigError {
  return new ConfigError({
    operation: `draw ${split} rows of ${name}`,
    got: `only ${got} different problems`,
    expected: `${wanted}`,
    cure: "ask for fewer rows, widen the task's ranges or change the test share",
  });
}
